"""Pixel-wise operators: rounding to few bits, and clipping.

.. math:: \\mathrm{quantize}(x) = \\mathrm{clip}(\\mathrm{round}(m x), 0, m) / m, \\qquad m = 2^{bits} - 1

One constraint: what ``quantize`` leaves is what a file of that depth gives back. An 8-bit PNG
stores round(255 y), and 255 y is a whole number up to float rounding, so writing and reading
changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from degrade.base import Draw, Operator
from degrade.canvas import Canvas, empty_like
from degrade.kernels import native
from degrade.kernels.backend import backend_of

__all__ = ["Clip", "Quantize", "quantize"]


def quantize(pixels: Tensor, bits: int = 8) -> Tensor:
    """Rounds [0, 1] to 2^bits levels, any shape. Gradients pass the rounding, and stop outside
    [0, 1].
    """
    top = 2**bits - 1
    if not pixels.requires_grad:
        return (pixels * top).round_().clamp_(0, top).div_(top)
    return _Round.apply(pixels * top).clamp(0, top) / top


class _Round(torch.autograd.Function):
    """Rounds half to even; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Quantize(Operator):
    """Rounds to ``bits`` bits, as writing a file does: y = clip(round(255 x), 0, 255) / 255."""

    name = "quantize"
    bits: Annotated[int, Field(ge=1, le=16)] = 8
    """Bits a channel."""

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        if backend_of(canvas) != "native":
            return canvas.with_pixels(quantize(canvas.pixels, self.bits))
        out = empty_like(canvas)
        for i in range(len(canvas)):
            native.quantize(canvas.hwc(i), out.hwc(i), 2**self.bits - 1)
        return out


class Clip(Operator):
    """Clips to [0, 1]."""

    name = "clip"

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        return canvas.with_pixels(canvas.pixels.clamp(0, 1))
