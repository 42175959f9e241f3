"""Model: the base class of xN super-resolution networks.

LR (B, 3, h, w) RGB float in [0, 1] in, SR (B, 3, h N, w N) out, not clamped.
``build(name, **model.config)`` builds the same architecture again, so that a checkpoint needs only
a name, a config and tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Model", "check_scale", "coarsen", "count"]


class Model(nn.Module):
    """An xN model.

    Args:
        scale: N.
        reach: Radius of the receptive field in LR pixels; None if it is the whole image.
        config: Keyword arguments of the constructor, JSON values only.
    """

    margin: int = 0
    """HR pixels that the output lacks on each side in training mode (``valid`` convolutions)."""
    multiple: int = 1
    """Tiles must start on multiples of this many LR pixels to give the result of the whole
    image.
    """

    def __init__(self, scale: int, reach: int | None, config: dict[str, Any]) -> None:
        super().__init__()
        self.scale = scale
        self.reach = reach
        self.config = config

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(chain(self.parameters(), self.buffers())).device

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return parameter groups for a torch optimizer at base learning rate ``lr``."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.config.items())


def check_scale(scale: int, known: Iterable[int]) -> int:
    """Return ``scale``. Raises ValueError if it is not one of ``known``."""
    scales = tuple(known)
    if scale not in scales:
        names = ", ".join(map(str, scales))
        raise ValueError(f"scale {scale}: not supported by this model; must be one of {names}")
    return scale


def coarsen(radius: int, factor: int) -> int:
    """Convert a radius in pixels to one in pixels ``factor`` times as large, rounded up.

    >>> [coarsen(radius, 2) for radius in (0, 1, 2, 3)]
    [0, 1, 1, 2]
    """
    return -(-radius // factor)


def count(module: nn.Module, suffix: str = "") -> int:
    """Return the number of trainable weights, of parameters whose name ends in ``suffix``.

    >>> count(nn.Linear(3, 2)), count(nn.Linear(3, 2), "bias")
    (8, 2)
    """

    def size(tensor: Tensor) -> int:
        return tensor.numel() if tensor.requires_grad else 0

    return sum(size(tensor) for name, tensor in module.named_parameters() if name.endswith(suffix))
