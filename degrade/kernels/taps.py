"""The taps of blurs in a program's data: those of :mod:`degrade.kernels.psf`, trimmed, as float32.

Native code, where it is built, computes the common families too, in double precision as NumPy does
and in a fraction of the time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from degrade.kernels import native, psf
from degrade.kernels.base import Data
from degrade.kernels.convolve import Taps, trim

__all__ = ["elliptic", "gaussian", "sinc"]

Real = NDArray[np.float64]


def gaussian(data: Data, size: Real, sigma: Real, shift: float = 0) -> Taps:
    """Put the rows of taps of :func:`degrade.kernels.psf.gaussian` into a program's data."""
    if (size == size[0]).all() and (sigma == sigma[0]).all():
        row = _gaussian(float(size[0]), float(sigma[0]), shift)
        ones = np.ones(len(size), np.int64)
        return data.add(row) * ones, ones, len(row) * ones
    if not native.available():
        return trim(data, psf.gaussian(size, sigma, shift))
    starts = _room(data, size)
    count = native.psf_gaussian(_table((size, sigma, shift)), data.words, starts)
    return starts, np.ones_like(count), count


@functools.lru_cache(256)
def _gaussian(size: float, sigma: float, shift: float) -> NDArray[np.float32]:
    """One row of taps. Cached: the settings of many operators are constant."""
    data = Data(512)
    arguments = np.array([size]), np.array([sigma]), shift
    if not native.available():
        start, _, count = trim(data, psf.gaussian(*arguments))
    else:
        start = _room(data, arguments[0])
        count = native.psf_gaussian(_table(arguments), data.words, start)
    return data.read(int(start[0]), int(count[0])).copy()


def elliptic(
    data: Data,
    size: Real,
    sigma_x: Real,
    sigma_y: Real,
    angle: Real,
    beta: Real,
    plateau: NDArray[np.bool_],
    shift: float = 0,
) -> Taps:
    """Put the kernels of :func:`degrade.kernels.psf.elliptic` into a program's data."""
    if not native.available():
        return trim(data, psf.elliptic(size, sigma_x, sigma_y, angle, beta, plateau, shift))
    starts = _room(data, size**2)
    table = _table((size, sigma_x, sigma_y, angle, beta, plateau, shift))
    return starts, *native.psf_elliptic(table, data.words, starts)


def sinc(data: Data, size: Real, cutoff: Real) -> Taps:
    """Put the kernels of :func:`degrade.kernels.psf.sinc` into a program's data."""
    if not native.available():
        return trim(data, psf.sinc(size, cutoff))
    starts = _room(data, size**2)
    return starts, *native.psf_sinc(_table((size, cutoff)), data.words, starts)


def _room(data: Data, counts: Real) -> NDArray[np.int64]:
    """Where each of some arrays of at most so many words begins."""
    ends = counts.cumsum().astype(np.int64)
    return data.reserve(int(ends[-1])) + ends - counts.astype(np.int64)


def _table(columns: Sequence[ArrayLike]) -> Real:
    """Columns side by side, (n, k) float64."""
    table = np.empty((len(np.asarray(columns[0])), len(columns)))
    for j, column in enumerate(columns):
        table[:, j] = column
    return table
