"""The YAML shorthand of distributions: :func:`parse` reads it, :func:`dump` writes it.

=============================================  =================================================
``3``                                          the number itself
``[a, b]``                                     uniform on [a, b)
``[area, bicubic]``                            one of these names, equally likely
``{any: [a, b, c]}``                           one of them, equally likely
``{any: {a: 0.2, b: 0.8}}``                    one of them, with these weights, normalised
``{integers: [a, b]}``                         a whole number, both ends included
``{mix: [{p: 0.2, of: X}, {p: 0.8, of: Y}]}``  X with probability 0.2, else Y
``{log_uniform: [a, b]}``                      exp(U(log a, log b))
``{normal: {mean, std, min, max}}``            normal, truncated to [min, max]
``{sqrt: X}``                                  square root of X (X a variance)
``{reciprocal: X}``                            1 / X (a factor 1 / U(1, 8))
=============================================  =================================================

A number may be written as a fraction, ``1/3``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeGuard, TypeVar

from degrade.distributions import (
    Choice,
    Const,
    Dist,
    Integers,
    LogUniform,
    Mix,
    Normal,
    Reciprocal,
    Sqrt,
    Uniform,
    Value,
)

__all__ = ["dump", "parse"]


def parse(data: Any) -> Dist:
    """Parses the shorthand of this module's docstring.

    Raises:
        ValueError: naming the value and its remedy.
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
        names = bool(data) and all(
            isinstance(value, str) and _fraction(value) is None for value in data
        )
        return _any(data) if names else _ordered(Uniform, data)
    if _is_mapping(data) and len(data) == 1:
        [(kind, body)] = data.items()
        if kind in _KINDS:
            return _KINDS[kind](body)
    raise ValueError(
        f"{_show(data)} is not a distribution; "
        f"write a number, [low, high], or one of {', '.join(_KINDS)}"
    )


def dump(dist: Dist) -> Any:
    """The shortest YAML data of a distribution: ``parse(dump(d)) == d``."""
    return dist.dump()


def _any(body: Any) -> Dist:
    if _is_mapping(body) and body:
        weights = _normalised([_number(weight) for weight in body.values()])
    elif _is_list(body) and body:
        weights = (1 / len(body),) * len(body)
    else:
        raise ValueError(
            f"any: {_show(body)} should be a list of values, or values with their weights"
        )
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
    return Mix(
        tuple(parse(part["of"]) for part in body),
        _normalised([_number(part["p"]) for part in body]),
    )


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
        raise ValueError(
            f"{_show(body)} should be [low, high]; to list single values write {{any: [...]}}"
        )
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
    # Weights that already sum to 1 up to rounding are kept, so that reading a dump changes
    # nothing.
    return (
        tuple(map(float, weights))
        if math.isclose(total, 1, abs_tol=1e-12)
        else tuple(w / total for w in weights)
    )


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


def _show(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."
