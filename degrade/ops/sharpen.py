"""Sharpen: unsharp masking with a soft mask, the way Real-ESRGAN prepares its targets.

.. math:: r = x - G x, \\quad m = G \\, [ |r| > t ], \\quad y = m \\, \\mathrm{clip}(x + a r, 0, 1) + (1 - m) \\, x

G is a truncated Gaussian with mirrored border. The one constraint: it is separable, and always
taken as two passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.base import Draw, Operator
from degrade.canvas import Canvas, empty_like
from degrade.distributions import Const, Dist
from degrade.fields import Range
from degrade.kernels import native, psf
from degrade.kernels.backend import backend_of
from degrade.kernels.convolve import convolve_separable, supports

__all__ = ["Unsharp", "unsharp"]


def unsharp(canvas: Canvas, taps: psf.Real, amount: Tensor, threshold: Tensor) -> Tensor:
    """Sharpens where an image differs from its blurred self by more than a threshold.

    Args:
        canvas: Pixels (B, C, H, W).
        taps: (B, K) taps of the blur, along either axis.
        amount: (B, 1, 1, 1) weight of the residual.
        threshold: (B, 1, 1, 1) least residual to sharpen, in [0, 1] as the pixels are.

    Returns:
        (B, C, H, W).
    """
    backend = backend_of(canvas)
    return {"native": _native, "opencv": _opencv, "torch": _torch}[backend](
        canvas, taps, amount, threshold
    )


def _torch(canvas: Canvas, taps: psf.Real, amount: Tensor, threshold: Tensor) -> Tensor:
    pixels = canvas.pixels
    blurred = convolve_separable(canvas, taps, taps).pixels
    mask = ((pixels - blurred).detach().abs_() > threshold).to(pixels.dtype)
    soft = convolve_separable(canvas.with_pixels(mask), taps, taps).pixels
    return torch.lerp(pixels, (pixels + amount * (pixels - blurred)).clamp(0, 1), soft)


def _native(canvas: Canvas, taps: psf.Real, amount: Tensor, threshold: Tensor) -> Tensor:
    out = empty_like(canvas)
    drawn = zip(
        supports(taps), amount.flatten().tolist(), threshold.flatten().tolist(), strict=True
    )
    for i, (row, weight, least) in enumerate(drawn):
        native.unsharp(canvas.hwc(i), row, out.hwc(i), weight, least)
    return out.pixels


def _opencv(canvas: Canvas, taps: psf.Real, amount: Tensor, threshold: Tensor) -> Tensor:
    import cv2

    pixels = canvas.pixels
    blurred = convolve_separable(canvas, taps, taps).pixels
    # Comparisons of torch are slow on a CPU: OpenCV's take a third, and its weighted sums half.
    mask = torch.empty_like(pixels, dtype=torch.uint8)
    level: Any  # a number will do where OpenCV's types ask for an array
    for x, b, m, t in zip(
        *(_flat(tensor) for tensor in (pixels, blurred, mask)), threshold.flatten(), strict=True
    ):
        level = float(t)
        cv2.compare(cv2.absdiff(x, b), level, cv2.CMP_GT, m)
    soft = convolve_separable(canvas.with_pixels(mask), taps / 255, taps).pixels.to(pixels.dtype)
    for x, b, m, a in zip(
        *(_flat(tensor) for tensor in (pixels, blurred, soft)), amount.flatten(), strict=True
    ):
        cv2.addWeighted(x, 1 + float(a), b, -float(a), 0, b)
        np.clip(b, 0, 1, b)
        b -= x
        b *= m
        b += x
    return blurred


def _flat(images: Tensor) -> Iterator[NDArray[Any]]:
    """Each image of a CPU tensor as an array of two axes, which shares its memory."""
    return (image.reshape(len(image), -1) for image in images.permute(0, 2, 3, 1).numpy())


class Unsharp(Operator):
    """Sharpens edges above a threshold by unsharp masking (USM).

    The defaults are Real-ESRGAN's: OpenCV gives a 51-tap Gaussian kernel of unstated width a sigma
    of 0.3 (25 - 1) + 0.8 = 8. Amount 0 is the identity.

    References:
        | Real-ESRGAN (Wang et al., 2021) | https://arxiv.org/abs/2107.10833
        | ``basicsr/utils/img_process_util.py``, ``USMSharp`` | https://github.com/XPixelGroup/BasicSR
    """

    name: ClassVar[str] = "unsharp"

    amount: Annotated[Dist, Range(0, 10, worse="high")] = Const(0.5)
    """Weight of the residual."""
    sigma: Annotated[Dist, Range(0, 50, unit="px")] = Const(8)
    """Standard deviation of the Gaussian."""
    size: Annotated[Dist, Range(1, 401, unit="px", odd=True)] = Const(51)
    """Number of its taps."""
    threshold: Annotated[Dist, Range(0, 255, unit="grey levels")] = Const(10)
    """Least difference from the blurred image that is sharpened."""

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        taps = psf.gaussian(draw.host("size"), draw.host("sigma"))
        return canvas.with_pixels(
            unsharp(canvas, taps, draw.column("amount"), draw.column("threshold") / 255)
        )
