"""Native: the hot loops of a CPU in C, one image at a time. Optional: without a C compiler at
installation, or on a processor that they were not built for, OpenCV and PyTorch do the same.

Images are (h, w, C) float32 arrays whose pixels are contiguous within a row. What a finite image
becomes has the same bits on every processor: the sources say how. ``hatch_build.py`` builds them
for the instruction sets of ``targets.py``.

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
from degrade.kernels.native.targets import digest, targets

__all__ = [
    "add_normal",
    "add_poisson",
    "available",
    "band",
    "band_taps",
    "correlate",
    "correlate_separable",
    "distinct",
    "interleave",
    "jpeg",
    "psf_elliptic",
    "psf_gaussian",
    "psf_sinc",
    "quantize",
    "resample",
    "run",
    "run_at",
    "unsharp",
]

Image = NDArray[np.float32]
Taps = NDArray[np.float64]
Words = NDArray[np.int32]
Band = tuple[NDArray[np.int64], Taps]

VARIABLE = "DEGRADE_NATIVE"
"""The environment variable that turns this off where it is 0, or names an instruction set."""


def available() -> str:
    """The instruction set in use, ``avx512`` for example; empty if there is none.

    Raises:
        UserError: the one that ``DEGRADE_NATIVE`` names was not built, or does not run here; or
            what is here cannot be loaded, or was built from other sources.
    """
    return _load()[1]


@functools.cache
def _load() -> tuple[Any, str]:
    wanted = os.environ.get(VARIABLE, "1")
    paths = {name: Path(__file__).parent / f"{name}.so" for name in targets(platform.machine())}
    here = {name: path for name, path in paths.items() if path.exists() and _runs(name)}
    if wanted not in ("0", "1", *here):
        raise UserError(
            f"{VARIABLE}={wanted}: should be 0, 1 or what runs here: "
            f"{', '.join(here) or 'nothing does'}"
        )
    if wanted == "0" or not here:
        return None, ""
    name = next(iter(here)) if wanted == "1" else wanted
    try:
        library = ctypes.CDLL(str(here[name]))
    except OSError as error:
        raise UserError(f"{error}; install degrade again, or set {VARIABLE}=0") from None
    library.digest.restype = ctypes.c_char_p
    if library.digest() != digest(Path(__file__).parent).encode():
        raise UserError(
            f"{here[name]}: was built from other sources; install degrade again, "
            f"or set {VARIABLE}=0"
        )
    for function, arguments in _SIGNATURES.items():
        getattr(library, function).argtypes = [
            _TYPES[letter] for letter in arguments.replace(" ", "")
        ]
    for function in _LONG:
        getattr(library, function).restype = ctypes.c_long
    return library, name


_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "l": ctypes.c_long,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
}
_SIGNATURES = {
    "run": "ppl",
    "psf_elliptic": "lppppp",
    "psf_sinc": "lppppp",
    "psf_gaussian": "lpppp",
    "band": "llii ppp",
    "one_correlate": "pl pll pl lll",
    "one_correlate_separable": "pl plpl pl llli",
    "one_unsharp": "pl pl pl lll ff",
    "one_add_normal": "pl pl llll pp fpi",
    "one_add_poisson": "pl pl llll pp ff pl",
    "one_distinct": "pl llll l",
    "one_resample": "plll pl lll ppl ppl",
    "one_jpeg": "pl pl lll p ii",
    "one_interleave": "pp l",
    "one_quantize": "pl pl ll f",
}
"""The arguments of each function: pointers, longs, ints and floats."""
_LONG = ("run", "band")
"""Those that return a long."""


def _runs(name: str) -> bool:
    """Whether this processor has the instruction set."""
    import torch

    has = torch.backends.cpu.get_cpu_capability()
    return name == "neon" or name.upper() == has or (name, has) == ("avx2", "AVX512")


# --- run.c ---------------------------------------------------------------------------------------


def run(jobs: NDArray[np.int64], i: int, work: NDArray[Any]) -> int:
    """Runs the program of job ``i``, without the interpreter's lock.

    Nothing is checked: the pointers of the job and the records behind them must be right.

    Args:
        jobs: (B, 32) jobs, contiguous; ``run.c`` says what their words are.
        i: Which of them.
        work: Contiguous memory for pixels and scratch, of any dtype; one thread's own.

    Returns:
        0; or the bytes of ``work`` that are needed, if it is smaller; or -1 for an unknown kernel.
        In both cases nothing was computed.
    """
    return run_at(jobs.ctypes.data + 256 * i, work.ctypes.data, work.nbytes)


def run_at(job: int, work: int, size: int) -> int:
    """:func:`run` by addresses, for loops that know them: NumPy takes longer to say them."""
    return _load()[0].run(job, work, size)


# --- psf.c ---------------------------------------------------------------------------------------


def psf_elliptic(arguments: Taps, data: Words, offset: NDArray[np.int64]) -> tuple[Words, Words]:
    """Writes the kernels of :func:`degrade.kernels.psf.elliptic`, trimmed and cropped, as float32.

    Args:
        arguments: (n, 7) size, sigma_x, sigma_y, angle, beta, plateau (0 or 1), shift.
        data: Words to write to.
        offset: (n,) where kernel i goes; there is room for size^2 words.

    Returns:
        (n,) rows and (n,) columns of each.

    Raises:
        ValueError: a size is even, or larger than 401.
    """
    return _square("psf_elliptic", arguments, data, offset)


def psf_sinc(arguments: Taps, data: Words, offset: NDArray[np.int64]) -> tuple[Words, Words]:
    """The same of :func:`degrade.kernels.psf.sinc`; ``arguments`` (n, 2): size, cutoff."""
    return _square("psf_sinc", arguments, data, offset)


def _square(
    name: str, arguments: Taps, data: Words, offset: NDArray[np.int64]
) -> tuple[Words, Words]:
    sides = np.empty((2, len(arguments)), np.int32)
    _psf(name, arguments, data, offset, sides.ctypes.data, sides[1].ctypes.data)
    return sides[0], sides[1]


def psf_gaussian(arguments: Taps, data: Words, offset: NDArray[np.int64]) -> Words:
    """The same of :func:`degrade.kernels.psf.gaussian`, one axis; ``arguments`` (n, 3): size,
    sigma, shift. Returns (n,) counts of taps.
    """
    count = np.empty(len(arguments), np.int32)
    _psf("psf_gaussian", arguments, data, offset, count.ctypes.data)
    return count


def _psf(name: str, arguments: Taps, data: Words, offset: NDArray[np.int64], *sides: int) -> None:
    pointers = (arguments.ctypes.data, data.ctypes.data, offset.ctypes.data)
    row = getattr(_load()[0], name)(len(arguments), *pointers, *sides)
    if row:
        size = int(arguments[row - 1, 0])
        raise ValueError(f"{name}: row {row - 1}: size {size}; it must be odd and at most 401")


def band_taps(n_in: int, n_out: int, filter: int, antialias: bool) -> int:
    """Taps of a row of :func:`band`."""
    return _load()[0].band(n_in, n_out, filter, antialias, None, None, None)


def band(
    n_in: int,
    n_out: int,
    filter: int,
    antialias: bool,
    data: Words,
    index: int,
    weight: int,
    double: bool = False,
) -> None:
    """Writes the matrix of :func:`degrade.kernels.resample.band`.

    Args:
        n_in: Samples before.
        n_out: Samples after.
        filter: Position in :data:`degrade.kernels.resample.FILTERS`.
        antialias: Whether the kernel is stretched where the image shrinks.
        data: Words to write to.
        index: Offset in words of the (n_out, taps) int32 columns.
        weight: Offset of the (n_out, taps) weights.
        double: Whether weights are float64, aligned to 8 bytes, or else float32.
    """
    base = data.ctypes.data
    to = base + 4 * weight
    weights = (None, to) if double else (to, None)
    _load()[0].band(n_in, n_out, filter, antialias, base + 4 * index, *weights)


# --- convolve.c ----------------------------------------------------------------------------------


def correlate(padded: Image, kernel: Taps, out: Image) -> None:
    """y[i, j] = sum_ab k[a, b] x[i + a, j + b], of an image that has its border."""
    height, width, channels = out.shape
    taps = np.ascontiguousarray(kernel, np.float32)
    _call(
        "correlate",
        *_in(padded),
        taps,
        *taps.shape,
        *_out(out),
        height,
        width * channels,
        channels,
    )


def correlate_separable(image: Image, down: Taps, across: Taps, out: Image, reflect: bool) -> None:
    """:func:`correlate` with the outer product of two rows of taps, of an image without a border.

    What lies outside is its mirror image with ``reflect``, else its last pixel repeated.
    """
    first, second = (np.ascontiguousarray(taps, np.float32) for taps in (down, across))
    taps = (first, len(first), second, len(second))
    _call("correlate_separable", *_in(image), *taps, *_out(out), *out.shape, int(reflect))


def unsharp(image: Image, taps: Taps, out: Image, amount: float, threshold: float) -> None:
    """Unsharp masking; see :func:`degrade.ops.sharpen.unsharp`."""
    row = np.ascontiguousarray(taps, np.float32)
    _call("unsharp", *_in(image), row, len(row), *_out(out), *out.shape, amount, threshold)


# --- noise.c -------------------------------------------------------------------------------------


def add_normal(
    image: Image,
    out: Image,
    words: tuple[Words, Words],
    sigma: float,
    mixing: Taps | None,
    times: bool,
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
    _call("add_normal", *_in(image), *_out(out), *sizes, *words, sigma, matrix, int(times))


def add_poisson(
    image: Image,
    out: Image,
    words: tuple[Words, Words],
    peak: float,
    scale: float,
    steps: NDArray[np.float32],
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
    _call("add_poisson", *_in(image), *_out(out), *sizes, *words, peak, scale, steps, len(steps))


def distinct(image: Image, luma: bool, enough: int) -> int:
    """How many 8-bit levels the image's values, or its pixels' lumas, take; about ``enough``,
    if there are more.
    """
    height, width, channels = image.shape
    planes = 1 if luma else channels
    pixels, stride = _in(image)
    return int(
        _load()[0].one_distinct(
            pixels.ctypes.data, stride, height, width, channels, planes, enough
        )
    )


# --- resample.c ----------------------------------------------------------------------------------


def resample(image: Image, out: Image, down: Band, across: Band) -> None:
    """y = R_v x R_h^T, each matrix given as the columns and weights (n, taps) of its rows."""
    rows, columns, channels = out.shape
    bands: list[Any] = []
    for index, weight in (down, across):
        weights = np.ascontiguousarray(weight, np.float32)
        bands += [np.ascontiguousarray(index, np.int32), weights, index.shape[1]]
    sizes = image.shape[:2]
    _call("resample", *_in(image), *sizes, *_out(out), rows, columns, channels, *bands)


# --- jpeg.c, pixels.c ----------------------------------------------------------------------------


def jpeg(image: Image, out: Image, tables: NDArray[np.int32], spans: tuple[int, int]) -> None:
    """Encodes and decodes, as libjpeg.

    Args:
        image: In [0, 1], of one or three channels; it is rounded to 8 bits.
        out: k / 255.
        tables: (2, 8, 8) quantisation tables of luma and chroma.
        spans: How many pixels a chroma sample spans, vertically and horizontally.
    """
    _call("jpeg", *_in(image), *_out(out), *image.shape, tables, *spans)


def interleave(planes: NDArray[np.uint8], out: Image) -> None:
    """y[i, j, c] = x[c, i, j] / 255, three contiguous planes on a contiguous image."""
    _call("interleave", planes, out, planes[0].size)


def quantize(image: Image, out: Image, levels: int) -> None:
    """y = round(clip(x) levels) / levels, half to even; ``levels`` below 2^22."""
    _call("quantize", *_in(image), *_out(out), *_lines(image), levels)


# --- calls ---------------------------------------------------------------------------------------


def _in(image: Image) -> tuple[Image, int]:
    """An image, copied if its pixels are apart, and the floats from one of its rows to the
    next.
    """
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


def _call(name: str, *arguments: Any) -> None:
    """Calls a function that returns 0 if all went well, without the interpreter's lock.

    Raises:
        MemoryError: there is none for its lines.
    """
    if getattr(_load()[0], "one_" + name)(
        *[x.ctypes.data if isinstance(x, np.ndarray) else x for x in arguments]
    ):
        raise MemoryError(f"{name}: no memory for a few lines of an image")
