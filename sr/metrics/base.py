"""Metric: what measures one image, and how it does so in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Metric", "Window", "as_rgb", "window_of"]

Measure = Callable[[Tensor, Tensor, int], float]
Window = tuple[int, int]
"""The smallest shorter and longer side of an image."""


@dataclass(frozen=True)
class Metric:
    """A metric of one image.

    Args:
        measure: Value of SR and HR, (1, C, H, W) each in [0, 1], SR in 8-bit steps, and of the
            number of pixels to shave off each side. C = 3, or 1 for files that are grey.
        protocol: Channel, matrix, rounding, library and weights, in one line.
        window: Smallest shorter and longer side that it can measure, after shaving; one number
            for both.
        lower: Whether lower is better.
        blind: Whether it looks at SR alone, so that no ground truth is needed.
        most: Larger values count as this one; what is unbounded cannot be averaged.
    """

    measure: Measure
    protocol: str
    window: int | Window = 1
    lower: bool = False
    blind: bool = False
    most: float = math.inf

    def __call__(self, sr: Tensor, hr: Tensor, shave: int) -> float:
        """Return the value, NaN where it has none."""
        value = float(self.measure(sr, hr, shave))
        value = min(value, self.most)
        return value if math.isfinite(value) else math.nan


def window_of(metrics: Iterable[Metric]) -> Window:
    """Return the smallest shorter and longer side that all metrics can measure.

    >>> one, other = Metric(max, "", window=11), Metric(max, "", window=(2, 20))
    >>> window_of([one, other]), window_of([])
    ((11, 20), (1, 1))
    """
    windows = [
        (metric.window,) * 2 if isinstance(metric.window, int) else metric.window
        for metric in metrics
    ]
    shorter, longer = zip((1, 1), *windows, strict=True)
    return max(shorter), max(longer)


def as_rgb(image: Tensor) -> Tensor:
    """Return (B, 3, H, W) of RGB or grey."""
    return image.expand(-1, 3, -1, -1)
