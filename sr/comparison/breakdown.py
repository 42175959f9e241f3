"""Breakdown of a test set by what was drawn: which parameter explains the loss of a model.

.. math:: L_{d, i} = V_{\\mathrm{bicubic}, i} - V_{t, d, i}

is what image i loses, on draw d of test set t, against the same image under plain bicubic
downsampling: the image's own difficulty cancels. Without such a column it is
:math:`\\bar V_i - V_{t, d, i}`, against the image's own mean, if images are drawn several times,
else :math:`-V_{t, d, i}`. Samples are grouped by the drawn value (five groups of equal size, or
the options of a choice; samples that did not draw it are a group of their own), and the parameter
explains the share

.. math:: \\epsilon^2 = 1 - \\frac{n - 1}{n - k}
          \\frac{\\sum_{g} \\sum_{j \\in g} (L_j - \\bar L_g)^2}{\\sum_j (L_j - \\bar L)^2}

of the variance: correlation ratio, corrected for k groups, so that 0 is what chance gives. The
draws are independent of each other, so that the shares of several parameters can be compared.
Intervals are bootstraps over images, all draws of an image together.

References:
    | An introduction to the bootstrap (Efron and Tibshirani, 1993)
    | Note on an unbiased correlation ratio (Kelley, 1935)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from degrade.fields import Range
from degrade.plan import Column
from sr.comparison.bootstrap import LEVEL, Interval, counts, interval
from sr.comparison.matrix import Matrix, Reals, TestSet

__all__ = ["Group", "Parameter", "Share", "curve", "explained", "losses", "parameters", "ranked"]

GROUPS = 5
"""Groups of a numeric parameter."""
RESAMPLES = 200
"""Resamples of an explained share."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Group:
    """Samples with similar values of a parameter.

    Args:
        label: The values, in words.
        center: Their median; NaN for names and for samples that did not draw it.
    """

    label: str
    center: float = math.nan


@dataclass(frozen=True, eq=False)
class Parameter:
    """A random variable of a test set, and the group of each sample.

    Args:
        address: Its address.
        unit: Its unit.
        values: (D, N); NaN where it was not drawn.
        groups: At least two groups.
        member: (D, N) index of each sample's group.
    """

    address: str
    unit: str
    values: Reals
    groups: tuple[Group, ...]
    member: Indices


@dataclass(frozen=True)
class Share:
    """How much of a loss a parameter explains.

    Args:
        parameter: Its index in :func:`parameters`.
        share: Of the variance, with its interval.
        rho: Spearman's rank correlation with the loss, where the parameter is numeric; else NaN.
    """

    parameter: int
    share: Interval
    rho: float


# --- groups --------------------------------------------------------------------------------------


def parameters(test: TestSet) -> list[Parameter]:
    """Return the variables of a test set that differ between samples, in the recipe's order."""
    if test.recipe is None or not test.plans:
        return []
    found: list[Parameter] = []
    for column in test.recipe.columns:
        values = np.stack([plan[column.address] for plan in test.plans])
        parameter = _grouped(column, values)
        if parameter is not None:
            found.append(parameter)
    return found


def _grouped(column: Column, values: Reals) -> Parameter | None:
    """A variable with its groups; None if all samples are in one."""
    drawn = ~np.isnan(values)
    distinct = np.unique(values[drawn])
    member = np.full(values.shape, -1, np.intp)
    groups: list[Group] = []
    variable = column.variable
    numeric = isinstance(variable, Range)
    if numeric and len(distinct) > GROUPS:
        edges = np.unique(np.quantile(values[drawn], np.linspace(0, 1, GROUPS + 1)))
        place = np.searchsorted(edges, values[drawn], "right").clip(1, len(edges) - 1) - 1
        member[drawn] = place
        for i, (low, high) in enumerate(pairwise(edges.tolist())):
            own = values[drawn][place == i]
            center = float(np.median(own)) if len(own) else math.nan
            groups.append(Group(f"{low:.3g} to {high:.3g}", center))
    else:
        for i, value in enumerate(distinct.tolist()):
            member[values == value] = i
            groups.append(Group(variable.label(value), value if numeric else math.nan))
    if not drawn.all():
        member[~drawn] = len(groups)
        groups.append(Group("not drawn"))
    used: Indices = np.unique(member)
    if len(used) < 2:
        return None
    kept = tuple(groups[int(i)] for i in used)
    unit = variable.unit if isinstance(variable, Range) else ""
    return Parameter(column.address, unit, values, kept, np.searchsorted(used, member))


