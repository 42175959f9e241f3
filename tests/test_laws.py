"""The laws, over every registered operator and every packaged recipe: one that is added joins
by existing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import backends
import numpy as np
import pytest
import torch
from backends import BACKENDS, use_backend
from torch import Tensor

from degrade import Canvas, Draw, Key, Operator, Plan, Range, Recipe
from degrade.base import REGISTRY
from degrade.control import OneOf, Shuffle
from degrade.distributions import Const
from degrade.errors import RecipeError
from degrade.fields import Categorical, Variable
from degrade.loading.search_path import names
from degrade.nodes import Sequence, Step

RECIPES = [name for name in names() if "degrade" not in name]
OPERATORS = sorted(
    name for name, kind in REGISTRY.items() if kind.__module__.startswith("degrade.ops.")
)

# --- an instance of every operator, all its variables random -------------------------------------

BODIES: dict[str, dict[str, Any]] = {
    "albumentations": {"Defocus": {"radius": [2, 4], "alias_blur": [0.1, 0.3]}},
    "kornia": {"RandomMotionBlur": {"kernel_size": 5, "angle": 35.0, "direction": 0.5}},
    "gaussian_noise": {"sigma": [1, 40], "gray": 0.5, "correlated": 0.5},
    "speckle_noise": {"sigma": [1, 40], "gray": 0.5, "correlated": 0.5},
    "salt_pepper": {"amount": [0, 0.3], "gray": 0.5},
}
"""Where values spread over the declared range (see :func:`spread`) would not do."""

NEUTRAL: dict[str, dict[str, Any] | None] = {
    "albumentations": {"Defocus": {"p": 0}},
    "blur": {
        "kernel": {"any": ["iso", "aniso", "plateau_aniso"]},
        "sigma": 0,
        "sigma_y": 0,
        "size": {"any": [1, 7]},
    },
    "clip": {},
    "decimate": {},
    "gaussian_noise": {"sigma": 0, "gray": 0.5, "correlated": 0.5},
    "jpeg": None,
    "kornia": {"RandomMotionBlur": {"kernel_size": 3, "angle": 0.0, "direction": 0.0, "p": 0.0}},
    "lens": {"radius": 0},
    "motion": {"length": 1, "angle": [-180, 180]},
    "poisson_noise": {"scale": 0, "gray": 0.5},
    "quantize": {},
    "resize": {
        "filter": {"any": ["area", "bilinear", "bicubic", "lanczos", "nearest", "matlab"]},
        "antialias": 0.5,
    },
    "salt_pepper": {"amount": 0},
    "sinc": {"size": 1, "cutoff": [0.1, 1]},
    "speckle_noise": {"sigma": 0, "gray": 0.5, "correlated": 0.5},
    "unsharp": {"amount": 0},
    "webp": None,
}
"""The parameters at which an operator changes nothing on 8-bit pixels; None for lossy codecs,
which have none.
"""


def spread(variable: Variable) -> Any:
    """A distribution over what a field admits, kept small where that is large or endless."""
    if isinstance(variable, Categorical):
        return {"any": list(variable.options)}
    if not isinstance(variable, Range):
        return 0.5
    low = max(variable.low, -2)
    high = min(variable.high, max(2 * abs(low), low + 4))
    if variable.odd:
        return {"any": [n for n in range(int(low), int(low) + 9) if n % 2]}
    return {"integers": [int(low), int(high)]} if variable.whole else [low, high]


def random(name: str) -> Operator:
    kind = REGISTRY[name]
    return kind.model_validate(
        BODIES.get(name, {field: spread(v) for field, v in kind.variables().items()})
    )


def draw(operator: Operator, key: Key, canvas: Canvas) -> Draw:
    """What a recipe would hand to the operator."""
    values = {
        field: variable.encode(
            dist := getattr(operator, field), dist.quantile(key.fold(field).uniform())
        )
        for field, variable in operator.variables().items()
    }
    return Draw(operator, values, key, canvas)


def ragged(photographs: Tensor, scale: int = 2) -> Canvas:
    """Six images of different sizes in [0, 1]; outside of each, values that would show."""
    sizes = [(60, 72), (34, 72), (58, 32), (24, 26), (44, 44), (16, 60)]
    images = [
        image[:, :h, :w].float() / 255 for image, (h, w) in zip(photographs, sizes, strict=True)
    ]
    canvas = Canvas.of(images, scale)
    for row, (h, w) in zip(canvas.pixels, sizes, strict=True):
        row[:, h:, :] = 7.0
        row[:, :, w:] = -3.0
    return canvas


def work(operator: Operator, canvas: Canvas, key: Key) -> list[Tensor]:
    return backends.apply(operator, canvas, draw(operator, key, canvas)).images()


def test_every_operator_has_a_neutral_parameter_or_none() -> None:
    assert set(OPERATORS) <= set(NEUTRAL), (
        "say in NEUTRAL at which parameters the new operator changes nothing"
    )


@pytest.mark.parametrize("name", OPERATORS)
class TestOperators:
    def test_same_draw_same_pixels(self, name: str, photographs: Tensor) -> None:
        operator, canvas, key = random(name), ragged(photographs), Key.of(1, np.arange(6))
        before = canvas.pixels.clone()
        first, again = work(operator, canvas, key), work(operator, canvas, key)
        assert torch.equal(canvas.pixels, before), "an operator may not write into its input"
        for one, two in zip(first, again, strict=True):
            assert torch.equal(one, two)
            assert torch.isfinite(one).all()

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_row_does_not_see_its_mates(
        self, name: str, photographs: Tensor, backend: Any, channels: int, device: torch.device
    ) -> None:
        """Bit for bit, on a canvas of mixed sizes whose outside is poisoned, in any order."""
        if backend != "reference" and device.type != "cpu":
            pytest.skip("it works on CPUs")
        operator, canvas, key = (
            random(name),
            ragged(photographs[:, :channels]),
            Key.of(2, np.arange(6)),
        )
        canvas = canvas.with_pixels(canvas.pixels.to(device))
        with use_backend(backend):
            together = work(operator, canvas, key)
            order = np.array([4, 2, 5, 0, 1, 3])
            permuted = work(operator, canvas.take(order), key[order])
            alone = [
                work(operator, canvas.take(np.array([i])), key[i : i + 1])[0] for i in range(6)
            ]
        for i in range(6):
            for other in (together[i], permuted[int(np.flatnonzero(order == i)[0])]):
                torch.testing.assert_close(other, alone[i], rtol=0, atol=0)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(
        "backend", [backend for backend in BACKENDS if backend != "reference"]
    )
    def test_forms_agree(
        self, name: str, photographs: Tensor, backend: Any, channels: int
    ) -> None:
        """To 5e-3 grey levels; where an 8-bit rounding ends the operator, on all but 1 in 1000
        values.
        """
        operator, canvas, key = (
            random(name),
            ragged(photographs[:, :channels]),
            Key.of(3, np.arange(6)),
        )
        with use_backend("reference"):
            one = work(operator, canvas, key)
        with use_backend(backend):
            two = work(operator, canvas, key)
        apart = torch.cat([(a - b).abs().flatten() for a, b in zip(one, two, strict=True)]) * 255
        assert (apart > 5e-3).float().mean() <= 1e-3
        assert apart.max() <= (1.001 if name in ("resize",) else 5e-3)

    def test_neutral_is_the_identity(self, name: str, photographs: Tensor) -> None:
        """Exactly."""
        body = NEUTRAL[name]
        if body is None:
            pytest.skip("lossy at every parameter")
        operator, canvas = REGISTRY[name].model_validate(body), ragged(photographs, scale=1)
        for backend in BACKENDS:
            with use_backend(backend):
                after = work(operator, canvas, Key.of(4, np.arange(6)))
            for one, two in zip(canvas.images(), after, strict=True):
                assert torch.equal(one, two), (
                    f"{backend}: {float((one - two).abs().max()) * 255} grey levels"
                )

    def test_gradients_are_finite(self, name: str, photographs: Tensor) -> None:
        if not REGISTRY[name].differentiable:
            pytest.skip("declared not to be differentiable")
        canvas = ragged(photographs)
        pixels = canvas.pixels.clone().requires_grad_()
        after = work(random(name), canvas.with_pixels(pixels), Key.of(5, np.arange(6)))
        torch.stack([image.square().sum() for image in after]).sum().backward()
        assert pixels.grad is not None
        assert torch.isfinite(pixels.grad).all()
        assert pixels.grad.abs().max() > 0
        inside = torch.zeros_like(pixels, dtype=torch.bool)
        for row, (h, w) in zip(inside, canvas.sizes, strict=True):
            row[:, :h, :w] = True
        assert (pixels.grad[~inside] == 0).all(), "pixels outside an image were read"

    def test_smallest_images(self, name: str) -> None:
        operator = random(name)
        for size in ((1, 1), (1, 5), (3, 2)):
            for backend in BACKENDS:
                canvas = Canvas.of(
                    torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)), 1
                )
                with use_backend(backend):
                    assert all(
                        torch.isfinite(image).all()
                        for image in work(operator, canvas, Key.of(6, [0, 1]))
                    )

    def test_adding_it_moves_no_other_draw(self, name: str) -> None:
        """At each place of a stage, and around the stage's own steps."""
        stage = [
            {"blur": {"sigma": [0.2, 3]}},
            {"p": 0.5, "gaussian_noise": {"sigma": [1, 30]}},
            {"as": "end", "resize": {"of": "target"}},
        ]
        body = random(name).model_dump()
        added = {"as": "added", name: body}
        key = Key.of(7, np.arange(50))
        before = Recipe.load({"name": "x", "scale": 2, "a": stage}).plan(key)
        for place in range(len(stage)):
            after = Recipe.load(
                {"name": "x", "scale": 2, "a": [*stage[:place], added, *stage[place:]]}
            ).plan(key)
            for address in before.addresses:
                assert np.array_equal(before[address], after[address], equal_nan=True)


