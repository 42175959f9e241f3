"""Model: what every xN network is to the trainer, the upscaler and the checkpoint.

Low resolution (B, 3, h, w) RGB float in [0, 1] in, super-resolved (B, 3, h N, w N) out, not
clamped. Its one constraint: ``build(name, **model.config)`` makes the same architecture again, so
a checkpoint needs nothing but a name, a config and tensors.
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
        reach: Radius of the receptive field in LR pixels; None where it is the whole image.
        config: Keyword arguments of the constructor, JSON values only.
    """

    margin: int = 0
    """HR pixels missing on each side of the output in training mode (``valid`` convolutions);
    none are in eval mode.
    """
    multiple: int = 1
    """Tiles must start on multiples of this many LR pixels for their result to equal that of
    the whole image.
    """

    def __init__(self, scale: int, reach: int | None, config: dict[str, Any]) -> None:
        super().__init__()
        self.scale = scale
        self.reach = reach
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(chain(self.parameters(), self.buffers())).device

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups for a torch optimiser at base rate ``lr``."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.config.items())


def check_scale(scale: int, known: Iterable[int]) -> int:
    """``scale`` if it is among ``known``. Raises ValueError."""
    names = tuple(known)
    if scale not in names:
        raise ValueError(
            f"scale {scale}: not made by this model; it must be one of {', '.join(map(str, names))}"
        )
    return scale


def coarsen(radius: int, factor: int) -> int:
    """A radius in fine pixels as a radius in pixels ``factor`` times as large, whatever the
    pixel's phase.

    >>> [coarsen(radius, 2) for radius in (0, 1, 2, 3)]
    [0, 1, 1, 2]
    """
    return -(-radius // factor)


def count(module: nn.Module, suffix: str = "") -> int:
    """Number of trainable numbers in ``module``, of the parameters whose name ends in
    ``suffix``.
    """

    def size(tensor: Tensor) -> int:
        return tensor.numel() if tensor.requires_grad else 0

    return sum(size(tensor) for name, tensor in module.named_parameters() if name.endswith(suffix))
