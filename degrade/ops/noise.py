"""Noise over pixels: Gaussian, Poisson, speckle, salt and pepper.

Every kind is a function of the image and of a hashed field (:mod:`degrade.rng`), hence of (key,
channel, y, x) alone:

.. math:: y = \\mathrm{clip}(x + n(x), 0, 1)

and the clip is part of each operator, as in the reference (Real-ESRGAN clips after each noise,
without rounding).

One constraint: a grey sample (``gray``) takes *one* plane of noise, channel 0 of its own field,
for all of its channels. The plane is that sample's; in the reference a whole batch shared it.

References:
    | Real-ESRGAN (Wang et al., 2021) | https://arxiv.org/abs/2107.10833
    | Designing a practical degradation model (Zhang et al., 2021) | https://arxiv.org/abs/2103.14006
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.base import Draw, Operator
from degrade.canvas import Canvas, Sizes, empty_like, to_channels_last, to_planar
from degrade.distributions import Const, Dist
from degrade.fields import Probability, Range
from degrade.kernels import native
from degrade.kernels.backend import backend_of
from degrade.rng import Key, line_words, normal_field, uniform_field

__all__ = [
    "GaussianNoise",
    "PoissonNoise",
    "SaltPepper",
    "SpeckleNoise",
    "channel_mixing",
    "gray_levels",
    "luma",
    "poisson_quantile",
]

Rows = NDArray[np.intp]


# --- normal noise --------------------------------------------------------------------------------


def channel_mixing(key: Key, channels: int = 3) -> NDArray[np.float64]:
    """Matrices that turn white noise into noise whose channels correlate, as in KAIR.

    .. math:: M M^T = |U^T D U|, \\qquad D = \\mathrm{diag}(r_1, ..., r_C), \\quad U = \\mathrm{orth}(R)

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
    basis, variance = (
        uniforms[:, :-channels].reshape(-1, channels, channels),
        uniforms[:, -channels:],
    )
    u = np.linalg.svd(basis)[0]
    covariance = np.abs(np.einsum("bki,bk,bkj->bij", u, variance, u))
    values, vectors = np.linalg.eigh(covariance)
    return np.einsum("bik,bk,bjk->bij", vectors, np.sqrt(np.maximum(values, 0)), vectors)


class _Normal(Operator):
    """The fields and the unit noise that Gaussian and speckle noise share."""

    sigma: Annotated[Dist, Range(0, 255, unit="grey levels", worse="high")] = Const(0)
    """Standard deviation."""
    gray: Annotated[Dist, Probability()] = Const(0)
    """Whether all channels take the same noise."""
    correlated: Annotated[Dist, Probability()] = Const(0)
    """Whether noise that is not grey is mixed over the channels."""

    def noise(self, canvas: Canvas, draw: Draw) -> Tensor:
        """Noise of standard deviation sigma / 255, of the canvas's shape or of one that
        broadcasts to it.
        """
        _, channels, height, width = canvas.pixels.shape
        correlated = draw.host("correlated") > 0

        def white(rows: Rows, gray: bool) -> Tensor:
            key = draw.key[rows]
            planes = 1 if gray else channels
            field = normal_field(key, planes, height, width, canvas.pixels.device)
            if gray or not correlated[rows].any():
                return field
            mixing = channel_mixing(key.fold("correlated"), channels)
            mixing[~correlated[rows]] = np.eye(channels)
            return mix(
                field, torch.from_numpy(mixing).to(field.dtype).to(field.device, non_blocking=True)
            )

        return along(
            canvas, apart(draw.host("gray") > 0, channels, white).mul_(draw.column("sigma") / 255)
        )

    def native(self, canvas: Canvas, draw: Draw, times: bool) -> Canvas:
        """x + n, or with ``times`` x + x n, clipped: n is :meth:`noise`, up to float rounding."""
        channels = canvas.pixels.shape[1]
        out = empty_like(canvas)
        sigma, gray, correlated = (
            draw.host("sigma") / 255,
            draw.host("gray") > 0,
            draw.host("correlated") > 0,
        )
        for i, (height, _) in enumerate(canvas.sizes):
            key = draw.key[i : i + 1]
            mixed = correlated[i] and not gray[i] and channels > 1
            mixing = channel_mixing(key.fold("correlated"), channels)[0] if mixed else None
            words = line_words(key, 1 if gray[i] else channels, int(height))
            native.add_normal(canvas.hwc(i), out.hwc(i), words, float(sigma[i]), mixing, times)
        return out


