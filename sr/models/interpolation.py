"""Bicubic resizing by an integer factor, equal to MATLAB's ``imresize`` before rounding.

Keys' cubic kernel with a = -1/2, half-pixel centres, symmetric borders (``...b a | a b c...``).
For integer factors the weights repeat every ``scale`` pixels, so enlarging is one convolution to
``scale**2`` phases and a pixel shuffle, and reducing one strided convolution. Both are linear and
differentiable; values stay float.

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

__all__ = ["Bicubic", "enlarge", "pad_symmetric", "reduce"]

RADIUS = 2
"""Radius of the cubic kernel."""
SCALES = (1, 2, 3, 4, 8)


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' kernel, a = -1/2.

    >>> cubic(np.array([0.0, 0.5, 1.0]))
    array([1.    , 0.5625, 0.    ])
    """
    x = np.abs(x)
    return np.where(
        x <= 1,
        1.5 * x**3 - 2.5 * x**2 + 1,
        np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0.0),
    )


def phases(scale: int) -> Tensor:
    """Return the enlarging weights (scale**2, 1, 5, 5), output phases in the row-major order of a
    pixel shuffle.
    """
    offset = (np.arange(scale) + 0.5) / scale - 0.5
    taps = np.arange(-RADIUS, RADIUS + 1)
    weight = cubic(offset[:, None] - taps)
    outer = np.einsum("pi,qj->pqij", weight, weight).reshape(scale**2, 1, 5, 5)
    return torch.tensor(outer, dtype=torch.float32)


def prefilter(scale: int) -> Tensor:
    """Return the reducing weights (1, 1, k, k): the kernel stretched by ``scale``, as MATLAB's
    antialiasing does.
    """
    radius = RADIUS * scale
    weight = cubic((np.arange(-radius, radius + scale) - (scale - 1) / 2) / scale)
    weight /= weight.sum()
    return torch.tensor(np.outer(weight, weight)[None, None], dtype=torch.float32)


def pad_symmetric(image: Tensor, radius: int) -> Tensor:
    """Pad symmetrically, the edge pixel repeated: (B, C, H, W) -> (B, C, H + 2 radius, W + 2
    radius). Images smaller than ``radius`` are reflected once, then the last pixel is repeated.

    >>> pad_symmetric(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)[0, 0, 0]
    tensor([2., 1., 1., 2., 3., 3., 2.])
    """
    for axis in (2, 3):
        size = image.shape[axis]
        index = torch.arange(-radius, size + radius, device=image.device)
        index = torch.maximum(index, -1 - index)
        index = torch.minimum(index, 2 * size - 1 - index).clamp(0, size - 1)
        image = image.index_select(axis, index)
    return image


def enlarge(image: Tensor, scale: int, weight: Tensor | None = None) -> Tensor:
    """Enlarge (B, C, h, w) to (B, C, h scale, w scale), computed in at least float32.

    >>> enlarge(torch.ones(1, 3, 4, 5), 2).shape
    torch.Size([1, 3, 8, 10])

    Args:
        image: Any float values.
        scale: Integer factor.
        weight: :func:`phases` of ``scale`` on the image's device, if already computed.
    """
    if torch.is_autocast_enabled(image.device.type):
        with torch.autocast(image.device.type, enabled=False):
            return enlarge(image.float(), scale, weight)
    weight = phases(scale) if weight is None else weight
    padded = pad_symmetric(image, RADIUS)
    batch, channels, height, width = padded.shape
    planes = F.conv2d(padded.reshape(batch * channels, 1, height, width), weight.to(padded))
    sizes = (scale * size for size in image.shape[2:])
    return F.pixel_shuffle(planes, scale).reshape(batch, channels, *sizes)


def reduce(image: Tensor, scale: int) -> Tensor:
    """Reduce (B, C, h scale, w scale) to (B, C, h, w), with antialiasing.

    >>> reduce(torch.ones(1, 3, 8, 8), 4).shape
    torch.Size([1, 3, 2, 2])
    """
    padded = pad_symmetric(image, RADIUS * scale)
    batch, channels, height, width = padded.shape
    planes = padded.reshape(batch * channels, 1, height, width)
    planes = F.conv2d(planes, prefilter(scale).to(padded), stride=scale)
    return planes.reshape(batch, channels, *(size // scale for size in image.shape[2:]))


class Bicubic(Model):
    """The baseline of comparisons: :func:`enlarge` as a model without parameters, for any number
    of channels.
    """

    weight: Tensor

    def __init__(self, scale: int = 2) -> None:
        super().__init__(check_scale(scale, SCALES), RADIUS, {"scale": scale})
        self.register_buffer("weight", phases(scale), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return enlarge(image, self.scale, self.weight)
