"""Agreement of test sets on the order of models: Kendall's tau, and pairs that change places.

.. math:: \\tau(t, u) = \\frac{\\sum_{a < b} \\operatorname{sgn}(V_{a, t} - V_{b, t})
          \\operatorname{sgn}(V_{a, u} - V_{b, u})}{\\sqrt{n_t n_u}}

over pairs of models a, b, with the n pairs that are not tied (tau-b): 1 for one order, -1 for
opposite ones. Its interval is the percentile bootstrap over seeds and images, the same resample
for all models and for all test sets of the same images. Two models change places between t and u
if the intervals of their differences exclude zero there with opposite signs.

References:
    | A new measure of rank correlation (Kendall, 1938)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sr.comparison.bootstrap import DRAWS, LEVEL, Interval, counts
from sr.comparison.matrix import Matrix, Reals
from sr.comparison.statistics import cell, difference

__all__ = ["Flip", "flips", "kendall", "resampled_scores", "tau"]


@dataclass(frozen=True)
class Flip:
    """Rows ``better`` and ``worse`` of column ``here``, in reverse order in column ``there``."""

    better: int
    worse: int
    here: int
    there: int


def kendall(one: Reals, other: Reals) -> Reals:
    """Return tau-b of the orders of n items, (..., n) each; NaN where all are tied. Items with NaN
    in one of them are left out.

    >>> float(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))).__round__(3)
    0.333
    """
    i, j = np.triu_indices(one.shape[-1], 1)
    a = np.sign(one[..., i] - one[..., j])
    b = np.sign(other[..., i] - other[..., j])
    known = ~np.isnan(a + b)
    a, b = np.where(known, a, 0), np.where(known, b, 0)
    untied: Reals = np.sqrt((a != 0).sum(-1) * (b != 0).sum(-1).astype(np.float64))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(-1) / untied, np.float64)


def resampled_scores(matrix: Matrix, metric: str, column: int) -> Reals:
    """Return the means of all rows in each resample of seeds and images, (B, R), higher is
    better.
    """
    means: list[Reals] = []
    for row in range(len(matrix.rows)):
        values = matrix.sign(metric) * cell(matrix, metric, row, column)
        seeds, images = values.shape
        if not images:
            return np.full((DRAWS, len(matrix.rows)), np.nan)
        # Seeds of two models are different runs: each row draws its own.
        runs = counts(seeds, what=f"seeds {row}") / seeds
        means.append(((runs @ values) * counts(images)).sum(1) / images)
    return np.stack(means, 1)


def tau(matrix: Matrix, metric: str) -> list[list[Interval]]:
    """Return Kendall's tau of every two columns with its interval; NaN for fewer than two rows,
    and for the ends of a column of a single image.
    """
    columns = range(len(matrix.tests))
    samples = [resampled_scores(matrix, metric, column) for column in columns]
    rows = range(len(matrix.rows))
    means = [
        np.array([matrix.sign(metric) * float(v.mean()) if v.size else math.nan for v in values])
        for values in ([cell(matrix, metric, row, column) for row in rows] for column in columns)
    ]

    def one(t: int, u: int) -> Interval:
        if len(rows) < 2:
            return Interval(math.nan, math.nan, math.nan)
        spread = kendall(samples[t], samples[u])
        mean = float(kendall(means[t], means[u]))
        few = min(int(matrix.kept(metric, column).sum()) for column in (t, u)) < 2
        if few or not np.isfinite(spread).any():
            return Interval(mean, math.nan, math.nan)
        low, high = np.nanquantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        return Interval(mean, low, high)

    table = {(t, u): one(t, u) for t in columns for u in columns if t <= u}
    return [[table[min(t, u), max(t, u)] for u in columns] for t in columns]


def flips(matrix: Matrix, metric: str) -> list[Flip]:
    """Return the pairs of rows that clearly change places between two columns, each once."""
    found: list[Flip] = []
    columns = range(len(matrix.tests))
    for a in range(len(matrix.rows)):
        for b in range(a):
            gaps = [difference(matrix, metric, a, column, b) for column in columns]
            ahead = [
                0
                if one is None or not one.clear
                else matrix.sign(metric) * (1 if one.mean > 0 else -1)
                for one in gaps
            ]
            for t in columns:
                for u in columns[:t]:
                    if ahead[t] * ahead[u] < 0:
                        better, worse = (a, b) if ahead[u] > 0 else (b, a)
                        found.append(Flip(better, worse, u, t))
    return found
