"""Colour that does not show changes nothing that shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from degrade import Recipe
from degrade.images.alpha import fill_transparent
from degrade.images.image import Image
from degrade.rng import Key
from degrade.synthesis.pair import HRCrop, degrade_crops
from sr.models.interpolation import Bicubic
from sr.upscale import upscale_image

SIDE = 48
_y, _x = np.mgrid[:SIDE, :SIDE]
_radius = np.hypot(_y - 23.5, _x - 23.5)
ALPHA = (255 * np.clip(17 - _radius, 0, 1)).astype(np.uint8)
"""A disc with an edge of one pixel."""
COLOUR = np.stack([200 + _x // 2, 90 + _y, 60 + 0 * _x], -1).astype(np.uint8)
HIDDEN = {
    "black": np.zeros_like(COLOUR),
    "white": np.full_like(COLOUR, 255),
    "noise": np.random.default_rng(0).integers(0, 256, COLOUR.shape, np.uint8),
    "bled": COLOUR,
}
SPRITES = {name: np.where(ALPHA[..., None] > 0, COLOUR, hidden) for name, hidden in HIDDEN.items()}


def over(pixels: np.ndarray, level: int) -> np.ndarray:
    """An image with alpha over a background of one level."""
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + level * (1 - alpha)


def fringe(found: np.ndarray, whole: np.ndarray) -> float:
    """Largest difference that shows, over any background, from the image without transparency."""
    ideal = np.dstack([whole, found[..., 3]])
    return max(float(np.abs(over(found, grey) - over(ideal, grey)).max()) for grey in (0, 255))


def test_opaque_and_evenly_transparent_images_stay() -> None:
    for alpha in (0, 1, 128, 255):
        even = np.full(ALPHA.shape, alpha, np.uint8)
        assert (fill_transparent(HIDDEN["noise"], even) == HIDDEN["noise"]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3), (33, 20)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_shows_stays_and_what_hides_does_not_matter(shape, depth, channels) -> None:
    draw = np.random.default_rng(1)
    top = np.iinfo(depth).max
    alpha = (draw.integers(0, 2, shape) * top).astype(depth)
    alpha[0, 0] = top
    one, two = (draw.integers(0, top, (*shape, channels), depth, True) for _ in range(2))
    two = np.where(alpha[..., None] > 0, one, two)
    found = fill_transparent(one, alpha)
    assert found.dtype == depth
    assert (found == fill_transparent(two, alpha)).all()
    shown = alpha > 0
    assert (found[shown] == one[shown]).all()
    assert (found.min((0, 1)) >= one[shown].min(0)).all()
    assert (found.max((0, 1)) <= one[shown].max(0)).all()


def test_faint_pixels_count_little() -> None:
    """As after premultiplication in 8 bits: colours of low alpha are coarse."""
    alpha = np.array([[255, 255, 2, 2, 0, 0]], np.uint8)
    pixels = np.array([100, 100, 255, 0, 7, 9], np.uint8)[None, :, None]
    assert np.abs(fill_transparent(pixels, alpha)[0, 2, 0].astype(int) - 100) < 40


@pytest.mark.parametrize("name", ["bicubic", "realesrgan"])
@pytest.mark.parametrize("sprite", SPRITES)
def test_synthesis(name: str, sprite: str) -> None:
    recipe = Recipe.load(name, scale=4)
    plan = recipe.plan(Key.of(0, 3))

    def pair(pixels: np.ndarray) -> list[np.ndarray]:
        [both] = degrade_crops([HRCrop(pixels, ALPHA, (0, 0, SIDE, SIDE), "")], recipe, plan)
        return [*both]

    hr, lr = pair(SPRITES[sprite])
    first = pair(SPRITES["black"])
    assert (hr == first[0]).all()
    assert (lr == first[1]).all()
    opaque = recipe.apply(torch.from_numpy(COLOUR.transpose(2, 0, 1).copy())[None], plan)
    whole = (opaque.lr[0].permute(1, 2, 0) * 255).numpy()
    assert fringe(lr, whole) < (4 if name == "bicubic" else 40)
    if name == "bicubic":
        assert (hr[ALPHA > 0][:, :3] == SPRITES[sprite][ALPHA > 0]).all()


@pytest.mark.parametrize("sprite", SPRITES)
@pytest.mark.parametrize("scale", [2, 4])
def test_upscaling(sprite: str, scale: int) -> None:
    model = Bicubic(scale).eval()
    found = upscale_image(model, Image(SPRITES[sprite], ALPHA))
    assert (found == upscale_image(model, Image(SPRITES["black"], ALPHA))).all()
    assert fringe(found, upscale_image(model, Image(COLOUR))) < 4