class GaussianNoise(_Normal):
    """Adds normal noise of standard deviation sigma: y = clip(x + n).

    White over the channels; or, with probability ``gray``, the same in all of them; or else, with
    probability ``correlated``, mixed over the channels by :func:`channel_mixing` (KAIR's 0.4 / 0.4
    / 0.2 reads gray 0.4, correlated 1/3; its correlated noise has sigma 25 whatever the sigma of
    the rest). Grey images take white noise.
    """

    name = "gaussian_noise"

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        if backend_of(canvas) == "native":
            return self.native(canvas, draw, times=False)
        return canvas.with_pixels((canvas.pixels + self.noise(canvas, draw)).clamp_(0, 1))


class SpeckleNoise(_Normal):
    """Multiplies by normal noise of standard deviation sigma: y = clip(x + x n).

    ``gray`` and ``correlated`` as in :class:`GaussianNoise`.
    """

    name = "speckle_noise"

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        if backend_of(canvas) == "native":
            return self.native(canvas, draw, times=True)
        return canvas.with_pixels(
            (canvas.pixels + canvas.pixels * self.noise(canvas, draw)).clamp_(0, 1)
        )


# --- Poisson noise -------------------------------------------------------------------------------

_SMALL = 8.0
"""Means below this are inverted exactly. At it, the approximation is 0.0004 in total variation
from the truth.
"""
_TERMS = 28
"""P(K > 28) < 2e-8 for K ~ Poisson(8): beyond the last bit of a 24-bit uniform."""
_BLOCK = 1 << 16
"""Pixels of a piece worked at a time on CPU."""


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


def photon_counts(levels: Tensor, peak: Tensor, u: Tensor) -> Tensor:
    """:func:`poisson_quantile` of images of 8-bit levels on a CPU, to the bit, but in a fraction
    of the time.

    Args:
        levels: (B, C, H, W) whole numbers 0, ..., 255 as float32.
        peak: (B,) photons at level 255.
        u: (B, C, H, W) in (0, 1).
    """
    counts = torch.empty_like(levels)
    for image, v, level, out in zip(levels, peak, u, counts, strict=True):
        # A piece at a time, which stays in cache from the first pass to the last.
        for x, y, z in zip(*(t.flatten().split(_BLOCK) for t in (image, level, out)), strict=True):
            z.copy_(_approximate(_means(x, v), y))
        steps, first_bright = _raised_steps(float(v))
        flat = image.flatten().numpy()
        dark = np.flatnonzero(flat < first_bright)
        if len(dark):
            # A level's steps stand between it and the next whole number, so that one search serves
            # all levels.
            place = np.searchsorted(
                steps, flat[dark] + level.flatten().numpy()[dark].astype(np.float64)
            )
            out.view(-1).numpy()[dark] = place - flat[dark] * _TERMS
    return counts


def _means(levels: Tensor, peak: Tensor | float) -> Tensor:
    return levels.div(255).mul_(peak)


@functools.lru_cache(maxsize=64)
def _raised_steps(peak: float) -> tuple[NDArray[np.float64], int]:
    """:func:`_small_steps`, each level's raised by the level, in one line; the first bright
    level.
    """
    steps = np.minimum(np.asarray(_small_steps(peak), np.float64), 1)
    return (steps + np.arange(len(steps), dtype=np.float64)[:, None]).ravel(), len(steps)


@functools.lru_cache(maxsize=64)
def _small_steps(peak: float) -> NDArray[np.float32]:
    """(dark levels, _TERMS): where the distribution functions of the levels of small means
    step.
    """
    means = _means(torch.arange(256.0), peak)
    return torch.stack(
        [total.clone() for total in _distribution(means[means < _SMALL])], 1
    ).numpy()


