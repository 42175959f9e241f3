"""PSNR and SSIM by the protocol of the super-resolution literature, one value an image.

Images (B, 3, H, W) RGB in [0, 1] are rounded to 8 bits, ``shave`` pixels are cut off each side,
and the metric is computed on Y = 16 + 65.481 R + 128.553 G + 24.966 B (not rounded) or on R, G, B.
Peak 255, all in float64. Values do not depend on the other images of the batch.

Papers that round Y as well report 0.03 dB less at x2 and 0.01 dB less at x4 (bicubic on Set5,
measured).

References:
    | Image quality assessment: from error visibility to structural similarity (Wang et al., 2004)
    | Protocol: ``Evaluate_PSNR_SSIM.m`` of RCAN (Zhang et al., 2018), BasicSR
    | ``metrics/psnr_ssim.py``
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sr.color import rgb_to_y
from sr.metrics.base import Metric

__all__ = [
    "PEAK",
    "SCALE_WEIGHTS",
    "WINDOW",
    "Channel",
    "ms_ssim",
    "ms_ssim_metric",
    "multi_scale",
    "psnr",
    "psnr_metric",
    "ssim",
    "ssim_metric",
]

Channel = Literal["y", "rgb"]

PEAK = 255.0
WINDOW = 11
"""Side of the window of SSIM."""
SIGMA = 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM, from the original size to its 16th."""
EQUAL = 100.0
"""PSNR in dB that equal images count as in means. One level in one pixel of 0.15 megapixels."""
PROTOCOL = {
    "y": "Y = 16 + 65.481 R + 128.553 G + 24.966 B (BT.601), not rounded; grey files as they are",
    "rgb": "R, G, B; grey files as they are",
}


def psnr(sr: Tensor, hr: Tensor, shave: int, channel: Channel = "y") -> Tensor:
    """Return the peak signal-to-noise ratio, 10 log10(255^2 / MSE), in dB: (B,) float64; infinite
    for equal images.

    >>> sr, hr = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 1 / 255)
    >>> psnr(sr, hr, shave=2, channel="rgb")
    tensor([48.1308], dtype=torch.float64)

    Args:
        sr: (B, C, H, W) in [0, 1]; values outside are clipped. C = 3, or 1 for a plane that is
            compared directly.
        hr: Of the same shape.
        shave: Pixels to cut off each side, by convention the scale.
        channel: ``y``, or ``rgb`` for the MSE over all three.

    Raises:
        ValueError: If the shapes differ, or nothing remains inside the border.
    """
    a, b = _prepare(sr, hr, shave, channel, least=1)
    return 10 * torch.log10(PEAK**2 / (a - b).square().mean((1, 2, 3)))


def ssim(sr: Tensor, hr: Tensor, shave: int, channel: Channel = "y") -> Tensor:
    """Return the structural similarity, 11 x 11 Gaussian window of sigma 1.5, valid region only:
    (B,) float64, at most 1.

    >>> image = torch.rand(2, 3, 16, 16)
    >>> ssim(image, image, shave=0)
    tensor([1., 1.], dtype=torch.float64)

    On ``rgb`` it is the mean of the three channels. Arguments and errors as in :func:`psnr`.
    """
    luminance, structure = _similarity(*_prepare(sr, hr, shave, channel, least=WINDOW))
    return (luminance * structure).flatten(1).mean(1)


def ms_ssim(sr: Tensor, hr: Tensor, shave: int, channel: Channel = "y") -> Tensor:
    """Return the multi-scale structural similarity: (B,) float64, at most 1.

    .. math:: l_5^{w_5} \\prod_{j=1}^5 s_j^{w_j}

    with means of luminance l and structure s as in :func:`ssim` at five sizes, each half of the
    one before (means of 2 x 2 pixels). Negative means count as 0. Each side must be at least 176
    after shaving. Arguments and errors as in :func:`psnr`.

    References:
        Multiscale structural similarity for image quality assessment (Wang et al., 2003)
        https://doi.org/10.1109/ACSSC.2003.1292216
    """
    least = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
    return multi_scale(*_prepare(sr, hr, shave, channel, least=least))


