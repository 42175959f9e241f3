"""Distributions, each of which *is* its quantile function ``[0, 1) -> value``.

Sampling is a call on uniforms; the median is a call on 0.5; a severity sweep is a call on a grid. A mixture inverts
exactly: the part of ``u`` that chose the component is removed and the remainder, again uniform, is used inside it.
Choices and mixtures keep the order in which they are written, so only with parts in rising order do they rise with u.

YAML shorthand (:func:`parse`):

=============================================  ==========================================================
``3``                                          the number itself
``[a, b]``                                     uniform on [a, b)
``[area, bicubic]``                            one of these names, equally likely
``{any: [a, b, c]}``                           one of them, equally likely
``{any: {a: 0.2, b: 0.8}}``                    one of them, with these weights (they are normalised)
``{integers: [a, b]}``                         a whole number, both ends included
``{mix: [{p: 0.2, of: X}, {p: 0.8, of: Y}]}``  X with probability 0.2, else Y
``{log_uniform: [a, b]}``                      exp(U(log a, log b))
``{normal: {mean, std, min, max}}``            normal, truncated to [min, max]
``{sqrt: X}``                                  square root of X (a standard deviation whose variance is X)
``{reciprocal: X}``                            1 / X (a factor 1 / U(1, 8))
=============================================  ==========================================================

A number may be written as a fraction, ``1/3``.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import Any, TypeGuard, TypeVar

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
    "dump",
    "parse",
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
    """Always the same number."""

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
    """1 with probability ``p``, else 0. Written as the probability alone, where a field is a yes or no."""

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
    """Uniform over the whole numbers low, ..., high."""

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
    """Normal of this mean and standard deviation, conditioned on [min, max]."""

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
        return {"normal": {name: _plain(getattr(self, name)) for name in ("mean", "std", "min", "max")}}


@dataclass(frozen=True)
class Choice(Dist):
    """One of a list of numbers or of names; ``weights`` sum to 1. A name's value is its place in the list."""

    values: tuple[Value, ...]
    weights: tuple[float, ...]

    @property
    def support(self) -> tuple[float, float]:
        numbers = [float(value) for value in self.values if not isinstance(value, str)]
        return (min(numbers), max(numbers)) if numbers else (0, len(self.values) - 1)

    def index(self, u: Real) -> NDArray[np.intp]:
        """Places in the list at levels ``u``."""
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
        return {"mix": [{"p": w, "of": d.dump()} for w, d in zip(self.weights, self.parts, strict=True)]}


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
    """One over another, positive variable. Decreasing, hence the level is turned round."""

    of: Dist

    @property
    def support(self) -> tuple[float, float]:
        low, high = self.of.support
        return 1 / high, 1 / low

    def quantile(self, u: Real) -> Real:
        return 1 / self.of.quantile(np.nextafter(1 - np.asarray(u), 0))

    def dump(self) -> Any:
        return {"reciprocal": self.of.dump()}


def pick(weights: tuple[float, ...], u: Real) -> tuple[NDArray[np.intp], Real]:
    """Inverts a discrete distribution: the index chosen at level ``u`` and the remainder, uniform again on [0, 1)."""
    edges, shares = _edges(weights)
    index = np.minimum(edges.searchsorted(u, side="right") - 1, len(weights) - 1)
    rest = (u - edges[index]) / shares[index]
    return index, np.minimum(np.maximum(rest, 0), _BELOW_ONE)


_BELOW_ONE = np.nextafter(1, 0)


@lru_cache(maxsize=1024)
def _edges(weights: tuple[float, ...]) -> tuple[Real, Real]:
    """Where each part of [0, 1] begins, and the weights as an array; the same objects each time, not to be changed."""
    edges = np.concatenate([[0.0], np.cumsum(weights)])
    return edges / edges[-1], np.asarray(weights)


# --- YAML ------------------------------------------------------------------------------------------------------------


def parse(data: Any) -> Dist:
    """Reads the shorthand of this module's docstring.

    Raises:
        ValueError: naming the value and what would be right.
    """
    if isinstance(data, Dist):
        return data
    if isinstance(data, bool):
        return Const(float(data))
    if isinstance(data, int | float):
        return Const(_finite(data))
    if isinstance(data, str):
        number = _fraction(data)
        return Choice((data,), (1.0,)) if number is None else Const(_finite(number))
    if _is_list(data):
        names = bool(data) and all(isinstance(value, str) and _fraction(value) is None for value in data)
        return _any(data) if names else _ordered(Uniform, data)
    if _is_mapping(data) and len(data) == 1:
        [(kind, body)] = data.items()
        if kind in _KINDS:
            return _KINDS[kind](body)
    raise ValueError(f"{_show(data)} is no distribution; write a number, [low, high], or one of {', '.join(_KINDS)}")


