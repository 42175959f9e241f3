"""Plan: what was drawn, one row a sample, one column a random variable.

A plan is a table on the host. It is all that stands between a key and a pair of images, so a row
of it, written to a manifest, is enough to make the pair again. A variable that a sample did not
need (a branch not taken, a step not run) is NaN in its row, and an empty cell in a file.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degrade.distributions import Dist
from degrade.fields import Variable
from degrade.rng import Key

__all__ = ["Audit", "Column", "Plan", "Sheet"]

Real = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Column:
    """A random variable of a recipe: where it stands, what it follows, how its values read."""

    address: str
    dist: Dist
    variable: Variable


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

    def take(self, rows: Rows | slice) -> Plan:
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
            ValueError: a cell that is no value of its variable, a column the recipe does not have,
                or a key that is no 64-bit word.
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


class Sheet:
    """A plan being filled: steps write the variables that their active rows draw.

    Args:
        columns: The recipe's variables.
        key: One key per sample.
        severity: Instead of drawing, take every variable at this level of severity in [0, 1).
    """

    def __init__(self, columns: Sequence[Column], key: Key, severity: float | None = None) -> None:
        self.plan = Plan(columns, np.full((len(key), len(columns)), math.nan), key)
        self._severity = severity
        self._levels = key.uniforms(self.plan.addresses)

    def draw(
        self, address: str, dist: Dist, variable: Variable, active: NDArray[np.bool_]
    ) -> Real:
        """Draws a variable for the active rows; returns its whole column."""
        j = self.plan.place(address)
        column = self.plan.values[:, j]
        if self._severity is None:
            levels = self._levels[active, j]
        else:
            levels = np.full(int(active.sum()), variable.level(dist, self._severity))
        column[active] = variable.encode(dist, dist.quantile(levels))
        return column


class Audit(Sheet):
    """A plan that was read, held against its recipe: steps look for the variables that their
    active rows need.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def draw(
        self, address: str, dist: Dist, variable: Variable, active: NDArray[np.bool_]
    ) -> Real:
        """Raises ValueError if a value is missing."""
        column = self.plan[address]
        if np.isnan(column[active]).any():
            raise ValueError(f"{address}: has no value")
        return column
