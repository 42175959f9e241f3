"""Native: the hot loops of a CPU in C, one image at a time. Optional: without a C compiler at
installation, or on a processor that they were not built for, the reference runs instead.

:func:`run` works all records of a sample's program; the other functions draw a plan and lower it.
What a finite image becomes has the same bits on every processor: the sources say how.
``hatch_build.py`` builds them for the instruction sets of ``targets.py``. Nothing here checks its
arguments.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.errors import UserError
from degrade.kernels.native.targets import digest, targets

__all__ = [
    "available",
    "band",
    "band_taps",
    "lower",
    "matrices",
    "plan",
    "psf_elliptic",
    "psf_gaussian",
    "psf_sinc",
    "run",
    "run_at",
    "schedule",
    "word_of",
]

Taps = NDArray[np.float64]
Words = NDArray[np.int32]

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
    "lower": "p",
    "plan": "p",
    "schedule": "p",
    "psf_elliptic": "lppppp",
    "psf_sinc": "lppppp",
    "psf_gaussian": "lpppp",
    "band": "llii ppp",
    "matrices": "lpppp i plp",
}
"""The arguments of each function: pointers, longs, ints and floats."""
_LONG = ("run", "lower", "schedule", "band", "matrices")
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


# --- plan.c --------------------------------------------------------------------------------------


def word_of(value: float) -> int:
    """The word of 64 bits that holds a float64."""
    return struct.unpack("<q", struct.pack("<d", value))[0]


def plan(job: NDArray[np.int64]) -> None:
    """Draws a plan. ``job`` is what ``plan.c`` calls a Planning."""
    _load()[0].plan(job.__array_interface__["data"][0])


# --- lower.c -------------------------------------------------------------------------------------


def lower(job: NDArray[np.int64], address: int, capacity: int) -> int:
    """Writes the records of a batch.

    Args:
        job: What ``lower.c`` calls a Lowering, but for where data go.
        address: Where data go.
        capacity: How many words there is room for.

    Returns:
        How many words there are, more than ``capacity`` where that was too little; -1 where
        Python has to lower.
    """
    job[-2:] = address, capacity
    return _load()[0].lower(job.__array_interface__["data"][0])


# --- schedule.c ----------------------------------------------------------------------------------


def schedule(job: NDArray[np.int64]) -> int:
    """Writes the schedule of a batch for a GPU.

    Args:
        job: What ``schedule.c`` calls a Schedule; its last three words are written.

    Returns:
        The number of launches; -1 where there is no memory.
    """
    return _load()[0].schedule(job.__array_interface__["data"][0])


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


def matrices(
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    filters: Taps,
    antialias: Taps,
    matlab: bool,
    reserve: Callable[[int], tuple[Words, int]],
) -> Words:
    """Writes the matrices of :func:`degrade.kernels.resample.band` of some images, both axes.

    Args:
        before: (n, 2) heights and widths.
        after: (n, 2) the sizes to reach.
        filters: (n,) positions in :data:`degrade.kernels.resample.FILTERS`.
        antialias: (n,) 1 where the kernel is stretched as the image shrinks, else 0.
        matlab: Whether weights are float64, else float32.
        reserve: From a count of words to the buffer that has room for them, and where.

    Returns:
        (n, 6) the offsets of columns and weights and the taps, down and across.
    """
    out = np.empty((len(before), 6), np.int32)
    arrays = [np.ascontiguousarray(x) for x in (before, after, filters, antialias)]
    pointers = [array.ctypes.data for array in arrays]
    function = _load()[0].matrices
    count = function(len(before), *pointers, matlab, None, 0, None)
    buffer, start = reserve(count)
    end = function(len(before), *pointers, matlab, buffer.ctypes.data, start, out.ctypes.data)
    assert end <= start + count, "more was written than counted"
    return out


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
