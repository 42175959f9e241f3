"""Measures against images whose noise, blocks and sharpness are known; diffs of recipes that
differ in a known way.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio
from typer.testing import CliRunner

from degrade.cli import app
from degrade.console import Console
from degrade.images.samples import sample_images
from degrade.inspection import metrics
from degrade.inspection.diff import MEASURES, changes, effects, parameters, print_diff
from degrade.inspection.diff_page import diff_page
from degrade.recipe import Recipe


def noisy(sigma: float, size: int = 256) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    smooth = 128 + 40 * np.sin(3 * x) * np.cos(2 * y)
    noise = np.random.default_rng(0).normal(0, sigma, (size, size, 3))
    return np.clip(np.round(smooth[..., None] + noise), 0, 255).astype(np.uint8)


def recipe(*steps: object, scale: int = 2, name: str = "test") -> Recipe:
    end = [{"resize": {"of": "target", "filter": "matlab"}}, "quantize"]
    return Recipe.load({"name": name, "scale": scale, "lr": [*steps, *end]})


@pytest.mark.parametrize("sigma", [0, 2, 8])
def test_noise_level_finds_the_noise(sigma: float):
    """Two roundings add 1/12 of a grey level each to what is noise of two images."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(60, 190, (96, 96, 3))
    one, other = (
        np.round(scene + rng.normal(0, sigma, scene.shape)).astype(np.uint8) for _ in range(2)
    )
    expected = np.hypot(sigma, 12**-0.5) if sigma else 0
    assert metrics.noise_level(one, other) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_halved_noise_is_resolved(quality: int):
    """Even behind JPEG, which removes the finest detail of noise."""
    a, b = (
        recipe({"gaussian_noise": {"sigma": sigma}}, {"jpeg": {"quality": quality}})
        for sigma in (16, 8)
    )
    found = {effect.name: effect for effect in effects(a, b, sample_images()[:1], 6, 128)}
    ratio = found["noise"].b / found["noise"].a
    assert (ratio < 0.75).all(), ratio
    assert (found["noise"].b > 0.5).all()


def test_block_edge_ratio_is_one_without_and_above_with_a_grid():
    assert metrics.block_edge_ratio(noisy(10)) == pytest.approx(1, abs=0.05)
    blocks = np.kron(
        np.random.default_rng(1).integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1))
    ).astype(np.uint8)
    blocks[::2] ^= 1  # some step inside, else the ratio is by zero
    assert metrics.block_edge_ratio(blocks) > 50
    assert metrics.block_edge_ratio(np.zeros((64, 64, 3), np.uint8)) == 1
    found: list[float] = []
    for quality in (95, 50, 10):
        stream = io.BytesIO()
        Image.fromarray(data.astronaut()).save(stream, "JPEG", quality=quality)
        found.append(metrics.block_edge_ratio(np.asarray(Image.open(stream))))
    assert found == sorted(found)
    assert found[-1] > 1.5


def test_high_frequency_of_single_waves():
    x = np.arange(128)
    for cycles, share in ((0.1, 0), (0.4, 1)):
        wave = np.round(128 + 100 * np.sin(2 * np.pi * cycles * x)).astype(np.uint8)
        image = np.broadcast_to(wave[None, :, None], (128, 128, 3))
        assert metrics.high_frequency_energy(image) == pytest.approx(share, abs=0.01)
    assert metrics.high_frequency_energy(np.full((64, 64, 3), 9, np.uint8)) == 0


def test_psnr_is_that_of_skimage():
    one = noisy(5)
    other = noisy(12)
    assert metrics.psnr(one, other) == pytest.approx(
        peak_signal_noise_ratio(one, other, data_range=255), abs=1e-9
    )
    assert metrics.psnr(one, one) == metrics.MAX_PSNR


def test_bicubic_downscale_is_the_bicubic_recipe():
    hr = torch.from_numpy(data.astronaut()[:100, :121].copy()).permute(2, 0, 1)[None]
    bicubic = Recipe.load("bicubic")
    lr = bicubic(data.astronaut()[:100, :121]).lr
    [plain] = metrics.bicubic_downscale(bicubic.crop(hr).float() / 255, 4)
    assert np.array_equal(plain, np.round(lr[0].permute(1, 2, 0).numpy() * 255))


