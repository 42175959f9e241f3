"""Native: the hot loops of a CPU in C, one image at a time. Optional: without a C compiler at installation, or on a
processor that they were not built for, OpenCV and PyTorch do the same.

Images are (h, w, C) float32 arrays whose pixels are contiguous within a row. What an image becomes has the same bits on
every processor: the sources say how. ``hatch_build.py`` builds them, for the instruction sets of ``targets.py``.

The one constraint: nothing here checks shapes; the primitives do.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.errors import UserError
from degrade.native.targets import targets

__all__ = [
    "add_normal",
    "add_poisson",
    "available",
    "correlate",
    "correlate_separable",
    "distinct",
    "edges",
    "jpeg",
    "quantize",
    "sharpen",
]

Image = NDArray[np.float32]
Taps = NDArray[np.float64]
Words = NDArray[np.int32]

VARIABLE = "DEGRADE_NATIVE"
"""The environment variable that turns this off where it is 0, or names an instruction set."""


def available() -> str:
    """The instruction set in use, ``avx512`` for example; empty if there is none.

    Raises:
        UserError: the one that ``DEGRADE_NATIVE`` names was not built, or does not run here.
    """
    return _load()[1]


@functools.cache
def _load() -> tuple[Any, str]:
    wanted = os.environ.get(VARIABLE, "1")
    paths = {name: Path(__file__).parent / f"{name}.so" for name in targets(platform.machine())}
    here = {name: path for name, path in paths.items() if path.exists() and _runs(name)}
    if wanted not in ("0", "1", *here):
        raise UserError(f"{VARIABLE}={wanted}: should be 0, 1 or what runs here: {', '.join(here) or 'nothing does'}")
    if wanted == "0" or not here:
        return None, ""
    name = next(iter(here)) if wanted == "1" else wanted
    return ctypes.CDLL(str(here[name])), name


def _runs(name: str) -> bool:
    """Whether this processor has the instruction set."""
    import torch

    has = torch.backends.cpu.get_cpu_capability()
    return name == "neon" or name.upper() == has or (name, has) == ("avx2", "AVX512")


# --- convolve.c ------------------------------------------------------------------------------------------------------


def correlate(padded: Image, kernel: Taps, out: Image) -> None:
    """y[i, j] = sum_ab k[a, b] x[i + a, j + b], of an image that has its border."""
    height, width, channels = out.shape
    taps = np.ascontiguousarray(kernel, np.float32)
    _call("correlate", *_in(padded), taps, *taps.shape, *_out(out), height, width * channels, channels)


def correlate_separable(padded: Image, down: Taps, across: Taps, out: Image) -> None:
    """:func:`correlate` with the outer product of two rows of taps."""
    height, width, channels = out.shape
    first, second = (np.ascontiguousarray(taps, np.float32) for taps in (down, across))
    taps = (first, len(first), second, len(second))
    _call("correlate_separable", *_in(padded), *taps, *_out(out), height, width * channels, channels)


# --- noise.c ---------------------------------------------------------------------------------------------------------


def add_normal(
    image: Image, out: Image, words: tuple[Words, Words], sigma: float, mixing: Taps | None, times: bool
) -> None:
    """y = clip(x + n), or with ``times`` clip(x + x n), n = sigma M z.

    Args:
        image: x.
        out: y.
        words: Of :func:`degrade.rng.line_words`, for one plane of z (grey) or one a channel.
        sigma: Standard deviation.
        mixing: M (C, C), the identity if None.
        times: Whether the noise is multiplied by the image.
    """
    planes = words[0].size // image.shape[0]
    matrix = None if mixing is None else np.ascontiguousarray(mixing, np.float32)
    sizes = (*image.shape, planes)
    _call("add_normal", *_in(image), *_out(out), *sizes, *words, ctypes.c_float(sigma), matrix, int(times))


def add_poisson(
    image: Image, out: Image, words: tuple[Words, Words], peak: float, scale: float, steps: NDArray[np.float32]
) -> None:
    """y = clip(x + scale (K / v - r)); see :class:`degrade.ops.noise.PoissonNoise`.

    Args:
        image: x.
        out: y.
        words: As for :func:`add_normal`.
        peak: v.
        scale: What the noise is multiplied by.
        steps: (dark levels, terms): where the distribution functions of the darkest levels step.
    """
    sizes = (*image.shape, words[0].size // image.shape[0])
    numbers = (ctypes.c_float(peak), ctypes.c_float(scale))
    _call("add_poisson", *_in(image), *_out(out), *sizes, *words, *numbers, steps, *steps.shape)


def distinct(image: Image, luma: bool, enough: int) -> int:
    """How many 8-bit levels the image's values, or its pixels' lumas, take; about ``enough``, if there are more."""
    height, width, channels = image.shape
    planes = 1 if luma else channels
    return int(_load()[0].distinct(*map(_argument, (*_in(image), height, width, channels, planes, enough))))


# --- jpeg.c, pixels.c ------------------------------------------------------------------------------------------------


def jpeg(image: Image, out: Image, tables: NDArray[np.int32], spans: tuple[int, int]) -> None:
    """Encodes and decodes, as libjpeg.

    Args:
        image: In [0, 1], of one or three channels; it is rounded to 8 bits.
        out: k / 255.
        tables: (2, 8, 8) quantisation tables of luma and chroma.
        spans: How many pixels a chroma sample spans, vertically and horizontally.
    """
    _call("jpeg", *_in(image), *_out(out), *image.shape, tables, *map(ctypes.c_int, spans))


def edges(image: Image, blurred: Image, mask: Image, threshold: float) -> None:
    """mask = 1 where \\|x - blurred\\| > threshold, else 0."""
    _call("edges", *_in(image), *_in(blurred), *_out(mask), *_lines(image), ctypes.c_float(threshold))


def sharpen(image: Image, blurred: Image, soft: Image, amount: float) -> None:
    """x + soft (clip(x + amount (x - blurred)) - x), into ``blurred``."""
    _call("sharpen", *_in(image), *_out(blurred), *_in(soft), *_lines(image), ctypes.c_float(amount))


def quantize(image: Image, out: Image, levels: int) -> None:
    """y = round(clip(x) levels) / levels, half to even; ``levels`` below 2^22."""
    _call("quantize", *_in(image), *_out(out), *_lines(image), ctypes.c_float(levels))


# --- calls -----------------------------------------------------------------------------------------------------------


def _in(image: Image) -> tuple[Image, int]:
    """An image, copied if its pixels are apart, and the floats from one of its rows to the next."""
    if not _whole_rows(image):
        image = np.ascontiguousarray(image)
    return image, image.strides[0] // 4


def _out(image: Image) -> tuple[Image, int]:
    """The same of an image that is written."""
    assert _whole_rows(image), "its rows should be contiguous"
    return image, image.strides[0] // 4


def _whole_rows(image: Image) -> bool:
    channels = image.shape[2]
    assert image.dtype == np.float32, image.dtype
    return image.strides[1] == 4 * channels and (channels == 1 or image.strides[2] == 4)


def _lines(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1] * image.shape[2]


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_long(value) if isinstance(value, int) else value


def _call(name: str, *arguments: Any) -> None:
    """Calls a function that returns 0 if all went well, without the interpreter's lock.

    Raises:
        MemoryError: there is none for its lines.
    """
    if getattr(_load()[0], name)(*map(_argument, arguments)):
        raise MemoryError(f"{name}: no memory for a few lines of an image")
