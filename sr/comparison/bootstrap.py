"""Paired bootstrap: confidence intervals of a mean over images.

.. math:: \\bar x^{*}_b = \\frac1N \\sum_{i=1}^{N} x_{j_{bi}}, \\qquad
          j_{bi} \\sim \\mathrm{U}\\{1, \\ldots, N\\}

The interval contains the central share of the B resampled means. Two models that saw the same
images are compared by the interval of their per-image differences: the difficulty of an image is
common to both and cancels. Images are assumed independent; crops of one photograph are not, and
their intervals are too narrow for other photographs.

References:
    | An introduction to the bootstrap, chapter 13 (Efron and Tibshirani, 1993)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from degrade.rng import Key

__all__ = ["DRAWS", "LEVEL", "Interval", "counts", "interval"]

DRAWS = 2000
"""Number of resamples B."""
LEVEL = 0.95
"""Share of the resampled means inside the interval."""


@dataclass(frozen=True)
class Interval:
    """A mean over images with its confidence interval; both ends are NaN for a single image."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether zero is outside the interval."""
        return self.low > 0 or self.high < 0


@lru_cache(maxsize=8)
def counts(images: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """Return how often resample b contains image i, (B, N); a function of N, B and the seed.

    >>> counts(3, draws=2).sum(1)
    array([3, 3])
    """
    rows = Key.of(seed, np.arange(draws)).fold("bootstrap")
    found = np.zeros((draws, images), np.int64)
    for i in range(images):
        drawn = (rows.fold(i).uniform() * images).astype(np.int64)
        found[np.arange(draws), drawn] += 1
    return found


def interval(
    values: Sequence[float] | NDArray[np.float64], level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the percentile interval of the mean of one value an image. To compare two models,
    give their differences.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=1.0, high=3.0)

    Args:
        values: (N,), in the order of the images. Equal N use equal resamples.
        level: Share of the resampled means inside, in (0, 1).
        seed: Seed of the resamples.

    Raises:
        ValueError: No values, or a level outside (0, 1).
    """
    data = np.asarray(values, np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError(f"values of shape {data.shape}; must be (N,), one an image, with N >= 1")
    if not 0 < level < 1:
        raise ValueError(f"level {level}: must be in (0, 1)")
    mean = float(data.mean())
    # A single image has no spread; nor has an infinite PSNR (equal images).
    if len(data) == 1 or not np.isfinite(data).all():
        return Interval(mean, math.nan, math.nan)
    means = counts(len(data), seed=seed) @ data / len(data)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))
