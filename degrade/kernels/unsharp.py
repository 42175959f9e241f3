"""Unsharp masking with a soft mask, the way Real-ESRGAN prepares its targets.

.. math:: r = x - G x, \\quad m = G \\, [ |r| > t ], \\quad
          y = m \\, \\mathrm{clip}(x + a r, 0, 1) + (1 - m) \\, x

G is a truncated separable Gaussian with mirrored border.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degrade.canvas import Canvas
from degrade.kernels import convolve
from degrade.kernels.base import Call, Data, Kernel, Records, Samples

__all__ = ["UNSHARP", "sharpen", "unsharp"]


def unsharp(
    canvas: Canvas, taps: NDArray[Any], amount: NDArray[Any], threshold: NDArray[Any]
) -> Canvas:
    """Sharpen where an image differs from its blurred self by more than a threshold, in torch.

    Args:
        canvas: Pixels (B, C, H, W).
        taps: (B, K) taps of the blur, along either axis.
        amount: (B,) weight of the residual.
        threshold: (B,) least residual to sharpen, in [0, 1] as the pixels are.
    """
    pixels = canvas.pixels
    weight, least = (
        torch.from_numpy(np.asarray(values)).to(pixels.dtype).to(pixels.device, non_blocking=True)
        for values in (amount, threshold)
    )
    weight, least = weight[:, None, None, None], least[:, None, None, None]
    blurred = convolve.convolve_separable(canvas, taps, taps).pixels
    mask = ((pixels - blurred).detach().abs_() > least).to(pixels.dtype)
    soft = convolve.convolve_separable(canvas.with_pixels(mask), taps, taps).pixels
    sharp = (pixels + weight * (pixels - blurred)).clamp(0, 1)
    return canvas.with_pixels(torch.lerp(pixels, sharp, soft))


def sharpen(
    samples: Samples, taps: convolve.Taps, amount: NDArray[Any], threshold: NDArray[Any]
) -> Call:
    """The call of :func:`unsharp`, its taps in the samples' data."""
    start, _, count = taps
    return UNSHARP.call(samples, taps=start, count=count, amount=amount, threshold=threshold)


def _reference(canvas: Canvas, records: Records, data: Data) -> Canvas:
    taps = convolve.padded(data, records["taps"], np.ones_like(records["count"]), records["count"])
    return unsharp(canvas, taps[:, 0], records["amount"], records["threshold"])


UNSHARP = Kernel(
    "unsharp", 3, {"taps": "i4", "count": "i4", "amount": "f4", "threshold": "f4"}, _reference
)
