"""Types of random variables: :class:`Range` of numbers, :class:`Categorical` names,
:class:`Probability` of yes. Operators annotate their fields with them, and recipes are validated
against them when they are read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from degrade.distributions import Bernoulli, Choice, Const, Dist, Integers, Mix
from degrade.shorthand import dump, parse

__all__ = ["Categorical", "Field", "Probability", "Range", "Variable"]

ALMOST_ONE = math.nextafter(1, 0)
"""The highest level of a quantile."""


Real = NDArray[np.float64]


@dataclass(frozen=True)
class Variable(ABC):
    """The values of a random variable, and how they are stored and shown."""

    @abstractmethod
    def describe(self) -> str:
        """The allowed values in words, with the unit."""

    def encode(self, dist: Dist, values: Real) -> Real:
        """The numbers that a plan stores for quantiles of ``dist``; only names are encoded."""
        return values

    def label(self, value: float) -> str:
        """A drawn value, rounded for display."""
        return f"{value:.4g}"

    def write(self, value: float) -> str:
        """A drawn value as exact text: :meth:`read` restores every bit."""
        if float(value).is_integer() and abs(value) < 2**53:
            return str(int(value))
        return repr(float(value))

    def read(self, text: str) -> float:
        """Parses and checks a value. Raises ValueError."""
        return float(text)

    def level(self, dist: Dist, severity: float) -> float:
        """The quantile level at which ``dist`` has a severity in [0, 1)."""
        return 0.5


@dataclass(frozen=True)
class Field(Variable):
    """A variable that can be an operator's field, in ``Annotated[Dist, Range(0, 50)]``."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check, serialization=core_schema.plain_serializer_function_ser_schema(dump)
        )

    @abstractmethod
    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]: ...

    @abstractmethod
    def check(self, data: Any) -> Dist:
        """Parses a distribution and checks the values that it *can* draw. Raises ValueError."""


@dataclass(frozen=True)
class Range(Field):
    """Numbers in [low, high].

    Args:
        low: Least value.
        high: Greatest value.
        unit: Unit, for people.
        worse: Which end degrades more, if one does.
        whole: Whether values must be whole numbers.
        odd: Whether values must be odd whole numbers.
    """

    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    worse: Literal["high", "low"] | None = None
    whole: bool = False
    odd: bool = False

    def check(self, data: Any) -> Dist:
        dist = parse(data)
        if any(isinstance(value, str) for value in _values(dist)):
            raise ValueError(f"{data!r} should be a number, {self.describe()}")
        low, high = dist.support
        if low < self.low or high > self.high:
            raise ValueError(f"can draw {low:g} to {high:g}; it must stay {self.describe()}")
        if (self.whole or self.odd) and not _whole(dist):
            raise ValueError(
                f"must draw whole numbers only; "
                f"write {{integers: [{low:g}, {high:g}]}} or {{any: [...]}}"
            )
        if self.odd and any(value % 2 == 0 for value in _values(dist)):
            raise ValueError("must be odd: a kernel has a centre")
        return dist

    def describe(self) -> str:
        low = "-inf" if self.low == -math.inf else f"{self.low:g}"
        high = "inf" if self.high == math.inf else f"{self.high:g}"
        kind = "odd, " if self.odd else "whole, " if self.whole else ""
        return f"{kind}in [{low}, {high}]" + (f" {self.unit}" if self.unit else "")

    def read(self, text: str) -> float:
        # A manifest may come from a stranger: a kernel of a million pixels would take all memory.
        value = float(text)
        if not self.low <= value <= self.high:
            raise ValueError(text)
        if (self.whole or self.odd) and not value.is_integer():
            raise ValueError(text)
        if self.odd and value % 2 == 0:
            raise ValueError(text)
        return value

    def level(self, dist: Dist, severity: float) -> float:
        if self.worse is None:
            return 0.5
        return severity if self.worse == "high" else min(1 - severity, ALMOST_ONE)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"description": self.describe()}


@dataclass(frozen=True)
class Categorical(Field):
    """One of a few names, stored in a plan as an index into ``options``."""

    options: tuple[str, ...]

    def check(self, data: Any) -> Dist:
        dist = parse(data)
        if not isinstance(dist, Choice):
            raise ValueError(f"{data!r} should be {self.describe()}")
        wrong = [value for value in dist.values if value not in self.options]
        if wrong:
            raise ValueError(
                f"{', '.join(map(str, wrong))}: unknown; it must be {self.describe()}"
            )
        return dist

    def describe(self) -> str:
        return "one of " + ", ".join(self.options)

    def label(self, value: float) -> str:
        return self.options[int(value)]

    def write(self, value: float) -> str:
        return self.label(value)

    def read(self, text: str) -> float:
        return self.options.index(text)

    def encode(self, dist: Dist, values: Real) -> Real:
        """Maps indices into the distribution's own list to indices into the options."""
        assert isinstance(dist, Choice)
        indices = [self.options.index(str(value)) for value in dist.values]
        return np.array(indices, np.float64)[values.astype(int)]

    def level(self, dist: Dist, severity: float) -> float:
        assert isinstance(dist, Choice)
        return modal_level(dist.weights)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = {"enum": list(self.options)}
        several = {
            "anyOf": [
                {"type": "array", "items": names},
                {"type": "object", "propertyNames": names},
            ]
        }
        chosen = {"type": "object", "properties": {"any": several}, "additionalProperties": False}
        return {"anyOf": [names, {"type": "array", "items": names, "minItems": 1}, chosen]}


@dataclass(frozen=True)
class Probability(Field):
    """A Bernoulli variable, written as the probability of yes, stored in a plan as 1 or 0."""

    def check(self, data: Any) -> Dist:
        dist = parse(data)
        if isinstance(dist, Bernoulli):
            return dist
        if not isinstance(dist, Const) or not 0 <= dist.value <= 1:
            raise ValueError(f"{data!r} should be {self.describe()}")
        return dist if dist.value in (0, 1) else Bernoulli(dist.value)

    def describe(self) -> str:
        return "a probability in [0, 1]"

    def label(self, value: float) -> str:
        return "yes" if value else "no"

    def write(self, value: float) -> str:
        return str(int(value))

    def read(self, text: str) -> float:
        if text not in ("0", "1"):
            raise ValueError(text)
        return float(text)

    def level(self, dist: Dist, severity: float) -> float:
        return 0.0 if isinstance(dist, Bernoulli) and dist.p >= 0.5 else ALMOST_ONE

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "boolean"},
                {"type": "string"},
            ]
        }


def modal_level(weights: tuple[float, ...]) -> float:
    """The middle of the levels at which a discrete distribution takes its mode."""
    edges = np.concatenate([[0.0], np.cumsum(weights)])
    best = int(np.argmax(weights))
    return float(edges[best] + edges[best + 1]) / 2


def _values(dist: Dist) -> list[Any]:
    """The values of a discrete distribution, or the bounds of a continuous one. Of integers: the
    bounds and the second value, which tells an even one from an odd one.
    """
    if isinstance(dist, Choice):
        return list(dist.values)
    if isinstance(dist, Integers):
        return [dist.low, min(dist.low + 1, dist.high), dist.high]
    if isinstance(dist, Mix):
        return [value for part in dist.parts for value in _values(part)]
    return list(dist.support)


def _whole(dist: Dist) -> bool:
    if isinstance(dist, Mix):
        return all(_whole(part) for part in dist.parts)
    return isinstance(dist, Const | Choice | Integers) and all(
        float(value).is_integer() for value in _values(dist)
    )
