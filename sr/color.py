"""Luma and chroma: ITU-R BT.601 YCbCr with limited range, as in MATLAB's ``rgb2ycbcr`` and the SR
literature.

.. math:: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255

for R, G, B in [0, 1], so Y is in [16, 235] / 255 and Cb, Cr in [16, 240] / 255. The constraint:
sums of single products, no matrix product, because autocast would run that in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rgb_to_ycbcr", "ycbcr_to_rgb"]


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] -> YCbCr (B, 3, H, W), 8-bit code values over 255.

    References:
        ITU-R BT.601-7 (2011), section 2.5; MATLAB ``rgb2ycbcr``.
    """
    r, g, b = image.unbind(1)
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    cb = 128 - 37.797 * r - 74.203 * g + 112 * b
    cr = 128 + 112 * r - 93.786 * g - 18.214 * b
    return torch.stack([y, cb, cr], 1) / 255


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """The inverse of :func:`rgb_to_ycbcr`; not clamped.

    The coefficients are those of the standard: with them the round trip is exact to 1e-6.
    """
    y, cb, cr = image.unbind(1)
    y = (y - 16 / 255) * (255 / 219)
    cb = (cb - 128 / 255) * (255 / 112)
    cr = (cr - 128 / 255) * (255 / 112)
    r = y + 0.701 * cr
    g = y - (0.886 * 0.114 / 0.587) * cb - (0.701 * 0.299 / 0.587) * cr
    b = y + 0.886 * cb
    return torch.stack([r, g, b], 1)
