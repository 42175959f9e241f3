"""Write distributions and steps as recipe data."""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from degrade.importers.options import Config, Interval

__all__ = ["categorical", "exact", "mixture", "number", "one_of", "probability", "uniform"]


def exact(number: float) -> Fraction:
    """Return the decimal as written, so that 1 - 0.1 is 0.9.

    >>> 1 - exact(0.1)
    Fraction(9, 10)
    """
    return Fraction(repr(number))


def number(value: float | Fraction) -> float | int:
    """Return an int if the value is one, else a float.

    >>> number(Fraction(2)), number(Fraction(1, 2))
    (2, 0.5)
    """
    return int(value) if value == int(value) else float(value)


def probability(p: Fraction) -> Config:
    """Return the key ``p`` of a step, nothing if it always runs.

    >>> probability(Fraction(1, 2)), probability(Fraction(1))
    ({'p': 0.5}, {})
    """
    return {} if p == 1 else {"p": number(p)}


def uniform(interval: Interval) -> Any:
    """Return a uniform distribution, or the value itself if both ends are equal.

    >>> uniform((1, 2.5)), uniform((3, 3))
    ([1, 2.5], 3)
    """
    low, high = map(number, interval)
    return low if low == high else [low, high]


def categorical(values: Iterable[Any]) -> Any:
    """Return a categorical distribution, weighted if ``values`` is a mapping to weights.

    >>> categorical([7, 9]), categorical({"iso": 0.25, "aniso": 0.75}), categorical([7])
    ({'any': [7, 9]}, {'any': {'iso': 0.25, 'aniso': 0.75}}, 7)
    """
    if isinstance(values, dict) and len(set(values.values())) > 1:
        return {"any": values}
    listed = list(values)
    return listed[0] if len(listed) == 1 else {"any": listed}


def mixture(parts: list[tuple[Fraction, Any]]) -> Any:
    """Return a mixture of distributions with weights; those of weight 0 are left out.

    >>> mixture([(Fraction(1), 5), (Fraction(0), 6)])
    5
    """
    live = [(weight, of) for weight, of in parts if weight]
    if len(live) == 1:
        return live[0][1]
    total = sum(weight for weight, _ in live)
    return {"mix": [{"p": number(weight / total), "of": of} for weight, of in live]}


def one_of(label: str, branches: list[tuple[Fraction, Config]], p: Fraction) -> list[Config]:
    """Return a step that runs one of the branches; no step if ``p`` is 0."""
    live = [(weight, step) for weight, step in branches if weight]
    if not p:
        return []
    head = {"as": label, **probability(p)}
    if len(live) == 1:
        return [{**head, **live[0][1]}]
    return [{**head, "one_of": [{"p": number(weight), **step} for weight, step in live]}]
