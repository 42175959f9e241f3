"""Adaptors: transforms of albumentations and kornia obey the laws of our own operators."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from degrade.base import Draw
from degrade.canvas import Canvas
from degrade.ops.adapters import Adaptor, Albumentations, Kornia
from degrade.rng import Key

STEPS: list[tuple[type[Adaptor], dict[str, Any]]] = [
    (Albumentations, {"Defocus": {"radius": [3, 5]}}),
    (Albumentations, {"GaussNoise": {"std_range": [0.05, 0.2]}}),
    (Albumentations, {"ImageCompression": {"quality_range": [20, 60], "p": 0.5}}),
    (Albumentations, {"ISONoise": None}),
    (Albumentations, {"MedianBlur": {"blur_limit": 5}}),
    (Albumentations, {"RandomGamma": {"p": 0}}),
    (Kornia, {"RandomMotionBlur": {"kernel_size": 5, "angle": 35.0, "direction": 0.5}}),
    (Kornia, {"RandomGaussianBlur": {"kernel_size": [5, 5], "sigma": [0.5, 2.0]}}),
    (Kornia, {"RandomGaussianNoise": {"std": 0.1}}),
    (Kornia, {"RandomJPEG": {"p": 0.5}}),
    (Kornia, {"ColorJiggle": {"brightness": [0.8, 1.2], "hue": [-0.1, 0.1]}}),
    (Kornia, {"RandomPlasmaShadow": {}}),
]
GRAY = [step for step in STEPS if not {"ISONoise", "ColorJiggle", "RandomJPEG"} & set(step[1])]


def photographs(channels: int = 3) -> list[torch.Tensor]:
    crops = [data.astronaut()[:48, :64], data.chelsea()[50:107, 100:167], data.coffee()[:32, :40]]
    return [
        torch.from_numpy(crop[..., :channels] / np.float32(255)).permute(2, 0, 1) for crop in crops
    ]


def run(step: tuple[type[Adaptor], dict[str, Any]], canvas: Canvas, key: Key) -> Canvas:
    operator = step[0].model_validate(step[1])
    return operator.apply(canvas, Draw(operator, {}, key, canvas))


KEY = Key.of(0, np.arange(3)).fold("first.kornia")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step[1])))
def test_replay_and_a_row_alone_equals_the_row_in_a_batch(step: Any) -> None:
    images = photographs()
    batch = run(step, Canvas.of(images), KEY)
    again = run(step, Canvas.of(images), KEY)
    assert torch.equal(batch.pixels, again.pixels)
    for i, image in enumerate(images):
        alone = run(step, Canvas.of(image[None]), KEY[i : i + 1])
        assert torch.equal(batch.image(i), alone.image(0))
        assert 0 <= alone.pixels.min() <= alone.pixels.max() <= 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step[1])))
def test_no_global_generator_is_touched(step: Any) -> None:
    """Not what it gives next, and not what the transform draws from it."""
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first = run(step, Canvas.of(photographs()), KEY)
    after = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    assert after == (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert torch.equal(first.pixels, run(step, Canvas.of(photographs()), KEY).pixels)


@pytest.mark.parametrize("step", [STEPS[1], STEPS[8]], ids=["albumentations", "kornia"])
def test_threads_do_not_disturb_each_other(step: Any) -> None:
    canvas, keys = Canvas.of(photographs()[:1]), Key.of(0, np.arange(40))
    work = lambda i: run(step, canvas, keys[i : i + 1]).pixels  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(40)))
    assert all(torch.equal(pixels, work(i)) for i, pixels in enumerate(together))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("step", GRAY, ids=lambda step: next(iter(step[1])))
def test_gray_images(step: Any) -> None:
    canvas = Canvas.of(photographs(1))
    assert run(step, canvas, KEY).pixels.shape == canvas.pixels.shape


def test_albumentations_works_on_8_bits() -> None:
    image = photographs()[0]
    canvas = Canvas.of(image[None])
    same = run((Albumentations, {"RandomGamma": {"p": 0}}), canvas, KEY[:1])
    assert torch.equal(same.pixels, canvas.pixels)
    inverted = run((Albumentations, {"InvertImg": None}), canvas, KEY[:1])
    assert torch.equal(inverted.pixels, (255 - canvas.pixels.mul(255).round()) / 255)


def test_kornia_lets_gradients_through() -> None:
    pixels = photographs()[0][None].requires_grad_()
    run(STEPS[6], Canvas.of(pixels), KEY[:1]).pixels.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step[1])))
def test_dump_reads_back(step: Any) -> None:
    operator = step[0].model_validate(step[1])
    [(name, params)] = step[1].items()
    assert operator.model_dump(exclude_defaults=True) == {name: params or {}}
    assert step[0].model_validate(operator.model_dump()) == operator


ERRORS: list[tuple[type[Adaptor], Any, str]] = [
    (
        Albumentations,
        {},
        "albumentations should be one transform with its arguments: {Name: {argument: value}}",
    ),
    (Kornia, None, "kornia should be one transform with its arguments: {Name: {argument: value}}"),
    (
        Albumentations,
        {"Defocuss": {}},
        "Defocuss: no transform of albumentations; did you mean Defocus?",
    ),
    (Albumentations, {"Compose": {}}, "Compose: no transform of albumentations"),
    (Albumentations, {"os.system": {}}, "os.system: no transform of albumentations"),
    (Kornia, {"AugmentationBase2D": {}}, "AugmentationBase2D: no transform of kornia"),
    (
        Albumentations,
        {"Defocus": {"radiu": 3}},
        "Defocus: no argument 'radiu'; did you mean radius?",
    ),
    (
        Albumentations,
        {"Defocus": {"radius": -2}},
        "Defocus: radius: Value error, All values in (-2",
    ),
    (Albumentations, {"Defocus": 3}, "Defocus: 3 should be arguments, {argument: value}"),
    (
        Kornia,
        {"RandomMotionBlur": {"kernel_size": 5}},
        "RandomMotionBlur: RandomMotionBlur.__init__() missing 2 required",
    ),
    (
        Kornia,
        {"RandomJPEG": {"quality": 5}},
        "RandomJPEG: no argument 'quality'; did you mean jpeg_quality?",
    ),
]


@pytest.mark.parametrize(("kind", "data", "message"), ERRORS, ids=lambda value: str(value)[:30])
def test_errors_name_the_value_and_the_remedy(
    kind: type[Adaptor], data: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind.model_validate(data)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            (Albumentations, {"CenterCrop": {"height": 8, "width": 9}}),
            "CenterCrop made (3, 8, 9) of (3, 48, 64)",
        ),
        ((Kornia, {"CenterCrop": {"size": [8, 9]}}), "CenterCrop made (3, 8, 9) of (3, 48, 64)"),
        ((Albumentations, {"ToFloat": {}}), "ToFloat made float32 of 8-bit pixels"),
    ],
)
def test_a_transform_must_keep_the_image_s_size_and_kind(step: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(step, Canvas.of(photographs()), KEY)


def test_importing_the_module_imports_neither_library() -> None:
    code = (
        "import sys, degrade.ops.adapters; assert not {'kornia', 'albumentations', 'cv2'} "
        "& set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
