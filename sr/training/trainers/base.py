"""The interface of trainers, and what they share."""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.models import Model, build
from sr.training.config import Config
from sr.training.optimization import Losses

__all__ = ["Trainer", "build_model", "seeded"]


class Trainer(Protocol):
    """What the training loop asks of a trainer."""

    done: int
    """Steps done."""

    @property
    def model(self) -> Model:
        """The model to validate, save and use: the moving average, if there is one."""
        ...

    def step(self, pair: Pair) -> Losses:
        """Train on a batch and return its losses, scalars without gradient."""
        ...

    def finish(self) -> None:
        """Called after the last step."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on: tensors, numbers, containers."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        ...


def build_model(name: str, config: Config) -> Model:
    """Build a model of the run's scale and settings, initialized from the run's seed. Raises
    UserError.
    """
    try:
        with seeded(config.seed):
            return build(name, scale=config.scale, **config.model)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's CPU generator, which initializers use, and restore it on exit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
