"""Resample: change the size of each image, y = R_v x R_h^T.

Row i of a matrix R holds the weights of output sample i. Samples sit at half-integers and both
grids span the same frame, so output sample i is centred, in input samples, at

    c_i = (i + 1/2) n_in / n_out - 1/2,    and    R_ij = k((j - c_i) / s) / sum_j k((j - c_i) / s),

where the stretch s is 1, or with antialias max(n_in / n_out, 1). The target is an
integer *size*, never a scale factor, so input and output are registered and nothing is lost at the
far edge.

===============  ============================================  ================================
filter           kernel k, or bins                             equal to
===============  ============================================  ================================
``area``         mean of samples floor(i n_in / n_out) to      torch (adaptive average pooling)
                 ceil((i + 1) n_in / n_out)
``coverage``     samples weighted by their overlap with        OpenCV ``INTER_AREA``
                 [i, i + 1) n_in / n_out
``nearest``      the sample at floor(c_i + 1/2); ties go up    torch ``nearest-exact``
``bilinear``     triangle, radius 1                            torch; OpenCV without antialias
``bicubic``      cubic, B = 0, C = 0.75 (a = -0.75);           torch; OpenCV without antialias
                 with antialias C = 0.5
``lanczos``      sinc(x) sinc(x / 3), radius 3                 Pillow, with antialias
``catmull_rom``  cubic, B = 0, C = 0.5 (a = -0.5)              Pillow's bicubic, with antialias
``hermite``      cubic, B = 0, C = 0, radius 1
``mitchell``     cubic, B = C = 1/3
``matlab``       ``catmull_rom`` on 8-bit images, always with  MATLAB ``imresize``
                 antialias
===============  ============================================  ================================

Beyond the border the edge sample repeats; with antialias the weights there are dropped and the
rest renormalised (as torch and Pillow do); ``matlab`` mirrors, the edge sample included. ``area``,
``coverage`` and ``nearest`` ignore ``antialias``; single samples of ``area`` and ``nearest`` may
be off by up to half an input sample either way, their mean is not (but for ``nearest`` at even
ratios, where every sample is a tie). An axis that keeps its size is left as it is, whatever the
filter. Only ``matlab`` clips overshoot.

``matlab`` rounds to 8 bits what it is given, what lies between the two passes (vertical first) and
what it returns. That makes it equal to MATLAB's ``imresize`` of a uint8 image, level by level.
Gradients pass straight through.

References:
    | Reconstruction filters in computer graphics (Mitchell and Netravali, 1988)
    | https://doi.org/10.1145/378456.378514
    | Cubic convolution interpolation for digital image processing (Keys, 1981)
    | https://doi.org/10.1109/TASSP.1981.1163711
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas, Sizes, to_channels_last
from degrade.kernels import native
from degrade.kernels.base import Call, Data, Kernel, Records, Samples

__all__ = [
    "DECIMATE",
    "FILTERS",
    "MATLAB",
    "RESAMPLE",
    "Band",
    "band",
    "decimate",
    "keep_every",
    "resample",
    "resize",
]

Real = NDArray[np.float64]


def resample(
    canvas: Canvas,
    sizes: Sizes,
    filters: Sequence[str],
    antialias: Sequence[bool] | NDArray[np.bool_],
) -> Canvas:
    """Resizes each image to its own size with its own filter.

    The taps of a sample are added in their order, without a matrix product: a row has the same
    bits whatever its batch-mates, and there is no TF32 to turn off.

    Args:
        canvas: (B, C, H, W) images.
        sizes: (B, 2) heights and widths to reach.
        filters: (B,) names out of :data:`FILTERS`.
        antialias: (B,) whether to stretch the kernel where the image shrinks.

    Raises:
        ValueError: for an unknown filter or a size below 1.
    """
    _check(sizes, filters)
    jobs = list(zip(sizes.tolist(), filters, map(bool, antialias), strict=True))
    bands = [
        [band(n, m, name, stretch) for n, m in zip(before, after, strict=True)]
        for before, (after, name, stretch) in zip(canvas.sizes.tolist(), jobs, strict=True)
    ]
    changed = (sizes != canvas.sizes).any(1)
    rounding = changed & np.array([name == "matlab" for name in filters])
    for rows, matlab in (
        (np.flatnonzero(changed & ~rounding), False),
        (rounding.nonzero()[0], True),
    ):
        if len(rows) == len(canvas):
            return _multiplied(canvas, sizes, bands, matlab)
        if len(rows):
            part = _multiplied(canvas.take(rows), sizes[rows], [bands[i] for i in rows], matlab)
            canvas = canvas.put(rows, part)
    return canvas


def _check(sizes: Sizes, filters: Sequence[str]) -> None:
    for i, (name, (height, width)) in enumerate(zip(filters, sizes, strict=True)):
        if name not in FILTERS:
            raise ValueError(
                f"resample: row {i}: unknown filter {name!r}; use one of {', '.join(FILTERS)}"
            )
        if height < 1 or width < 1:
            raise ValueError(
                f"resample: row {i}: size {height}x{width} is empty; both sides must be at least 1"
            )


def decimate(canvas: Canvas, sizes: Sizes, first: Sizes) -> Canvas:
    """Keeps every s-th pixel, s = size / target size on each axis: y[i, j] = x[first + s (i, j)].

    Args:
        canvas: (B, C, H, W) images.
        sizes: (B, 2) heights and widths to reach, divisors of the present ones.
        first: (B, 2) row and column of the first pixel to keep, in [0, s).

    Raises:
        ValueError: if a size is not a whole multiple of its target.
    """
    return _keep_every(canvas, sizes, first, _steps(canvas.sizes, sizes))


def _keep_every(canvas: Canvas, sizes: Sizes, first: Sizes, steps: Sizes) -> Canvas:
    bands = [
        [
            Band(start + step * np.arange(count)[:, None], np.ones((count, 1)))
            for count, step, start in zip(*row, strict=True)
        ]
        for row in zip(sizes.tolist(), steps.tolist(), first.tolist(), strict=True)
    ]
    return _multiplied(canvas, sizes, bands, rounding=False)


def _steps(sizes: Sizes, after: Sizes) -> Sizes:
    wrong = np.flatnonzero((sizes % after).any(1))
    if len(wrong):
        (height, width), (h, w) = sizes[wrong[0]], after[wrong[0]]
        raise ValueError(
            f"decimate: row {wrong[0]}: {height}x{width} is not a whole multiple of {h}x{w}; "
            "use resize, or crop the image to a multiple of the scale"
        )
    return sizes // after


# --- calls ---------------------------------------------------------------------------------------


def resize(samples: Samples, sizes: Sizes, filters: Real, antialias: Real) -> list[Call]:
    """The calls of :func:`resample`: none for samples that keep their size.

    Args:
        samples: What it works on.
        sizes: (n, 2) heights and widths to reach.
        filters: (n,) positions in :data:`FILTERS`.
        antialias: (n,) 1 to stretch the kernel where the image shrinks, else 0.
    """
    changed = (sizes != samples.sizes).any(1)
    if not changed.any():
        return []
    matlab = filters == FILTERS.index("matlab")
    if changed.all() and not matlab.any():
        return [_resized(RESAMPLE, samples, sizes, filters, antialias)]
    calls: list[Call] = []
    for kernel, which in ((RESAMPLE, changed & ~matlab), (MATLAB, changed & matlab)):
        if which.any():
            settings = sizes[which], filters[which], antialias[which]
            calls.append(_resized(kernel, samples.take(which), *settings))
    return calls


def _resized(
    kernel: Kernel, samples: Samples, sizes: Sizes, filters: Real, antialias: Real
) -> Call:
    call = kernel.call(samples, sizes)
    double = kernel is MATLAB
    if native.available():
        settings = samples.sizes, sizes, filters, antialias, double
        call.words[:, 6:12] = native.matrices(*settings, samples.data.room)
        return call
    precision = np.float64 if double else np.float32
    for i, (before, after) in enumerate(zip(samples.sizes.tolist(), sizes.tolist(), strict=True)):
        name, stretch = FILTERS[int(filters[i])], bool(antialias[i])
        for axis, (n_in, n_out) in enumerate(zip(before, after, strict=True)):
            matrix = band(n_in, n_out, name, stretch)
            index = samples.data.add(matrix.index.astype(np.int32))
            weight = samples.data.add(matrix.weight.astype(precision))
            place = slice(6 + 3 * axis, 9 + 3 * axis)
            call.words[i, place] = index, weight, matrix.index.shape[1]
    return call


def keep_every(samples: Samples, sizes: Sizes, first: Sizes) -> Call:
    """The call of :func:`decimate`."""
    steps = _steps(samples.sizes, sizes)
    return DECIMATE.call(
        samples,
        sizes,
        first_y=first[:, 0],
        first_x=first[:, 1],
        step_y=steps[:, 0],
        step_x=steps[:, 1],
    )


_NAMES = tuple(
    f"{axis}_{what}" for axis in ("down", "across") for what in ("index", "weight", "taps")
)


def _resample_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    matlab = bool(records["kernel"][0] == MATLAB.code)
    sizes = np.stack([records["out_height"], records["out_width"]], 1).astype(np.int64)
    bands: list[list[Band]] = []
    for record, lengths in zip(records, sizes.tolist(), strict=True):
        pair: list[Band] = []
        for axis, count in zip(("down", "across"), lengths, strict=True):
            taps = int(record[f"{axis}_taps"])
            index = data.read(record[f"{axis}_index"], count * taps, np.int32)
            precision = np.float64 if matlab else np.float32
            weight = data.read(record[f"{axis}_weight"], count * taps, precision)
            shape = (count, taps)
            pair.append(Band(index.reshape(shape).astype(np.int64), weight.reshape(shape)))
        bands.append(pair)
    return _multiplied(canvas, sizes, bands, matlab)


def _decimate_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    sizes, first, steps = (
        np.stack([records[name] for name in names], 1).astype(np.int64)
        for names in (("out_height", "out_width"), ("first_y", "first_x"), ("step_y", "step_x"))
    )
    return _keep_every(canvas, sizes, first, steps)


# Apple's devices have no float64, and no embedding_bag before torch 2.10.
RESAMPLE = Kernel("resample", 4, dict.fromkeys(_NAMES, "i4"), _resample_records, ("mps",))
MATLAB = Kernel("matlab", 5, dict.fromkeys(_NAMES, "i4"), _resample_records, ("mps",))
DECIMATE = Kernel(
    "decimate",
    6,
    {"first_y": "i4", "first_x": "i4", "step_y": "i4", "step_x": "i4"},
    _decimate_records,
    ("mps",),
)

# --- weights -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """The taps of a banded matrix: row i of R has ``weight[i]`` at columns ``index[i]`` (repeated
    columns add up).

    Args:
        index: (n_out, K) int64 in [0, n_in).
        weight: (n_out, K) float64; rows sum to 1.
    """

    index: NDArray[np.int64]
    weight: Real


@functools.lru_cache(maxsize=512)
def band(n_in: int, n_out: int, filter: str, antialias: bool) -> Band:
    """The resampling matrix from ``n_in`` to ``n_out`` samples, as this module's docstring
    defines it.
    """
    out = np.arange(n_out)
    if n_in == n_out:
        return Band(out[:, None], np.ones((n_out, 1)))
    if filter == "nearest":  # exact in integers: ties do not depend on rounding
        return Band(((2 * out + 1) * n_in // (2 * n_out))[:, None], np.ones((n_out, 1)))
    if filter in ("area", "coverage"):
        first, last = out * n_in // n_out, -(-(out + 1) * n_in // n_out)
        index = first[:, None] + np.arange(int((last - first).max()))
        weight = (index < last[:, None]).astype(np.float64)
        if filter == "coverage":  # overlaps in units of 1 / n_out, again whole numbers
            ends = np.minimum((index + 1) * n_out, (out[:, None] + 1) * n_in)
            weight = np.maximum(ends - np.maximum(index * n_out, out[:, None] * n_in), 0).astype(
                np.float64
            )
        return _band(np.minimum(index, n_in - 1), weight)
    antialias |= filter == "matlab"
    radius, kernel = _KERNELS["catmull_rom" if filter == "bicubic" and antialias else filter]
    stretch = max(n_in / n_out, 1.0) if antialias else 1.0
    centre = (out + 0.5) * n_in / n_out - 0.5
    first = np.ceil(centre - radius * stretch).astype(np.int64)
    index = first[:, None] + np.arange(int(2 * radius * stretch) + 1)
    weight = kernel((index - centre[:, None]) / stretch)
    if filter == "matlab":
        folded = index % (2 * n_in)
        return _band(np.minimum(folded, 2 * n_in - 1 - folded), weight)
    inside = np.clip(index, 0, n_in - 1)
    return _band(inside, np.where(index == inside, weight, 0) if antialias else weight)


def _band(index: NDArray[np.int64], weight: Real) -> Band:
    return Band(index, weight / weight.sum(1, keepdims=True))


def _cubic(b: float, c: float) -> Callable[[Real], Real]:
    """The two-parameter family of Mitchell and Netravali, 1988, equation 8."""

    def kernel(x: Real) -> Real:
        x = np.abs(x)
        near = (12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)
        far = (
            (-b - 6 * c) * x**3
            + (6 * b + 30 * c) * x**2
            + (-12 * b - 48 * c) * x
            + (8 * b + 24 * c)
        )
        return np.where(x < 1, near, np.where(x < 2, far, 0)) / 6

    return kernel


def _triangle(x: Real) -> Real:
    return np.maximum(1 - np.abs(x), 0)


def _lanczos(x: Real) -> Real:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS: dict[str, tuple[float, Callable[[Real], Real]]] = {
    "bilinear": (1, _triangle),
    "bicubic": (2, _cubic(0, 0.75)),
    "lanczos": (3, _lanczos),
    "catmull_rom": (2, _cubic(0, 0.5)),
    "hermite": (1, _cubic(0, 0)),
    "mitchell": (2, _cubic(1 / 3, 1 / 3)),
    "matlab": (2, _cubic(0, 0.5)),
}
"""Radius and kernel."""

FILTERS = ("area", "coverage", "nearest", *_KERNELS)
"""The names :func:`resample` knows."""


# --- torch ---------------------------------------------------------------------------------------


def _multiplied(canvas: Canvas, sizes: Sizes, bands: list[list[Band]], rounding: bool) -> Canvas:
    """Each image times its two matrices. With ``rounding``, in 8-bit levels as MATLAB does."""
    vertical, horizontal = zip(*bands, strict=True)
    x = canvas.pixels.permute(0, 2, 3, 1)  # channels-last on a CPU: no copy
    # float64, because levels are often exact ties at whole scales: (k + 1/2) must not depend on
    # the order of a sum.
    x = _level(x * 255).double() if rounding else x
    x = _along_rows(x, vertical)
    x = _level(x) if rounding else x
    x = _along_rows(x.transpose(1, 2), horizontal)
    x = (_level(x) / 255).to(canvas.pixels.dtype) if rounding else x
    return canvas.resized(to_channels_last(x.permute(0, 3, 2, 1)), sizes)


def _level(x: Tensor) -> Tensor:
    """The 8-bit level, ties up; the gradient is that of the clip alone."""
    x = x.clamp(0, 255)
    level = (x + (0.5 + 1e-9)).floor()
    return x + (level - x).detach() if x.requires_grad else level


def _along_rows(x: Tensor, bands: Sequence[Band]) -> Tensor:
    """Multiplies each image by its banded matrix from the left, zeros below: (B, H, W, C) -> (B,
    max n_out, W, C).

    A weighted sum of table rows is just what an embedding bag is: a fused gather with a bag for
    each output row.
    """
    batch, height, width, channels = x.shape
    most = max(len(b.index) for b in bands)
    counts = np.zeros((batch, most), np.int64)
    for i, b in enumerate(bands):
        counts[i, : len(b.index)] = b.index.shape[1]
    offsets = np.cumsum(counts) - counts.ravel()
    index = np.concatenate([(b.index + i * height).ravel() for i, b in enumerate(bands)])
    weight = torch.from_numpy(np.concatenate([b.weight.ravel() for b in bands])).to(x.dtype)
    rows = torch.nn.functional.embedding_bag(
        torch.from_numpy(index).to(x.device, non_blocking=True),
        # Contiguous: strided rows are summed without fused multiply-adds, to other last bits.
        x.reshape(batch * height, width * channels).contiguous(),
        torch.from_numpy(offsets).to(x.device, non_blocking=True),
        mode="sum",
        per_sample_weights=weight.to(x.device, non_blocking=True),
    )
    return rows.view(batch, most, width, channels)
