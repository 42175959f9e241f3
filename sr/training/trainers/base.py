"""What the training loop asks of a trainer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.models import Model, build
from sr.training.config import Config
from sr.training.optimization import Learner, Losses

__all__ = ["Method"]


class Method(Protocol):
    """What the loop asks of a method."""

    done: int
    """Steps done."""

    @property
    def model(self) -> Model:
        """The model as it would be used now."""
        ...

    def step(self, pair: Pair) -> Losses:
        """Learns from a batch; returns its losses, scalars without gradient."""
        ...

    def finish(self) -> None:
        """Called after the last step."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers, and containers of them."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""
        ...


def new_model(name: str, config: Config) -> Model:
    """A model of the run's scale and settings, its weights drawn from the run's seed. Raises
    UserError.
    """
    try:
        with seeded(config.seed):
            return build(name, scale=config.scale, **config.model)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Torch's CPU generator at ``seed`` inside, as it was outside: initialisers know no other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def kept(learner: Learner) -> Model:
    """The average if there is one, else the network itself."""
    return cast(Model, learner.plain if learner.average is None else learner.average)
