"""Memory layouts: (B, C, H, W) planes and channels-last images, converted as fast as a CPU can."""

from __future__ import annotations

import torch
from torch import Tensor

from degrade.canvas import as_float, to_channels_last
from degrade.kernels import native

__all__ = ["uint8_to_float"]


def uint8_to_float(pixels: Tensor) -> Tensor:
    """k / 255 of 8-bit levels, in the layout that :class:`~degrade.canvas.Canvas` keeps on this
    device.
    """
    if pixels.device.type != "cpu" or pixels.shape[1] != 3 or not native.available():
        return as_float(to_channels_last(pixels))
    out = torch.empty_like(pixels, dtype=torch.float32, memory_format=torch.channels_last)
    for planes, image in zip(
        pixels.contiguous().numpy(), out.permute(0, 2, 3, 1).numpy(), strict=True
    ):
        native.interleave(planes, image)
    return out
