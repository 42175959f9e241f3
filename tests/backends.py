"""Kernels and operators on every backend that works here: what tests call instead of the product's
own functions, so that a law is written once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.execution import Backend, execute
from degrade.kernels import convolve as convolution
from degrade.kernels import jpeg as coding
from degrade.kernels import native, resample

BACKENDS: tuple[Backend, ...] = ("reference", "native") if native.available() else ("reference",)
"""Those that work on this CPU."""
_USED: list[Backend | None] = [None]


@contextmanager
def use_backend(backend: Backend | None) -> Generator[None]:
    """What the functions of this module use inside a ``with`` block."""
    _USED.append(backend)
    try:
        yield
    finally:
        _USED.pop()


def used() -> Backend | None:
    return _USED[-1]


def apply(operator: Operator, canvas: Canvas, draw: Draw) -> Canvas:
    """:meth:`Operator.apply` on a backend; native code for images of one or three channels
    only.
    """
    fits = canvas.pixels.shape[1] in (1, 3) and not canvas.pixels.requires_grad
    return execute(operator.lower, canvas, draw, used() if fits else None)


def convolve(canvas: Canvas, kernels: NDArray[Any], border: Any = "reflect") -> Canvas:
    if used() == "reference":
        return convolution.convolve(canvas, kernels, border)
    return execute(
        lambda taps, samples: [convolution.correlate(samples, taps, border)],
        canvas,
        kernels,
        used(),
    )


def convolve_separable(
    canvas: Canvas, rows: NDArray[Any], columns: NDArray[Any], border: Any = "reflect"
) -> Canvas:
    if used() == "reference":
        return convolution.convolve_separable(canvas, rows, columns, border)
    return execute(
        lambda taps, samples: [convolution.correlate_separable(samples, *taps, border)],
        canvas,
        (columns, rows),
        used(),
    )


def resampled(
    canvas: Canvas, sizes: NDArray[Any], filters: Sequence[str], antialias: Sequence[bool]
) -> Canvas:
    if used() in ("reference", None):
        return resample.resample(canvas, sizes, filters, antialias)
    codes = np.array([resample.FILTERS.index(name) for name in filters], np.float64)
    return execute(
        lambda settings, samples: resample.resize(samples, *settings),
        canvas,
        (sizes, codes, np.asarray(antialias, np.float64)),
        used(),
    )


def jpeg(
    canvas: Canvas, quality: Any, chroma: Sequence[str], differentiable: bool = False
) -> Canvas:
    if used() in ("reference", None):
        return coding.jpeg(canvas, quality, chroma, differentiable)
    return execute(
        lambda settings, samples: [coding.compress(samples, *settings)],
        canvas,
        (np.asarray(quality), np.array([list(coding.CHROMA).index(name) for name in chroma])),
        used(),
    )
