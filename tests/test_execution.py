"""Executors: which one runs, what none of them may do, and what plug-ins may."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from test_laws import OPERATORS, draw, random
from torch import Tensor

from degrade import Canvas, Const, Dist, Draw, Key, Operator, Range, Recipe
from degrade.base import REGISTRY
from degrade.errors import UserError
from degrade.execution import choose, execute
from degrade.execution.backend import BACKENDS as ALL
from degrade.kernels import native
from degrade.kernels.base import Call, Data, Kernel, Samples
from degrade.kernels.quantize import QUANTIZE

HR = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 24, 32), np.uint8))


@pytest.fixture
def registry() -> Iterator[None]:
    """Operators that a test defines are forgotten after it."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def recipe(*steps: Any, name: str = "x", scale: int = 2) -> Recipe:
    last = {"as": "end", "resize": {"of": "target", "filter": "area"}}
    return Recipe.load({"name": name, "scale": scale, "a": [*steps, last, "quantize"]})


# --- which one -----------------------------------------------------------------------------------


def test_choice() -> None:
    fastest = "native" if native.available() else "reference"
    assert choose(torch.zeros(1, 3, 4, 4)) == fastest
    assert choose(torch.zeros(1, 3, 4, 4, requires_grad=True)) == "reference"
    assert choose(torch.zeros(1, 4, 4, 4)) == "reference"
    assert choose(torch.zeros(1, 3, 4, 4, device="meta")) == "reference"


@pytest.mark.skipif(not native.available(), reason="native code was not built")
@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 4, 4, requires_grad=True), "has no gradients; use reference"),
        (torch.zeros(1, 3, 4, 4, device="meta"), "works cpu tensors, not meta"),
        (torch.zeros(1, 2, 4, 4), "works 1 or 3 channels, not 2"),
    ],
)
def test_no_silent_fallback(pixels: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=f"backend native: {message}"):
        choose(pixels, "native")


