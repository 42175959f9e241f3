"""Rehearsals: what cannot train on a run's patches is said before the training starts."""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from degrade.errors import UserError
from sr.models import Model
from sr.training.settings import Config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["rehearse", "rehearse_model"]


def rehearse(
    what: str, call: Callable[..., Any], side: int, fabric: Fabric, images: int = 1
) -> None:
    """Try a network or a loss of ``images`` images on black patches of ``side`` pixels.

    Raises:
        UserError: The patch is too small for it, or of a wrong multiple.
    """
    patch = torch.zeros(1, 3, side, side, device=fabric.device)
    with torch.no_grad():
        _call(what, call, side, *[patch] * images)


def rehearse_model(model: Model, config: Config, fabric: Fabric) -> int:
    """Try a training pass of a copy of a model on black patches.

    Returns:
        Side of the result in pixels, which ``valid`` convolutions make smaller than the patch.

    Raises:
        UserError: The model has no weights to train, cannot take the patch, or makes images of
            another shape than it says.
    """
    name = config.architecture
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(f"model {name}: has no weights that a loss could train")
    share = config.batch // (fabric.world_size * config.accumulate)
    side = config.patch // config.scale
    lr = torch.zeros(min(share, 2), 3, side, side, device=fabric.device)
    probe = copy.deepcopy(model).to(fabric.device).train()
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        result = _call(f"model {name}", probe, side, lr)
    made = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
    left = side * config.scale - 2 * model.margin
    if made != (len(lr), 3, left, left):
        raise UserError(
            f"model {name}: makes {made} of {tuple(lr.shape)}; "
            f"at x{config.scale} it should be {(len(lr), 3, left, left)}"
        )
    return left


def _call(what: str, call: Callable[..., Any], side: int, *images: Tensor) -> Any:
    try:
        return call(*images)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"the {what} cannot take images of {side} x {side} pixels: "
            f"{str(error).splitlines()[0]}; give another --set patch=N, a larger one mostly"
        ) from None
