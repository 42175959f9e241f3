"""Color: ITU-R BT.601 YCbCr with limited range, as in MATLAB's ``rgb2ycbcr`` and the SR
literature.

.. math:: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255

for R, G, B in [0, 1], so Y is in [16, 235] / 255 and Cb, Cr in [16, 240] / 255. Written as sums of
products, not as a matrix product, because autocast would run that in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rgb_to_y", "rgb_to_ycbcr", "ycbcr_to_rgb"]


def rgb_to_y(image: Tensor) -> Tensor:
    """Return Y (B, 1, H, W) in [16, 235] of RGB (B, 3, H, W) in [0, 1].

    >>> rgb_to_y(torch.ones(1, 3, 1, 1)).item()
    235.0
    """
    r, g, b = image.unbind(1)
    return (16 + 65.481 * r + 128.553 * g + 24.966 * b)[:, None]


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """Convert RGB (B, 3, H, W) in [0, 1] to YCbCr (B, 3, H, W), 8-bit code values over 255.

    >>> (255 * rgb_to_ycbcr(torch.zeros(1, 3, 1, 1))).flatten()
    tensor([ 16., 128., 128.])

    References:
        ITU-R BT.601-7 (2011), section 2.5; MATLAB ``rgb2ycbcr``.
    """
    r, g, b = image.unbind(1)
    y = rgb_to_y(image)[:, 0]
    cb = 128 - 37.797 * r - 74.203 * g + 112 * b
    cr = 128 + 112 * r - 93.786 * g - 18.214 * b
    return torch.stack([y, cb, cr], 1) / 255


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """Convert YCbCr (B, 3, H, W), 8-bit code values over 255, to RGB; not clamped.

    The coefficients are the standard's, so that the round trip is exact to 1e-6.

    >>> image = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1)
    >>> torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(image)), image, atol=1e-6)
    True
    """
    y, cb, cr = image.unbind(1)
    y = (y - 16 / 255) * (255 / 219)
    cb = (cb - 128 / 255) * (255 / 112)
    cr = (cr - 128 / 255) * (255 / 112)
    r = y + 0.701 * cr
    g = y - (0.886 * 0.114 / 0.587) * cb - (0.701 * 0.299 / 0.587) * cr
    b = y + 0.886 * cb
    return torch.stack([r, g, b], 1)
