"""JPEG: both backends against the real codecs, to the last bit; the batch law."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from backends import BACKENDS, jpeg, use_backend
from PIL import Image
from skimage import data

from degrade.base import Draw
from degrade.canvas import Canvas
from degrade.kernels import jpeg as module
from degrade.kernels.jpeg import CHROMA, quantization_table
from degrade.ops.jpeg import Jpeg
from degrade.rng import Key

PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
OPENCV = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
KINDS = ("noise", "natural", "saturated", "gradient")


def picture(kind: str, h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "noise":
        return np.clip(rng.normal(128, 60, (h, w, 3)), 0, 255).astype(np.uint8)
    if kind == "saturated":
        return (rng.integers(0, 2, (h, w, 3)) * 255).astype(np.uint8)
    if kind == "gradient":
        y, x = np.mgrid[:h, :w]
        slope = rng.normal(0, 5, (2, 3))
        return np.clip(128 + y[..., None] * slope[0] + x[..., None] * slope[1], 0, 255).astype(
            np.uint8
        )
    y, x = rng.integers(0, 512 - h), rng.integers(0, 512 - w)
    return data.astronaut()[y : y + h, x : x + w]


def canvas_of(images: list[np.ndarray]) -> Canvas:
    return Canvas.of(
        [
            torch.from_numpy(i.reshape(*i.shape[:2], -1) / np.float32(255)).permute(2, 0, 1)
            for i in images
        ]
    )


def image(canvas: Canvas, i: int) -> np.ndarray:
    """Row i as 8 bits, the codecs' own type; fails where a value is off the grid k / 255."""
    pixels = canvas.image(i).permute(1, 2, 0).numpy()
    rounded = np.rint(pixels * 255).astype(np.uint8)
    assert np.array_equal(pixels, rounded / np.float32(255))
    return rounded[..., 0] if rounded.shape[2] == 1 else rounded


def pillow(picture: np.ndarray, quality: int, chroma: str) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=PILLOW[chroma])
    return np.asarray(Image.open(stream))


def opencv(picture: np.ndarray, quality: int, chroma: str) -> np.ndarray:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, OPENCV[chroma]]
    stream = cv2.imencode(".jpg", picture[..., ::-1] if picture.ndim == 3 else picture, flags)[1]
    decoded = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED)
    return decoded[..., ::-1] if picture.ndim == 3 else decoded


def assert_is_libjpeg(pictures: list[np.ndarray], quality: list[int], chroma: list[str]) -> None:
    canvas = canvas_of(pictures)
    backends = {}
    for backend in BACKENDS:
        with use_backend(backend):
            backends[backend] = jpeg(canvas, quality, chroma)
    for i, (source, q, c) in enumerate(zip(pictures, quality, chroma, strict=True)):
        for codec in (pillow, opencv):
            expected = codec(source, q, c)
            for backend, result in backends.items():
                assert np.array_equal(image(result, i), expected), (
                    backend,
                    codec.__name__,
                    source.shape,
                    q,
                    c,
                )


# --- the codec -----------------------------------------------------------------------------------


@pytest.mark.parametrize("decade", range(10))
def test_every_quality_on_a_ragged_canvas(decade):
    rng = np.random.default_rng(decade)
    cases = [
        (q, c, k) for q in range(10 * decade + 1, 10 * decade + 11) for c in CHROMA for k in KINDS
    ]
    quality, chroma, kinds = (list(column) for column in zip(*cases, strict=True))
    assert_is_libjpeg(
        [picture(kind, *rng.integers(1, 41, 2), rng) for kind in kinds], quality, chroma
    )


@pytest.mark.parametrize("chroma", CHROMA)
def test_every_small_size(chroma):
    rng = np.random.default_rng(1)
    pictures = [picture("noise", h, w, rng) for h in range(1, 19) for w in range(1, 19)]
    quality = rng.integers(1, 101, len(pictures)).tolist()
    assert_is_libjpeg(pictures, quality, [chroma] * len(pictures))