def dump(dist: Dist) -> Any:
    """The shortest YAML data of a distribution: ``parse(dump(d)) == d``."""
    return dist.dump()


def _any(body: Any) -> Dist:
    if _is_mapping(body) and body:
        weights = _normalised([_number(weight) for weight in body.values()])
    elif _is_list(body) and body:
        weights = (1 / len(body),) * len(body)
    else:
        raise ValueError(f"any: {_show(body)} should be a list of values, or values with their weights")
    values = tuple(_value(value) for value in body)
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError(f"any: {_show(body)} should be all numbers or all names")
    return Choice(values, weights)


def _integers(body: Any) -> Dist:
    dist = _ordered(Uniform, body)
    if not all(edge.is_integer() for edge in dist.support):
        raise ValueError(f"integers: {_show(body)} should be two whole numbers")
    return Integers(int(dist.low), int(dist.high))


def _log_uniform(body: Any) -> Dist:
    dist = _ordered(LogUniform, body)
    if dist.low <= 0:
        raise ValueError(f"log_uniform: {_show(body)} should be two positive numbers")
    return dist


def _normal(body: Any) -> Dist:
    names = ("mean", "std", "min", "max")
    if not _is_mapping(body) or set(body) != set(names):
        raise ValueError(f"normal: {_show(body)} should have exactly mean, std, min and max")
    dist = Normal(*(_number(body[name]) for name in names))
    if dist.std <= 0 or dist.min >= dist.max:
        raise ValueError(f"normal: {_show(body)} needs std > 0 and min < max")
    return dist


def _mix(body: Any) -> Dist:
    if not _is_list(body) or not body:
        raise ValueError(f"mix: {_show(body)} should be a list of {{p: weight, of: distribution}}")
    for part in body:
        if not _is_mapping(part) or set(part) != {"p", "of"}:
            raise ValueError(f"mix: {_show(part)} should be {{p: weight, of: distribution}}")
    return Mix(tuple(parse(part["of"]) for part in body), _normalised([_number(part["p"]) for part in body]))


def _sqrt(body: Any) -> Dist:
    dist = Sqrt(parse(body))
    if dist.of.support[0] < 0:
        raise ValueError(f"sqrt: {_show(body)} should not be negative")
    return dist


def _reciprocal(body: Any) -> Dist:
    dist = Reciprocal(parse(body))
    if dist.of.support[0] <= 0:
        raise ValueError(f"reciprocal: {_show(body)} should be positive")
    return dist


_KINDS = {
    "any": _any,
    "integers": _integers,
    "mix": _mix,
    "log_uniform": _log_uniform,
    "normal": _normal,
    "sqrt": _sqrt,
    "reciprocal": _reciprocal,
}


_Interval = TypeVar("_Interval", Uniform, LogUniform)


def _ordered(kind: type[_Interval], body: Any) -> _Interval:
    if not _is_list(body) or len(body) != 2:
        raise ValueError(f"{_show(body)} should be [low, high]; to list single values write {{any: [...]}}")
    low, high = (_number(edge) for edge in body)
    if low > high:
        raise ValueError(f"{_show(body)} is empty: {low:g} is greater than {high:g}")
    return kind(low, high)


def _is_mapping(data: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(data, Mapping)


def _is_list(data: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    if any(weight < 0 for weight in weights) or not any(weights):
        raise ValueError(f"weights {list(weights)} should be at least 0 and not all 0")
    if max(weights) > 1e9:
        raise ValueError(f"weights {list(weights)} should be at most 1e9")
    total = math.fsum(weights)
    # Weights that already sum to 1 up to rounding are kept, so that reading a dump changes nothing.
    return tuple(map(float, weights)) if math.isclose(total, 1, abs_tol=1e-12) else tuple(w / total for w in weights)


def _value(data: Any) -> Value:
    if isinstance(data, bool):
        return float(data)
    if isinstance(data, str) and _fraction(data) is None:
        return data
    return _number(data)


def _number(data: Any) -> float:
    number = _fraction(data) if isinstance(data, str) else data
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{_show(data)} should be a number")
    return _finite(number)


def _finite(number: float) -> float:
    if not abs(number) <= sys.float_info.max:
        raise ValueError(f"{_show(number)} should be finite")
    return float(number)


def _fraction(text: str) -> float | None:
    """``1/3``, and ``1e-4``, which PyYAML reads as a string."""
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ArithmeticError):
        return None


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() and abs(number) < 2**53 else number


def _show(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."