def test_changes_by_address():
    a = recipe({"gaussian_noise": {"sigma": [1, 30]}}, {"p": 0.5, "jpeg": {"quality": 60}})
    b = recipe(
        {"gaussian_noise": {"sigma": [1, 20]}}, {"jpeg": {"quality": 60}}, {"blur": {"sigma": 2}}
    )
    found = {change.address: change for change in changes(a, b)}
    sigma = found["lr.gaussian_noise.sigma"]
    assert (sigma.kind, sigma.a, sigma.b) == ("different", "[1, 30]", "[1, 20]")
    assert found["lr.jpeg.quality"].kind == "same"
    assert (found["lr.jpeg.p"].kind, found["lr.jpeg.p"].a) == ("only a", "0.5")
    assert (found["lr.blur.sigma"].kind, found["lr.blur.sigma"].b) == ("only b", "2")
    assert "lr.blur.angle" not in found, "a default of a step that only one has says nothing"
    assert found["lr"].b == "gaussian_noise, jpeg, blur, resize, quantize"


@pytest.mark.parametrize("name", ["realesrgan", "bsrgan", "bsrgan_plus", "resshift", "bicubic"])
def test_a_recipe_is_its_own_equal_and_no_variable_is_missed(name: str):
    loaded = Recipe.load(name)
    assert all(change.kind == "same" for change in changes(loaded, loaded))
    told = parameters(loaded)
    missing = [column.address for column in loaded.columns if column.address not in told]
    assert not missing


def test_effects_are_paired():
    a = recipe({"gaussian_noise": {"sigma": 5}}, scale=1)
    b = recipe({"gaussian_noise": {"sigma": 20}}, scale=1)
    found = {
        effect.name: effect for effect in effects(a, b, sample_images()[:2], draws=6, size=96)
    }
    assert all(np.ptp(effect.a) > 0 for effect in found.values())
    assert (found["noise"].b > found["noise"].a + 5).all()
    assert (found["psnr"].b < found["psnr"].a - 8).all()
    again = effects(a, a, sample_images()[:2], draws=6, size=96)
    assert all(np.array_equal(effect.a, effect.b) for effect in again)


def test_fewer_draws_than_images():
    clean = Recipe.load("bicubic")
    found = effects(clean, clean, sample_images(), draws=2, size=64)
    assert found[0].name == "psnr"
    assert found[0].a.tolist() == [metrics.MAX_PSNR] * 2


def test_tables_of_recipes_of_one_name():
    a, b = (recipe({"gaussian_noise": {"sigma": s}}) for s in (1, 2))
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    print_diff(
        console, a, b, changes(a, b), effects(a, b, sample_images()[:1], 2, 64), every=False
    )
    text = console.file.getvalue()
    assert f"{a.name} (A)" in text
    assert "1 parameter differs" in text
    assert "lr.gaussian_noise.sigma" in text
    assert "noise, grey levels" in text


def test_page_shows_pictures_and_distributions(tmp_path: Path):
    """One file that fetches nothing, whose data are text: shares that sum to 1, equal pictures
    for equal recipes.
    """
    runner, path = CliRunner(), tmp_path / "d.html"
    command = ["diff", "realesrgan", "realesrgan_light", "--draws", "8", "--crop", "64"]
    assert runner.invoke(app, [*command, "-o", str(path)]).exit_code == 0
    page = path.read_text(encoding="utf-8")
    assert "http:" not in page.replace("http://www.w3.org", "")
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)[0])
    assert [chart["title"] for chart in data["effects"]] == [
        title for title, _ in MEASURES.values()
    ]
    for chart in data["effects"] + data["draws"]:
        assert sum(chart["a"]) == pytest.approx(1)
        assert sum(chart["b"]) == pytest.approx(1)
    assert "second.gaussian_noise.sigma" in [chart["title"] for chart in data["draws"]]
    for pair in data["pairs"]:
        assert len({pair["hr"], pair["a"], pair["b"]}) == 3
        assert all(data["pictures"][n].startswith("data:image/webp;") for n in (pair["a"], 0))
    same = Recipe.load("bicubic")
    measured = effects(same, same, sample_images()[:1], 2, 64)
    page = diff_page(same, same, changes(same, same), measured, sample_images()[:1], 64)
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)[0])
    assert (data["draws"], data["changes"]) == ([], [])
    assert all(pair["a"] == pair["b"] for pair in data["pairs"])
