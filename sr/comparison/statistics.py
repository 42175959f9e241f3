"""Means, differences, gaps and ranks of a matrix, with their intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr.comparison.bootstrap import Interval, interval
from sr.comparison.compare import Matrix

__all__ = []

Data = dict[str, Any]


Real = NDArray[np.float64]


LOWER = ("lpips",)
"""Metrics of which less is better."""


def cell(matrix: Matrix, metric: str, row: int, column: int) -> Real:
    """(N,) values of the images."""
    return np.array(matrix.values[metric][row][column])


def against(
    matrix: Matrix, metric: str, row: int, column: int, other: int | None
) -> Interval | None:
    """A row minus another, over the images of a column."""
    if other is None or other == row:
        return None
    return interval(cell(matrix, metric, row, column) - cell(matrix, metric, other, column))


def gap(matrix: Matrix, metric: str, row: int) -> Interval | None:
    """The generalisation gap; None where no regime but its own has a run of the same model."""
    lost = [
        cell(matrix, metric, other, column) - cell(matrix, metric, row, column)
        for column in range(len(matrix.tests))
        if (other := matrix.matched(row, column)) is not None and other != row
    ]
    return interval(np.mean(lost, 0)) if lost else None


def ranks(matrix: Matrix, metric: str, column: int) -> list[int]:
    """Of each row, 1 the best, by the mean."""
    sign = 1 if metric in LOWER else -1
    means = [
        sign * float(cell(matrix, metric, row, column).mean())
        for row in range(len(matrix.entries))
    ]
    return [1 + sum(mean < own for mean in means) for own in means]


def as_data(found: Interval | None) -> Data | None:
    """For JSON."""
    if found is None:
        return None
    return {"mean": finite(found.mean), "low": finite(found.low), "high": finite(found.high)}


def finite(number: float) -> float | None:
    """JSON knows no infinity and no NaN."""
    return round(float(number), 6) if math.isfinite(number) else None
