"""What an operator's field may draw: :class:`Range` of numbers, names, a probability. Checked
when a recipe is read.
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

__all__ = ["Chance", "OneOf", "Range", "Variable"]

ALMOST_ONE = math.nextafter(1, 0)
"""The highest level of a quantile."""


Real = NDArray[np.float64]


@dataclass(frozen=True)
class Variable(ABC):
    """What values a field admits. Used in ``Annotated[Dist, Range(0, 50, unit="grey
    levels")]``.
    """

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
        """Parses and checks what the distribution *can* draw. Raises ValueError."""

    @abstractmethod
    def describe(self) -> str:
        """The admitted values in words, with the unit."""

    def encode(self, dist: Dist, values: Real) -> Real:
        """What a plan stores of the quantiles of ``dist``."""
        return values

    def label(self, value: float) -> str:
        """A drawn value as people read it."""
        return f"{value:.4g}"

    def write(self, value: float) -> str:
        """A drawn value as a file keeps it: :meth:`read` gives back every bit."""
        return (
            str(int(value))
            if float(value).is_integer() and abs(value) < 2**53
            else repr(float(value))
        )

    def read(self, text: str) -> float:
        """Raises ValueError."""
        return float(text)

    def level(self, dist: Dist, severity: float) -> float:
        """The quantile level at which ``dist`` is as severe as ``severity`` in [0, 1)."""
        return 0.5


@dataclass(frozen=True)
class Range(Variable):
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
                f"must draw whole numbers only; write {{integers: [{low:g}, {high:g}]}} or {{any: [...]}}"
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
        if not self.low <= value <= self.high or (
            (self.whole or self.odd) and not value.is_integer()
        ):
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
class OneOf(Variable):
    """One of a few names. In a plan a name is its place among ``options``."""

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
        """Places in the distribution's own list -> places among the options."""
        assert isinstance(dist, Choice)
        return np.array([self.options.index(str(value)) for value in dist.values], np.float64)[
            values.astype(int)
        ]

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
class Chance(Variable):
    """A yes-or-no variable, written as the probability of yes. In a plan: 1 or 0."""

    def check(self, data: Any) -> Dist:
        chance = parse(data)
        if isinstance(chance, Bernoulli):
            return chance
        if not isinstance(chance, Const) or not 0 <= chance.value <= 1:
            raise ValueError(f"{data!r} should be {self.describe()}")
        return chance if chance.value in (0, 1) else Bernoulli(chance.value)

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
    """The level in the middle of the likeliest part of a discrete distribution."""
    edges = np.concatenate([[0.0], np.cumsum(weights)])
    best = int(np.argmax(weights))
    return float(edges[best] + edges[best + 1]) / 2


def _values(dist: Dist) -> list[Any]:
    """The values of a discrete distribution; the ends of others, and of whole numbers the
    second.
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