# --- recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
class TestRecipes:
    def test_replay_is_bitwise(self, name: str, photographs: Tensor) -> None:
        recipe = Recipe.load(name)
        plan = recipe.plan(Key.of(3, np.arange(6)))
        read = Plan.from_csv(recipe.columns, plan.to_csv())
        assert np.array_equal(plan.values, read.values, equal_nan=True)
        assert np.array_equal(plan.key.words, read.key.words)
        rows = recipe.read_plan(
            [plan.row(i) for i in range(6)], [int(word) for word in plan.key.words]
        )
        first = recipe.apply(photographs, plan)
        for other in (plan, read, rows):
            pair = recipe.apply(photographs, other)
            assert torch.equal(first.lr, pair.lr)
            assert torch.equal(first.hr, pair.hr)

    def test_a_row_does_not_see_its_mates(
        self, name: str, photographs: Tensor, device: torch.device
    ) -> None:
        """Bitwise: alone, in another order, in chunks, in the whole-batch backend, from floats."""
        recipe, hr = Recipe.load(name), photographs.to(device)
        plan = recipe.plan(Key.of(3, np.arange(6)))
        order = np.array([5, 3, 1, 0, 4, 2])
        for backend in BACKENDS if device.type == "cpu" else ("reference", "triton"):
            together = recipe.apply(hr, plan, chunk=6, backend=backend)
            floats = (photographs / 255).to(device)
            others = {
                "alone": recipe.apply(hr, plan, chunk=1, backend=backend),
                "in fours": recipe.apply(hr, plan, chunk=4, backend=backend),
                "floats": recipe.apply(floats, plan, chunk=6, backend=backend),
            }
            permuted = recipe.apply(
                hr[torch.from_numpy(order).to(device)], plan.take(order), chunk=6, backend=backend
            )
            for what, pair in others.items():
                assert torch.equal(pair.lr, together.lr), what
                assert torch.equal(pair.hr, together.hr), what
            assert torch.equal(permuted.lr, together.lr[torch.from_numpy(order).to(device)])

    @pytest.mark.parametrize(
        "backend", [backend for backend in BACKENDS if backend != "reference"]
    )
    def test_forms_agree(self, name: str, photographs: Tensor, backend: Any) -> None:
        """Forms differ in last bits, which may flip a rounding, a coefficient, a Poisson count.

        Of 24 samples a recipe, three in four are equal but for 1 in 100 values, and the mean
        difference over all values is below 0.1 grey levels.
        """
        recipe = Recipe.load(name)
        plan, hr = recipe.plan(Key.of(8, np.arange(24))), photographs.repeat(4, 1, 1, 1)
        one = recipe.apply(hr, plan, backend=backend)
        two = recipe.apply(hr, plan, chunk=24, backend="reference")
        apart = (one.lr - two.lr).abs().flatten(1) * 255
        share = (apart > 0.01).float().mean(1)
        assert (share < 0.01).float().mean() >= 0.75
        assert apart.mean() < 0.1
        assert ((one.hr - two.hr).abs() * 255 > 0.01).float().mean() < 1e-4

    def test_target_is_made_by_the_hr_stage_alone(self, name: str, photographs: Tensor) -> None:
        recipe = Recipe.load(name)
        pair = recipe.apply(photographs, recipe.plan(Key.of(0, np.arange(6))))
        assert torch.equal(pair.hr_raw, recipe.crop(photographs).float() / 255)
        assert torch.equal(pair.hr, pair.hr_raw) == (not recipe.hr.nodes)

    def test_values_are_8_bit(self, name: str, photographs: Tensor) -> None:
        """Hence the PNG that is written equals the tensor."""
        recipe = Recipe.load(name)
        pair = recipe.apply(photographs, recipe.plan(Key.of(9, np.arange(6))))
        for image in (pair.lr, pair.hr):
            assert torch.equal(
                image, (image * 255).round().clamp(0, 255).to(torch.uint8).float() / 255
            )

    def test_size_is_exact(self, name: str) -> None:
        """At every scale that loads, for odd sizes and the smallest, for colour and grey."""
        generator = torch.Generator().manual_seed(0)
        for scale in (1, 2, 3, 4, 7):
            try:
                recipe = Recipe.load(name, scale=scale)
            except RecipeError:
                assert scale != Recipe.load(name).scale
                continue
            sizes = ((scale, scale), (2 * scale, scale), (5 * scale + scale - 1, 7 * scale + 1))
            for channels, (h, w) in zip((3, 1, 3), sizes, strict=True):
                hr = torch.rand(8, channels, h, w, generator=generator)
                pair = recipe.apply(hr, recipe.plan(Key.of(scale, np.arange(8))))
                assert pair.lr.shape == (8, channels, h // scale, w // scale)
                assert pair.hr.shape == (8, channels, h // scale * scale, w // scale * scale)
                assert torch.isfinite(pair.lr).all()
                assert 0 <= pair.lr.min() <= pair.lr.max() <= 1

    def test_severity_plans_run(self, name: str, photographs: Tensor) -> None:
        recipe = Recipe.load(name)
        hr = photographs[:1]
        error = []
        for level in (0, 0.25, 0.5, 0.75, math.nextafter(1, 0)):
            plan = recipe.severity(level, Key.of(0, 0))
            pair = recipe.apply(hr, plan)
            assert torch.isfinite(pair.lr).all()
            assert np.array_equal(
                Plan.from_csv(recipe.columns, plan.to_csv()).values, plan.values, equal_nan=True
            ), "a severity plan survives its file"
            error.append(
                float(
                    (pair.lr - torch.nn.functional.avg_pool2d(pair.hr, recipe.scale))
                    .square()
                    .mean()
                )
            )
        assert error[-1] >= error[0]

    def test_survives_its_dump(self, name: str) -> None:
        recipe = Recipe.load(name)
        again = Recipe.load(recipe.dump())
        assert again == recipe
        assert again.hash == recipe.hash
        assert again.columns == recipe.columns
        assert (
            Recipe.load({**recipe.dump(), "name": "other", "description": "else"}).hash
            == recipe.hash
        )

    def test_survives_its_file(self, name: str, tmp_path: Any) -> None:
        recipe = Recipe.load(name)
        path = tmp_path / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        assert Recipe.load(path) == recipe

    def test_another_quality_is_another_hash(self, name: str) -> None:
        data = Recipe.load(name).dump()
        stage = next(key for key in data if key not in ("name", "scale", "description"))
        data[stage] = [{"as": "one_more", "clip": None}, *data[stage]]
        assert Recipe.load(data).hash != Recipe.load(name).hash

    def test_registered(self, name: str) -> None:
        """LR and HR share their frame: the mean place of a blob moves by less than 0.02 HR pixels
        over 64 draws.

        Noise is switched off (its effect on a centroid is not that of a shift); the blob is in the
        middle, where mirrored borders pull evenly. The reference's resize by ``scale_factor=``, or
        a decimation off the block's centre, moves it by a pixel and more.
        """
        recipe = quiet(Recipe.load(name))
        pair = recipe.apply(blobs(24 * recipe.scale, 64), recipe.plan(Key.of(10, np.arange(64))))
        shift = displacement(pair.lr, pair.hr, recipe.scale)
        assert np.abs(shift.mean(0)).max() < 0.02
        assert np.abs(shift).max() < 0.2, "no single draw is off by more"


def blobs(side: int, count: int) -> Tensor:
    """(count, 3, side, side): a Gaussian in the middle of a grey field."""
    line = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * (side / 11) ** 2))
    return (
        torch.from_numpy(0.1 + 0.8 * np.outer(line, line))
        .float()
        .expand(count, 3, side, side)
        .contiguous()
    )


