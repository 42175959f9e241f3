"""Distributions: laws over a list of instances, SciPy as the oracle, and the words of every
error.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from degrade.distributions import (
    Bernoulli,
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
    pick,
)
from degrade.quantiles import Quantiles
from degrade.shorthand import dump, parse

CASES: list[tuple[Any, Dist]] = [
    (3, Const(3.0)),
    (0.1, Const(0.1)),
    ("1/3", Const(1 / 3)),
    ("1e-4", Const(1e-4)),
    (True, Const(1.0)),
    ([-2, 5.5], Uniform(-2.0, 5.5)),
    (["1/8", 1], Uniform(0.125, 1.0)),
    ([4, 4], Uniform(4.0, 4.0)),
    ({"integers": [-2, 6]}, Integers(-2, 6)),
    ({"log_uniform": [0.1, 10]}, LogUniform(0.1, 10.0)),
    ({"normal": {"mean": 1, "std": 2, "min": -3, "max": 4}}, Normal(1.0, 2.0, -3.0, 4.0)),
    ({"any": [7, 9, 11]}, Choice((7.0, 9.0, 11.0), (1 / 3,) * 3)),
    ({"any": [5]}, Choice((5.0,), (1.0,))),
    ({"any": {1: 1, 2: 3}}, Choice((1.0, 2.0), (0.25, 0.75))),
    ("area", Choice(("area",), (1.0,))),
    (["area", "bilinear"], Choice(("area", "bilinear"), (0.5, 0.5))),
    ({"any": {"area": 0.2, "bicubic": 0.8}}, Choice(("area", "bicubic"), (0.2, 0.8))),
    (
        {"any": {"a": 0.33333333333, "b": 0.33333333333, "c": 0.33333333333}},
        Choice(("a", "b", "c"), (0.33333333333,) * 3),
    ),
    (
        {"mix": [{"p": 1, "of": [0, 1]}, {"p": 3, "of": {"integers": [2, 4]}}]},
        Mix((Uniform(0.0, 1.0), Integers(2, 4)), (0.25, 0.75)),
    ),
    ({"sqrt": [4, 9]}, Sqrt(Uniform(4.0, 9.0))),
    ({"reciprocal": [1, 8]}, Reciprocal(Uniform(1.0, 8.0))),
    ({"reciprocal": {"sqrt": {"log_uniform": [1, 16]}}}, Reciprocal(Sqrt(LogUniform(1.0, 16.0)))),
]
DISTS = [dist for _, dist in CASES]
LEVELS = np.concatenate([[0.0], (np.arange(20_000) + 0.5) / 20_000, [np.nextafter(1, 0)]])


@pytest.mark.parametrize(("data", "dist"), CASES, ids=repr)
def test_parse(data: Any, dist: Dist) -> None:
    assert parse(data) == dist


@pytest.mark.parametrize("dist", DISTS, ids=repr)
def test_dump_reads_back(dist: Dist) -> None:
    assert parse(dump(dist)) == dist
    assert parse(dist) is dist


@pytest.mark.parametrize(
    "dist", [*DISTS, Bernoulli(0.3), Bernoulli(0.0), Bernoulli(1.0)], ids=repr
)
def test_values_fill_the_support(dist: Dist) -> None:
    values = dist.quantile(LEVELS)
    low, high = dist.support
    assert values.shape == LEVELS.shape
    assert values.min() >= low
    assert values.max() <= high
    assert values.min() - low <= 2e-4 * max(high - low, 1)
    assert high - values.max() <= 2e-4 * max(high - low, 1)


@pytest.mark.parametrize("dist", DISTS, ids=repr)
def test_quantiles_rise(dist: Dist) -> None:
    """All of these list their parts in rising order."""
    assert (np.diff(dist.quantile(LEVELS)) >= 0).all()


@pytest.mark.parametrize("dist", DISTS, ids=repr)
def test_quantile_is_elementwise(dist: Dist) -> None:
    u = LEVELS[:6].reshape(2, 3)
    assert (dist.quantile(u) == dist.quantile(u.ravel()).reshape(2, 3)).all()
    assert dist.quantile(np.empty(0)).shape == (0,)


LAWS = [
    (Uniform(-2.0, 5.5), stats.uniform(-2, 7.5)),
    (LogUniform(0.1, 10.0), stats.loguniform(0.1, 10)),
    (Normal(1.0, 2.0, -3.0, 4.0), stats.truncnorm(-2, 1.5, 1, 2)),
    (Normal(0.0, 1.0, 3.0, 6.0), stats.truncnorm(3, 6)),
    (Integers(-2, 6), stats.randint(-2, 7)),
    (Bernoulli(0.3), stats.bernoulli(0.3)),
]


@pytest.mark.parametrize(
    ("dist", "law"), LAWS, ids=lambda value: repr(value) if isinstance(value, Dist) else "scipy"
)
def test_distribution_equals_scipy(dist: Dist, law: Any) -> None:
    """Kolmogorov's distance between a grid of quantiles and the law: half a step of the grid,
    1/40000, and rounding.
    """
    values = np.sort(dist.quantile(LEVELS[1:-1]))
    points = np.unique(values)
    empirical = np.searchsorted(values, points, side="right") / len(values)
    assert np.abs(empirical - law.cdf(points)).max() < 1e-4


def test_normal_quantile_equals_scipy() -> None:
    ours = Normal(1.0, 2.0, -3.0, 4.0).quantile(LEVELS[1:-1])
    np.testing.assert_allclose(ours, stats.truncnorm(-2, 1.5, 1, 2).ppf(LEVELS[1:-1]), atol=1e-9)


def test_reciprocal_and_sqrt_transform_the_law() -> None:
    reciprocal, root = (
        Reciprocal(Uniform(1.0, 8.0)).quantile(LEVELS[1:-1]),
        Sqrt(Uniform(4.0, 9.0)).quantile(LEVELS),
    )
    np.testing.assert_allclose(
        np.sort(1 / reciprocal), Uniform(1.0, 8.0).quantile(LEVELS[1:-1]), rtol=1e-12
    )
    np.testing.assert_allclose(root**2, Uniform(4.0, 9.0).quantile(LEVELS), rtol=1e-12)


@pytest.mark.parametrize(
    "weights", [(0.2, 0.7, 0.1), (0.0, 0.5, 0.5), (1.0, 0.0, 0.0), (0.1,) * 10]
)
def test_pick_inverts_exactly(weights: tuple[float, ...]) -> None:
    """Each part is chosen as often as it should be, and the remainder is uniform inside it."""
    index, rest = pick(weights, LEVELS)
    shares = np.bincount(index, minlength=len(weights)) / len(LEVELS)
    assert np.abs(shares - weights).max() < 2e-4
    assert ((rest >= 0) & (rest < 1)).all()
    for j in np.flatnonzero(weights):
        inside = rest[index == j]
        assert stats.kstest(inside, "uniform").statistic < 2 / len(inside)


def test_mix_draws_each_part_with_its_weight() -> None:
    mix = Mix((Uniform(1.0, 1.5), Uniform(0.15, 1.0), Const(1.0)), (0.2, 0.7, 0.1))
    values = mix.quantile(LEVELS)
    assert abs((values > 1).mean() - 0.2) < 2e-4
    assert abs((values < 1).mean() - 0.7) < 2e-4
    assert abs((values == 1).mean() - 0.1) < 2e-4
    assert stats.kstest(values[values < 1], stats.uniform(0.15, 0.85).cdf).statistic < 2e-4


KINDS = "any, integers, mix, log_uniform, normal, sqrt, reciprocal"
ERRORS: list[tuple[Any, str]] = [
    (None, f"None is not a distribution; write a number, [low, high], or one of {KINDS}"),
    (
        {"gauss": 1},
        f"{{'gauss': 1}} is not a distribution; write a number, [low, high], or one of {KINDS}",
    ),
    ([1, 2, 3], "[1, 2, 3] should be [low, high]; to list single values write {any: [...]}"),
    ([3, 1], "[3, 1] is empty: 3 is greater than 1"),
    ([True, 2], "True should be a number"),
    (["low", 1], "'low' should be a number"),
    (float("nan"), "nan should be finite"),
    ("inf", "inf should be finite"),
    (10**400, "100000000000000000000000000000000000000000000000000000000... should be finite"),
    ({"any": []}, "any: [] should be a list of values, or values with their weights"),
    ({"any": "area"}, "any: 'area' should be a list of values, or values with their weights"),
    ({"any": [1, "area"]}, "any: [1, 'area'] should be all numbers or all names"),
    ({"any": {1: -1, 2: 0}}, "weights [-1.0, 0.0] should be at least 0 and not all 0"),
    ({"integers": [0.5, 2]}, "integers: [0.5, 2] should be two whole numbers"),
    ({"log_uniform": [0, 1]}, "log_uniform: [0, 1] should be two positive numbers"),
    ({"normal": {"mean": 0}}, "normal: {'mean': 0} should have exactly mean, std, min and max"),
    (
        {"normal": {"mean": 0, "std": 0, "min": 0, "max": 1}},
        "normal: {'mean': 0, 'std': 0, 'min': 0, 'max': 1} needs std > 0 and min < max",
    ),
    ({"mix": []}, "mix: [] should be a list of {p: weight, of: distribution}"),
    ({"mix": [{"p": 1}]}, "mix: {'p': 1} should be {p: weight, of: distribution}"),
    ({"sqrt": [-1, 1]}, "sqrt: [-1, 1] should not be negative"),
    ({"reciprocal": [0, 1]}, "reciprocal: [0, 1] should be positive"),
]


@pytest.mark.parametrize(("data", "message"), ERRORS, ids=lambda value: repr(value)[:40])
def test_errors_name_the_value_and_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        parse(data)


# --- many at once --------------------------------------------------------------------------------


def test_quantiles_of_many_equal_each_alone() -> None:
    """To the last bit, whatever families stand beside each other."""
    named = [d for d in DISTS if isinstance(d, Choice) and isinstance(d.values[0], str)]
    dists: list[Dist] = [dist for dist in [*DISTS, *DISTS[::-1]] if dist not in named]
    long = Choice(tuple(map(float, range(40))), (1 / 40,) * 40)
    nested = Mix(
        (Mix((Const(-0.0), Uniform(0.0, 0.1)), (0.0, 1.0)), long, Const(3.0)), (0.1, 0.8, 0.1)
    )
    dists += [long, nested, Bernoulli(0.0), Bernoulli(0.3), Mix((long,) * 20, (1 / 20,) * 20)]
    levels = np.random.default_rng(0).permuted(np.tile(LEVELS, (len(dists), 1)), axis=1).T
    values = Quantiles(dists)(levels)
    for j, dist in enumerate(dists):
        assert values[:, j].tobytes() == dist.quantile(levels[:, j]).tobytes(), dist
    assert Quantiles([])(np.empty((3, 0))).shape == (3, 0)
    assert Quantiles(dists)(np.empty((0, len(dists)))).shape == (0, len(dists))
