"""Patches degraded with a margin are those of the degraded image: degrade then crop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from degrade import DegradedFolder, Key, PairedFolder, PatchFolder, Recipe, pairs
from degrade.errors import SynthError
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from degrade.images.samples import sample_images
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import Job, prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings

SIZE, SCALE = 16, 4
STILL: dict[str, Any] = {"flip": False, "rotate": False}
RECIPES = {
    "bicubic": Recipe.load("bicubic"),
    "blur": Recipe.load(
        {
            "name": "blur",
            "scale": SCALE,
            "only": [
                {"blur": {"sigma": [0.5, 3], "size": 9}},
                {"resize": {"of": "target", "filter": "area"}},
            ],
        }
    ),
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    path.write_bytes(encode_png(read_image(sample_images()[0]).pixels[100:164, 200:280]))
    return path


def origins(patches: PatchFolder, shape: tuple[int, int]) -> list[tuple[int, int]]:
    levels = Key.of(patches.seed, np.arange(len(patches))).uniforms(("crop.y", "crop.x"))
    return [(int(y * (shape[0] - SIZE + 1)), int(x * (shape[1] - SIZE + 1))) for y, x in levels]


@pytest.mark.parametrize("margin", [12, 20, 100])
@pytest.mark.parametrize("cache", [False, True])
def test_the_margin_is_around_the_patch(photo: Path, margin: int, cache: bool) -> None:
    """Mirrored at the border of the image, however far it reaches."""
    pixels = read_image(photo).pixels
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    patches = PatchFolder([photo], SIZE, repeat=60, margin=margin, cache=cache, **STILL)
    inner = PatchFolder([photo], SIZE, repeat=60, **STILL)
    side = SIZE + 2 * margin
    for i, (top, left) in enumerate(origins(patches, pixels.shape[:2])):
        item = patches[i]
        assert item["margin"] == margin
        found = item["hr"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found, padded[top : top + side, left : left + side])
        cut = item["hr"][:, margin:-margin, margin:-margin]
        assert torch.equal(cut, inner[i]["hr"]), "the margin moves no patch"


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("shape", [(5, 7), (1, 30), (40, 3), (16, 16), (20, 17)])
def test_small_images(tmp_path: Path, shape: tuple[int, int], cache: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(pixels))
    patches = PatchFolder(tmp_path, SIZE, repeat=8, margin=8, cache=cache)
    inner = PatchFolder(tmp_path, SIZE, repeat=8)
    for i in range(8):
        assert patches[i]["hr"].shape == (3, SIZE + 16, SIZE + 16)
        assert torch.equal(patches[i]["hr"][:, 8:-8, 8:-8], inner[i]["hr"])


@pytest.mark.parametrize("name", RECIPES)
def test_degrade_then_crop(photo: Path, name: str) -> None:
    """Equal where a patch lies on the LR grid, away from the border of the image, where operators
    have ways of their own; without a margin, its edges differ.
    """
    recipe = RECIPES[name]
    whole = torch.from_numpy(read_image(photo).pixels.copy()).permute(2, 0, 1)[None]
    height, width = whole.shape[-2:]
    errors: dict[int, list[float]] = {0: [], 20: []}
    for margin, found in errors.items():
        folder = DegradedFolder([photo], recipe, size=SIZE, repeat=400, margin=margin, **STILL)
        for i, (top, left) in enumerate(origins(folder.patches, (height, width))):
            room = min(top, left, height - SIZE - top, width - SIZE - left)
            if top % SCALE or left % SCALE or room < 12:
                continue
            degraded = recipe.apply(whole, recipe.plan(Key.of(0, i))).lr[0]
            y, x, n = top // SCALE, left // SCALE, SIZE // SCALE
            lr = folder[i]["lq"]
            found.append(float((lr - degraded[:, y : y + n, x : x + n]).abs().max()) * 255)
    assert len(errors[20]) > 3
    assert max(errors[20]) < 0.02
    assert np.median(errors[0]) > 1


@pytest.mark.parametrize("workers", [0, 1])
def test_pairs_and_folders_agree(photo: Path, workers: int) -> None:
    recipe = Recipe.load("realesrgan")
    patches = PatchFolder([photo], SIZE, repeat=6, margin=8)
    folder = DegradedFolder(patches, recipe)
    loader = DataLoader(patches, 4, num_workers=workers)
    for pair in pairs(loader, recipe, epoch=0):
        assert pair.index is not None
        assert pair.lr.shape[1:] == (3, SIZE // SCALE, SIZE // SCALE)
        assert pair.hr.shape == pair.hr_raw.shape == (len(pair.lr), 3, SIZE, SIZE)
        for lr, hr, i in zip(pair.lr, pair.hr, pair.index, strict=True):
            item = folder.item(int(i), 0)
            assert torch.equal(item["lq"], lr)
            assert torch.equal(item["gt"], hr)
    hr = torch.stack([patches.item(i, 0)["hr"] for i in range(6)])
    expected = torch.stack([folder.item(i, 0)["lq"] for i in range(6)])
    assert torch.equal(next(pairs([hr], recipe, margin=8)).lr, expected), "of any loader"


def test_margins_that_do_not_fit(photo: Path) -> None:
    recipe = RECIPES["bicubic"]
    for margin in (-4, 6):
        with pytest.raises(ValueError, match=rf"margin {margin} (should be a|must be at)"):
            DegradedFolder([photo], recipe, size=SIZE, margin=margin)
    hr = torch.zeros(2, 3, 16, 16)
    for margin in (-4, 2, 8, 100):
        with pytest.raises(ValueError, match=f"margin {margin} should be a multiple of the scale"):
            next(pairs([hr], recipe, margin=margin))
    with pytest.raises(ValueError, match=r"margins of \[4, 8\]; they should be equal"):
        next(pairs([{"hr": hr, "margin": [4, 8]}], recipe))


# --- synth ---------------------------------------------------------------------------------------


def synth(folder: Path, photo: Path, **settings: Any) -> tuple[Job, Recipe]:
    recipe = Recipe.load("realesrgan")
    given = SynthSettings(str(photo), patch=SIZE, per_image=6, **settings)
    job = prepare(recipe, given, folder)
    synthesize(job, recipe, in_process)
    return job, recipe


def test_synth(photo: Path, tmp_path: Path) -> None:
    """The same pairs as on the fly; replayed; resumed only with the same margin."""
    job, recipe = synth(tmp_path / "made", photo, margin=8)
    live = DegradedFolder([photo], recipe, size=SIZE, repeat=6, margin=8, **STILL)
    made = PairedFolder(tmp_path / "made")
    places = {Path(item["path"]).stem: item for item in made}
    for i in range(6):
        item = places[job.name(i)]
        for side, name in (("lr", "lq"), ("hr", "gt")):
            assert torch.equal((item[side] * 255).round(), (live[i][name] * 255).round())
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(tmp_path / "made"))
    assert json.loads((tmp_path / "made/synth.json").read_text())["margin"] == 8
    with pytest.raises(SynthError, match="margin 8, now 4"):
        synth(tmp_path / "made", photo, margin=4)


def test_synth_without_a_margin_records_none(photo: Path, tmp_path: Path) -> None:
    """So that datasets of earlier versions are resumed and replayed."""
    synth(tmp_path, photo)
    assert "margin" not in json.loads((tmp_path / "synth.json").read_text())
    assert all(pair.equal for pair in replay_pairs(tmp_path))


@pytest.mark.parametrize("alpha", ["drop", "keep"])
def test_synth_of_small_images_with_alpha(tmp_path: Path, alpha: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 30, 4), np.uint8)
    photo = tmp_path / "a.png"
    photo.write_bytes(encode_png(pixels))
    synth(tmp_path / "made", photo, margin=8, alpha=alpha, small="reflect")
    for path in (tmp_path / "made/hr").iterdir():
        image = read_image(path)
        assert image.pixels.shape == (SIZE, SIZE, 3)
        assert (image.alpha is not None) == (alpha == "keep")
    assert all(pair.equal for pair in replay_pairs(tmp_path / "made"))


@pytest.mark.parametrize("margin", [-4, 6, 10**6])
def test_margins_of_synth_that_do_not_fit(photo: Path, tmp_path: Path, margin: int) -> None:
    with pytest.raises(SynthError, match=f"--margin {margin} should be a multiple of the scale 4"):
        synth(tmp_path / "made", photo, margin=margin)
    assert not (tmp_path / "made").exists()
    with pytest.raises(SynthError, match="give --patch too"):
        prepare(RECIPES["bicubic"], SynthSettings(str(photo), margin=4), tmp_path / "made")
    synth(tmp_path / "other", photo, margin=8)
    record = json.loads((tmp_path / "other/synth.json").read_text())
    (tmp_path / "other/synth.json").write_text(json.dumps({**record, "margin": margin}))
    with pytest.raises(SynthError, match=f"a margin of {margin} pixels"):
        list(replay_pairs(tmp_path / "other"))


def test_numpy_settings(photo: Path, tmp_path: Path) -> None:
    numbers = {"seed": np.int64(3), "count": np.uint8(2), "margin": np.int32(4)}
    synth(tmp_path / "made", photo, **numbers)
    record = json.loads((tmp_path / "made/synth.json").read_text())
    assert [record[name] for name in numbers] == [3, 2, 4]
    with pytest.raises(TypeError, match="seed is None"):
        SynthSettings(seed=None)