def displacement(lr: Tensor, hr: Tensor, scale: int) -> np.ndarray:
    """(B, 2): how far LR's centroid lies from HR's, in HR pixels."""
    return (centroid(lr) + 0.5) * scale - 0.5 - centroid(hr)


def centroid(images: Tensor) -> np.ndarray:
    """(B, 2): the centre of mass of what stands out from the background by a quarter of the
    height.
    """
    grey = images.mean(1).double().numpy()
    low = np.median(grey, (1, 2), keepdims=True)
    weight = np.maximum(grey - low - 0.25 * (grey.max((1, 2), keepdims=True) - low), 0)
    total = weight.sum((1, 2))
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]]
    return np.stack([(weight * y).sum((1, 2)) / total, (weight * x).sum((1, 2)) / total], 1)


def quiet(recipe: Recipe) -> Recipe:
    """The recipe without noise, and with codecs at their best."""

    def calm(data: Any) -> Any:
        if isinstance(data, list):
            return [calm(part) for part in data]
        if not isinstance(data, dict):
            return data
        quieter = {key: calm(value) for key, value in data.items()}
        for key in quieter:
            if key.endswith("_noise"):
                quieter[key] = {"scale": 0} if key == "poisson_noise" else {}
            elif key in ("jpeg", "webp"):
                quieter[key] = {"quality": 100}
        return quieter

    return Recipe.load(calm(recipe.dump()))


