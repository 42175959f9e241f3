"""Statistics of a matrix: means, paired differences, generalization gaps and rankings, with
bootstrap intervals over seeds and images (:mod:`sr.comparison.bootstrap`).

.. math:: \\Delta_{s, i} = V_{m, r, t, s, i} - V_{\\mathrm{bicubic}, t, i}, \\qquad
          G_{m, r} = \\operatorname{mean}_{t \\neq r, s, i} (V_{m, t, t, s, i} - V_{m, r, t, s, i})

G is the generalization gap: what a model loses, on recipes that it was not trained on, against
the same model trained on them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sr.comparison.bootstrap import Interval, interval
from sr.comparison.matrix import Matrix, Reals

__all__ = [
    "Json",
    "cell",
    "difference",
    "finite_or_none",
    "gap",
    "interval_as_dict",
    "mean_of",
    "ranking",
]

Json = dict[str, Any]
"""An object of a JSON file."""


def cell(matrix: Matrix, metric: str, row: int, column: int) -> Reals:
    """Return the values by seed and image, means over the draws, (S, N): images that every row
    has a finite value for.
    """
    return matrix.scores[metric][row][column].mean(1)[:, matrix.kept(metric, column)]


def mean_of(values: Reals) -> Interval:
    """Return the interval of (S, N) values; all NaN if there are none."""
    return interval(values) if values.size else Interval(math.nan, math.nan, math.nan)


def difference(
    matrix: Matrix, metric: str, row: int, column: int, other: int | None
) -> Interval | None:
    """Return the interval of a row minus another, paired over the images of a column and seed by
    seed; None if there is no other row. A row of one run is compared with each run of the other.
    """
    if other is None or other == row:
        return None
    own, theirs = (cell(matrix, metric, each, column) for each in (row, other))
    return mean_of(own - theirs)


def gap(matrix: Matrix, metric: str, row: int) -> Interval | None:
    """Return the generalization gap of a row; None if no other recipe has a run of the model.
    Images left out of a column are left out of all.
    """
    others = [
        (column, other)
        for column, test in enumerate(matrix.tests)
        if test.level is None
        and (other := matrix.matched(row, column)) is not None
        and other != row
    ]
    if not others:
        return None
    kept = np.logical_and.reduce([matrix.kept(metric, column) for column, _ in others])

    def values(each: int, column: int) -> Reals:
        return matrix.scores[metric][each][column].mean(1)[:, kept]

    losses = [values(other, column) - values(row, column) for column, other in others]
    return mean_of(np.mean(losses, 0))


def ranking(matrix: Matrix, metric: str, column: int) -> list[int | None]:
    """Return the rank of each row by its mean, 1 the best; None where it has no value."""
    values = [cell(matrix, metric, row, column) for row in range(len(matrix.rows))]
    means = [-matrix.sign(metric) * float(own.mean()) if own.size else math.nan for own in values]
    return [None if math.isnan(own) else 1 + sum(mean < own for mean in means) for own in means]


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
