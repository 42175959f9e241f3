"""Sharpening by unsharp masking; see :mod:`degrade.kernels.unsharp`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np

from degrade.base import Draw, Operator
from degrade.distributions import Const, Dist
from degrade.fields import Range
from degrade.kernels import taps
from degrade.kernels.base import Call, Samples
from degrade.kernels.unsharp import sharpen

__all__ = ["Unsharp"]


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

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        row = taps.gaussian(samples.data, draw.host("size"), draw.host("sigma"))
        threshold = draw.host("threshold").astype(np.float32) / np.float32(255)
        yield sharpen(samples, row, draw.host("amount"), threshold)
