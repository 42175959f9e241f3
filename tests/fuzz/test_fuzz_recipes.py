"""Any recipe that is accepted runs, to the declared size and finite values; any other is refused
with an address.

Recipes are grown from the registry: every operator, every field, values at and beyond the edges of
its range, in groups within groups. What they may enlarge is held against DEGRADE_MAX_PIXELS, which
is low here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import fuzz, within
from hypothesis import event, given
from hypothesis import strategies as st

import degrade.ops as ops
from degrade import Key, Recipe
from degrade.base import REGISTRY
from degrade.errors import Problem, RecipeError, UserError
from degrade.fields import Categorical, Probability, Range, Variable
from degrade.limits import LIMIT, PATCH, max_pixels
from degrade.loading.builder import MOST_STEPS

ops.discover()
OURS = sorted(
    name
    for name, kind in REGISTRY.items()
    if kind.__module__.startswith("degrade.ops.") and "adapt" not in kind.__module__
)
FEW = 2**20
"""Pixels: an HR patch of 256 x 256 may grow to four times its side."""


@pytest.fixture(autouse=True, scope="module")
def few_pixels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEGRADE_MAX_PIXELS", str(FEW))
        yield


# --- values --------------------------------------------------------------------------------------


def edges(variable: Range) -> list[float]:
    """The ends of a range, what lies next to them on both sides, and the usual suspects."""
    ends = [end for end in (variable.low, variable.high) if math.isfinite(end)]
    near = [math.nextafter(end, way) for end in ends for way in (-math.inf, math.inf)]
    return [*ends, *ends, *near, 0.0, -0.0, 1.0, 5e-324, 1e-45, 1e-38, 1e-8, 1e-3, 0.5, 1e300]


def numbers(variable: Range) -> st.SearchStrategy[float]:
    low, high = max(variable.low, -1e6), min(variable.high, 1e6)
    inside = st.floats(low, high)
    if variable.odd or variable.whole:
        inside = st.integers(math.ceil(low), math.floor(high)).map(
            lambda n: float(n | 1 if variable.odd else n)
        )
    return st.one_of(inside, inside, inside, st.sampled_from(edges(variable)))


def dists(variable: Range) -> st.SearchStrategy[Any]:
    one = numbers(variable)
    two = st.tuples(one, one).map(lambda pair: sorted(pair))
    whole = variable.odd or variable.whole
    several = st.one_of(
        st.lists(one, min_size=1, max_size=3).map(lambda some: {"any": some}),
        st.dictionaries(one, st.sampled_from([0, 0.1, 1, 1e9]), min_size=1, max_size=3).map(
            lambda some: {"any": some}
        ),
    )
    spread = st.one_of(
        two,
        two.map(lambda pair: {"log_uniform": pair}),
        two.map(lambda pair: {"reciprocal": [1 / x if x else 1.0 for x in reversed(pair)]}),
        two.map(lambda pair: {"sqrt": [min(x * x, 1e300) for x in pair]}),
        st.tuples(one, st.floats(1e-6, 1e6), two).map(
            lambda t: {"normal": {"mean": t[0], "std": t[1], "min": t[2][0], "max": t[2][1]}}
        ),
    )
    simple = st.one_of(one, several, two.map(lambda pair: {"integers": pair}) if whole else spread)
    mixed = st.lists(
        st.fixed_dictionaries({"p": st.sampled_from([0.1, 1]), "of": simple}),
        min_size=1,
        max_size=2,
    )
    return st.one_of(simple, simple, mixed.map(lambda parts: {"mix": parts}))


def values(variable: Variable | None, field: Any) -> st.SearchStrategy[Any]:
    """What a field may be given, and now and then what it may not."""
    match variable:
        case Range():
            return dists(variable)
        case Categorical():
            name = st.sampled_from(variable.options)
            return st.one_of(
                name,
                st.lists(name, min_size=1, max_size=3, unique=True),
                st.just("nothing of the kind"),
            )
        case Probability():
            return st.sampled_from([0, 1, 0.5, True, False, "1/3", 1.5])
        case _:
            options = getattr(field.annotation, "__args__", None)
            return st.sampled_from(options) if options else st.integers(-1, 17)


def operators() -> st.SearchStrategy[dict[str, Any]]:
    def fields(name: str) -> st.SearchStrategy[dict[str, Any]]:
        kind = REGISTRY[name]
        known = kind.variables()
        some = {field: values(known.get(field), info) for field, info in kind.model_fields.items()}
        return st.fixed_dictionaries({}, optional=some).map(lambda body: {name: body})

    return st.sampled_from(OURS).flatmap(fields)


def groups(step: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(step, min_size=1, max_size=3)
    times = st.one_of(
        st.integers(0, 20), st.just({"integers": [0, 20]}), st.just({"any": [0, 2, 3]})
    )
    return st.one_of(
        some.map(lambda steps: {"steps": steps}),
        some.map(lambda steps: {"one_of": steps}),
        st.lists(step, min_size=2, max_size=4).map(lambda steps: {"shuffle": steps}),
        st.builds(lambda times, steps: {"repeat": {"times": times, "steps": steps}}, times, some),
    )


GATES = st.sampled_from([{}, {}, {}, {"p": 0.5}, {"p": 0}, {"p": 0.999}])
STEPS = st.recursive(
    st.builds(lambda gate, step: {**gate, **step}, GATES, operators()),
    lambda inner: st.builds(lambda gate, step: {**gate, **step}, GATES, groups(inner)),
    max_leaves=8,
)


def labelled(node: Any, count: list[int]) -> Any:
    """The same steps, each with a name of its own."""
    if isinstance(node, list):
        return [labelled(part, count) for part in node]
    if not isinstance(node, dict):
        return node
    kind = next(key for key in node if key != "p")
    body = node[kind]
    count[0] += 1
    label = f"{kind}_{count[0]}"
    if kind == "repeat":
        body = {"times": body["times"], "steps": labelled(body["steps"], count)}
    elif kind in ("steps", "one_of", "shuffle"):
        body = labelled(body, count)
    return {"as": label, **{key: value for key, value in node.items() if key == "p"}, kind: body}


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    steps = draw(st.lists(STEPS, min_size=1, max_size=5))
    data: dict[str, Any] = {"name": "fuzzed", "scale": draw(st.sampled_from([1, 2, 3, 4, 16]))}
    if draw(st.booleans()):
        data["hr"] = labelled(draw(st.lists(STEPS, max_size=2)), [100])
    return {**data, "first": [*labelled(steps, [0]), {"as": "end", "resize": {"of": "target"}}]}


# --- laws ----------------------------------------------------------------------------------------


def attempt(data: dict[str, Any]) -> tuple[Recipe | None, list[Problem]]:
    """A recipe, or what is wrong with it."""
    try:
        return Recipe.load(data), []
    except RecipeError as error:
        return None, error.problems


@fuzz(60)
@given(
    recipes(),
    st.sampled_from([(1, 1), (2, 3), (17, 1), (1, 40)]),
    st.sampled_from([1, 3]),
    st.integers(0, 2**40),
)
def test_an_accepted_recipe_runs(
    data: dict[str, Any], size: tuple[int, int], channels: int, seed: int
) -> None:
    with within(30):
        recipe, problems = attempt(data)
    event("refused" if problems else "accepted")
    assert all(problem.address and problem.message for problem in problems)
    if recipe is None:
        return
    assert Recipe.load(recipe.dump()) == recipe
    height, width = size[0] * recipe.scale, size[1] * recipe.scale
    hr = torch.rand(
        2, channels, height, width, generator=torch.Generator().manual_seed(seed % 2**31)
    )
    hr[1] = hr[1].round()
    key = Key.of(seed, np.arange(2))
    with within(60):
        for plan in (recipe.plan(key), recipe.severity(0, key), recipe.severity(0.999, key)):
            pair = recipe.apply(hr, plan)
            assert pair.lr.shape == (2, channels, *size)
            assert pair.hr.shape == hr.shape
            assert torch.isfinite(pair.lr).all()
            assert torch.isfinite(pair.hr).all()
            rows = [plan.row(i) for i in range(2)]
            again = recipe.read_plan(rows, [int(word) for word in plan.key.words])
            np.testing.assert_array_equal(again.values, plan.values)


def growing(*steps: Any) -> dict[str, Any]:
    return {
        "name": "growing",
        "scale": 2,
        "first": [*steps, {"as": "end", "resize": {"of": "target"}}],
    }


UP, DOWN = {"as": "up", "resize": {"factor": [1, 4]}}, {"as": "down", "resize": {"factor": 0.25}}
MORE = {"as": "more", "resize": {"factor": 1.01}}
WITHIN = [
    growing(UP),
    growing(UP, DOWN, {**UP, "as": "again"}),
    growing(
        {"as": "up", "resize": {"of": "hr", "factor": 4}},
        {**MORE, "resize": {"of": "target", "factor": 8}},
    ),
    growing({"one_of": [UP, MORE]}),
    growing({"shuffle": {"steps": [DOWN, UP, MORE], "ordered": ["down", "up"]}}),
    growing({"repeat": {"times": 2, "steps": [{**UP, "resize": {"factor": 2}}]}}),
]
BEYOND = [
    (
        growing({**UP, "resize": {"factor": [1, 4.01]}}),
        "first.up: may make 1027 x 1027 pixels of an HR patch of 256 x 256",
    ),
    (
        growing({**UP, "resize": {"factor": 100}}),
        "the limit is 1,048,576; lower its factor, or set DEGRADE_MAX_PIXELS",
    ),
    (growing(UP, MORE), "first.more: may make 1034 x 1034"),
    (growing({**UP, "resize": {"of": "hr", "factor": 5}}), "first.up: may make 1280 x 1280"),
    (growing({**UP, "resize": {"of": "target", "factor": 10}}), "first.up: may make 1280 x 1280"),
    (growing({**UP, "p": 0.001}, {**DOWN, "p": 0.999}, MORE), "first.more: may make 1034 x 1034"),
    (growing({"one_of": [DOWN, UP]}, MORE), "first.more: may make 1034 x 1034"),
    (growing({"shuffle": [DOWN, UP, MORE]}), "may make 1034 x 1034"),
    (
        growing(
            {"repeat": {"times": {"integers": [0, 3]}, "steps": [{**UP, "resize": {"factor": 2}}]}}
        ),
        "2048 x 2048",
    ),
    (
        growing(
            *[{"as": f"down{i}", "resize": {"factor": 0.01}} for i in range(9)],
            *[{"as": f"up{i}", "resize": {"factor": 40}} for i in range(3)],
        ),
        "first.up1: may make 1600 x 1600",
    ),
]


@pytest.mark.parametrize("data", WITHIN, ids=range(len(WITHIN)))
def test_what_grows_to_the_limit_is_accepted_and_does(data: dict[str, Any]) -> None:
    recipe = Recipe.load(data)
    seen: list[int] = []
    hr = torch.zeros(1, 1, PATCH, PATCH)
    recipe.apply(
        hr,
        recipe.severity(0, Key.of(0, [0])),
        watch=lambda _, canvas: seen.append(int(canvas.sizes.prod(1).max())),
    )
    assert max(seen) <= max_pixels() == FEW


@pytest.mark.parametrize(("data", "message"), BEYOND, ids=range(len(BEYOND)))
def test_what_may_grow_beyond_the_limit_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(data)
    assert message in str(caught.value)


def test_the_limit_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    data = BEYOND[0][0]
    monkeypatch.setenv("DEGRADE_MAX_PIXELS", str(1027**2))
    Recipe.load(data)
    monkeypatch.delenv("DEGRADE_MAX_PIXELS")
    assert max_pixels() == LIMIT
    Recipe.load(data)
    for said in ("", "many", "-1", "1e9", "٣", "9" * 5000):
        monkeypatch.setenv("DEGRADE_MAX_PIXELS", said)
        with pytest.raises(
            UserError, match=r"^DEGRADE_MAX_PIXELS=.*: should be a whole number of pixels"
        ):
            Recipe.load(data)


def test_larger_images_are_held_to_it_when_they_are_degraded() -> None:
    recipe = Recipe.load(growing({**UP, "resize": {"factor": 2}}))
    plan = recipe.plan(Key.of(0, [0]))
    assert recipe.apply(torch.zeros(1, 1, 2, 2**17), plan).lr.shape == (1, 1, 1, 2**16)
    with pytest.raises(
        UserError,
        match=r"^first\.up: would make an image of 262148 x 4 pixels, more than the limit of",
    ):
        recipe.apply(torch.zeros(1, 1, 2, 2**17 + 2), plan)


def nested(kind: str, depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"as": "inner", "resize": {"factor": [0.5, 1]}}
    for i in range(depth):
        body = [step, {"as": f"other{i}", "clip": None}]
        step = {
            "as": f"group{i}",
            kind: {"times": 20, "steps": body} if kind == "repeat" else body,
        }
    return growing(step)


def shuffles(depth: int, prefix: str = "s") -> dict[str, Any]:
    """Six steps in a shuffle, each of which is six steps in a shuffle, ..."""
    if depth == 0:
        return {"as": prefix, "resize": {"factor": [0.5, 1]}}
    return {"as": prefix, "shuffle": [shuffles(depth - 1, f"{prefix}{i}") for i in range(6)]}


ENDLESS = [
    *(
        (nested(kind, depth), "nested too deeply")
        for kind in ("steps", "one_of", "shuffle")
        for depth in (12, 400)
    ),
    (nested("repeat", 3), f"exceeds the limit of {MOST_STEPS} steps"),
    (nested("repeat", 9), f"exceeds the limit of {MOST_STEPS} steps"),
    (growing(shuffles(2)), "more than 6 of its steps change the size"),
    (growing(shuffles(3)), "more than 6 of its steps change the size"),
]


@pytest.mark.parametrize(("data", "message"), ENDLESS, ids=range(len(ENDLESS)))
def test_what_would_take_for_ever_is_refused_at_once(data: dict[str, Any], message: str) -> None:
    with within(10), pytest.raises(RecipeError) as caught:
        Recipe.load(data)
    assert message in str(caught.value)
    assert all(problem.address for problem in caught.value.problems)


@pytest.mark.parametrize("kind", ["steps", "one_of", "shuffle"])
def test_groups_ten_deep_are_accepted(kind: str) -> None:
    recipe = Recipe.load(nested(kind, 10))
    pair = recipe.apply(torch.rand(2, 3, 8, 8), recipe.plan(Key.of(0, np.arange(2))))
    assert torch.isfinite(pair.lr).all()


@pytest.mark.parametrize("scale", [0, 1, 100])
@pytest.mark.parametrize("peak", [1e-3, 6e-8, 1e-38, 1e-45, 5e-324])
@pytest.mark.parametrize("gray", [0, 1])
def test_few_photons_are_finite(
    peak: float, scale: float, gray: float, device: torch.device
) -> None:
    noise = {"poisson_noise": {"peak": peak, "scale": scale, "gray": gray}}
    recipe = Recipe.load({"name": "dark", "scale": 1, "first": [noise]})
    hr = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(device)
    assert torch.isfinite(recipe.apply(hr, recipe.plan(Key.of(0, np.arange(2)))).lr).all()
