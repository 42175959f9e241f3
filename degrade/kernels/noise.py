"""Noise over pixels: normal, Poisson, salt and pepper.

Every kind is a function of the image and of a hashed field (:mod:`degrade.rng`), hence of (key,
channel, y, x) alone, and ends with a clip to [0, 1]. A sample with one plane of noise (grey) takes
that plane, channel 0 of its own field, for all of its channels.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from degrade.canvas import Canvas, Sizes, divided, to_channels_last
from degrade.kernels.base import Call, Data, Kernel, Records, Samples
from degrade.rng import Key, normal_field, uniform_field

__all__ = [
    "NORMAL",
    "POISSON",
    "SALT_PEPPER",
    "add_normal",
    "add_poisson",
    "add_salt_pepper",
    "add_steps",
    "channel_mixing",
    "gray_levels",
    "keys_of",
    "luma",
    "poisson_quantile",
    "poisson_steps",
]

Real = NDArray[np.float64]
Mask = NDArray[np.bool_]

# --- calls ---------------------------------------------------------------------------------------


def add_normal(
    samples: Samples, key: Key, sigma: Real, gray: Mask, correlated: Mask, multiply: bool = False
) -> Call:
    """The call that adds normal noise: y = clip(x + n), or clip(x + x n) with ``multiply``.

    Args:
        samples: What it works on.
        key: One per sample.
        sigma: (n,) standard deviations, in [0, 1] as the pixels are.
        gray: (n,) whether all channels take the same noise.
        correlated: (n,) whether noise that is not grey is mixed over the channels.
        multiply: Whether the noise is multiplied by the image (speckle).
    """
    mixed = correlated & ~gray & (samples.channels > 1)
    call = NORMAL.call(
        samples,
        **_words(key),
        sigma=sigma,
        planes=np.where(gray, 1, samples.channels),
        multiply=multiply,
        mixed=mixed,
    )
    if mixed.any():
        rows = np.flatnonzero(mixed)
        count = samples.channels
        matrices = channel_mixing(key[rows].fold("correlated"), count)
        call.records["mixing"][rows, : count**2] = matrices.reshape(len(rows), -1)
    return call


def add_poisson(samples: Samples, key: Key, scale: Real, peak: Real, gray: Mask) -> Call:
    """The call that adds shot noise: y = clip(x + scale (K / v - r)), K ~ Poisson(v r), r = x
    rounded to 8 bits (of the luma, with ``gray``).

    Args:
        samples: What it works on.
        key: One per sample.
        scale: (n,) what the noise is multiplied by.
        peak: (n,) photons at white; 0 takes :func:`gray_levels`.
        gray: (n,) whether all channels take the noise of the luma.
    """
    call = POISSON.call(
        samples,
        **_words(key),
        scale=scale,
        peak=peak,
        planes=np.where(gray, 1, samples.channels),
        steps=-1,
    )
    add_steps(call.records, samples.data)
    return call


def add_steps(records: Records, data: Data) -> None:
    """Put the steps of the peaks of Poisson records into a program's data."""
    drawn = np.flatnonzero(records["peak"])
    if not len(drawn):
        return
    peaks = tuple(records["peak"][drawn].tolist())
    for i, steps in zip(drawn, poisson_steps(peaks), strict=True):
        records["steps"][i], records["dark"][i] = data.add(steps), len(steps)


def add_salt_pepper(samples: Samples, key: Key, amount: Real, salt: Real, gray: Mask) -> Call:
    """The call that sets a share ``amount`` of the pixels to white (``salt`` of them) or black.

    Args:
        samples: What it works on.
        key: One per sample.
        amount: (n,) share of the pixels that are hit.
        salt: (n,) share of those that become white.
        gray: (n,) whether a pixel is hit in all channels at once.
    """
    hit, share = np.float32(amount), np.float32(salt)
    return SALT_PEPPER.call(
        samples,
        **_words(key),
        white=hit * share,
        black=1 - hit * (1 - share),
        planes=np.where(gray, 1, samples.channels),
    )


def _words(key: Key) -> dict[str, Any]:
    words = key.words
    low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    return {"key_low": low.astype(np.uint32), "key_high": high.astype(np.uint32)}


