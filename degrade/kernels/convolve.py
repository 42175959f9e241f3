"""Convolve: every image of a canvas with its own kernel.

Kernels are used by correlation, as ``filter2D`` of OpenCV and BasicSR does:

.. math:: y[p] = \\sum_d k[d] \\, x[p + d], \\qquad d \\text{ from the kernel's centre}

The border is taken at each image's own edges. Before use a kernel loses its least taps, as long as
they sum to less than a float32 can tell from 1, and is cropped to what is left: a narrow Gaussian
costs little however wide its support. Kernels have odd sides.
"""

# cv2, torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from degrade.canvas import Canvas
from degrade.kernels.base import Call, Data, Kernel, Records, Samples

__all__ = [
    "CORRELATE",
    "SEPARABLE",
    "Border",
    "Taps",
    "convolve",
    "convolve_separable",
    "correlate",
    "correlate_separable",
    "trim",
]

Border = Literal["reflect", "replicate"]
"""What lies outside: the image mirrored (d c b | a b c d | c b a), or its last pixel repeated."""
BORDERS: tuple[Border, ...] = ("reflect", "replicate")

Real = NDArray[np.float64]
Taps = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Trimmed kernels in a program's data: (n,) offsets, rows and columns."""

_NEGLIGIBLE = 1e-7


def convolve(canvas: Canvas, kernels: Real, border: Border = "reflect") -> Canvas:
    """Correlate image ``i`` with ``kernels[i]``, in torch.

    Args:
        canvas: Floating-point pixels (B, C, H, W).
        kernels: (B, K, K), K odd; narrower ones are centred and zero around.
        border: What lies outside an image.

    Raises:
        ValueError: The kernels' shape does not fit.
    """
    _check(len(canvas), kernels, 3)
    kernels = _without_tails(kernels)
    y, x = int(_reach(kernels, 1).max()), int(_reach(kernels, 2).max())
    return _correlate(canvas, _core(kernels, y, x), border)


def convolve_separable(
    canvas: Canvas, rows: Real, columns: Real, border: Border = "reflect"
) -> Canvas:
    """Correlate image ``i`` with the outer product of ``columns[i]`` (along y) and ``rows[i]``
    (along x), in torch.

    Args:
        canvas: Pixels (B, C, H, W), floating-point, or integers, which give float32.
        rows: (B, K) taps along x, K odd.
        columns: (B, K) taps along y.
        border: What lies outside an image.

    Raises:
        ValueError: The taps' shapes do not fit.
    """
    _check(len(canvas), rows, 2)
    _check(len(canvas), columns, 2)
    rows, columns = _without_tails(rows), _without_tails(columns)
    across, down = int(_reach(rows, 1).max()), int(_reach(columns, 1).max())
    return _correlate_separable(canvas, _core(columns, down), _core(rows, across), border)


# --- calls ---------------------------------------------------------------------------------------


def correlate(samples: Samples, taps: Taps | Real, border: Border = "reflect") -> Call:
    """The call that correlates each sample with its own kernel.

    Args:
        samples: What it works on.
        taps: Kernels in the samples' data, or (n, K, K) kernels to be trimmed and put there.
        border: What lies outside an image.
    """
    if not isinstance(taps, tuple):
        _check(len(samples), taps, 3)
        taps = trim(samples.data, taps)
    start, rows, columns = taps
    code = BORDERS.index(border)
    return CORRELATE.call(samples, taps=start, rows=rows, columns=columns, border=code)


def correlate_separable(
    samples: Samples, down: Taps | Real, across: Taps | Real, border: Border = "reflect"
) -> Call:
    """The call that correlates each sample with the outer product of two rows of taps.

    Args:
        samples: What it works on.
        down: Taps along y in the samples' data, or (n, K) taps to be trimmed and put there.
        across: Taps along x.
        border: What lies outside an image.
    """
    found: list[Taps] = []
    for taps in (down, across):
        if not isinstance(taps, tuple):
            _check(len(samples), taps, 2)
            taps = trim(samples.data, taps)
        found.append(taps)
    return SEPARABLE.call(
        samples,
        down=found[0][0],
        down_count=found[0][2],
        across=found[1][0],
        across_count=found[1][2],
        border=BORDERS.index(border),
    )


