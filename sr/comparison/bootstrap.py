"""Bootstrap intervals of a mean over images and seeds, which keep their level for few of both.

.. math:: \\bar x^{*}_b = \\frac{1}{S N} \\sum_{s, i} c_{bs} d_{bi} x_{si}, \\qquad
          [\\bar x - k (\\bar x - q_{\\alpha_1}),\\; \\bar x + k (q_{\\alpha_2} - \\bar x)]

Resample b takes seed s :math:`c_{bs}` times and image i :math:`d_{bi}` times: both are drawn anew,
for another run has another seed and another test set other images. :math:`q_\\alpha` are quantiles
of the B resampled means at the bias-corrected and accelerated (BCa) levels, which follow the skew
of the values. A mean of few values is resampled too narrowly, by :math:`\\sqrt{(n - 1) / n}`, and
its error has the heavier tails of Student's t, so the ends are stretched by

.. math:: k = \\frac{t_{\\nu}}{z} \\frac{\\hat\\sigma}{\\sigma^{*}}

with the unbiased standard error :math:`\\hat\\sigma` of the mean over crossed seeds and images,
its degrees of freedom :math:`\\nu` (Satterthwaite), and the resampled means' :math:`\\sigma^*`.
The BCa interval alone covers the mean of 5 normal values in 84 of 100 cases, this one in 94.

Two models that saw the same images are compared by the interval of their differences: the
difficulty of an image is common to both and cancels. Images are assumed independent; crops of one
photograph are not, and their intervals are too narrow for other photographs. Of a single seed
nothing is known about others, and its interval speaks of that run alone.

References:
    | An introduction to the bootstrap, chapter 14 (Efron and Tibshirani, 1993)
    | What teachers should know about the bootstrap (Hesterberg, 2015)
    | The pigeonhole bootstrap (Owen, 2007)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from degrade.rng import Key

__all__ = ["DRAWS", "LEVEL", "Interval", "counts", "interval"]

DRAWS = 2000
"""Number of resamples B."""
LEVEL = 0.95
"""Share of the intervals that hold the true mean."""

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over images and seeds with its confidence interval; both ends are NaN for a single
    image.
    """

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether zero is outside the interval."""
        return self.low > 0 or self.high < 0


@lru_cache(maxsize=32)
def counts(
    items: int, draws: int = DRAWS, seed: int = 0, what: str = "bootstrap"
) -> NDArray[np.int64]:
    """Return how often resample b contains item i, (B, N); a function of its arguments.

    >>> counts(3, draws=2).sum(1)
    array([3, 3])
    """
    rows = Key.of(seed, np.arange(draws)).fold(what)
    found = np.zeros((draws, items), np.int64)
    for i in range(items):
        drawn = (rows.fold(i).uniform() * items).astype(np.int64)
        found[np.arange(draws), drawn] += 1
    return found


def interval(
    values: Sequence[float] | Reals | ArrayLike, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the interval of the mean. To compare two models, give their differences.

    >>> interval([1.0, 2.0, 3.0]).mean
    2.0

    Args:
        values: One an image, (N,), or one a seed and image, (S, N). Equal N use equal resamples.
        level: Share of the intervals that hold the true mean, in (0, 1).
        seed: Seed of the resamples.

    Raises:
        ValueError: No values, or a level outside (0, 1).
    """
    data = np.asarray(values, np.float64)
    data = data[None] if data.ndim == 1 else data
    if data.ndim != 2 or not data.size:
        raise ValueError(
            f"values of shape {data.shape}; must be (N,), one an image, or (S, N), with N >= 1"
        )
    if not 0 < level < 1:
        raise ValueError(f"level {level}: must be in (0, 1)")
    mean = float(data.mean())
    # A single image has no spread; nor have values that are not finite.
    if data.shape[1] == 1 or not np.isfinite(data).all():
        return Interval(mean, math.nan, math.nan)
    error, freedom = standard_error(data)
    means = resampled_means(data, seed)
    spread = float(means.std())
    if not error > 1e-12 * max(1.0, abs(mean)) or not spread:
        return Interval(mean, mean, mean)
    low, high = np.quantile(means, accelerated(data, means, (1 - level) / 2)).tolist()
    tail = (1 + level) / 2
    k = float(special.stdtrit(freedom, tail) / special.ndtri(tail)) * error / spread
    return Interval(mean, mean - k * (mean - low), mean + k * (high - mean))


def resampled_means(data: Reals, seed: int = 0) -> Reals:
    """Return the means of (S, N) values in each resample, (B,)."""
    seeds, images = data.shape
    taken = counts(images, seed=seed)
    if seeds == 1:
        return taken @ data[0] / images
    runs = counts(seeds, seed=seed, what="seeds")
    return ((runs @ data) * taken).sum(1) / (seeds * images)


def standard_error(data: Reals) -> tuple[float, float]:
    """Return the standard error of the mean of crossed seeds and images, (S, N), and its degrees
    of freedom.

    With mean squares of images, of seeds and of what is left (two-way analysis of variance), the
    variance of the mean is :math:`(M_i + M_s - M_r) / (S N)`, at least each of the first two.
    """
    seeds, images = data.shape
    by_image, by_seed = data.mean(0), data.mean(1)
    own = seeds * float(by_image.var(ddof=1))
    if seeds == 1:
        return math.sqrt(own / images), images - 1.0
    other = images * float(by_seed.var(ddof=1))
    rest = data - by_image - by_seed[:, None] + data.mean()
    left = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    variance = max(own + other - left, own, other)
    bottom = own**2 / (images - 1) + other**2 / (seeds - 1)
    return math.sqrt(variance / data.size), (own + other) ** 2 / bottom if bottom else 1.0


def accelerated(data: Reals, means: Reals, tail: float) -> tuple[float, float]:
    """Return the levels of the two quantiles of a BCa interval.

    .. math:: \\alpha' = \\Phi\\left(z_0 + \\frac{z_0 + z_\\alpha}{1 - a (z_0 + z_\\alpha)}\\right)

    with the bias :math:`z_0` of the resampled means' median and the acceleration a, the skewness
    of the influence of each image and each seed.
    """
    mean = data.mean()
    below = float((means < mean).mean() + (means == mean).mean() / 2)
    bias = special.ndtri(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    influence = [(data.mean(axis) - mean) / data.shape[1 - axis] for axis in (0, 1)]
    all_of_them = np.concatenate(influence)
    scale = float((all_of_them**2).sum()) ** 1.5
    a = float((all_of_them**3).sum()) / (6 * scale) if scale else 0.0
    normal = special.ndtri([tail, 1 - tail])
    low, high = special.ndtr(bias + (bias + normal) / (1 - a * (bias + normal)))
    return float(low), float(high)