def keys_of(records: Records) -> Key:
    """The keys in records of noise."""
    high = records["key_high"].astype(np.uint64) << np.uint64(32)
    return Key(high | records["key_low"].astype(np.uint64))


# --- normal noise --------------------------------------------------------------------------------


def channel_mixing(key: Key, channels: int = 3) -> Real:
    """Matrices that turn white noise into noise whose channels correlate, as in KAIR.

    .. math:: M M^T = |U^T D U|, \\qquad D = \\mathrm{diag}(r_1, ..., r_C), \\quad
        U = \\mathrm{orth}(R)

    with all entries of r and R uniform on [0, 1); the absolute value is taken entry by entry. A
    channel's variance is 1/2 on average.

    Args:
        key: One per sample; the entries have addresses of their own below it.
        channels: C, of which 3 is the reference's and 1 gives M = 1: a single channel has nothing
            to correlate with.

    Returns:
        (B, C, C) symmetric square roots M.

    References:
        | KAIR, utils_blindsr.add_Gaussian_noise | https://github.com/cszn/KAIR
    """
    if channels == 1:
        return np.ones((len(key), 1, 1))
    names = [f"basis.{i}.{j}" for i in range(channels) for j in range(channels)]
    names += [f"variance.{i}" for i in range(channels)]
    uniforms = key.uniforms(tuple(names))
    basis = uniforms[:, :-channels].reshape(-1, channels, channels)
    variance = uniforms[:, -channels:]
    u = np.linalg.svd(basis)[0]
    covariance = np.abs(np.einsum("bki,bk,bkj->bij", u, variance, u))
    values, vectors = np.linalg.eigh(covariance)
    return np.einsum("bik,bk,bjk->bij", vectors, np.sqrt(np.maximum(values, 0)), vectors)


def _normal_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    pixels = canvas.pixels
    _, channels, height, width = pixels.shape
    key = keys_of(records)

    def white(rows: NDArray[np.intp], planes: int) -> Tensor:
        field = normal_field(key[rows], planes, height, width, pixels.device)
        if planes == 1 or not records["mixed"][rows].any():
            return field
        matrix = records["mixing"][rows, : planes**2].reshape(-1, planes, planes).copy()
        matrix[records["mixed"][rows] == 0] = np.eye(planes)
        return _mix(field, _tensor(matrix, field))

    noise = _by_planes(records["planes"], channels, white)
    noise = _like(canvas, noise.mul_(_column(records["sigma"], noise)))
    if not records["multiply"].any():
        return canvas.with_pixels((pixels + noise).clamp_(0, 1))
    gain = torch.where(_column(records["multiply"], pixels) > 0, pixels, 1.0)
    return canvas.with_pixels((pixels + gain * noise).clamp_(0, 1))


def _mix(field: Tensor, matrix: Tensor) -> Tensor:
    """y_i = sum_j M_ij x_j over channels. Not a matrix product, whose rounding depends on the
    canvas's size.
    """
    terms = [field[:, j : j + 1] * matrix[:, :, j, None, None] for j in range(field.shape[1])]
    return functools.reduce(torch.add, terms)


# --- Poisson noise -------------------------------------------------------------------------------

_SMALL = 8.0
"""Means below this are inverted exactly. At it, the approximation is 0.0004 in total variation
from the truth."""
_TERMS = 28
"""P(K > 28) < 2e-8 for K ~ Poisson(8): beyond the last bit of a 24-bit uniform."""


def poisson_quantile(mean: Tensor, u: Tensor) -> Tensor:
    """Poisson counts at levels ``u``: the smallest k with P(K <= k) >= u.

    Means below 8 invert the distribution function term by term. Others round a Cornish-Fisher
    expansion in the normal quantile z, whose variance gives back the 1/12 that rounding adds:

    .. math:: s^2 = \\lambda - 1/12, \\qquad
        k = \\mathrm{round}(\\lambda + s z + \\frac{\\lambda}{s^2} \\frac{z^2 - 1}{6} + \\frac{z -
        z^3}{72 s})

    Measured: total variation distance 4e-4 at mean 8, 1.3e-4 at 16, 1e-5 at 64; the variance is
    right to 1e-4.

    Args:
        mean: Any shape, at least 0 and below 2^22 (float32 counts).
        u: The same shape, in (0, 1).

    References:
        | Moments and cumulants in the specification of distributions (Cornish, Fisher, 1938)
        | https://doi.org/10.2307/1400905
    """
    return torch.where(mean < _SMALL, _invert(mean, u), _approximate(mean, u))