def trim(data: Data, kernels: Real) -> Taps:
    """Put kernels (n, K, K), or rows of taps (n, K), into a program's data, without the least taps
    of negligible sum and cropped to the rest, as float32.
    """
    kernels = _without_tails(kernels)
    across = _reach(kernels, kernels.ndim - 1)
    down = _reach(kernels, 1) if kernels.ndim == 3 else np.zeros_like(across)
    starts = np.empty(len(kernels), np.int64)
    for i, kernel in enumerate(kernels):
        core = _core(kernel[None], *((down[i], across[i]) if kernels.ndim == 3 else (across[i],)))
        starts[i] = data.add(core.astype(np.float32))
    return starts, 2 * down + 1, 2 * across + 1


def padded(data: Data, starts: Any, rows: Any, columns: Any) -> NDArray[np.float32]:
    """(n, K, L) kernels from a program's data, centred on the largest of them."""
    height, width = int(rows.max()), int(columns.max())
    out = np.zeros((len(starts), height, width), np.float32)
    for kernel, start, h, w in zip(out, starts, rows, columns, strict=True):
        y, x = (height - h) // 2, (width - w) // 2
        kernel[y : y + h, x : x + w] = data.read(start, h * w).reshape(h, w)
    return out


def _correlate_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    kernels = padded(data, records["taps"], records["rows"], records["columns"])
    return _by_border(
        canvas, records, lambda some, i, border: _correlate(some, kernels[i], border)
    )


def _separable_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    ones = np.ones_like(records["down"])
    down = padded(data, records["down"], ones, records["down_count"])[:, 0]
    across = padded(data, records["across"], ones, records["across_count"])[:, 0]
    return _by_border(
        canvas,
        records,
        lambda some, i, border: _correlate_separable(some, down[i], across[i], border),
    )


def _by_border(canvas: Canvas, records: Records, work: Any) -> Canvas:
    """One operator has one border, but a program may hold calls of several."""
    for code in np.unique(records["border"]):
        rows = np.flatnonzero(records["border"] == code)
        if len(rows) == len(canvas):
            return work(canvas, rows, BORDERS[code])
        canvas = canvas.put(rows, work(canvas.take(rows), rows, BORDERS[code]))
    return canvas


CORRELATE = Kernel(
    "correlate",
    1,
    {"taps": "i4", "rows": "i4", "columns": "i4", "border": "i4"},
    _correlate_records,
)
SEPARABLE = Kernel(
    "separable",
    2,
    {"down": "i4", "down_count": "i4", "across": "i4", "across_count": "i4", "border": "i4"},
    _separable_records,
)

# --- taps ----------------------------------------------------------------------------------------


def _check(count: int, kernels: Real, axes: int) -> None:
    shape = (count, *kernels.shape[-1:] * (axes - 1))
    if kernels.shape != shape or kernels.shape[-1] % 2 == 0:
        wanted = f"it should be {shape}, with odd sides"
        raise ValueError(f"kernels of shape {kernels.shape} for {count} images; {wanted}")


def _without_tails(kernels: Real) -> Real:
    """Kernels without their least taps, of negligible sum."""
    taps = kernels.reshape(len(kernels), -1)
    size = np.abs(taps)
    ordered = np.sort(size, 1)
    mass = np.cumsum(ordered, 1)
    dropped = (mass < _NEGLIGIBLE * mass[:, -1:]).sum(1)
    least = ordered[np.arange(len(taps)), dropped]
    return (taps * (size >= least[:, None])).reshape(kernels.shape)


