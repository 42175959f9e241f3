"""Drawing, lowering and scheduling in C say what Python says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from degrade.base import REGISTRY, Operator
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
)
from degrade.errors import UserError
from degrade.execution import cpu
from degrade.execution.launches import schedule_in_c, schedule_in_numpy
from degrade.execution.passes import PASSES
from degrade.fields import Range
from degrade.kernels import native
from degrade.loading.search_path import names
from degrade.lowering import KNOWN
from degrade.plan import Column, Condition, Plan, PlanBuilder
from degrade.quantiles import encode
from degrade.recipe import Recipe
from degrade.rng import Key

pytestmark = pytest.mark.skipif(not native.available(), reason="no native code is built")

SIZE = (48, 72)
CONTROL = {
    "name": "control",
    "scale": 2,
    "first": [
        {
            "shuffle": {
                "steps": [
                    {"p": 0.5, "blur": {"sigma": [0.5, 3], "kernel": {"any": ["iso", "aniso"]}}},
                    {"one_of": [{"p": 0.4, "clip": None}, {"p": 0.6, "quantize": {"bits": 4}}]},
                    {"as": "noise", "gaussian_noise": {"sigma": [1, 30], "correlated": 0.5}},
                    {"resize": {"factor": [0.5, 1.5], "filter": "area"}},
                    {"jpeg": {"quality": [30, 95]}},
                ],
                "ordered": ["noise", "jpeg"],
            }
        },
        {
            "as": "twice",
            "repeat": {
                "times": {"integers": [0, 3]},
                "steps": [{"p": 0.6, "poisson_noise": {"peak": [20, 90], "gray": 0.5}}],
            },
        },
        {"repeat": {"times": 2, "steps": [{"salt_pepper": {"amount": [0, 0.1], "gray": 0.5}}]}},
        {"as": "back", "resize": {"of": "target", "filter": "matlab"}},
    ],
}


def plan_of(recipe: Recipe, batch: int = 12) -> Plan:
    return recipe.plan(Key.of(7, np.arange(batch)))


class Backwards(Uniform):
    """A distribution of somebody else's."""

    def quantile(self, u: Any) -> Any:
        return self.high - u * (self.high - self.low)


FEW = Mix((Uniform(1, 2), Const(2), Integers(3, 5), Choice((6.0, 7.0), (0.3, 0.7))), (0.25,) * 4)
DISTRIBUTIONS: list[Dist] = [
    *(Const(0.3), Bernoulli(0.2), Bernoulli(0), Bernoulli(1), Uniform(-3, 1), Integers(-2, 7)),
    *(Choice((5.0,), (1.0,)), Choice((3.0, 1.0, 2.0), (0.1, 0.0, 0.9))),
    *(Choice(tuple(map(float, range(40))), (1 / 40,) * 40), FEW, Mix((FEW, FEW), (0.7, 0.3))),
    Mix((Uniform(0, 1), Uniform(1, 2), Uniform(2, 3)), (0.0, 1.0, 0.0)),
    Mix(tuple(Uniform(i, i + 1) for i in range(30)), (1 / 30,) * 30),
    *(Sqrt(Uniform(0.1, 4)), Reciprocal(FEW), Sqrt(Reciprocal(Mix((FEW, Const(1)), (0.5, 0.5))))),
]
OTHERS: list[Dist] = [
    *(LogUniform(1, 10), Normal(0, 1, -2, 2), Backwards(0, 1)),
    *(Mix((Uniform(0, 1), LogUniform(1, 10)), (0.5, 0.5)), Sqrt(LogUniform(1, 10))),
]


def same_bits(one: Plan, two: Plan) -> bool:
    """Whether the values are equal to the last bit, and NaN in the same places."""
    a, b = one.values, two.values
    return a.tobytes() == b.tobytes() or (
        bool((np.isnan(a) == np.isnan(b)).all())
        and a[~np.isnan(a)].tobytes() == b[~np.isnan(b)].tobytes()
    )


@pytest.mark.parametrize("recipe", [*names(), CONTROL], ids=[*names(), "control"])
def test_native_code_draws_as_numpy(recipe: Any) -> None:
    builder, key = Recipe.load(recipe)._builder, Key.of(3, np.arange(500))
    drawn = builder.draw(key)
    assert same_bits(drawn, builder.drawn_in_numpy(key))
    assert same_bits(drawn.take(slice(7, 9)), builder.draw(key[7:9])), "a row depends on others"


