"""Convolve: every image of a canvas with its own kernel.

Kernels are host arrays, used by correlation, as ``filter2D`` of OpenCV and BasicSR does:

.. math:: y[p] = \\sum_d k[d] \\, x[p + d], \\qquad d \\text{ from the kernel's centre}

The border is taken at each image's own edges. Before use a kernel loses its least taps, as long as
they sum to less than a float32 can tell from 1, and is cropped to what is left: a narrow Gaussian
costs little however wide its support. The one constraint: kernels have odd sides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from degrade.canvas import Canvas, empty_like
from degrade.kernels import native
from degrade.kernels.backend import Backend, backend_of

__all__ = ["Border", "convolve", "convolve_separable"]

Border = Literal["reflect", "replicate"]
"""What lies outside: the image mirrored (d c b | a b c d | c b a), or its last pixel repeated."""

Real = NDArray[np.float64]
Image = NDArray[Any]

_NEGLIGIBLE = 1e-7
# Up to here images are convolved in space. From 130 taps on OpenCV goes through Fourier transforms
# too, but of blocks of a size that suits few images (256 px: 5.9 ms; ours 2.5).
_DIRECT_TAPS = {"opencv": 129, "native": 21 * 21}


def convolve(canvas: Canvas, kernels: Real, border: Border = "reflect") -> Canvas:
    """Correlates image ``i`` with ``kernels[i]``.

    Args:
        canvas: Floating-point pixels (B, C, H, W).
        kernels: (B, K, K), K odd; narrower ones are centred and zero around.
        border: What lies outside an image.

    Raises:
        ValueError: The kernels' shape does not fit.
    """
    _check(canvas, kernels, 3)
    kernels = _trimmed(kernels)
    reach = np.stack([_reach(kernels, 1), _reach(kernels, 2)], 1)
    backend = backend_of(canvas)
    if backend != "torch":
        out = empty_like(canvas)
        for i, (y, x) in enumerate(reach):
            _correlate(
                canvas.hwc(i),
                np.ascontiguousarray(_core(kernels[i], y, x)),
                out.hwc(i),
                border,
                backend,
            )
        return out
    y, x = (int(n) for n in reach.max(0))
    return canvas.with_pixels(_depthwise(_bordered(canvas, y, x, border), _core(kernels, y, x)))


def convolve_separable(
    canvas: Canvas, rows: Real, columns: Real, border: Border = "reflect"
) -> Canvas:
    """Correlates image ``i`` with the outer product of ``columns[i]`` (along y) and ``rows[i]``
    (along x).

    Args:
        canvas: Pixels (B, C, H, W), floating-point, or uint8, which gives float32 (a mask costs a
            third less so).
        rows: (B, K) taps along x, K odd.
        columns: (B, K) taps along y.
        border: What lies outside an image.

    Raises:
        ValueError: The taps' shapes do not fit.
    """
    _check(canvas, rows, 2)
    _check(canvas, columns, 2)
    backend = backend_of(canvas)
    if backend != "torch":
        out = empty_like(canvas)
        for i, (row, column) in enumerate(zip(supports(rows), supports(columns), strict=True)):
            _correlate_separable(canvas.hwc(i), row, column, out.hwc(i), border, backend)
        return out
    rows, columns = _trimmed(rows), _trimmed(columns)
    across, down = _reach(rows, 1), _reach(columns, 1)
    y, x = int(down.max()), int(across.max())
    pixels = _bordered(canvas, y, x, border)
    pixels = pixels if pixels.is_floating_point() else pixels.float()
    pixels = _depthwise(pixels, _core(columns, y)[:, :, None])
    return canvas.with_pixels(_depthwise(pixels, _core(rows, x)[:, None, :]))


# --- kernels -------------------------------------------------------------------------------------


def _check(canvas: Canvas, kernels: Real, axes: int) -> None:
    shape = (len(canvas), *kernels.shape[-1:] * (axes - 1))
    if kernels.shape != shape or kernels.shape[-1] % 2 == 0:
        wanted = f"it should be {shape}, with odd sides"
        raise ValueError(f"kernels of shape {kernels.shape} for {len(canvas)} images; {wanted}")


def supports(taps: Real) -> list[Real]:
    """(B, K) rows of taps, each without its negligible ends."""
    taps = _trimmed(taps)
    return [_core(row, far) for row, far in zip(taps, _reach(taps, 1), strict=True)]


def _trimmed(kernels: Real) -> Real:
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
    return kernels[
        (
            ...,
            *(slice(n // 2 - far, n // 2 + far + 1) for n, far in zip(sides, reach, strict=True)),
        )
    ]


# --- torch: the whole canvas at once -------------------------------------------------------------


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


def _depthwise(pixels: Tensor, kernels: Real) -> Tensor:
    """Correlates (B, C, H, W) with (B, h, w), without a border."""
    batch, channels, *_ = pixels.shape
    weight = (
        torch.from_numpy(np.ascontiguousarray(kernels))
        .to(pixels.dtype)
        .to(pixels.device, non_blocking=True)
    )
    weight = weight.repeat_interleave(channels, 0)[:, None]
    with _full_precision(pixels.device):
        out = functional.conv2d(
            pixels.reshape(1, batch * channels, *pixels.shape[-2:]), weight, groups=len(weight)
        )
    return out.view(batch, channels, *out.shape[-2:])


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


# --- on a CPU: image by image --------------------------------------------------------------------


def _depth(image: Image) -> int:
    import cv2

    return cv2.CV_64F if image.dtype == np.float64 else cv2.CV_32F


def _code(border: Border) -> int:
    import cv2

    return cv2.BORDER_REFLECT_101 if border == "reflect" else cv2.BORDER_REPLICATE


def _correlate(image: Image, kernel: Real, out: Image, border: Border, backend: Backend) -> None:
    """Correlates one (h, w, C) image into ``out``."""
    import cv2

    if kernel.size > _DIRECT_TAPS[backend]:
        _correlate_in_frequency(image, kernel, out, border)
    elif backend == "native":
        y, x = kernel.shape[0] // 2, kernel.shape[1] // 2
        native.correlate(_framed(image, y, x, border), kernel, out)
    else:
        cv2.filter2D(image, -1, kernel, out, borderType=_code(border))


def _correlate_separable(
    image: Image, row: Real, column: Real, out: Image, border: Border, backend: Backend
) -> None:
    import cv2

    if backend == "native":
        native.correlate_separable(
            image.astype(np.float32, copy=False), column, row, out, border == "reflect"
        )
    else:
        cv2.sepFilter2D(image, _depth(out), row, column, out, borderType=_code(border))


def _framed(image: Image, y: int, x: int, border: Border) -> Image:
    """A float32 image with its border."""
    import cv2

    framed = cv2.copyMakeBorder(image.astype(np.float32, copy=False), y, y, x, x, _code(border))
    return framed.reshape(*framed.shape[:2], -1)


def _correlate_in_frequency(image: Image, kernel: Real, out: Image, border: Border) -> None:
    """The same as a product of spectra, plane by plane: y = F^-1(F x conj(F k)), x with its
    border.
    """
    import cv2
    import scipy

    fft: Any = scipy.fft  # untyped: its types are those of its backends' protocol
    height, width = image.shape[:2]
    y, x = kernel.shape[0] // 2, kernel.shape[1] // 2
    # What is wider than the border wraps around into pixels that are not looked at.
    rows, columns = (fft.next_fast_len(n, real=True) for n in (height + 2 * y, width + 2 * x))
    padded = cv2.copyMakeBorder(image, y, rows - height - y, x, columns - width - x, _code(border))
    spectrum = fft.rfft2(kernel.astype(image.dtype), (rows, columns)).conj()
    planes = [
        fft.irfft2(fft.rfft2(plane) * spectrum, (rows, columns), overwrite_x=True)[:height, :width]
        for plane in cv2.split(padded)
    ]
    cv2.merge(planes, out)
