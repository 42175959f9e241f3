"""Resample: change the size of each image, y = R_v x R_h^T.

Row i of a matrix R holds the weights of output sample i. Samples sit at half-integers and both
grids span the same frame, so output sample i is centred, in input samples, at

    c_i = (i + 1/2) n_in / n_out - 1/2,    and    R_ij = k((j - c_i) / s) / sum_j k((j - c_i) / s),

where the stretch s is 1, or with antialias max(n_in / n_out, 1). The one constraint: what is asked
for is a whole *size*, never a scale factor, so input and output are registered and nothing is lost
at the far edge.

===============  ====================================================================  =================================
filter           kernel k, or bins                                                     equal to
===============  ====================================================================  =================================
``area``         mean of samples floor(i n_in / n_out) to ceil((i + 1) n_in / n_out)   torch (adaptive average pooling)
``coverage``     samples weighted by their overlap with [i, i + 1) n_in / n_out        OpenCV ``INTER_AREA``
``nearest``      the sample at floor(c_i + 1/2); ties go up                            torch ``nearest-exact``
``bilinear``     triangle, radius 1                                                    torch; OpenCV without antialias
``bicubic``      cubic, B = 0, C = 0.75 (a = -0.75); with antialias C = 0.5            torch; OpenCV without antialias
``lanczos``      sinc(x) sinc(x / 3), radius 3                                         Pillow, with antialias
``catmull_rom``  cubic, B = 0, C = 0.5 (a = -0.5)                                      Pillow's bicubic, with antialias
``hermite``      cubic, B = 0, C = 0, radius 1
``mitchell``     cubic, B = C = 1/3
``matlab``       ``catmull_rom`` on 8-bit images, always with antialias                MATLAB ``imresize``
===============  ====================================================================  =================================

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
from degrade.kernels.backend import Backend, backend_of

__all__ = ["FILTERS", "Band", "band", "decimate", "resample"]

Real = NDArray[np.float64]


def resample(
    canvas: Canvas,
    sizes: Sizes,
    filters: Sequence[str],
    antialias: Sequence[bool] | NDArray[np.bool_],
) -> Canvas:
    """Resizes each image to its own size with its own filter.

    On a CPU, native code works all but ``matlab``; without it OpenCV works ``bilinear`` and
    ``bicubic`` without antialias. Both are within 5e-3 grey levels of the torch backend, which
    works the rest, one image at a time. That backend adds the taps of a sample in their order,
    without a matrix product: a row has the same bits whatever its batch-mates, and there is no
    TF32 to turn off.

    Args:
        canvas: (B, C, H, W) images.
        sizes: (B, 2) heights and widths to reach.
        filters: (B,) names out of :data:`FILTERS`.
        antialias: (B,) whether to stretch the kernel where the image shrinks.

    Raises:
        ValueError: for an unknown filter or a size below 1.
    """
    for i, (name, (height, width)) in enumerate(zip(filters, sizes, strict=True)):
        if name not in FILTERS:
            raise ValueError(
                f"resample: row {i}: unknown filter {name!r}; use one of {', '.join(FILTERS)}"
            )
        if height < 1 or width < 1:
            raise ValueError(
                f"resample: row {i}: size {height}x{width} is empty; both sides must be at least 1"
            )
    changed = (sizes != canvas.sizes).any(1)
    if not changed.any():
        return canvas
    jobs = [
        _Job(int(h), int(w), f, bool(a))
        for (h, w), f, a in zip(sizes, filters, antialias, strict=True)
    ]
    backend = backend_of(canvas)
    if backend != "torch":
        images = [
            _alone(canvas, i, job, backend) if changed[i] else canvas.image(i)
            for i, job in enumerate(jobs)
        ]
        return canvas.resized(_lay(images), sizes)
    rounding = changed & np.array([job.filter == "matlab" for job in jobs])
    if rounding.all() or not rounding.any():
        return canvas.resized(_together(canvas, jobs, bool(rounding[0])), sizes)
    result = canvas
    for rows in (np.flatnonzero(rounding), np.flatnonzero(~rounding)):
        part = canvas.take(rows)
        pixels = _together(part, [jobs[i] for i in rows], bool(rounding[rows[0]]))
        result = result.put(rows, part.resized(pixels, sizes[rows]))
    return result


def decimate(canvas: Canvas, sizes: Sizes, first: Sizes) -> Canvas:
    """Keeps every s-th pixel, s = size / target size on each axis: y[i, j] = x[first + s (i, j)].

    Args:
        canvas: (B, C, H, W) images.
        sizes: (B, 2) heights and widths to reach, divisors of the present ones.
        first: (B, 2) row and column of the first pixel to keep, in [0, s).

    Raises:
        ValueError: if a size is no whole multiple of its target.
    """
    for i, (size, target) in enumerate(zip(canvas.sizes, sizes, strict=True)):
        if (size % target).any():
            raise ValueError(
                f"decimate: row {i}: {size[0]}x{size[1]} is no whole multiple of {target[0]}x{target[1]}; use resize, "
                "or crop the image to a multiple of the scale"
            )
    steps = canvas.sizes // sizes
    rows, columns = (
        [
            _every(int(n), int(s), int(f))
            for n, s, f in zip(sizes[:, axis], steps[:, axis], first[:, axis], strict=True)
        ]
        for axis in (0, 1)
    )
    pixels = _along_rows(_along_rows(_rows_first(canvas.pixels), rows).transpose(1, 2), columns)
    return canvas.resized(to_channels_last(pixels.permute(0, 3, 2, 1)), sizes)


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
    if filter == "nearest":  # in whole numbers: a tie does not hang on rounding
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


def _every(count: int, step: int, first: int) -> Band:
    return Band(first + step * np.arange(count)[:, None], np.ones((count, 1)))


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


# --- backends ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """What one image becomes."""

    height: int
    width: int
    filter: str
    antialias: bool


def _alone(canvas: Canvas, i: int, job: _Job, backend: Backend) -> Tensor:
    """Image ``i`` of a CPU canvas, resized: (C, h, w)."""
    if backend == "native" and job.filter != "matlab":
        image = canvas.hwc(i)
        height, width, channels = image.shape
        out = np.empty((job.height, job.width, channels), np.float32)
        down = band(height, job.height, job.filter, job.antialias)
        across = band(width, job.width, job.filter, job.antialias)
        native.resample(image, out, (down.index, down.weight), (across.index, across.weight))
        return torch.from_numpy(out).permute(2, 0, 1)
    if job.filter not in ("bilinear", "bicubic") or job.antialias:
        row = canvas.take(np.array([i])) if len(canvas) > 1 else canvas
        return _together(row, [job], job.filter == "matlab")[0]
    import cv2

    flag = cv2.INTER_LINEAR if job.filter == "bilinear" else cv2.INTER_CUBIC
    image = cv2.resize(canvas.hwc(i), (job.width, job.height), interpolation=flag)
    return torch.from_numpy(image.reshape(job.height, job.width, -1)).permute(2, 0, 1)


def _lay(images: list[Tensor]) -> Tensor:
    """Images on one tensor; a single one without a copy."""
    return to_channels_last(images[0][None]) if len(images) == 1 else Canvas.of(images).pixels


def _together(canvas: Canvas, jobs: list[_Job], rounding: bool) -> Tensor:
    """All images, resized: (B, C, max height, max width). With ``rounding``, in 8-bit levels as
    MATLAB does.
    """
    sizes = [(int(h), int(w)) for h, w in canvas.sizes]
    vertical = [
        band(h, job.height, job.filter, job.antialias)
        for (h, _), job in zip(sizes, jobs, strict=True)
    ]
    horizontal = [
        band(w, job.width, job.filter, job.antialias)
        for (_, w), job in zip(sizes, jobs, strict=True)
    ]
    x = _rows_first(canvas.pixels)
    # float64, because levels are often exact ties at whole scales: (k + 1/2) must not hang on the
    # order of a sum.
    x = _level(x * 255).double() if rounding else x
    x = _along_rows(x, vertical)
    x = _level(x) if rounding else x
    x = _along_rows(x.transpose(1, 2), horizontal)
    x = (_level(x) / 255).to(canvas.pixels.dtype) if rounding else x
    return to_channels_last(x.permute(0, 3, 2, 1))


def _level(x: Tensor) -> Tensor:
    """The 8-bit level, ties up; the gradient is that of the clip alone."""
    x = x.clamp(0, 255)
    level = (x + (0.5 + 1e-9)).floor()
    return x + (level - x).detach() if x.requires_grad else level


def _rows_first(pixels: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), which on CPU is no copy."""
    return pixels.permute(0, 2, 3, 1)


def _along_rows(x: Tensor, bands: list[Band]) -> Tensor:
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
        x.reshape(batch * height, width * channels),
        torch.from_numpy(offsets).to(x.device, non_blocking=True),
        mode="sum",
        per_sample_weights=weight.to(x.device, non_blocking=True),
    )
    return rows.view(batch, most, width, channels)