def test_grey():
    rng = np.random.default_rng(2)
    pictures = [
        picture(KINDS[q % 4], *rng.integers(1, 41, 2), rng)[..., 1].copy() for q in range(100)
    ]
    assert_is_libjpeg(pictures, list(range(1, 101)), ["4:2:0"] * 100)


@pytest.mark.parametrize("quality", [1, 10, 37, 75, 100])
def test_larger_pictures(quality):
    rng = np.random.default_rng(quality)
    pictures = [
        picture(kind, h, w, rng) for kind in KINDS for h, w in ((160, 160), (97, 203), (112, 65))
    ]
    assert_is_libjpeg(pictures, [quality] * 12, [list(CHROMA)[i % 3] for i in range(12)])


@pytest.mark.parametrize("quality", [1, 3, 8, 20, 95, 100])
def test_the_largest_coefficients(quality):
    """Black and white pixels, by the sign of a few DCT waves: nothing swings further, before or
    after quantisation.
    """
    rng = np.random.default_rng(quality)
    waves = module.DCT / 8192
    spectrum = rng.normal(size=(3, 16, 16, 8, 8)) * (rng.random((3, 16, 16, 8, 8)) < 0.05)
    blocks = np.einsum("ki,cyxkl,lj->yixjc", waves, spectrum, waves) > 0
    source = blocks.reshape(128, 128, 3).astype(np.uint8) * 255
    assert_is_libjpeg([source] * 3, [quality] * 3, list(CHROMA))


def test_tables_are_those_in_the_file():
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
        tables = Image.open(stream).quantization
        for chroma in (False, True):
            assert np.array_equal(quantization_table(quality, chroma).ravel(), tables[int(chroma)])


def test_the_dct_is_libjpegs():
    """Close to sqrt(8) times the orthonormal DCT-II, in units of 2^-13; a wrong entry would
    show.
    """
    k, x = np.mgrid[:8, :8]
    exact = (
        8192
        * np.sqrt(2)
        * np.cos((2 * x + 1) * k * np.pi / 16)
        * np.where(k == 0, np.sqrt(0.5), 1)
    )
    assert np.abs(module.DCT - exact).max() < 2


# --- laws ----------------------------------------------------------------------------------------


