"""Distributions, each of which *is* its quantile function ``[0, 1) -> value``.

Sampling evaluates it at uniforms, the median at 0.5, a severity sweep at a grid. A mixture inverts
exactly: the part of ``u`` that chose the component is removed, and the remainder, again uniform,
is the level inside it. Choices and mixtures keep the order in which they are written, so they are
monotone in ``u`` only if their parts are in ascending order.

Their YAML is :mod:`degrade.shorthand`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bernoulli",
    "Choice",
    "Const",
    "Dist",
    "Integers",
    "LogUniform",
    "Mix",
    "Normal",
    "Reciprocal",
    "Sqrt",
    "Uniform",
]

Real = NDArray[np.float64]
Value = float | str


class Dist(ABC):
    """A random variable, given by its quantile function."""

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """The least and the greatest value that can be drawn."""

    @abstractmethod
    def quantile(self, u: Real) -> Real:
        """Values at levels ``u`` in [0, 1); the same shape."""

    @abstractmethod
    def dump(self) -> Any:
        """The YAML data that :func:`parse` reads back."""


@dataclass(frozen=True)
class Const(Dist):
    """A constant."""

    value: float

    @property
    def support(self) -> tuple[float, float]:
        return self.value, self.value

    def quantile(self, u: Real) -> Real:
        return np.full(np.shape(u), self.value)

    def dump(self) -> Any:
        return _plain(self.value)


@dataclass(frozen=True)
class Bernoulli(Dist):
    """1 with probability ``p``, else 0. A yes-or-no field is written as its probability."""

    p: float

    @property
    def support(self) -> tuple[float, float]:
        return float(self.p == 1), float(self.p > 0)

    def quantile(self, u: Real) -> Real:
        return (np.asarray(u) < self.p).astype(np.float64)

    def dump(self) -> Any:
        return _plain(self.p)


@dataclass(frozen=True)
class Uniform(Dist):
    """Uniform on [low, high)."""

    low: float
    high: float

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def quantile(self, u: Real) -> Real:
        return self.low + u * (self.high - self.low)

    def dump(self) -> Any:
        return [_plain(self.low), _plain(self.high)]


@dataclass(frozen=True)
class Integers(Dist):
    """Uniform over the integers low, ..., high."""

    low: int
    high: int

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def quantile(self, u: Real) -> Real:
        return self.low + np.floor(u * (self.high - self.low + 1))

    def dump(self) -> Any:
        return {"integers": [self.low, self.high]}


@dataclass(frozen=True)
class LogUniform(Dist):
    """Uniform in the logarithm, on [low, high)."""

    low: float
    high: float

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def quantile(self, u: Real) -> Real:
        values = np.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return np.clip(values, self.low, self.high)  # exp(log(10)) is more than 10

    def dump(self) -> Any:
        return {"log_uniform": [_plain(self.low), _plain(self.high)]}


@dataclass(frozen=True)
class Normal(Dist):
    """Normal with this mean and standard deviation, truncated to [min, max]."""

    mean: float
    std: float
    min: float
    max: float

    @property
    def support(self) -> tuple[float, float]:
        return self.min, self.max

    def quantile(self, u: Real) -> Real:
        normal = NormalDist(self.mean, self.std)
        low, high = normal.cdf(self.min), normal.cdf(self.max)
        levels = np.clip(low + np.asarray(u) * (high - low), 1e-16, 1 - 1e-16)
        values = np.vectorize(normal.inv_cdf, otypes=[float])(levels)
        return np.clip(values, self.min, self.max)

    def dump(self) -> Any:
        return {
            "normal": {name: _plain(getattr(self, name)) for name in ("mean", "std", "min", "max")}
        }


@dataclass(frozen=True)
class Choice(Dist):
    """One of a list of numbers or of names; ``weights`` sum to 1. The value of a name is its
    index in the list.
    """

    values: tuple[Value, ...]
    weights: tuple[float, ...]

    @property
    def support(self) -> tuple[float, float]:
        numbers = [float(value) for value in self.values if not isinstance(value, str)]
        return (min(numbers), max(numbers)) if numbers else (0, len(self.values) - 1)

    def index(self, u: Real) -> NDArray[np.intp]:
        """Indices into the list at levels ``u``."""
        return pick(self.weights, u)[0]

    def quantile(self, u: Real) -> Real:
        if isinstance(self.values[0], str):
            return self.index(u).astype(np.float64)
        return np.array(self.values, np.float64)[self.index(u)]

    def dump(self) -> Any:
        values = [value if isinstance(value, str) else _plain(value) for value in self.values]
        if len(values) == 1 and isinstance(values[0], str):
            return values[0]
        if set(self.weights) == {1 / len(self.weights)}:
            return {"any": values}
        return {"any": dict(zip(values, self.weights, strict=True))}


@dataclass(frozen=True)
class Mix(Dist):
    """Component j with probability ``weights[j]``; weights sum to 1."""

    parts: tuple[Dist, ...]
    weights: tuple[float, ...]

    @property
    def support(self) -> tuple[float, float]:
        lows, highs = zip(*(part.support for part in self.parts), strict=True)
        return min(lows), max(highs)

    def quantile(self, u: Real) -> Real:
        index, rest = pick(self.weights, u)
        values = np.empty(np.shape(u))
        for j, part in enumerate(self.parts):
            values = np.where(index == j, part.quantile(rest), values)
        return values

    def dump(self) -> Any:
        return {
            "mix": [
                {"p": w, "of": d.dump()} for w, d in zip(self.weights, self.parts, strict=True)
            ]
        }


@dataclass(frozen=True)
class Sqrt(Dist):
    """The square root of another variable."""

    of: Dist

    @property
    def support(self) -> tuple[float, float]:
        low, high = self.of.support
        return math.sqrt(low), math.sqrt(high)

    def quantile(self, u: Real) -> Real:
        return np.sqrt(self.of.quantile(u))

    def dump(self) -> Any:
        return {"sqrt": self.of.dump()}


@dataclass(frozen=True)
class Reciprocal(Dist):
    """The reciprocal of a positive variable. It decreases, hence its level is 1 - u."""

    of: Dist

    @property
    def support(self) -> tuple[float, float]:
        low, high = self.of.support
        return 1 / high, 1 / low

    def quantile(self, u: Real) -> Real:
        return 1 / self.of.quantile(np.nextafter(1 - np.asarray(u), 0))

    def dump(self) -> Any:
        return {"reciprocal": self.of.dump()}


def is_constant(dist: Dist) -> bool:
    """Whether a distribution has one value only, and so needs no draw."""
    return isinstance(dist, Const) or (isinstance(dist, Choice) and len(dist.values) == 1)


def pick(weights: tuple[float, ...], u: Real) -> tuple[NDArray[np.intp], Real]:
    """Inverts a discrete distribution: returns the index chosen at level ``u``, and the
    remainder, again uniform on [0, 1).
    """
    edges, shares = cumulative(weights)
    index = np.minimum(edges.searchsorted(u, side="right") - 1, len(weights) - 1)
    rest = (u - edges[index]) / shares[index]
    return index, np.minimum(np.maximum(rest, 0), _BELOW_ONE)


_BELOW_ONE = np.nextafter(1, 0)


@lru_cache(maxsize=1024)
def cumulative(weights: tuple[float, ...]) -> tuple[Real, Real]:
    """The cumulative weights (n + 1 edges from 0 to 1), and the weights as an array.

    Both are cached: do not change them.
    """
    edges = np.concatenate([[0.0], np.cumsum(weights)])
    return edges / edges[-1], np.asarray(weights)


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() and abs(number) < 2**53 else number