def test_what_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade.kernels.native.available", lambda: "")
    with pytest.raises(UserError, match="backend native: was not built"):
        recipe().apply(HR, recipe().plan(Key.of(0, np.arange(4))), backend="native")
    with pytest.raises(UserError, match="should be one of reference, native, triton"):
        choose(HR, "opencv")  # pyright: ignore[reportArgumentType]  # what is tested


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_samples(backend: Any) -> None:
    loaded = Recipe.load("realesrgan")
    pair = loaded.apply(HR[:0], loaded.plan(Key.of(0, np.arange(0))), backend=backend)
    assert pair.lr.shape == (0, 3, 6, 8)
    assert pair.hr.shape == (0, 3, 24, 32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layout_of_the_input_does_not_matter(backend: Any) -> None:
    """Planar, channels-last, a crop of something larger, floats of the same levels."""
    loaded = Recipe.load("realesrgan")
    plan = loaded.plan(Key.of(0, np.arange(4)))
    wanted = loaded.apply(HR, plan, backend=backend)
    larger = torch.zeros(4, 3, 40, 40, dtype=torch.uint8)
    larger[:, :, 3:27, 5:37] = HR
    others = [
        HR.contiguous(memory_format=torch.channels_last),
        larger[:, :, 3:27, 5:37],
        HR.float() / 255,
        (HR.double() / 255).contiguous(memory_format=torch.channels_last),
    ]
    for other in others:
        pair = loaded.apply(other, plan, backend=backend)
        assert torch.equal(pair.lr, wanted.lr)
        assert torch.equal(pair.hr, wanted.hr)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_recipes_in_two_threads(backend: Any) -> None:
    loaded = [Recipe.load(name) for name in ("realesrgan", "bsrgan")]
    plans = [each.plan(Key.of(0, np.arange(4))) for each in loaded]
    wanted = [r.apply(HR, p, backend=backend).lr for r, p in zip(loaded, plans, strict=True)]
    found: dict[int, list[Tensor]] = {0: [], 1: []}

    def work(i: int) -> None:
        for _ in range(5):
            found[i].append(loaded[i].apply(HR, plans[i], backend=backend).lr)

    workers = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert all(torch.equal(lr, wanted[i]) for i in (0, 1) for lr in found[i])


# --- plug-ins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_python_between_kernels(backend: Any) -> None:
    """An operator with ``apply`` runs in any program, and sees its own samples alone."""

    class Fade(Operator):
        name = "fade"
        gain: Annotated[Dist, Range(0, 1)] = Const(1)

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            return canvas.with_pixels(canvas.pixels * draw.column("gain"))

    loaded = recipe({"blur": {"sigma": [0.5, 2]}}, {"p": 0.5, "fade": {"gain": [0.2, 0.8]}})
    plan = loaded.plan(Key.of(0, np.arange(4)))
    gain = plan["a.fade.gain"]
    assert 0 < np.isnan(gain).sum() < 4
    pair = loaded.apply(HR, plan, backend=backend)
    for i in range(4):
        alone = loaded.apply(HR[i : i + 1], plan.take(np.array([i])), backend=backend)
        assert torch.equal(alone.lr[0], pair.lr[i])
        bright = float(pair.lr[i].mean()) / (float(HR[i].float().mean()) / 255)
        assert bright == pytest.approx(1 if np.isnan(gain[i]) else gain[i], abs=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_lowered_plug_in(backend: Any) -> None:
    class Bits(Operator):
        name = "bits"

        def lower(self, draw: Draw, samples: Samples) -> Iterable[Call]:
            yield QUANTIZE.call(samples, levels=3)

    canvas = Canvas.of(torch.rand(2, 3, 5, 7))
    found = execute(Bits().lower, canvas, Draw(Bits(), {}, Key.of(0, [0, 1])), backend)
    assert torch.equal(found.pixels, (canvas.pixels * 3).round() / 3)
    assert torch.equal(
        Bits().apply(canvas, Draw(Bits(), {}, Key.of(0, [0, 1]))).pixels, found.pixels
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_a_plug_in_that_changes_sizes(backend: Any) -> None:
    """By a drawn amount, in ``apply``; what follows meets the new sizes."""

    class Trim(Operator):
        """Cuts columns at the right."""

        name = "trim"
        columns: Annotated[Dist, Range(0, 8, whole=True)] = Const(0)

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            sizes = canvas.sizes - np.stack([0 * draw.host("columns"), draw.host("columns")], 1)
            return canvas.resized(canvas.pixels, sizes.astype(np.int64))

        def size_after(self, before: Any, scale: int) -> Any:
            return None

    loaded = recipe({"trim": {"columns": {"integers": [0, 8]}}}, {"jpeg": {"quality": 60}})
    plan = loaded.plan(Key.of(0, np.arange(4)))
    assert len(set(plan["a.trim.columns"].tolist())) > 1
    pair = loaded.apply(HR, plan, backend=backend)
    program = loaded.lower(plan, 24, 32)
    jpeg = next(call for call in program.calls if call.kernel.name == "jpeg")
    assert jpeg.records["width"].tolist() == (32 - plan["a.trim.columns"]).tolist()
    other = loaded.apply(HR, plan, chunk=1, backend="reference")
    torch.testing.assert_close(pair.lr, other.lr, atol=1.01 / 255, rtol=0)


@pytest.mark.usefixtures("registry")
def test_a_change_of_size_is_declared() -> None:
    class Trim(Operator):
        name = "trim"

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            return canvas.resized(canvas.pixels, canvas.sizes - 1)

    loaded = recipe("trim")
    with pytest.raises(ValueError, match=r"trim: made .* should override size_after"):
        loaded.apply(HR, loaded.plan(Key.of(0, np.arange(4))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_kernel_of_a_plug_in(backend: Any) -> None:
    """Its reference runs between kernels that a backend knows."""

    def square(canvas: Canvas, records: Any, data: Data) -> Canvas:
        return canvas.with_pixels(canvas.pixels**2)

    kernel = Kernel("square", 99, {}, square)

    class Square(Operator):
        name = "square"

        def lower(self, draw: Draw, samples: Samples) -> Iterable[Call]:
            yield kernel.call(samples)
            yield QUANTIZE.call(samples, levels=15)

    canvas = Canvas.of(torch.rand(2, 3, 5, 7))
    found = execute(Square().lower, canvas, Draw(Square(), {}, Key.of(0, [0, 1])), backend)
    assert torch.equal(found.pixels, (canvas.pixels**2 * 15).round() / 15)


@pytest.mark.usefixtures("registry")
def test_an_operator_needs_apply_or_lower() -> None:
    with pytest.raises(TypeError, match="should define apply or lower"):

        class Nothing(Operator):  # pyright: ignore[reportUnusedClass]
            name = "nothing"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_an_error_in_one_sample_ends_the_batch_and_nothing_else(backend: Any) -> None:
    class Picky(Operator):
        name = "picky"
        size: Annotated[Dist, Range(0, 1)] = Const(0)

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            if (draw.host("size") > 0.5).any():
                raise ValueError("too large")
            return canvas

    loaded = recipe({"picky": {"size": [0, 1]}})
    plan = loaded.plan(Key.of(0, np.arange(4)))
    assert (plan["a.picky.size"] > 0.5).any()
    with pytest.raises(ValueError, match="too large"):
        loaded.apply(HR, plan, backend=backend)
    plan.values[:] = 0
    assert loaded.apply(HR, plan, backend=backend).lr.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("registry")
def test_a_recipe_inside_another_ones_step(backend: Any) -> None:
    inner = recipe({"jpeg": {"quality": 50}}, name="inner", scale=1)

    class Inner(Operator):
        name = "inner"

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            plan = inner.plan(Key.of(0, np.arange(len(canvas))))
            images = [
                inner.apply(image[None], plan.take(np.array([i])), backend=backend).lr[0]
                for i, image in enumerate(canvas.images())
            ]
            return canvas.with_pixels(Canvas.of(images).pixels)

    outer = recipe("inner")
    pair = outer.apply(HR, outer.plan(Key.of(0, np.arange(4))), backend=backend)
    assert pair.lr.isfinite().all()


@pytest.mark.skipif(not native.available(), reason="native code was not built")
@pytest.mark.usefixtures("registry")
def test_channels_stay() -> None:
    class Drop(Operator):
        name = "drop"

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            return canvas.with_pixels(canvas.pixels[:, :2])

    loaded = recipe("drop")
    with pytest.raises(ValueError, match="made 2 channels of 3"):
        loaded.apply(HR, loaded.plan(Key.of(0, np.arange(4))), backend="native")


# --- gradients -----------------------------------------------------------------------------------

SMOOTH = [
    name
    for name in OPERATORS
    # Rounded, drawn by content, or of a library's own: their gradients are held finite elsewhere.
    if REGISTRY[name].differentiable and name not in ("kornia", "quantize", "poisson_noise")
]


@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(name: str) -> None:
    """In float64, against finite differences, away from clips and thresholds."""
    bodies: dict[str, Any] = {
        "unsharp": {"amount": 0.5, "sigma": 1, "size": 5, "threshold": 0},
        "resize": {"factor": 0.5, "filter": {"any": ["area", "bicubic", "lanczos"]}},
    }
    body = bodies.get(name)
    operator = random(name) if body is None else REGISTRY[name].model_validate(body)
    pixels = torch.linspace(0.35, 0.65, 2 * 3 * 8 * 6, dtype=torch.float64).sin()
    pixels = pixels.view(2, 3, 8, 6).requires_grad_()
    canvas = Canvas.of(pixels.detach(), 2)
    drawn = draw(operator, Key.of(5, [0, 1]), canvas)

    def work(x: Tensor) -> Tensor:
        return execute(operator.lower, canvas.with_pixels(x), drawn, "reference").pixels

    assert torch.autograd.gradcheck(work, (pixels,), eps=1e-6, atol=1e-4, nondet_tol=0)


def test_all_backends_are_named() -> None:
    assert set(BACKENDS) <= set(ALL)
