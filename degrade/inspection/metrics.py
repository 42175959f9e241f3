"""Metrics of degraded images: noise, sharpness, blockiness, and PSNR to a bicubic downscale.

Images are 8-bit arrays (h, w, C), as in a file. Sharpness and blockiness are estimated
without a reference, so texture counts too: they compare recipes over the same images, and are not
absolute measures of one image.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas
from degrade.console import printable
from degrade.errors import UserError
from degrade.images.files import find_images, read_image
from degrade.images.image import ImageError
from degrade.images.pixels import Uint8, as_pixels, in_channels, reflected
from degrade.images.samples import sample_images
from degrade.kernels.resample import resample

__all__ = [
    "MAX_PSNR",
    "batches",
    "bicubic_downscale",
    "block_edge_ratio",
    "center_crops",
    "high_frequency_energy",
    "input_images",
    "noise_level",
    "psnr",
    "readable_crops",
]

MAX_PSNR = 60.0
"""The highest PSNR returned, in dB: fewer than one value in fifteen differs, and by one level."""


def bicubic_downscale(hr: Tensor, scale: int) -> Uint8:
    """Downscale with MATLAB's bicubic imresize, the LR image without degradation.

    Args:
        hr: (B, C, H, W) float in [0, 1].
        scale: HR size / LR size; 1 gives the image itself.

    Returns:
        (B, H // scale, W // scale, C) uint8.

    >>> bicubic_downscale(torch.ones(1, 3, 8, 12), 4).shape
    (1, 2, 3, 3)
    """
    canvas = Canvas.of(hr, scale)
    small = resample(canvas, canvas.target, ["matlab"] * len(canvas), [True] * len(canvas))
    return as_pixels(small.pixels)


def psnr(one: Uint8, other: Uint8) -> float:
    """Return 10 log10(255^2 / mean squared error) over all channels, in dB, at most
    :data:`MAX_PSNR`.

    >>> psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))
    0.0
    """
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return MAX_PSNR if error == 0 else min(MAX_PSNR, 10 * float(np.log10(255**2 / error)))


def noise_level(one: Uint8, other: Uint8) -> float:
    """Return the standard deviation of the noise, in grey levels, from two images that differ in
    nothing else: the root of the mean of (a - b)^2 / 2.

    An estimate from one image would take texture for noise, and miss noise whose finest detail
    JPEG has removed.

    >>> noise_level(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))
    0.0
    """
    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2) / 2))


def high_frequency_energy(image: Uint8) -> float:
    """Return the share, in [0, 1], of the spectrum's energy above half the Nyquist frequency.

    The mean is excluded, the frequency is max(|fx|, |fy|), and a Hann window suppresses the
    borders. A constant image has 0.

    >>> high_frequency_energy(np.full((16, 16, 3), 9, np.uint8))
    0.0
    """
    grey = image.astype(np.float64).mean(2)
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])
    grey = (grey - (grey * window).sum() / max(window.sum(), 1e-12)) * window
    energy = np.abs(np.fft.fft2(grey)) ** 2
    fy, fx = (np.abs(np.fft.fftfreq(n)) for n in grey.shape)
    total = float(energy.sum())
    return float(energy[np.maximum(fy[:, None], fx) > 0.25].sum()) / total if total > 1e-9 else 0.0


def block_edge_ratio(image: Uint8, period: int = 8) -> float:
    """Return the mean step across the borders of JPEG's grid / the mean step elsewhere.

    The grid begins at the top left. 1 is an image without blocks; a constant image, or one smaller
    than two blocks each way, has 1 too.

    >>> block_edge_ratio(np.zeros((64, 64, 3), np.uint8))
    1.0
    """
    across, inside = 0.0, 0.0
    for axis in (0, 1):
        step = np.abs(np.diff(image.astype(np.float64), axis=axis)).mean((1 - axis, 2))
        border = np.arange(1, len(step) + 1) % period == 0
        if border.any():
            across += float(step[border].mean())
            inside += float(step[~border].mean())
    return across / inside if inside > 0 else 1.0


def input_images(source: str) -> list[Path]:
    """Return the images that ``source`` names, or the sample photographs if it is empty.

    Raises:
        ImageError: There are none.
    """
    return find_images(source) if source else sample_images()


def batches(index: NDArray[np.intp], side: int) -> Iterator[NDArray[np.intp]]:
    """Split samples of side x side pixels into batches of at most about 4 megapixels."""
    size = max(1, 2**22 // side**2)
    for i in range(0, len(index), size):
        yield index[i : i + size]


def readable_crops(files: Sequence[Path], size: int) -> tuple[list[Path], list[Tensor], list[str]]:
    """Return the images that can be read, their centre crops, and why the others cannot.

    Raises:
        ImageError: None can be read.
    """
    read: list[Path] = []
    crops: list[Tensor] = []
    skipped: list[str] = []
    for file in files:
        try:
            crops += center_crops([file], size)
            read.append(file)
        except ImageError as error:
            skipped.append(printable(str(error)))
    if not crops:
        more = f"; {len(skipped)} images cannot be read" if len(skipped) > 1 else ""
        raise UserError(f"{skipped[0]}{more}")
    return read, crops, skipped


def center_crops(files: Sequence[Path], size: int) -> Iterable[Tensor]:
    """Yield the centre crop of each image: (1, 3, size, size) uint8. Smaller images are padded by
    reflection.

    Raises:
        ImageError: An image cannot be read.
    """
    for file in files:
        pixels = reflected(in_channels(read_image(file), 3), size)
        y, x = (n // 2 - size // 2 for n in pixels.shape[:2])
        yield torch.from_numpy(pixels[y : y + size, x : x + size].copy()).permute(2, 0, 1)[None]