def _reach(kernels: Real, axis: int) -> NDArray[np.int64]:
    """(B,): how far along ``axis`` each kernel has taps, from its centre."""
    others = tuple(n for n in range(1, kernels.ndim) if n != axis)
    taken = (kernels != 0).any(others)
    side = int(kernels.shape[axis])
    return (taken * np.abs(np.arange(side) - side // 2)).max(1)


def _core(kernels: Real, *reach: int) -> Real:
    """The taps within ``reach`` of the centre, along the last axes."""
    sides = kernels.shape[-len(reach) :]
    inner = (slice(n // 2 - far, n // 2 + far + 1) for n, far in zip(sides, reach, strict=True))
    return kernels[(..., *inner)]


# --- torch: the whole canvas at once -------------------------------------------------------------


def _correlate(canvas: Canvas, kernels: NDArray[Any], border: Border) -> Canvas:
    y, x = (n // 2 for n in kernels.shape[1:])
    return canvas.with_pixels(_depthwise(_bordered(canvas, y, x, border), kernels))


def _correlate_separable(
    canvas: Canvas, down: NDArray[Any], across: NDArray[Any], border: Border
) -> Canvas:
    pixels = _bordered(canvas, down.shape[1] // 2, across.shape[1] // 2, border)
    pixels = pixels if pixels.is_floating_point() else pixels.float()
    pixels = _depthwise(pixels, down[:, :, None])
    return canvas.with_pixels(_depthwise(pixels, across[:, None, :]))


def _bordered(canvas: Canvas, y: int, x: int, border: Border) -> Tensor:
    """Pixels (B, C, H + 2y, W + 2x) with their border."""
    radius = max(y, x)
    if border == "reflect":
        pixels = canvas.extend(radius)
    else:
        height, width = canvas.pixels.shape[-2:]
        pixels = canvas.replicate(height + radius, width + radius)
        pixels = functional.pad(pixels, (radius, 0, radius, 0), mode="replicate")
    height, width = pixels.shape[-2:]
    return pixels[:, :, radius - y : height - radius + y, radius - x : width - radius + x]


def _depthwise(pixels: Tensor, kernels: NDArray[Any]) -> Tensor:
    """Correlates (B, C, H, W) with (B, h, w), without a border."""
    batch, channels, *_ = pixels.shape
    weight = torch.from_numpy(np.ascontiguousarray(kernels)).to(pixels.dtype)
    weight = weight.to(pixels.device, non_blocking=True).repeat_interleave(channels, 0)[:, None]
    planes = pixels.reshape(1, batch * channels, *pixels.shape[-2:])
    # A single plane would be no depthwise convolution to torch, which sums it in another order.
    twice = (planes.repeat(1, 2, 1, 1), weight.repeat(2, 1, 1, 1))
    planes, weight = twice if len(weight) == 1 else (planes, weight)
    with _full_precision(pixels.device):
        out = functional.conv2d(planes, weight, groups=len(weight))
    return out[:, : batch * channels].view(batch, channels, *out.shape[-2:])


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Generator[None]:
    """Keeps cuDNN from rounding products to the 10 bits of TF32, which it is free to do by
    default.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    allowed = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = allowed


# --- Fourier: one image on the host --------------------------------------------------------------


def correlate_in_frequency(
    image: NDArray[np.float32], kernel: NDArray[np.float32], border: Border
) -> NDArray[np.float32]:
    """The same of one (h, w, C) image as a product of spectra: y = F^-1(F x conj(F k)), x with its
    border. For wide kernels, which cost too much in space.
    """
    import cv2
    import scipy

    fft: Any = scipy.fft  # untyped: its types are those of its backends' protocol
    height, width = image.shape[:2]
    y, x = kernel.shape[0] // 2, kernel.shape[1] // 2
    # What is wider than the border wraps around into pixels that are not looked at.
    rows, columns = (fft.next_fast_len(n, real=True) for n in (height + 2 * y, width + 2 * x))
    code = cv2.BORDER_REFLECT_101 if border == "reflect" else cv2.BORDER_REPLICATE
    outside = (y, rows - height - y, x, columns - width - x)
    padded_image = cv2.copyMakeBorder(image, *outside, code)
    spectrum = fft.rfft2(kernel, (rows, columns)).conj()
    planes = [
        fft.irfft2(fft.rfft2(plane) * spectrum, (rows, columns), overwrite_x=True)
        for plane in cv2.split(padded_image)
    ]
    return np.stack([plane[:height, :width] for plane in planes], -1)
