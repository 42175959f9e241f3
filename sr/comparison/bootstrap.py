"""Paired bootstrap: how far would a mean over images move, had other images of the same kind been
drawn?

.. math:: \\bar x^{*}_b = \\frac1N \\sum_{i=1}^{N} x_{j_{bi}}, \\qquad j_{bi} \\sim \\mathrm{U}\\{1, \\ldots, N\\}

An interval holds the middle of the B resampled means. Models that saw the same images are compared
by the interval of their differences, image by image: what is hard in an image is hard for both,
and cancels. The one constraint: images are taken for independent. Crops of one photograph are not,
and their intervals are too narrow for other photographs.

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
"""Resamples B."""
LEVEL = 0.95
"""Share of the resampled means that lie in the interval."""


@dataclass(frozen=True)
class Interval:
    """A mean over images, and where it would be with others; NaN ends for a single image."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether zero is outside."""
        return self.low > 0 or self.high < 0


@lru_cache(maxsize=8)
def counts(images: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """(B, N): how often resample b takes image i; each row sums to N. It depends on N, B and
    the seed alone.
    """
    rows = Key.of(seed, np.arange(draws)).fold("bootstrap")
    found = np.zeros((draws, images), np.int64)
    for place in range(images):
        chosen = (rows.fold(place).uniform() * images).astype(np.int64)
        found[np.arange(draws), chosen] += 1
    return found


def interval(
    values: Sequence[float] | NDArray[np.float64], level: float = LEVEL, seed: int = 0
) -> Interval:
    """The percentile interval of the mean of one value an image; give differences to compare two
    models.

    Args:
        values: (N,), in the order of the images. Equal N means equal resamples, so that intervals
            can be compared.
        level: Share of the means inside, in (0, 1).
        seed: Of the resamples.

    Raises:
        ValueError: No values, or a level outside (0, 1).
    """
    data = np.asarray(values, np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError(f"values of shape {data.shape}; there should be one an image")
    if not 0 < level < 1:
        raise ValueError(f"level {level} should be in (0, 1)")
    mean = float(data.mean())
    # One image says nothing of others; an infinite PSNR (equal images) has no spread that means
    # anything.
    if len(data) == 1 or not np.isfinite(data).all():
        return Interval(mean, math.nan, math.nan)
    means = counts(len(data), seed=seed) @ data / len(data)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))
