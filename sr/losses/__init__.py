"""Losses of (sr, hr) by name, (B, 3, H, W) in [0, 1] each; a scalar, the mean over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from sr.losses.artifacts import LocalDiscriminativeLoss
from sr.losses.frequency import focal_frequency
from sr.losses.perceptual import DISTSLoss, LPIPSLoss
from sr.losses.pixel import charbonnier, l1, mse
from sr.losses.structure import ms_ssim_loss
from sr.registry import Registry

__all__ = ["LOSSES", "build_loss"]

Loss = Callable[..., Tensor]

LOSSES: Registry[Any] = Registry(
    "loss",
    "sr.losses",
    lambda found: isinstance(found, type) and issubclass(found, nn.Module),
    "a subclass of torch.nn.Module",
)
"""Functions, and classes of modules that are built without arguments; also entry points of the
group ``sr.losses``, and ``module:Class``. A loss with the attribute ``needs_average`` is called
with the image of the moving average of the weights as a third argument; one with the attribute
``has_network`` is called under autocast (``--amp``) and returns float32.
"""
LOSSES.update(
    {
        "l1": l1,
        "mse": mse,
        "charbonnier": charbonnier,
        "ffl": focal_frequency,
        "ldl": LocalDiscriminativeLoss,
        "lpips": LPIPSLoss,
        "dists": DISTSLoss,
        "ms_ssim": ms_ssim_loss,
    }
)


def build_loss(name: str) -> Loss:
    """Build a loss.

    Raises:
        ValueError: The name is unknown.
        MissingWeightsError: It needs weights that are not on this machine.
    """
    found = LOSSES.find(name)
    return found() if isinstance(found, type) else found
