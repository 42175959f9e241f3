"""Plans: a table on the host, which survives its file to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from degrade import Key, Plan, Range, Recipe
from degrade.distributions import Uniform
from degrade.order import Order, permutation
from degrade.plan import Column

COLUMNS = (
    Column("a.b.c", Uniform(0, 1), Range(0, 1e20)),
    Column("a.b.p", Uniform(0, 1), Range(-10, 10)),
)
AWKWARD = [
    0.1 + 0.2,
    1 / 3,
    math.pi,
    5e-324,
    2.0**53,
    2.0**53 - 1,
    123456789.123456789,
    0.0,
    1e-17,
    1.0,
]


def plan() -> Plan:
    values = np.array([AWKWARD, [math.nan, *np.linspace(-1, 1, len(AWKWARD) - 1)]]).T
    words = np.random.default_rng(0).integers(0, 2**64, len(AWKWARD), np.uint64, endpoint=False)
    words[:2] = 0, 2**64 - 1
    return Plan(COLUMNS, values, Key(words))


def test_survives_csv() -> None:
    one = plan()
    two = Plan.from_csv(COLUMNS, one.to_csv())
    assert np.array_equal(one.values, two.values, equal_nan=True)
    assert np.array_equal(one.key.words, two.key.words)


def test_rows() -> None:
    one = plan()
    assert len(one) == len(AWKWARD)
    assert one.addresses == ("a.b.c", "a.b.p")
    assert "a.b.c" in one
    assert "a.b.x" not in one
    assert one.row(0) == {"a.b.c": "0.30000000000000004"}, "what was not drawn is left out"
    assert one.row(2, precise=False)["a.b.c"] == "3.142"
    part = one.take(np.array([3, 1]))
    assert np.array_equal(part.values, one.values[[3, 1]])
    assert np.array_equal(part.key.words, one.key.words[[3, 1]])
    assert np.array_equal(one.take(slice(2, 4))["a.b.c"], one["a.b.c"][2:4])


@pytest.mark.parametrize(
    ("row", "key", "message"),
    [
        ({"a.b.c": "x"}, 0, r"a.b.c: 'x' should be in \[0, 1e\+20\]"),
        ({"a.b.c": "-1"}, 0, r"a.b.c: '-1' should be in"),
        ({"a.b.c": "inf"}, 0, r"a.b.c: 'inf' should be in"),
        ({"a.b.d": "1"}, 0, "a.b.d: the recipe has no such variable"),
        ({"a.b.c": "1"}, -1, r"a key should be a whole number from 0 to 2\^64 - 1"),
        ({"a.b.c": "1"}, 2**64, r"a key should be a whole number from 0 to 2\^64 - 1"),
    ],
)
def test_wrong_rows(row: dict[str, str], key: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan.read(COLUMNS, [row], [key])


def test_missing_cells_are_noticed() -> None:
    recipe = Recipe.load("realesrgan")
    drawn = recipe.plan(Key.of(0, np.arange(20)))
    for i in range(20):
        row, word = drawn.row(i), int(drawn.key.words[i])
        recipe.read_plan([row], [word])
        for address in row:
            with pytest.raises(ValueError, match="has no value"):
                recipe.read_plan(
                    [{name: cell for name, cell in row.items() if name != address}], [word]
                )


def test_orders() -> None:
    every = [permutation(rank, 4) for rank in range(24)]
    assert sorted(map(tuple, every)) == [tuple(order) for order in every], "in lexicographic order"
    assert len(set(map(tuple, every))) == 24
    assert Order(3).label(5) == "3-2-1"
    assert Order(3).read(Order(3).write(5)) == 5
    for wrong in ("6", "-1", "1.5", "x"):
        with pytest.raises(ValueError, match=r".*"):
            Order(3).read(wrong)


@pytest.mark.parametrize("level", [-0.1, 1, math.nan])
def test_severity_has_a_range(level: float) -> None:
    with pytest.raises(ValueError, match=r"should be in \[0, 1\)"):
        Recipe.load("realesrgan").severity(level, Key.of(0, 0))
