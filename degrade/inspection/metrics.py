"""Measures of degraded images that need no model: how noisy, how sharp, how blocky, how far from a
plain downscale.

Images are 8-bit arrays (h, w, C), as a file would hold them. Noise, sharpness and blocks are
judged blindly, so texture counts too: such numbers compare recipes over the same images, they do
not measure one image absolutely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas
from degrade.images.files import find_images, read_image
from degrade.images.pixels import as_pixels, in_channels, reflected
from degrade.images.samples import sample_images
from degrade.kernels.resample import resample

__all__ = [
    "MOST",
    "blockiness",
    "high_frequency",
    "middles",
    "noise_level",
    "pictures",
    "plain",
    "psnr",
]

Pixels = NDArray[np.uint8]

MOST = 60.0
"""The highest PSNR given, in dB: fewer than one value in fifteen differs, and by one level."""


def plain(hr: Tensor, scale: int) -> Pixels:
    """What a clean LR image would be: MATLAB's bicubic imresize.

    Args:
        hr: (B, C, H, W) float in [0, 1].
        scale: HR size / LR size; 1 gives the image itself.

    Returns:
        (B, H // scale, W // scale, C) uint8.
    """
    canvas = Canvas.of(hr, scale)
    small = resample(canvas, canvas.target, ["matlab"] * len(canvas), [True] * len(canvas))
    return as_pixels(small.pixels)


def psnr(one: Pixels, other: Pixels) -> float:
    """10 log10(255^2 / mean squared difference) over all channels, in dB, at most :data:`MOST`."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return MOST if error == 0 else min(MOST, 10 * float(np.log10(255**2 / error)))


def noise_level(image: Pixels) -> float:
    """Standard deviation of white noise, in grey levels of 255: median |HH| / 0.6745 over the Haar
    details.

    HH = (a - b - c + d) / 2 of every 2 x 2 square has the noise's own deviation where the image is
    smooth.

    References:
        | Ideal spatial adaptation by wavelet shrinkage (Donoho & Johnstone, 1994) | https://doi.org/10.1093/biomet/81.3.425
    """
    height, width = (n // 2 * 2 for n in image.shape[:2])
    x = image[:height, :width].astype(np.float64)
    detail = (x[::2, ::2] - x[::2, 1::2] - x[1::2, ::2] + x[1::2, 1::2]) / 2
    return float(np.median(np.abs(detail)) / 0.6745)


def high_frequency(image: Pixels) -> float:
    """Share of the spectrum's energy, without the mean, above half the Nyquist frequency: in [0,
    1].

    The radius is max(|fx|, |fy|); a Hann window keeps the borders out of it. A flat image has 0.
    """
    grey = image.astype(np.float64).mean(2)
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])
    grey = (grey - (grey * window).sum() / max(window.sum(), 1e-12)) * window
    energy = np.abs(np.fft.fft2(grey)) ** 2
    fy, fx = (np.abs(np.fft.fftfreq(n)) for n in grey.shape)
    total = float(energy.sum())
    return float(energy[np.maximum(fy[:, None], fx) > 0.25].sum()) / total if total > 1e-9 else 0.0


def blockiness(image: Pixels, period: int = 8) -> float:
    """Mean step across the borders of the 8 x 8 grid / mean step elsewhere: 1 is none, JPEG raises
    it.

    An image without any step, or smaller than two blocks each way, has 1.
    """
    across, inside = 0.0, 0.0
    for axis in (0, 1):
        step = np.abs(np.diff(image.astype(np.float64), axis=axis)).mean((1 - axis, 2))
        border = np.arange(1, len(step) + 1) % period == 0
        if border.any():
            across += float(step[border].mean())
            inside += float(step[~border].mean())
    return across / inside if inside > 0 else 1.0


def pictures(source: str) -> list[Path]:
    """The images that ``source`` names; the sample photographs if it is empty. Raises
    ImageError.
    """
    return find_images(source) if source else sample_images()


def middles(files: Sequence[Path], size: int) -> Iterable[Tensor]:
    """The middle of each image: (1, 3, size, size) uint8. Smaller images are mirrored up.
    Raises ImageError.
    """
    for file in files:
        pixels = reflected(in_channels(read_image(file), 3), size)
        y, x = (n // 2 - size // 2 for n in pixels.shape[:2])
        yield torch.from_numpy(pixels[y : y + size, x : x + size].copy()).permute(2, 0, 1)[None]
