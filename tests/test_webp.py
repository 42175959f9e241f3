"""WebP against Pillow's libwebp, to the last bit; the batch law."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degrade.base import Draw
from degrade.canvas import Canvas
from degrade.ops.webp import WebP, webp
from degrade.rng import Key


def canvas_of(images: list[np.ndarray]) -> Canvas:
    return Canvas.of(
        [
            torch.from_numpy(i.reshape(*i.shape[:2], -1) / np.float32(255)).permute(2, 0, 1)
            for i in images
        ]
    )


def pillow(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", quality=quality, method=4)
    return np.asarray(Image.open(stream).convert("RGB"))


def crops(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        data.astronaut()[y : y + h, x : x + w] for y, x, h, w in rng.integers(1, 90, (count, 4))
    ]


def test_every_quality():
    sources = crops(100)
    result = webp(canvas_of(sources), range(1, 101))
    for i, source in enumerate(sources):
        expected = pillow(source, i + 1) / np.float32(255)
        assert np.array_equal(result.hwc(i), expected)


def test_grey_is_a_channel_of_the_colour_codec():
    sources = [source[..., 1].copy() for source in crops(10)]
    result = webp(canvas_of(sources), [60] * 10)
    for i, source in enumerate(sources):
        decoded = pillow(np.repeat(source[..., None], 3, 2), 60)
        assert np.array_equal(decoded[..., 0], decoded[..., 2])
        assert np.array_equal(result.hwc(i)[..., 0], decoded[..., 0] / np.float32(255))


def test_a_row_is_as_if_alone():
    canvas = canvas_of(crops(6))
    outside = torch.where(canvas.pixels == 0, 0.3, canvas.pixels)
    for row, source in zip(outside, canvas.images(), strict=True):
        row[:, : source.shape[1], : source.shape[2]] = source
    quality = [5, 30, 50, 75, 90, 100]
    batch = webp(canvas.with_pixels(outside), quality)
    assert torch.isfinite(batch.pixels).all()
    for i, q in enumerate(quality):
        assert torch.equal(batch.image(i), webp(Canvas.of([canvas.image(i)]), [q]).image(0))


def test_a_lower_quality_is_worse():
    canvas = canvas_of([data.astronaut()[:128, 100:228]] * 4)
    errors = (webp(canvas, [5, 30, 75, 100]).pixels - canvas.pixels).square().mean((1, 2, 3))
    assert (errors.diff() < 0).all()


def test_operator_rounds_the_drawn_quality_and_stops_gradients():
    operator = WebP(quality=[30, 95])
    canvas = canvas_of([data.astronaut()[:40, :50]] * 2)
    leaf = canvas.with_pixels(canvas.pixels.clone().requires_grad_())
    draw = Draw(operator, {"quality": np.array([30.4, 30.6])}, Key.of(0, [0, 1]), canvas)
    result = operator.apply(leaf, draw)
    assert torch.equal(result.pixels, webp(canvas, [30, 31]).pixels)
    assert not result.pixels.requires_grad


@pytest.mark.parametrize(
    ("shape", "quality", "message"),
    [
        ((1, 3, 8, 8), 0, r"webp: quality 0; it must be a whole number in \[1, 100\]"),
        ((1, 2, 8, 8), 50, r"webp: 2 channels"),
        (
            (1, 1, 1, 16384),
            50,
            r"webp: an image side of 16384; the format's limit is 16383, crop first",
        ),
    ],
)
def test_function_rejects(shape, quality, message):
    with pytest.raises(ValueError, match=message):
        webp(Canvas.of(torch.zeros(shape)), [quality])