# --- losses --------------------------------------------------------------------------------------


def losses(matrix: Matrix, metric: str, row: int, column: int) -> tuple[Reals, str]:
    """Return what each sample loses, (D, N), mean over seeds, and against what, in words. NaN
    where a value is not finite.
    """
    values = matrix.sign(metric) * matrix.scores[metric][row][column].mean(0)
    values = np.where(np.isfinite(values), values, np.nan)
    plain = _plain(matrix, column)
    if plain is not None:
        reference = matrix.sign(metric) * matrix.by_image(metric, row, plain)
        return reference - values, f"the same image on {matrix.tests[plain].name}"
    if len(values) > 1:
        return values.mean(0) - values, "the image's mean over its draws"
    return -values, "zero, image by image, so that the images' own difficulty is in it"


def _plain(matrix: Matrix, column: int) -> int | None:
    """The column of the same images that draws nothing, such as bicubic's."""
    own = matrix.tests[column]
    for i, test in enumerate(matrix.tests):
        same = list(test.images) == list(own.images)
        if i != column and same and test.recipe is not None and not test.recipe.columns:
            return i
    return None


# --- shares --------------------------------------------------------------------------------------


def explained(loss: Reals, member: Indices, groups: int) -> Interval:
    """Return the share of the variance of (D, N) losses that groups explain, and its interval.

    >>> explained(np.array([[1.0, 1.0, 3.0, 3.0]]), np.array([[0, 0, 1, 1]]), 2).mean
    1.0
    """
    known = np.isfinite(loss)
    images = loss.shape[1]
    hot = np.zeros((images, groups, 3))
    for k in range(groups):
        own = known & (member == k)
        terms = np.where(own, loss, 0.0)
        hot[:, k] = np.stack([own.sum(0), terms.sum(0), (terms**2).sum(0)], 1)
    weights = np.concatenate([np.ones((1, images)), counts(images)[:RESAMPLES]])
    sums = (weights @ hot.reshape(images, -1)).reshape(len(weights), groups, 3)
    share = _share(sums)
    low, high = np.nanquantile(share[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(float(share[0]), low, high)


def _share(sums: Reals) -> Reals:
    """Explained share of count, sum and sum of squares of each group, (B, K, 3)."""
    n, total, squares = (sums[..., i] for i in range(3))
    used = (n > 0).sum(1)
    count = n.sum(1)
    between = np.divide(total**2, n, out=np.zeros_like(total), where=n > 0).sum(1)
    whole = squares.sum(1) - total.sum(1) ** 2 / count
    inside = squares.sum(1) - between
    enough = (count > used) & (whole > 1e-12)
    ratio = np.divide(inside, whole, out=np.ones_like(whole), where=enough)
    factor = np.divide(count - 1, count - used, out=np.ones_like(count), where=enough)
    return np.clip(1 - factor * ratio, 0, 1)


def ranked(loss: Reals, found: Sequence[Parameter]) -> list[Share]:
    """Return all parameters, the one that explains most first."""
    shares = [
        Share(i, explained(loss, one.member, len(one.groups)), _spearman(loss, one))
        for i, one in enumerate(found)
    ]
    return sorted(shares, key=lambda share: -share.share.mean)


def _spearman(loss: Reals, parameter: Parameter) -> float:
    numeric = any(math.isfinite(group.center) for group in parameter.groups)
    both = np.isfinite(loss) & np.isfinite(parameter.values)
    x, y = parameter.values[both], loss[both]
    if not numeric or len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    ranks = [_ranks(values) for values in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Reals) -> Reals:
    """Ranks, ties their mean."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[inverse]


def curve(loss: Reals, parameter: Parameter) -> list[tuple[Interval, int]]:
    """Return the mean loss of each group with its interval over images, and the samples in it."""
    points: list[tuple[Interval, int]] = []
    for k in range(len(parameter.groups)):
        own = np.isfinite(loss) & (parameter.member == k)
        taken = own.sum(0)
        some = taken > 0
        sums = np.where(own, loss, 0.0).sum(0)[some]
        images = sums / taken[some]
        found = interval(images) if len(images) else Interval(math.nan, math.nan, math.nan)
        points.append((found, int(own.sum())))
    return points