def _approximate(mean: Tensor, u: Tensor) -> Tensor:
    """The rounded expansion: k = lambda + s z + h (1/6 + q (q - z) / 72), h = z^2 - 1, q = 1 /
    s.
    """
    # In place wherever it can be, and in few passes: on CPU, memory costs more than the
    # arithmetic.
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

    Raises ValueError for other numbers of channels.
    """
    if pixels.shape[1] == 1:
        return pixels
    if pixels.shape[1] != 3:
        raise ValueError(
            f"{pixels.shape[1]} channels have no luma; should be 1 or 3, or gray should be 0"
        )
    red, green, blue = (pixels[:, c : c + 1] for c in range(3))
    return red * 0.2989 + green * 0.587 + blue * 0.114


def gray_levels(levels: Tensor, sizes: Sizes, on_host: bool = True) -> Tensor:
    """How many photons make white, by the reference's rule: 2^ceil(log2(number of different grey
    levels)).

    Args:
        levels: (B, C, H, W) whole numbers 0, ..., 255 as floats.
        sizes: (B, 2) heights and widths; pixels outside are not counted.
        on_host: Whether a tensor may be asked for a number, which on a GPU waits.

    Returns:
        (B,) powers of two, 1 to 256. It depends on the content: 256 for nearly all photographs,
        less for flat images.
    """
    batch, _, height, width = levels.shape
    device = levels.device
    powers = torch.tensor(
        [1 << max(n - 1, 0).bit_length() for n in range(257)], dtype=levels.dtype
    )
    if on_host:
        import cv2

        def distinct(image: Tensor) -> int:
            flat = image.to(torch.uint8).reshape(-1, image.shape[-1]).numpy()
            return int(np.count_nonzero(cv2.calcHist([flat], [0], None, [256], [0, 256])))

        images = [levels[i, :, : int(h), : int(w)] for i, (h, w) in enumerate(sizes)]
        # A few rows of a photograph have more than 128 levels already, and it cannot be more than
        # 256.
        few = [distinct(image[:, ::16]) for image in images]
        return powers[
            [n if n > 128 else distinct(image) for n, image in zip(few, images, strict=True)]
        ]
    # A histogram of unknown length would wait for the device; marking 256 places, and one for the
    # outside, does not.
    edge = torch.from_numpy(sizes).to(device, non_blocking=True)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    inside = (rows[:, None] < edge[:, 0, None, None]) & (columns < edge[:, 1, None, None])
    places = torch.where(inside[:, None], levels, 256).flatten(1).long()
    seen = torch.zeros(batch, 257, dtype=torch.bool, device=device).scatter_(1, places, True)
    return powers.to(device, non_blocking=True)[seen[:, :256].sum(1)]


class PoissonNoise(Operator):
    """Shot noise: y = clip(x + scale (K / v - r)), K ~ Poisson(v r), r = x rounded to 8 bits.

    v, the photons at white, is ``peak``; 0 takes the number of grey levels of the image, rounded
    up to a power of two (:func:`gray_levels`), as the reference does. The variance is scale^2 r /
    v. With probability ``gray`` the noise is that of the luma, with its own v, and the same in all
    channels. Gradients pass as if the noise were constant.

    References:
        | BasicSR, degradations.generate_poisson_noise_pt | https://github.com/XPixelGroup/BasicSR
    """

    name = "poisson_noise"
    scale: Annotated[Dist, Range(0, 100, worse="high")] = Const(1)
    """What the noise is multiplied by."""
    peak: Annotated[
        Dist, Range(0, 1e6, unit="photons at white (0: the number of grey levels)", worse="low")
    ] = Const(0)
    """How many photons make white: the fewer, the noisier."""
    gray: Annotated[Dist, Probability()] = Const(0)
    """Whether all channels take the noise of the luma."""

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        if backend_of(canvas) == "native":
            return self.native(canvas, draw)
        pixels = canvas.pixels.detach()
        by_content = draw.host("peak").astype(np.float32) == 0
        on_host = backend_of(canvas) == "opencv"

        def shot(rows: Rows, gray: bool) -> Tensor:
            index = on_device(rows, pixels)
            image = pixels if len(rows) == len(canvas) else pixels[index]
            image = to_planar(image)
            levels = (luma(image) if gray else image).mul(255).round_().clamp_(0, 255)
            v = draw.peak[index]
            if by_content[rows].any():
                v = torch.where(v == 0, gray_levels(levels, canvas.sizes[rows], on_host), v)
            u = uniform_field(draw.key[rows], *levels.shape[1:], device=levels.device)
            column = v[:, None, None, None]
            counts = (
                photon_counts(levels, v, u)
                if on_host
                else poisson_quantile(_means(levels, column), u)
            )
            return counts.div_(column).sub_(levels.div_(255))

        noise = along(
            canvas, apart(draw.host("gray") > 0, pixels.shape[1], shot).mul_(draw.column("scale"))
        )
        return canvas.with_pixels((canvas.pixels + noise).clamp_(0, 1))

    def native(self, canvas: Canvas, draw: Draw) -> Canvas:
        """The same; of a few pixels in a million the count may differ by one, where float
        rounding decides.
        """
        channels = canvas.pixels.shape[1]
        out = empty_like(canvas)
        for i, (height, _) in enumerate(canvas.sizes):
            image, gray = canvas.hwc(i), bool(draw.host("gray")[i] > 0)
            peak = float(np.float32(draw.host("peak")[i]))
            if peak == 0:
                # A photograph has more than 128 levels after a few rows, and it cannot be more
                # than 256.
                peak = float(
                    1 << (native.distinct(image, gray and channels == 3, 128) - 1).bit_length()
                )
            words = line_words(draw.key[i : i + 1], 1 if gray else channels, int(height))
            scale = float(draw.host("scale")[i])
            native.add_poisson(image, out.hwc(i), words, peak, scale, _small_steps(peak))
        return out


# --- salt and pepper -----------------------------------------------------------------------------


class SaltPepper(Operator):
    """Sets a fraction ``amount`` of the pixels to white (a share ``salt`` of them) or to black.

    With probability ``gray`` (1 by default) a pixel is hit in all its channels; else each channel
    is hit by itself.
    """

    name = "salt_pepper"
    amount: Annotated[Dist, Range(0, 1, unit="of all pixels", worse="high")] = Const(0)
    """Share of the pixels that are hit."""
    salt: Annotated[Dist, Range(0, 1, unit="of those")] = Const(0.5)
    """Share of those that become white; the rest become black."""
    gray: Annotated[Dist, Probability()] = Const(1)
    """Whether a pixel is hit in all channels at once."""

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        pixels = canvas.pixels
        _, channels, height, width = pixels.shape

        def field(rows: Rows, gray: bool) -> Tensor:
            return uniform_field(
                draw.key[rows], 1 if gray else channels, height, width, pixels.device
            )

        u = to_channels_last(
            apart(draw.host("gray") > 0, channels, field).expand(-1, channels, -1, -1)
        )
        white = draw.column("amount") * draw.column("salt")
        black = 1 - draw.column("amount") * (1 - draw.column("salt"))
        return canvas.with_pixels(torch.where(u < white, 1.0, torch.where(u > black, 0.0, pixels)))


# --- rows ----------------------------------------------------------------------------------------


def apart(gray: NDArray[np.bool_], channels: int, work: Callable[[Rows, bool], Tensor]) -> Tensor:
    """Works grey and colour rows apart, so that a grey row costs one plane, and puts them together
    again.

    Args:
        gray: (B,) which rows are grey.
        channels: C of the canvas.
        work: From row numbers, and whether they are the grey ones, to (b, 1 or C, H, W).

    Returns:
        (B, C, H, W), or (B, 1, H, W) if every row is grey.
    """
    if gray.all() or not gray.any():
        return work(np.arange(len(gray)), bool(gray.all()))
    parts = [
        (rows, work(rows, is_gray))
        for is_gray in (False, True)
        for rows in [np.flatnonzero(gray == is_gray)]
    ]
    first = parts[0][1]
    out = first.new_empty((len(gray), channels, *first.shape[-2:]))
    for rows, part in parts:
        out[on_device(rows, out)] = part.expand(-1, channels, -1, -1)
    return out


def along(canvas: Canvas, noise: Tensor) -> Tensor:
    """Noise in the memory layout of the pixels that it will meet: adding planes to a
    channels-last image is slow.
    """
    return (
        to_channels_last(noise.expand(canvas.pixels.shape))
        if noise.device.type == "cpu"
        else noise
    )


def on_device(rows: Rows, like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device, non_blocking=True)


def mix(field: Tensor, matrix: Tensor) -> Tensor:
    """y_i = sum_j M_ij x_j over channels. Not a matrix product, whose rounding depends on the
    canvas's size.
    """
    terms = [field[:, j : j + 1] * matrix[:, :, j, None, None] for j in range(field.shape[1])]
    return functools.reduce(torch.add, terms)