def test_native_code_draws_every_distribution() -> None:
    """Each alone, and on the condition that another is in a range, and that one's in turn."""
    field = Range(-1e9, 1e9)
    columns: list[Column] = []
    for i, dist in enumerate([*DISTRIBUTIONS, *OTHERS]):
        first = Column(f"{i}.a", Uniform(0, 1), field)
        second = Column(f"{i}.b", dist, field, when=Condition(first, 0.25, 0.75))
        middle = float(np.median(dist.quantile(np.linspace(0, 0.99, 99))))
        third = Column(f"{i}.c", dist, field, when=Condition(second, middle))
        columns += [first, second, third, Column(f"{i}.d", dist, field)]
    builder, key = PlanBuilder(columns), Key.of(0, np.arange(2000))
    drawn = builder.draw(key)
    assert same_bits(drawn, builder.drawn_in_numpy(key))
    share = np.isnan(drawn.values).mean(0).reshape(-1, 4)
    assert (share[:, 0] == 0).all()
    assert (abs(share[:, 1] - 0.5) < 0.05).all()


@pytest.mark.parametrize("dist", DISTRIBUTIONS, ids=str)
def test_native_code_knows(dist: Dist) -> None:
    assert encode(dist) is not None


@pytest.mark.parametrize("dist", OTHERS, ids=str)
def test_python_evaluates_what_native_code_does_not_know(dist: Dist) -> None:
    assert encode(dist) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("recipe", [*names(), CONTROL], ids=[*names(), "control"])
def test_native_code_lowers_as_python(recipe: Any, channels: int) -> None:
    """The same records, but for where their arrays lie; the same pairs, bit for bit."""
    recipe = Recipe.load(recipe)
    plan = plan_of(recipe)
    lines = recipe.lines(plan, *SIZE, channels)
    expected = recipe.lower(plan, *SIZE, channels).lines
    assert lines.call is None, "native code lowered nothing"
    np.testing.assert_array_equal(lines.words[:, :6], expected.words[:, :6])
    np.testing.assert_array_equal(lines.start, expected.start)
    np.testing.assert_array_equal(lines.before_target, expected.before_target)
    hr = torch.rand(len(plan), channels, *SIZE, generator=torch.Generator().manual_seed(0))
    for image, other in zip(cpu.run(lines, hr), cpu.run(expected, hr), strict=True):
        assert torch.equal(image, other)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_fields(name: str) -> None:
    """C knows every random field of an operator."""
    operator: type[Operator] = REGISTRY[name]
    assert set(KNOWN[name].fields) == set(operator().variables())


def test_python_lowers_what_c_does_not() -> None:
    """Operators that C does not know, and plans that it refuses: Python says what is wrong."""
    lens = Recipe.load({"name": "lens", "scale": 1, "first": [{"lens": {"radius": [1, 3]}}]})
    assert lens.lines(plan_of(lens), 16, 16).call is not None
    large = {"resize": {"factor": 40}}
    back = {"as": "back", "resize": {"of": "target"}}
    recipe = Recipe.load({"name": "large", "scale": 1, "first": [large, back]})
    with pytest.raises(UserError, match="would make an image of"):
        recipe.lines(plan_of(recipe, 1), 4000, 4000)


@pytest.mark.parametrize("target", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("recipe", [*names(), CONTROL], ids=[*names(), "control"])
def test_native_code_schedules_as_numpy(recipe: Any, channels: int, target: bool) -> None:
    """The same launches, and the same words to upload."""
    recipe = Recipe.load(recipe)
    lines = recipe.lines(plan_of(recipe), *SIZE, channels)
    made = schedule_in_c(lines, target, lambda count: np.empty(count, np.int32))
    expected = schedule_in_numpy(lines, target, lambda count: np.empty(count, np.int32))
    assert made is not None
    assert made.steps == expected.steps
    assert (made.records, made.floats) == (expected.records, expected.floats)
    np.testing.assert_array_equal(made.words, expected.words)
    np.testing.assert_array_equal(made.sizes, expected.sizes)
    np.testing.assert_array_equal(made.targets, expected.targets)


def test_passes_are_in_the_order_of_the_enumeration() -> None:
    """schedule.c names them by position."""
    wanted = "load target output python correlate down across residual mask blend resample_down"
    wanted += " resample_across matlab_down matlab_across decimate normal find_levels poisson"
    assert " ".join(PASSES) == wanted + " salt_pepper sample code rebuild convert"
