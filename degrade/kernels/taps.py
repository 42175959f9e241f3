"""The taps of blurs in a program's data: those of :mod:`degrade.kernels.psf`, trimmed, as float32.

Native code, where it is built, computes the common families in double precision too, in a fraction
of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from degrade.kernels import psf
from degrade.kernels.base import Data
from degrade.kernels.convolve import Taps, trim

__all__ = ["elliptic", "gaussian", "sinc"]

Real = NDArray[np.float64]


def gaussian(data: Data, size: Real, sigma: Real, shift: float = 0) -> Taps:
    """Put the rows of taps of :func:`degrade.kernels.psf.gaussian` into a program's data."""
    return trim(data, psf.gaussian(size, sigma, shift))


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
    return trim(data, psf.elliptic(size, sigma_x, sigma_y, angle, beta, plateau, shift))


def sinc(data: Data, size: Real, cutoff: Real) -> Taps:
    """Put the kernels of :func:`degrade.kernels.psf.sinc` into a program's data."""
    return trim(data, psf.sinc(size, cutoff))