def multi_scale(
    x: Tensor, y: Tensor, weights: Sequence[float] = SCALE_WEIGHTS, least: float = 0.0
) -> Tensor:
    """Return MS-SSIM (B,) of levels (B, C, H, W) in [0, 255], of one size for each exponent. Means
    below ``least`` count as it; at 0 the powers have no gradient.
    """
    last = len(weights) - 1
    result = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for j, weight in enumerate(weights):
        luminance, structure = _similarity(x, y)
        term = luminance * structure if j == last else structure
        result = result * term.flatten(1).mean(1).clamp_min(least) ** weight
        if j < last:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return result


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and structure of every window, (B, C, H - 10, W - 10) each."""
    rows, channels = a.shape[:2]
    x, y = (image.reshape(rows * channels, 1, *image.shape[2:]) for image in (a, b))
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    size = luminance.shape[2:]
    return luminance.reshape(rows, channels, *size), structure.reshape(rows, channels, *size)


def psnr_metric(channel: Channel) -> Metric:
    """Return :func:`psnr` as a metric; equal images count as 100 dB."""
    return Metric(
        lambda sr, hr, shave: float(psnr(sr, hr, shave, channel)),
        f"PSNR, peak 255, of {PROTOCOL[channel]}; more than {EQUAL:g} dB counts as {EQUAL:g}",
        most=EQUAL,
    )


def ssim_metric(channel: Channel) -> Metric:
    """Return :func:`ssim` as a metric."""
    return Metric(
        lambda sr, hr, shave: float(ssim(sr, hr, shave, channel)),
        f"SSIM, 11 x 11 Gaussian of sigma 1.5, valid region, K = 0.01, 0.03, of "
        f"{PROTOCOL[channel]}",
        window=WINDOW,
    )


def ms_ssim_metric() -> Metric:
    """Return :func:`ms_ssim` on Y as a metric."""
    return Metric(
        lambda sr, hr, shave: float(ms_ssim(sr, hr, shave)),
        f"MS-SSIM, five sizes by means of 2 x 2, windows as for SSIM, of {PROTOCOL['y']}",
        window=WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1),
    )


def _eight_bit(image: Tensor) -> Tensor:
    return (image.double().clamp(0, 1) * PEAK).round()


def _prepare(
    sr: Tensor, hr: Tensor, shave: int, channel: Channel, least: int
) -> tuple[Tensor, Tensor]:
    """Both images in levels [0, 255], without the border, in the channels to compare."""
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr is {list(sr.shape)}, hr is {list(hr.shape)}: crop hr to a multiple of the scale"
        )
    if channel not in ("y", "rgb"):
        raise ValueError(f"channel {channel!r}: must be y or rgb")
    height, width = sr.shape[2:]
    if shave < 0 or min(height, width) - 2 * shave < least:
        raise ValueError(
            f"an image of {height} x {width} minus {shave} on each side: "
            f"{least} x {least} must remain"
        )

    def levels(image: Tensor) -> Tensor:
        image = image[..., shave : height - shave, shave : width - shave]
        rounded = _eight_bit(image)
        on_y = channel == "y" and image.shape[1] == 3
        return rgb_to_y(rounded / PEAK) if on_y else rounded

    return levels(sr), levels(hr)


def _blur(planes: Tensor) -> Tensor:
    """Gaussian window over (N, 1, H, W), valid region."""
    x = torch.arange(WINDOW, dtype=planes.dtype, device=planes.device) - WINDOW // 2
    weight = torch.exp(-(x**2) / (2 * SIGMA**2))
    weight = weight / weight.sum()
    return F.conv2d(F.conv2d(planes, weight.view(1, 1, -1, 1)), weight.view(1, 1, 1, -1))