@functools.lru_cache(16)
def poisson_steps(peaks: tuple[float, ...]) -> list[NDArray[np.float32]]:
    """(dark levels, 28) for each peak: where the distribution functions of the levels of small
    means step.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    means = [levels * np.float32(peak) for peak in peaks]
    dark = [mean[mean < _SMALL] for mean in means]
    found = _distribution(torch.from_numpy(np.concatenate(dark)))
    steps = torch.stack([total.clone() for total in found], 1).numpy()
    return np.split(steps, np.cumsum([len(mean) for mean in dark])[:-1])


@functools.cache
def poisson_tables() -> NDArray[np.float32]:
    """:func:`poisson_steps` of the peaks 1, 2, 4, ..., 256, one after the other."""
    return np.concatenate(
        [steps.ravel() for steps in poisson_steps(tuple(2.0**n for n in range(9)))]
    )


def _approximate(mean: Tensor, u: Tensor) -> Tensor:
    """The rounded expansion: k = lambda + s z + h (1/6 + q (q - z) / 72), h = z^2 - 1, q = 1 /
    s.
    """
    # In place wherever it can be, and in few passes: memory costs more than the arithmetic.
    z = u.mul(2).sub_(1).erfinv_().mul_(math.sqrt(2))
    square = mean.clamp(min=_SMALL).sub_(1 / 12)
    q = square.rsqrt()
    qz = q * z
    count = torch.addcmul(mean, square, qz)
    curve = q.square_().sub_(qz).mul_(1 / 72).add_(1 / 6)
    return count.addcmul_(z.square_().sub_(1), curve).round_().clamp_(min=0)


def _invert(mean: Tensor, u: Tensor) -> Tensor:
    """Counts the k at which the distribution function is still below u."""
    count = torch.zeros_like(mean)
    for below in _distribution(mean):
        count += below < u
    return count


def _distribution(mean: Tensor) -> Iterator[Tensor]:
    """P(K <= k) for k = 0, ..., _TERMS - 1. The tensor is one and the same, and changes."""
    term = torch.exp(-mean)
    total = torch.zeros_like(mean)
    for k in range(1, _TERMS + 1):
        yield total.add_(term)
        term.mul_(mean).mul_(1 / k)


def luma(pixels: Tensor) -> Tensor:
    """BT.601 luma of RGB, as torchvision's ``rgb_to_grayscale``; grey stays as it is. (B, C, H, W)
    -> (B, 1, H, W).

    Raises:
        ValueError: other numbers of channels.
    """
    if pixels.shape[1] == 1:
        return pixels
    if pixels.shape[1] != 3:
        raise ValueError(
            f"{pixels.shape[1]} channels have no luma; should be 1 or 3, or gray should be 0"
        )
    red, green, blue = (pixels[:, c : c + 1] for c in range(3))
    return red * 0.2989 + green * 0.587 + blue * 0.114


def gray_levels(levels: Tensor, sizes: Sizes) -> Tensor:
    """How many photons make white, by the reference's rule: 2^ceil(log2(number of different grey
    levels)).

    Args:
        levels: (B, C, H, W) whole numbers 0, ..., 255 as floats.
        sizes: (B, 2) heights and widths; pixels outside are not counted.

    Returns:
        (B,) powers of two, 1 to 256. It depends on the content: 256 for nearly all photographs,
        less for flat images.
    """
    batch, _, height, width = levels.shape
    device = levels.device
    powers = [1 << max(n - 1, 0).bit_length() for n in range(257)]
    # A histogram of unknown length would wait for the device; marking 256 places, and one for the
    # outside, does not.
    edge = torch.from_numpy(sizes).to(device, non_blocking=True)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    inside = (rows[:, None] < edge[:, 0, None, None]) & (columns < edge[:, 1, None, None])
    places = torch.where(inside[:, None], levels, 256).flatten(1).long()
    seen = torch.zeros(batch, 257, dtype=torch.bool, device=device).scatter_(1, places, True)
    return _tensor(powers, levels)[seen[:, :256].sum(1)]


def _poisson_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    pixels = canvas.pixels.detach()
    key = keys_of(records)

    def shot(rows: NDArray[np.intp], planes: int) -> Tensor:
        image = pixels if len(rows) == len(canvas) else pixels[_index(rows, pixels)]
        image = luma(image) if planes == 1 else image
        levels = image.contiguous().mul(255).round_().clamp_(0, 255)
        v = _tensor(records["peak"][rows], levels)
        if (records["peak"][rows] == 0).any():
            v = torch.where(v == 0, gray_levels(levels, canvas.sizes[rows]), v)
        u = uniform_field(key[rows], *levels.shape[1:], device=levels.device).to(levels.dtype)
        column = v[:, None, None, None]
        counts = poisson_quantile(divided(levels, 255).mul_(column), u)
        return counts.div_(column).sub_(divided(levels, 255))

    noise = _by_planes(records["planes"], pixels.shape[1], shot)
    noise = _like(canvas, noise.mul_(_column(records["scale"], noise)))
    return canvas.with_pixels((canvas.pixels + noise).clamp_(0, 1))


# --- salt and pepper -----------------------------------------------------------------------------


def _salt_pepper_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    pixels = canvas.pixels
    _, channels, height, width = pixels.shape
    key = keys_of(records)

    def field(rows: NDArray[np.intp], planes: int) -> Tensor:
        return uniform_field(key[rows], planes, height, width, pixels.device)

    drawn = _by_planes(records["planes"], channels, field).expand(-1, channels, -1, -1)
    u = to_channels_last(drawn)
    white, black = (_column(records[name], u) for name in ("white", "black"))
    return canvas.with_pixels(torch.where(u < white, 1.0, torch.where(u > black, 0.0, pixels)))


# --- samples of one and of several planes --------------------------------------------------------


def _by_planes(
    planes: NDArray[np.int32], channels: int, make: Callable[[NDArray[np.intp], int], Tensor]
) -> Tensor:
    """Noise of (B, C, H, W), made apart for samples of one plane, which cost less, and the others.

    Args:
        planes: (B,) 1, or C.
        channels: C of the canvas.
        make: From samples, and the number of their planes, to (b, planes, H, W).

    Returns:
        (B, C, H, W), or (B, 1, H, W) if every sample has one plane.
    """
    kinds = np.unique(planes)
    parts = [(rows, make(rows, int(n))) for n in kinds for rows in [np.flatnonzero(planes == n)]]
    if len(parts) == 1:
        return parts[0][1]
    first = parts[0][1]
    out = first.new_empty((len(planes), channels, *first.shape[-2:]))
    for rows, part in parts:
        out[_index(rows, out)] = part.expand(-1, channels, -1, -1)
    return out


def _like(canvas: Canvas, noise: Tensor) -> Tensor:
    """Noise in the memory layout of the pixels that it will meet: adding planes to a channels-last
    image is slow.
    """
    if noise.device.type != "cpu":
        return noise
    return to_channels_last(noise.expand(canvas.pixels.shape))


def _tensor(values: ArrayLike, like: Tensor) -> Tensor:
    host = torch.from_numpy(np.ascontiguousarray(values))
    return host.to(like.dtype).to(like.device, non_blocking=True)


def _column(values: NDArray[Any], like: Tensor) -> Tensor:
    """(B, 1, 1, 1)"""
    return _tensor(values, like)[:, None, None, None]


def _index(rows: NDArray[np.intp], like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device, non_blocking=True)


NORMAL = Kernel(
    "normal",
    7,
    {
        "key_low": "u4",
        "key_high": "u4",
        "sigma": "f4",
        "planes": "i4",
        "multiply": "i4",
        "mixed": "i4",
        "mixing": "16f4",
    },
    _normal_records,
)
POISSON = Kernel(
    "poisson",
    8,
    {
        "key_low": "u4",
        "key_high": "u4",
        "peak": "f4",
        "scale": "f4",
        "planes": "i4",
        "steps": "i4",
        "dark": "i4",
    },
    _poisson_records,
)
SALT_PEPPER = Kernel(
    "salt_pepper",
    9,
    {"key_low": "u4", "key_high": "u4", "white": "f4", "black": "f4", "planes": "i4"},
    _salt_pepper_records,
)
