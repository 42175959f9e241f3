"""Sharpen: unsharp masking with a soft mask, the way Real-ESRGAN prepares its targets.

.. math:: r = x - G x, \\quad m = G \\, [ |r| > t ], \\quad y = m \\, \\mathrm{clip}(x + a r, 0, 1) + (1 - m) \\, x

G is a truncated Gaussian with mirrored border. The one constraint: it is separable, and always taken as two passes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from degrade.base import Draw, Operator, Range
from degrade.canvas import Canvas
from degrade.dist import Const, Dist
from degrade.primitives import psf
from degrade.primitives.convolve import convolve_separable

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
    pixels = canvas.pixels
    blurred = convolve_separable(canvas, taps, taps).pixels
    # In the memory of what is no longer needed, where no gradient wants it: a pass over fresh memory takes twice as
    # long.
    spare = None if pixels.requires_grad else blurred
    residual = torch.sub(pixels, blurred, out=spare)
    mask = (residual.abs() > threshold).view(torch.uint8)
    soft = convolve_separable(canvas.with_pixels(mask), taps, taps).pixels.to(pixels.dtype)
    sharp = torch.addcmul(pixels, residual, amount, out=spare).clamp_(0, 1)
    return torch.lerp(pixels, sharp, soft, out=spare)


class Unsharp(Operator):
    """Sharpens edges above a threshold by unsharp masking (USM).

    The defaults are Real-ESRGAN's: OpenCV gives a 51-tap Gaussian kernel of unstated width a sigma of
    0.3 (25 - 1) + 0.8 = 8. Amount 0 is the identity.

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
        return canvas.with_pixels(unsharp(canvas, taps, draw.column("amount"), draw.column("threshold") / 255))
