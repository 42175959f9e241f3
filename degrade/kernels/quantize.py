"""Rounding to few bits, and clipping.

.. math:: \\mathrm{quantize}(x) = \\mathrm{clip}(\\mathrm{round}(m x), 0, m) / m,
          \\qquad m = 2^{bits} - 1

What ``quantize`` leaves is what a file of that depth gives back: an 8-bit PNG stores round(255 y),
and 255 y is a whole number up to float rounding, so writing and reading changes nothing.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from degrade.canvas import Canvas, divided
from degrade.kernels.base import Data, Kernel, Records

__all__ = ["CLIP", "QUANTIZE", "quantize"]


def quantize(pixels: Tensor, bits: int = 8) -> Tensor:
    """Round [0, 1] to 2^bits levels, half to even; any shape. Gradients pass the rounding, and
    stop outside [0, 1].

    >>> quantize(torch.tensor([0.3, 1.2]), bits=1)
    tensor([0., 1.])
    """
    top = 2**bits - 1
    if not pixels.requires_grad:
        return divided((pixels * top).round_().clamp_(0, top), top)
    rounded: Tensor = _Round.apply(pixels * top)
    return divided(rounded.clamp(0, top), top)


class _Round(torch.autograd.Function):
    """Rounds half to even; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def _quantize_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    levels = records["levels"]
    if (levels == levels[0]).all():
        bits = int(levels[0] + 1).bit_length() - 1
        return canvas.with_pixels(quantize(canvas.pixels, bits))
    for i in range(len(canvas)):
        row = np.array([i])
        canvas = canvas.put(row, _quantize_records(canvas.take(row), records[row], data))
    return canvas


def _clip_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    return canvas.with_pixels(canvas.pixels.clamp(0, 1))


QUANTIZE = Kernel("quantize", 11, {"levels": "f4"}, _quantize_records)
CLIP = Kernel("clip", 12, {}, _clip_records)
