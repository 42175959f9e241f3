"""Bicubic enlargement and reduction by a whole factor, as MATLAB's ``imresize`` does them.

Keys' cubic kernel with a = -1/2, half-pixel centres, symmetric borders (``...b a | a b c...``).
Between sizes with a whole ratio the weights repeat every ``scale`` pixels, so enlarging is one
convolution onto ``scale**2`` phases and a pixel shuffle, and reducing one convolution with a
stride. Both are linear and differentiable. Its one constraint: values stay float; rounding to 8
bits is the reader's business.

References:
    Cubic convolution interpolation for digital image processing (Keys, 1981)
    https://doi.org/10.1109/TASSP.1981.1163711
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sr.models.base import Model, check_scale

__all__ = ["Bicubic", "enlarge", "extend", "reduce"]

RADIUS = 2
"""Radius of the cubic kernel."""
SCALES = (1, 2, 3, 4, 8)


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel, a = -1/2."""
    x = np.abs(x)
    return np.where(
        x <= 1,
        1.5 * x**3 - 2.5 * x**2 + 1,
        np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0.0),
    )


def phases(scale: int) -> Tensor:
    """Enlarging weights (scale**2, 1, 5, 5): one row per output phase, row-major as a pixel
    shuffle wants them.
    """
    offset = (np.arange(scale) + 0.5) / scale - 0.5
    taps = np.arange(-RADIUS, RADIUS + 1)
    weight = cubic(offset[:, None] - taps)
    return torch.tensor(
        np.einsum("pi,qj->pqij", weight, weight).reshape(scale**2, 1, 5, 5), dtype=torch.float32
    )


def prefilter(scale: int) -> Tensor:
    """Reducing weights (1, 1, k, k): the kernel stretched by ``scale``, which is MATLAB's
    antialiasing.
    """
    radius = RADIUS * scale
    weight = cubic((np.arange(-radius, radius + scale) - (scale - 1) / 2) / scale)
    weight /= weight.sum()
    return torch.tensor(np.outer(weight, weight)[None, None], dtype=torch.float32)


def extend(image: Tensor, radius: int) -> Tensor:
    """Symmetric border, the edge pixel repeated: (B, C, H, W) -> (B, C, H + 2 radius, W + 2
    radius).

    Images smaller than ``radius`` are reflected once and held.
    """
    for axis in (2, 3):
        size = image.shape[axis]
        place = torch.arange(-radius, size + radius, device=image.device)
        place = torch.maximum(place, -1 - place)
        place = torch.minimum(place, 2 * size - 1 - place).clamp(0, size - 1)
        image = image.index_select(axis, place)
    return image


def enlarge(image: Tensor, scale: int, weight: Tensor | None = None) -> Tensor:
    """Bicubic (B, C, h, w) -> (B, C, h scale, w scale), always computed in at least float32.

    Args:
        image: Any float values.
        scale: Whole factor.
        weight: :func:`phases` of ``scale`` on the image's device, to save making it.
    """
    if torch.is_autocast_enabled(image.device.type):
        with torch.autocast(image.device.type, enabled=False):
            return enlarge(image.float(), scale, weight)
    weight = phases(scale) if weight is None else weight
    padded = extend(image, RADIUS)
    batch, channels, height, width = padded.shape
    rows = F.conv2d(padded.reshape(batch * channels, 1, height, width), weight.to(padded))
    return F.pixel_shuffle(rows, scale).reshape(
        batch, channels, *(scale * size for size in image.shape[2:])
    )


def reduce(image: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic (B, C, h scale, w scale) -> (B, C, h, w)."""
    padded = extend(image, RADIUS * scale)
    batch, channels, height, width = padded.shape
    rows = F.conv2d(
        padded.reshape(batch * channels, 1, height, width),
        prefilter(scale).to(padded),
        stride=scale,
    )
    return rows.reshape(batch, channels, *(size // scale for size in image.shape[2:]))


class Bicubic(Model):
    """The baseline of every table: :func:`enlarge` as a model, for any number of channels.
    Nothing to train.
    """

    weight: Tensor

    def __init__(self, scale: int = 2) -> None:
        super().__init__(check_scale(scale, SCALES), RADIUS, {"scale": scale})
        self.register_buffer("weight", phases(scale), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return enlarge(image, self.scale, self.weight)
