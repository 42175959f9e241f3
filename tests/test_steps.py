"""Control: gates, choices, shuffles and repeats do what they say, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from degrade import Canvas, Key, Recipe, RecipeError
from degrade.extent import Extent, SizeError
from degrade.nodes import Sequence


def recipe(*stage: Any, scale: int = 1) -> Recipe:
    return Recipe.load({"name": "x", "scale": scale, "a": list(stage)})


def seen(loaded: Recipe, count: int = 40) -> list[list[str]]:
    """Which steps each sample ran, in order."""
    runs: list[list[str]] = []
    hr = torch.rand(1, 3, 8, 8)
    for i in range(count):
        ran: list[str] = []
        loaded.apply(
            hr,
            loaded.plan(Key.of(0, i)),
            watch=lambda address, canvas, ran=ran: ran.append(address),
        )
        runs.append(ran)
    return runs


def test_gates() -> None:
    loaded = recipe({"p": 0.5, "clip": None}, {"p": 0, "quantize": None})
    plan = loaded.plan(Key.of(0, np.arange(40)))
    assert [run == ["a.clip"] for run in seen(loaded)] == (plan["a.clip.p"] == 1).tolist()
    assert plan.addresses == ("a.clip.p", "a.quantize.p")


def test_choices_run_one_branch() -> None:
    loaded = recipe(
        {"one_of": [{"p": 3, "clip": None}, {"p": 1, "quantize": None}, {"p": 0, "blur": None}]}
    )
    runs = seen(loaded, 200)
    assert all(len(run) == 1 for run in runs)
    share = sum(run == ["a.clip"] for run in runs) / 200
    assert 0.65 < share < 0.85
    assert not any(run == ["a.blur"] for run in runs)


def test_branches_share_their_variables() -> None:
    loaded = recipe({"one_of": [{"jpeg": {"quality": [1, 9]}}, {"jpeg": {"quality": [90, 99]}}]})
    assert [column.address for column in loaded.columns] == ["a.one_of", "a.jpeg.quality"]
    plan = loaded.plan(Key.of(0, np.arange(100)))
    low = plan["a.one_of"] == 0
    assert plan["a.jpeg.quality"][low].max() < 9
    assert plan["a.jpeg.quality"][~low].min() >= 90


def test_branches_that_share_a_label_share_a_kind() -> None:
    with pytest.raises(RecipeError, match=r"a.x: is clip in another branch; name it with as:"):
        recipe({"one_of": [{"as": "x", "clip": None}, {"as": "x", "quantize": None}]})


def test_shuffles_take_every_order() -> None:
    loaded = recipe({"shuffle": ["clip", "quantize", {"as": "again", "clip": None}]})
    orders = {tuple(run) for run in seen(loaded, 80)}
    assert len(orders) == 6
    kept = recipe(
        {
            "shuffle": {
                "ordered": ["clip", "again"],
                "steps": ["clip", "quantize", {"as": "again", "clip": None}],
            }
        }
    )
    orders = {tuple(run) for run in seen(kept, 80)}
    assert len(orders) == 3
    assert all(order.index("a.clip") < order.index("a.again") for order in orders)


def test_repeats_draw_anew() -> None:
    loaded = recipe(
        {"repeat": {"times": {"integers": [0, 3]}, "steps": [{"jpeg": {"quality": [30, 95]}}]}}
    )
    plan = loaded.plan(Key.of(0, np.arange(40)))
    assert [len(run) for run in seen(loaded)] == plan["a.repeat.times"].astype(int).tolist()
    thrice = plan["a.repeat.times"] == 3
    assert (plan["a.repeat[0].jpeg.quality"] != plan["a.repeat[1].jpeg.quality"])[thrice].all()
    assert Recipe.load(loaded.dump()) == loaded


def test_rows_that_part_come_together(photographs: torch.Tensor) -> None:
    """A batch that goes every way equals its rows alone, in images of their own."""
    loaded = recipe(
        {"p": 0.5, "blur": {"sigma": [0.5, 2]}},
        {
            "one_of": [
                {"resize": {"factor": [0.3, 1.5]}},
                {"p": 0.5, "gaussian_noise": {"sigma": 20}},
            ]
        },
        {
            "shuffle": [
                {"as": "noise", "gaussian_noise": {"sigma": 5}},
                {"jpeg": {"quality": [30, 90]}},
            ]
        },
        {"as": "end", "resize": {"of": "target"}},
    )
    plan = loaded.plan(Key.of(1, np.arange(6)))
    together = loaded.apply(photographs, plan, chunk=6).lr
    for i in range(6):
        assert torch.equal(
            together[i], loaded.apply(photographs[i : i + 1], plan.take(slice(i, i + 1))).lr[0]
        )


SIZED = [
    ([{"resize": {"of": "target"}}], 4, {1}),
    ([{"p": 0.5, "resize": {"of": "target"}}], 4, {1, 4}),
    ([{"resize": {"factor": 0.5}}], 4, {2}),
    ([{"resize": {"factor": 0.5}}], 3, {None}),
    ([{"resize": {"factor": [0.5, 1]}}], 4, {None}),
    ([{"resize": {"factor": 0.5}}, "decimate"], 4, {1}),
    ([{"one_of": [{"resize": {"of": "target"}}, "decimate"]}], 4, {1}),
    (
        [
            {
                "shuffle": [
                    {"resize": {"of": "target"}},
                    {"as": "other", "resize": {"factor": [0.5, 2]}},
                ]
            }
        ],
        4,
        {1, None},
    ),
    (
        [
            {
                "shuffle": {
                    "ordered": ["other", "resize"],
                    "steps": [
                        {"as": "other", "resize": {"factor": [0.5, 2]}},
                        "clip",
                        {"resize": {"of": "target"}},
                    ],
                }
            }
        ],
        4,
        {1},
    ),
    (
        [{"repeat": {"times": {"integers": [0, 1]}, "steps": [{"resize": {"of": "target"}}]}}],
        4,
        {1, 4},
    ),
    ([{"repeat": {"times": 2, "steps": [{"resize": {"factor": 0.5}}]}}], 4, {1}),
]


@pytest.mark.parametrize(
    ("stage", "scale", "sizes"), SIZED, ids=[str(i) for i in range(len(SIZED))]
)
def test_sizes_are_known_before_anything_runs(
    stage: list[Any], scale: int, sizes: set[int | None]
) -> None:
    whole = Recipe.load(
        {"name": "x", "scale": scale, "a": stage, "z": [{"resize": {"of": "target"}}]}
    )
    assert whole.stages[0].extent(Extent.of_patch(scale), scale).sizes == sizes
    if sizes == {1}:
        Recipe.load({"name": "x", "scale": scale, "a": stage})
    else:
        with pytest.raises(RecipeError, match="may not have the target size"):
            Recipe.load({"name": "x", "scale": scale, "a": stage})


def test_a_decimation_that_may_not_fit() -> None:
    stage = [{"p": 0.5, "resize": {"factor": 0.7}}, "decimate"]
    with pytest.raises(
        RecipeError, match=r"a.decimate: the size here may not be a whole multiple"
    ):
        recipe(*stage, scale=2)
    with pytest.raises(SizeError):
        Recipe.load("bsrgan").stages[0].extent(Extent(frozenset({None}), 256), 4)
    assert isinstance(Recipe.load("bsrgan").stages[0], Sequence)


def test_the_hr_stage_keeps_its_size() -> None:
    with pytest.raises(
        RecipeError, match="hr: changes the size of the HR image; resize in a later stage instead"
    ):
        Recipe.load({"name": "x", "scale": 1, "hr": [{"resize": {"factor": 0.5}}], "a": ["clip"]})


def test_watch_sees_the_canvas_after_every_step() -> None:
    loaded = recipe({"resize": {"of": "target"}}, "quantize", scale=2)
    sizes: list[tuple[str, list[list[int]]]] = []

    def watch(address: str, canvas: Canvas) -> None:
        sizes.append((address, canvas.sizes.tolist()))

    loaded.apply(torch.rand(1, 3, 8, 6), loaded.plan(Key.of(0, 0)), watch=watch)
    assert sizes == [("a.resize", [[4, 3]]), ("a.quantize", [[4, 3]])]
