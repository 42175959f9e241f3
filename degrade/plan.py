"""Plan: the drawn values, one row a sample, one column a random variable.

A plan is a table on the host. A pair of images is a function of the HR image and its row, so a row
written to a manifest is enough to reproduce the pair. A variable that a sample does not need (a
branch not taken, a step not run) is NaN in its row, and an empty cell in a file.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from degrade.distributions import Choice, Dist
from degrade.fields import Variable
from degrade.kernels import native
from degrade.kernels.base import address
from degrade.quantiles import GIVEN, Quantiles, encode
from degrade.rng import Key, address_hashes

__all__ = ["Column", "Condition", "Plan", "PlanBuilder"]

Real = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Column:
    """A random variable of a recipe.

    Args:
        address: Its name, unique but for the branches of a ``one_of``, which may share it.
        dist: Its distribution.
        variable: The values that are allowed, and how they are stored and shown.
        when: The samples that need a value; None if all do.
        constant: Whether it is drawn only if another branch has a random variable of its address.
    """

    address: str
    dist: Dist
    variable: Variable
    when: Condition | None = field(default=None, kw_only=True, repr=False, compare=False)
    constant: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Condition:
    """The samples that need ``column`` and have a value in [low, high) there."""

    column: Column
    low: float
    high: float = math.inf


class Plan:
    """Drawn values.

    Args:
        columns: P random variables.
        values: (B, P) float64; NaN where a sample did not draw.
        key: B keys, for the noise over pixels.
    """

    def __init__(self, columns: Sequence[Column], values: Real, key: Key) -> None:
        self.columns = tuple(columns)
        self.values = values
        self.key = key
        self._index = {column.address: j for j, column in enumerate(self.columns)}

    def __len__(self) -> int:
        return len(self.key)

    def __repr__(self) -> str:
        return f"Plan({len(self)} samples, {len(self.columns)} random variables)"

    def __contains__(self, address: str) -> bool:
        return address in self._index

    def __getitem__(self, address: str) -> Real:
        """(B,) values of one variable."""
        return self.values[:, self._index[address]]

    def place(self, address: str) -> int:
        """The column of a variable."""
        return self._index[address]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._index)

    def take(self, rows: Indices | slice) -> Plan:
        """Some rows."""
        part = Plan.__new__(Plan)
        part.columns, part._index = self.columns, self._index
        part.values, part.key = self.values[rows], self.key[rows]
        return part

    def row(self, i: int, precise: bool = True) -> dict[str, str]:
        """Row ``i`` as text by address, without the variables it did not draw.

        ``precise`` text is read back exactly by :meth:`read`; otherwise it is rounded for people.
        """
        cells: dict[str, str] = {}
        for column, value in zip(self.columns, self.values[i], strict=True):
            if not math.isnan(value):
                variable = column.variable
                cells[column.address] = variable.write(value) if precise else variable.label(value)
        return cells

    @staticmethod
    def read(
        columns: Sequence[Column], rows: Iterable[Mapping[str, str]], keys: Iterable[int]
    ) -> Plan:
        """Reads rows of precise text; missing or empty cells are NaN.

        Raises:
            ValueError: a cell is not a value of its variable, the recipe does not have a column,
                or a key is not a 64-bit word.
        """
        rows = list(rows)
        known = {column.address for column in columns}
        values = np.full((len(rows), len(columns)), math.nan)
        for i, row in enumerate(rows):
            unknown = [address for address, cell in row.items() if cell and address not in known]
            if unknown:
                raise ValueError(f"{', '.join(unknown)}: the recipe has no such variable")
            for j, column in enumerate(columns):
                cell = row.get(column.address, "")
                if cell:
                    try:
                        values[i, j] = column.variable.read(cell)
                    except ValueError:
                        words = (
                            f"{column.address}: {cell!r} should be {column.variable.describe()}"
                        )
                        raise ValueError(words) from None
        words = list(keys)
        if any(not 0 <= word < 2**64 for word in words):
            raise ValueError("a key should be a whole number from 0 to 2^64 - 1")
        return Plan(columns, values, Key(np.array(words, np.uint64)))

    def to_csv(self) -> str:
        """The table as CSV text, a ``key`` column first."""
        out = io.StringIO()
        writer = csv.DictWriter(out, ["key", *self.addresses], lineterminator="\n")
        writer.writeheader()
        for i, word in enumerate(self.key.words):
            writer.writerow({"key": int(word), **self.row(i)})
        return out.getvalue()

    @staticmethod
    def from_csv(columns: Sequence[Column], text: str) -> Plan:
        """Reads :meth:`to_csv` back, to the last bit."""
        rows = list(csv.DictReader(io.StringIO(text)))
        keys = [int(row.pop("key")) for row in rows]
        return Plan.read(columns, rows, keys)


_DRAW, _MEETS = range(2)
"""What ``kernels/native/plan.c`` is told to do."""


class PlanBuilder:
    """Draws the plans of a recipe, and validates those that were read.

    Draws are addressed, so one that a sample does not need changes no other. Native code leaves it
    out; NumPy evaluates every variable for every sample and then masks what was not needed, which
    takes a handful of array operations, however many variables there are. Both are equal to the
    last bit.

    Args:
        draws: The variables in the order of the recipe, each after the one that decides whether
            it is needed.
    """

    def __init__(self, draws: Iterable[Column]) -> None:
        draws = tuple(draws)
        columns: dict[str, Column] = {}
        for draw in draws:
            if not draw.constant:
                columns.setdefault(draw.address, draw)
        self.columns = tuple(columns.values())
        self._draws = tuple(draw for draw in draws if draw.address in columns)
        self._addresses = tuple(draw.address for draw in self._draws)
        place = {address: j for j, address in enumerate(columns)}
        self._place = np.array([place[address] for address in self._addresses], np.intp)
        self._stored = [stored(draw) for draw in self._draws]
        self._quantiles = Quantiles(self._stored)
        self._conditions = _Conditions(self._draws)

    def draw(self, key: Key) -> Plan:
        """Draws every variable for B samples; in native code where it is built."""
        return self._drawn_in_c(key) if native.available() else self.drawn_in_numpy(key)

    def drawn_in_numpy(self, key: Key) -> Plan:
        """The definition of :meth:`draw`."""
        return self._fill(key.uniforms(self._addresses), key)

    def _drawn_in_c(self, key: Key) -> Plan:
        code, others = self._code
        given = np.empty((len(key), len(others)))
        if others:
            levels = key.uniforms(tuple(self._addresses[j] for j in others))
            for i, j in enumerate(others):
                given[:, i] = self._stored[j].quantile(levels[:, i])
        keys = np.ascontiguousarray(key.words)
        values = np.empty((len(key), len(self.columns)))
        met = np.empty(self._conditions.count + 1, np.uint8)
        job = np.array(
            [
                *(address(code), len(code), address(keys), len(key)),
                *(address(given), len(others), address(met), address(values), len(self.columns)),
            ],
            np.int64,
        )
        native.plan(job)
        return Plan(self.columns, values, key)

    @cached_property
    def _code(self) -> tuple[NDArray[np.int64], list[int]]:
        """The variables as ``plan.c`` reads them, and those that Python evaluates for it."""
        words: list[int] = []
        others: list[int] = []
        hashes = address_hashes(self._addresses).view(np.int64).tolist()
        for j, dist in enumerate(self._stored):
            body = encode(dist)
            if body is None:
                body = [GIVEN, len(others)]
                others.append(j)
            when = self._conditions.of(j)
            words += [_DRAW, hashes[j], int(self._place[j]), when, len(body), *body]
            for k, low, high in self._conditions.on(j):
                words += [_MEETS, k, native.word_of(low), native.word_of(high)]
        return np.array(words, np.int64), others

    def severity(self, level: float, key: Key) -> Plan:
        """Sets every variable to its quantile at a level of severity in [0, 1)."""
        levels = [draw.variable.level(draw.dist, level) for draw in self._draws]
        return self._fill(np.tile(np.array(levels, np.float64), (len(key), 1)), key)

    def _fill(self, levels: Real, key: Key) -> Plan:
        drawn = self._quantiles(levels)
        needed = self._conditions.met(drawn)
        values = np.full((len(key), len(self.columns)), math.nan)
        samples, draws = needed.nonzero()
        # Draws that share a column belong to different branches: a sample needs one of them.
        values[samples, self._place[draws]] = drawn[needed]
        return Plan(self.columns, values, key)

    def validate(self, plan: Plan) -> Plan:
        """Returns a plan that was read, if every sample has the values that it needs.

        Raises:
            ValueError: one is missing.
        """
        values = plan.values[:, self._place]
        missing = (self._conditions.met(values) & np.isnan(values)).any(0)
        if missing.any():
            raise ValueError(f"{self._addresses[int(missing.argmax())]}: has no value")
        return plan


class _Conditions:
    """Which samples need which draws.

    Args:
        draws: D draws.
    """

    def __init__(self, draws: Sequence[Column]) -> None:
        place = {id(draw): j for j, draw in enumerate(draws)}
        found = {id(draw.when): draw.when for draw in draws if draw.when is not None}
        conditions = list(found.values())
        number = {key: k for k, key in enumerate(found, start=1)}  # 0 is always met
        self._number = np.array([number.get(id(draw.when), 0) for draw in draws], np.intp)
        self._source = np.array([place[id(each.column)] for each in conditions], np.intp)
        self._low = np.array([each.low for each in conditions])
        self._high = np.array([each.high for each in conditions])
        self._levels = self._by_depth(conditions)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._source)

    def of(self, j: int) -> int:
        """The number of the condition of draw ``j``, from 1 on; 0 if it has none."""
        return int(self._number[j])

    def on(self, j: int) -> list[tuple[int, float, float]]:
        """The conditions on the value of draw ``j``: number, low and high."""
        found = np.flatnonzero(self._source == j).tolist()
        return [(k + 1, float(self._low[k]), float(self._high[k])) for k in found]

    def _by_depth(self, conditions: Sequence[Condition]) -> list[tuple[Indices, Indices]]:
        """The conditions inside others, outer ones first: their numbers, and those around them."""
        depth = [0]
        levels: dict[int, list[tuple[int, int]]] = {}
        for k, source in enumerate(self._source, start=1):
            outer = int(self._number[source])
            depth.append(depth[outer] + 1)
            if outer:
                levels.setdefault(depth[k], []).append((k, outer))
        return [tuple(np.array(levels[d], np.intp).T) for d in sorted(levels)]

    def met(self, values: Real) -> NDArray[np.bool_]:
        """(B, D): whether a sample needs a draw, given the values (B, D) of all draws."""
        met = np.ones((len(values), len(self._source) + 1), np.bool_)
        sources = values[:, self._source]
        met[:, 1:] = (self._low <= sources) & (sources < self._high)
        for inner, outer in self._levels:
            met[:, inner] &= met[:, outer]
        return met[:, self._number]


def stored(column: Column) -> Dist:
    """The distribution of the numbers that a plan stores: names become indices of options."""
    dist = column.dist
    if not isinstance(dist, Choice):
        return dist
    values = dist.values
    places = np.arange(len(values)) if isinstance(values[0], str) else np.array(values)
    numbers = column.variable.encode(dist, places.astype(np.float64))
    return Choice(tuple(map(float, numbers)), dist.weights)