def test_registration_law_notices_a_shift() -> None:
    """The law can fail: the same blob, decimated at the block's corner without a shifted
    kernel.
    """
    recipe = Recipe.load(
        {
            "name": "x",
            "scale": 4,
            "a": [{"blur": {"sigma": 1.6}}, {"decimate": {"phase": "corner"}}],
        }
    )
    pair = recipe.apply(blobs(96, 1), recipe.plan(Key.of(0, 0)))
    assert np.allclose(displacement(pair.lr, pair.hr, 4), -1.5, atol=0.1) or np.allclose(
        displacement(pair.lr, pair.hr, 4), 1.5, atol=0.1
    )


def test_batch_law_notices_a_mate() -> None:
    """The law can fail: an operator that subtracts the batch's mean."""
    canvas = Canvas.of(torch.rand(2, 3, 8, 8), 1)
    together = canvas.pixels - canvas.pixels.mean()
    assert not torch.equal(together[:1], canvas.pixels[:1] - canvas.pixels[:1].mean())


# --- draws ---------------------------------------------------------------------------------------


def nodes(recipe: Recipe) -> Iterator[Any]:
    """All nodes, however deep."""

    def walk(node: Any) -> Iterator[Any]:
        yield node
        for part in node.children:
            yield from walk(part)

    for stage in (recipe.hr, *recipe.stages):
        yield from walk(stage)


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_constant_is_drawn(name: str) -> None:
    recipe = Recipe.load(name)
    assert all(not isinstance(column.dist, Const) for column in recipe.columns)
    assert len({column.address for column in recipe.columns}) == len(recipe.columns)
    kinds = {type(node) for node in nodes(recipe)}
    assert Sequence in kinds
    assert kinds & {Step, OneOf, Shuffle}