def mixed(rows: int = 9) -> tuple[Canvas, list[int], list[str]]:
    rng = np.random.default_rng(5)
    pictures = [picture(KINDS[i % 4], *rng.integers(1, 60, 2), rng) for i in range(rows)]
    return (
        canvas_of(pictures),
        rng.integers(1, 101, rows).tolist(),
        [list(CHROMA)[i % 3] for i in range(rows)],
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_is_as_if_alone(backend):
    canvas, quality, chroma = mixed()
    outside = torch.full_like(canvas.pixels, 0.7)
    for row, source in zip(outside, canvas.images(), strict=True):
        row[:, : source.shape[1], : source.shape[2]] = source
    with use_backend(backend):
        batch = jpeg(canvas.with_pixels(outside), quality, chroma)
        assert torch.isfinite(batch.pixels).all()
        for i in range(len(canvas)):
            alone = jpeg(Canvas.of([canvas.image(i)]), quality[i : i + 1], chroma[i : i + 1])
            assert torch.equal(batch.image(i), alone.image(0))


def test_chunks_do_not_matter(monkeypatch):
    canvas, quality, chroma = mixed()
    results = []
    for pixels in (1, 1 << 13, 1 << 30):
        monkeypatch.setattr(module, "_CHUNK", pixels)
        with use_backend("reference"):
            results.append(jpeg(canvas, quality, chroma))
    for other in results[1:]:
        assert all(
            torch.equal(a, b) for a, b in zip(results[0].images(), other.images(), strict=True)
        )


def test_neither_autocast_nor_reduced_precision_touches_it():
    canvas, quality, chroma = mixed()
    with use_backend("reference"):
        expected = jpeg(canvas, quality, chroma)
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", torch.bfloat16):
                result = jpeg(canvas, quality, chroma)
        finally:
            torch.set_float32_matmul_precision(precision)
    assert torch.equal(result.pixels, expected.pixels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_is_clamped_and_rounded_half_to_even(backend):
    values = torch.linspace(-0.5, 1.5, 48 * 48).view(1, 1, 48, 48)
    values[0, 0, 0, :4] = torch.tensor([0.5, 1.5, 2.5, 253.5]) / 255
    eight = (values.clamp(0, 1) * 255).round() / 255
    with use_backend(backend):
        rough, clean = (jpeg(Canvas.of(x), [100], ["4:4:4"]).pixels for x in (values, eight))
    assert torch.equal(rough, clean)
    assert torch.equal(
        rough,
        torch.from_numpy(pillow((eight[0, 0] * 255).round().byte().numpy(), 100, "4:4:4") / 1.0)
        .div(255)
        .float()[None, None],
    )


def test_best_quality_is_nearly_neutral_and_worst_is_not():
    source = canvas_of([data.astronaut()[:128, 100:228]])
    best, worst = (jpeg(source, [q], ["4:4:4"]).pixels - source.pixels for q in (100, 1))
    assert best.abs().max() <= 5 / 255
    assert worst.abs().mean() > 10 / 255


def test_flat_pictures_stay_flat():
    flat = torch.full((1, 3, 33, 21), 128 / 255)
    assert torch.equal(jpeg(Canvas.of(flat), [50], ["4:2:0"]).pixels, flat)


# --- operator and errors -------------------------------------------------------------------------


def draw_of(operator: Jpeg, canvas: Canvas, quality: list[float]) -> Draw:
    return Draw(
        operator, {"quality": np.array(quality)}, Key.of(0, np.arange(len(canvas))), canvas
    )


def test_operator_rounds_the_drawn_quality():
    canvas = canvas_of([data.astronaut()[:40, :50]] * 4)
    result = Jpeg(quality=[30, 95]).apply(
        canvas, draw_of(Jpeg(quality=[30, 95]), canvas, [30.0, 30.4, 30.6, 31.0])
    )
    expected = jpeg(canvas, [30, 30, 31, 31], ["4:2:0"] * 4)
    assert torch.equal(result.pixels, expected.pixels)
    assert not torch.equal(expected.pixels[0], expected.pixels[3])


def test_operator_draws_chroma_and_passes_gradients_on():
    operator = Jpeg(quality=50, chroma="4:4:4", straight_through=True)
    canvas = Canvas.of(torch.linspace(0.2, 0.8, 3 * 24 * 24).view(1, 3, 24, 24).requires_grad_())
    result = operator.apply(canvas, draw_of(operator, canvas, [50.0]))
    assert torch.equal(result.pixels.detach(), jpeg(canvas, [50], ["4:4:4"]).pixels)
    assert result.pixels.requires_grad


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quality": [0, 95]}, r"can draw 0 to 95; it must stay in \[1, 100\]"),
        ({"chroma": "4:1:1"}, "4:1:1"),
    ],
)
def test_operator_rejects(fields, message):
    with pytest.raises(ValueError, match=message):
        Jpeg(**fields)


@pytest.mark.parametrize(
    ("channels", "quality", "chroma", "message"),
    [
        (3, 0, "4:2:0", r"quality 0; it must be a whole number in \[1, 100\]"),
        (3, 30.5, "4:2:0", r"quality 30.5; it must be a whole number"),
        (3, 101, "4:2:0", r"quality 101"),
        (3, 50, "4:1:1", r"chroma '4:1:1'; it must be one of 4:2:0, 4:2:2, 4:4:4"),
        (4, 50, "4:2:0", r"4 channels; it takes RGB \(3\) or grey \(1\)"),
    ],
)
def test_function_rejects(channels, quality, chroma, message):
    with pytest.raises(ValueError, match=message):
        jpeg(Canvas.of(torch.zeros(1, channels, 8, 8)), [quality], [chroma])
