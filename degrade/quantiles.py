"""Quantiles: the quantile functions of many distributions, evaluated together, or written down for
native code.

A plan has dozens of columns and often few rows, so that one NumPy call a column costs more than
its arithmetic. Distributions of one family are therefore evaluated by one call on arrays of their
parameters. The arithmetic of :meth:`Dist.quantile` is kept operation by operation: column ``j`` of
the result equals ``dists[j].quantile(levels[:, j])`` to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.distributions import (
    Bernoulli,
    Choice,
    Const,
    Dist,
    Integers,
    Mix,
    Reciprocal,
    Sqrt,
    Uniform,
    cumulative,
)
from degrade.kernels.native import word_of

__all__ = ["Quantiles", "encode"]

Real = NDArray[np.float64]

SHORT = 16
"""Longest list of alternatives that is searched linearly, together with others."""


class Quantiles:
    """The quantile functions of P distributions.

    Args:
        dists: P distributions; choices among numbers, not names.
    """

    def __init__(self, dists: Sequence[Dist]) -> None:
        families: dict[type[Any], list[int]] = {}
        for j, dist in enumerate(dists):
            families.setdefault(_family(dist), []).append(j)
        self._parts: list[tuple[Callable[[Real], Real], slice]] = []
        start = 0
        for family, columns in families.items():
            part = slice(start, start + len(columns))
            self._parts.append((family([dists[j] for j in columns]), part))
            start = part.stop
        self._order = np.array([j for columns in families.values() for j in columns], np.intp)
        self._inverse = np.argsort(self._order)

    def __call__(self, levels: Real) -> Real:
        """(B, P) values at (B, P) levels in [0, 1)."""
        levels = levels[:, self._order]
        values = np.empty_like(levels)
        for quantile, part in self._parts:
            values[:, part] = quantile(levels[:, part])
        return values[:, self._inverse]


class _Constants:
    def __init__(self, dists: Sequence[Const]) -> None:
        self.values = np.array([dist.value for dist in dists], np.float64)

    def __call__(self, u: Real) -> Real:
        return np.broadcast_to(self.values, u.shape)


class _Uniforms:
    def __init__(self, dists: Sequence[Uniform]) -> None:
        self.low = np.array([dist.low for dist in dists], np.float64)
        self.width = np.array([dist.high - dist.low for dist in dists], np.float64)

    def __call__(self, u: Real) -> Real:
        return self.low + u * self.width


class _Integers:
    def __init__(self, dists: Sequence[Integers]) -> None:
        self.low = np.array([dist.low for dist in dists], np.float64)
        self.count = np.array([dist.high - dist.low + 1 for dist in dists], np.float64)

    def __call__(self, u: Real) -> Real:
        return self.low + np.floor(u * self.count)


class _Bernoullis:
    def __init__(self, dists: Sequence[Bernoulli]) -> None:
        self.p = np.array([dist.p for dist in dists], np.float64)

    def __call__(self, u: Real) -> Real:
        return (u < self.p).astype(np.float64)


class _Weights:
    """The weights of P discrete distributions, as rows padded to the longest.

    See :func:`degrade.distributions.pick`, whose linear search this is.
    """

    def __init__(self, weights: Sequence[tuple[float, ...]]) -> None:
        count = max(map(len, weights))
        self.columns = np.arange(len(weights))
        self.edges = np.full((len(weights), count + 1), np.inf)
        self.shares = np.ones((len(weights), count))
        for j, row in enumerate(weights):
            self.edges[j, : len(row) + 1], self.shares[j, : len(row)] = cumulative(row)
        self.inner = self.edges[:, 1:].copy()
        for j, row in enumerate(weights):
            self.inner[j, len(row) - 1] = np.inf  # the last alternative has no upper edge

    def index(self, u: Real) -> NDArray[np.intp]:
        """(B, P) indices chosen at levels ``u``."""
        return np.count_nonzero(u[:, :, None] >= self.inner, axis=2)

    def remainder(self, u: Real, index: NDArray[np.intp]) -> Real:
        """(B, P) what is left of ``u`` inside the alternative chosen, uniform again."""
        rest = (u - self.edges[self.columns, index]) / self.shares[self.columns, index]
        return np.minimum(np.maximum(rest, 0), np.nextafter(1, 0))


class _Choices:
    def __init__(self, dists: Sequence[Choice]) -> None:
        self.weights = _Weights([dist.weights for dist in dists])
        self.values = np.zeros(self.weights.shares.shape)
        for j, dist in enumerate(dists):
            self.values[j, : len(dist.values)] = dist.values

    def __call__(self, u: Real) -> Real:
        return self.values[self.weights.columns, self.weights.index(u)]


class _Mixes:
    def __init__(self, dists: Sequence[Mix]) -> None:
        self.weights = _Weights([dist.weights for dist in dists])
        counts = np.array([len(dist.parts) for dist in dists])
        self.owner = np.repeat(np.arange(len(dists)), counts)
        self.first = np.cumsum(counts) - counts
        self.parts = Quantiles([part for dist in dists for part in dist.parts])

    def __call__(self, u: Real) -> Real:
        index = self.weights.index(u)
        rest = self.weights.remainder(u, index)
        values = self.parts(rest[:, self.owner])
        return values[np.arange(len(u))[:, None], self.first + index]


class _Others:
    """Any distributions, one by one."""

    def __init__(self, dists: Sequence[Dist]) -> None:
        self.dists = dists

    def __call__(self, u: Real) -> Real:
        return np.stack([dist.quantile(u[:, j]) for j, dist in enumerate(self.dists)], axis=1)


def _family(dist: Dist) -> type[Any]:
    """How a distribution is evaluated. A subclass may override ``quantile``, hence exact types."""
    if isinstance(dist, Choice | Mix) and len(dist.weights) > SHORT:
        return _Others
    families: dict[type[Dist], type[Any]] = {
        Const: _Constants,
        Uniform: _Uniforms,
        Integers: _Integers,
        Bernoulli: _Bernoullis,
        Choice: _Choices,
        Mix: _Mixes,
    }
    return families.get(type(dist), _Others)


# --- for native code -----------------------------------------------------------------------------

_CODES: dict[type[Dist], int] = {
    kind: code
    for code, kind in enumerate(
        (Const, Bernoulli, Uniform, Integers, Sqrt, Reciprocal, Choice, Mix)
    )
}
GIVEN = len(_CODES)
"""The code of a distribution that is evaluated before: its column follows."""


def encode(dist: Dist) -> list[int] | None:
    """A distribution as the words of 64 bits that ``kernels/native/plan.c`` evaluates, operation
    by operation as :meth:`Dist.quantile` does; None if it does not know the distribution.

    Args:
        dist: A choice among numbers, not names.
    """
    if type(dist) not in _CODES:  # a subclass may override ``quantile``
        return None
    words = [_CODES[type(dist)]]
    if isinstance(dist, Const):
        numbers = [dist.value]
    elif isinstance(dist, Bernoulli):
        numbers = [dist.p]
    elif isinstance(dist, Uniform):
        numbers = [dist.low, dist.high - dist.low]
    elif isinstance(dist, Integers):
        numbers = [dist.low, dist.high - dist.low + 1]
    elif isinstance(dist, Choice):
        edges = [*_upper_edges(dist.weights)]
        words.append(len(edges))
        numbers = [x for pair in zip(edges, dist.values, strict=True) for x in pair]
    elif isinstance(dist, Mix):
        return _encode_mix(dist)
    else:
        assert isinstance(dist, Sqrt | Reciprocal)
        inner = encode(dist.of)
        return None if inner is None else words + inner
    return words + [word_of(float(x)) for x in numbers]


def _encode_mix(dist: Mix) -> list[int] | None:
    edges, shares = cumulative(dist.weights)
    words, bodies = [_CODES[Mix], len(dist.parts)], list[int]()
    for part, *numbers in zip(
        dist.parts, _upper_edges(dist.weights), edges.tolist(), shares.tolist(), strict=False
    ):
        body = encode(part)
        if body is None:
            return None
        words += [*map(word_of, numbers), len(body)]
        bodies += body
    return words + bodies


def _upper_edges(weights: tuple[float, ...]) -> list[float]:
    """Where each alternative ends; the last nowhere."""
    return [*cumulative(weights)[0][1:-1].tolist(), np.inf]
