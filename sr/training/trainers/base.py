"""The interface of trainers, and what they share."""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.recipe import Pair
from sr import checkpoint
from sr.losses import build_loss
from sr.models import Model, build
from sr.pretrained import MissingWeightsError
from sr.training.optimization import Losses
from sr.training.settings import Config
from sr.training.trainers.rehearsal import rehearse

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FurtherLosses", "Trainer", "build_model", "build_pixel_loss", "seeded"]


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


def build_model(config: Config) -> Model:
    """Build a run's model, with the weights of ``config.init``, else initialized from the run's
    seed. Raises UserError.
    """
    try:
        with seeded(config.seed):
            model = build(config.architecture, scale=config.scale, **config.model)
    except ValueError as error:
        raise UserError(str(error)) from None
    if config.init is None:
        return model
    trained = checkpoint.load(config.init, config.scale)
    try:
        model.load_state_dict(trained.state_dict())
    except RuntimeError:
        raise UserError(_mismatch(config, model, trained)) from None
    return model


def _mismatch(config: Config, model: Model, trained: Model) -> str:
    """What keeps a run from beginning with the weights of ``config.init``."""
    if type(trained) is not type(model):
        own, other = type(model).__name__, type(trained).__name__
        return f"init {config.init}: is of {other}; the run trains {own}"
    differ = {
        name: value for name, value in trained.config.items() if value != model.config.get(name)
    }
    has = ", ".join(f"{name} {value}" for name, value in differ.items())
    own = ", ".join(f"{name} {model.config.get(name)}" for name in differ)
    remedy = " ".join(f"--set 'model.{name}={value}'" for name, value in differ.items())
    return f"init {config.init}: has {has}; the run's model has {own}: {remedy}"


def build_pixel_loss(
    config: Config, fabric: Fabric, side: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """Build ``config.loss``, for images of ``side`` pixels. Raises UserError."""
    loss = _build(config.loss, config, side, fabric)
    if getattr(loss, "needs_average", False):
        raise UserError(
            f"loss {config.loss}: is one of `losses`; --set 'losses={{{config.loss}: 1}}'"
        )
    return partial(_call, fabric, loss)


def _build(name: str, config: Config, side: int, fabric: Fabric) -> Callable[..., Tensor]:
    try:
        loss = build_loss(name)
    except MissingWeightsError as error:
        raise UserError(f"loss {name}: {error}") from None
    if isinstance(loss, nn.Module):
        loss.to(fabric.device).eval().requires_grad_(False)
        if _has_network(loss) and config.precision != "32-true":
            # The faster layout of convolutions in 16 bits; torch's stub lacks this form.
            loss.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = 3 if getattr(loss, "needs_average", False) else 2
    rehearse(f"loss {name}", loss, side, fabric, images)
    return loss


def _has_network(loss: Callable[..., Tensor]) -> bool:
    return bool(getattr(loss, "has_network", False))


def _call(fabric: Fabric, loss: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """Return a loss of images. Only networks run in the lower precision."""
    with fabric.autocast() if _has_network(loss) else nullcontext():
        return loss(*images)


class FurtherLosses:
    """The weighted losses of ``config.losses``, for images of ``side`` pixels.

    Raises:
        UserError: A loss is unknown, or needs what is missing: weights, or a moving average.
    """

    def __init__(self, config: Config, fabric: Fabric, side: int) -> None:
        self.fabric = fabric
        self.losses = {
            name: (weight, _build(name, config, side, fabric))
            for name, weight in config.losses.items()
            if weight
        }
        for name, (_, loss) in self.losses.items():
            if getattr(loss, "needs_average", False) and not config.ema:
                raise UserError(f"losses.{name}: needs a moving average; --set ema=0.999")

    def terms(self, sr: Tensor, hr: Tensor, average: Callable[[], Tensor]) -> Losses:
        """Return the weighted losses, in float32, as ``lpips_loss``: ``lpips`` is a metric of
        validations. ``average`` returns the image of the moving average of the weights.
        """
        found: Losses = {}
        for name, (weight, loss) in self.losses.items():
            more: tuple[Tensor, ...] = ()
            if getattr(loss, "needs_average", False):
                with self.fabric.autocast():
                    more = (average().float(),)
            found[f"{name}_loss"] = weight * _call(self.fabric, loss, sr, hr, *more)
        return found


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's CPU generator, which initializers use, and restore it on exit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
