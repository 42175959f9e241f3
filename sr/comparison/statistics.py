"""Statistics of a matrix: means, paired differences, generalization gaps and rankings, with
bootstrap intervals (:mod:`sr.comparison.bootstrap`).

.. math:: \\Delta_i = V_{m, r, t, i} - V_{\\mathrm{bicubic}, t, i}, \\qquad
          G_{m, r} = \\operatorname{mean}_{t \\neq r, i} (V_{m, t, t, i} - V_{m, r, t, i})

G is the generalization gap: what a model loses, on recipes that it was not trained on, against
the same model trained on them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr.comparison.bootstrap import Interval, interval
from sr.comparison.matrix import Matrix

__all__ = [
    "LOWER_IS_BETTER",
    "Json",
    "cell",
    "difference",
    "finite_or_none",
    "gap",
    "interval_as_dict",
    "ranking",
]

Json = dict[str, Any]
"""An object of a JSON file."""

LOWER_IS_BETTER = ("lpips",)
"""Metrics of which lower values are better."""


def cell(matrix: Matrix, metric: str, row: int, column: int) -> NDArray[np.float64]:
    """Return the values of the images, (N,)."""
    return np.array(matrix.values[metric][row][column])


def difference(
    matrix: Matrix, metric: str, row: int, column: int, other: int | None
) -> Interval | None:
    """Return the interval of a row minus another, paired over the images of a column; None if
    there is no other row.
    """
    if other is None or other == row:
        return None
    return interval(cell(matrix, metric, row, column) - cell(matrix, metric, other, column))


def gap(matrix: Matrix, metric: str, row: int) -> Interval | None:
    """Return the generalization gap of a row; None if no other recipe has a run of the model."""
    losses = [
        cell(matrix, metric, other, column) - cell(matrix, metric, row, column)
        for column in range(len(matrix.tests))
        if (other := matrix.matched(row, column)) is not None and other != row
    ]
    return interval(np.mean(losses, 0)) if losses else None


def ranking(matrix: Matrix, metric: str, column: int) -> list[int]:
    """Return the rank of each row by its mean, 1 the best."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    rows = range(len(matrix.rows))
    means = [sign * float(cell(matrix, metric, row, column).mean()) for row in rows]
    return [1 + sum(mean < own for mean in means) for own in means]


def interval_as_dict(found: Interval | None) -> Json | None:
    """Return an interval for JSON."""
    if found is None:
        return None
    ends = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: finite_or_none(value) for name, value in ends.items()}


def finite_or_none(number: float) -> float | None:
    """Return a number for JSON, which has no infinity and no NaN.

    >>> finite_or_none(1 / 3), finite_or_none(float("nan"))
    (0.333333, None)
    """
    return round(float(number), 6) if math.isfinite(number) else None
