"""A pair as people handle it: unpacked, shown, saved; short words for it, its plan and its recipe;
seeds and indices of any library.
"""

from __future__ import annotations

import base64
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageShow

import degrade
from degrade import DegradedFolder, Key, PairedFolder, PatchFolder, Recipe, RecipeError, pairs
from degrade.images.files import read_image
from degrade.images.pixels import as_pixels
from degrade.images.samples import sample_images

RECIPE = Recipe.load("realesrgan")
HR = torch.randint(
    256, (6, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def test_unpacking() -> None:
    pair = RECIPE(HR)
    lr, hr = pair
    assert lr is pair.lr
    assert hr is pair.hr
    assert pair.scale == 4


@pytest.mark.parametrize("thing", [RECIPE, RECIPE(HR), RECIPE(HR[:, :1]), RECIPE(HR).plan])
def test_words_are_short(thing: object) -> None:
    assert len(repr(thing)) < 120
    assert "\n" not in repr(thing)
    assert "tensor(" not in str(thing)


@pytest.mark.parametrize("name", degrade.recipes())
def test_recipes_by_name(name: str) -> None:
    recipe = Recipe.load(name)
    assert name in repr(recipe)
    page = recipe._repr_html_()
    for node in (node for stage in recipe.stages for node in stage.nodes):
        assert node.kind in page


def test_names_are_taken_where_recipes_are(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE.to_yaml())
    expected = RECIPE(HR).lr
    for recipe in (
        "realesrgan",
        tmp_path / "mine.yaml",
        str(tmp_path / "mine.yaml"),
        RECIPE.dump(),
    ):
        assert torch.equal(next(pairs([HR], recipe)).lr, expected)
    patches = PatchFolder(sample_images(), 32, seed=3)
    expected = DegradedFolder(patches, RECIPE, seed=3)[1]["lq"]
    made = DegradedFolder(sample_images(), "realesrgan", seed=3, size=32)
    assert torch.equal(made[1]["lq"], expected)
    with pytest.raises(RecipeError, match="did you mean realesrgan"):
        pairs([HR], "realesrgam")
    with pytest.raises(ValueError, match="size: should be given to PatchFolder"):
        DegradedFolder(patches, RECIPE, size=32)


def test_a_page_of_a_pair() -> None:
    pair = RECIPE(HR, index=7)
    page = pair._repr_html_()
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 2 * 4, "of the first four"
    assert "and 2 more" in page
    for address, value in pair.plan.row(0, precise=False).items():
        assert f"{address} = {value}" in page
    first = read_image(base64.b64decode(images[0])).pixels
    np.testing.assert_array_equal(first, as_pixels(pair.lr)[0])
    assert len(RECIPE(torch.zeros(1, 3, 2000, 2000))._repr_html_()) < 100_000


@pytest.mark.parametrize("channels", [1, 3])
def test_saving(tmp_path: Path, channels: int) -> None:
    pair = RECIPE(HR[:, :channels], index=7)
    files = pair.save(tmp_path / "pairs")
    assert [hr.name for hr, _ in files] == [f"{i:06d}.png" for i in range(7, 13)]
    folder = PairedFolder(tmp_path / "pairs")
    assert folder.scale == 4
    for i, item in enumerate(folder):
        for name, images in (("lr", pair.lr), ("hr", pair.hr)):
            wanted = (images[i].clamp(0, 1) * 255).round().expand(3, -1, -1)  # grey is read as RGB
            assert torch.equal((item[name] * 255).round(), wanted)
    before = {path: path.read_bytes() for path in (tmp_path / "pairs").rglob("*.png")}
    with pytest.raises(FileExistsError, match="choose another folder, or other names"):
        RECIPE(HR, index=12).save(tmp_path / "pairs")
    assert {path: path.read_bytes() for path in (tmp_path / "pairs").rglob("*.png")} == before
    assert len(pair.save(tmp_path / "named", list("abcdef"))) == 6
    for names in (["a"], list("aabcde"), [f"../{c}" for c in "abcdef"], ["/a", *"bcdef"]):
        with pytest.raises(ValueError, match=r"need as many different names|leads out of"):
            pair.save(tmp_path / "named", names)


def test_showing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(ImageShow, "show", lambda image: shown.append(image) or True)
    RECIPE(HR).show()
    assert shown[0].size == (2 * 64, 4 * 48)
    RECIPE(HR[:, :1]).show()
    assert shown[1].mode == "L"
    monkeypatch.setattr(ImageShow, "show", lambda image: False)
    with pytest.raises(RuntimeError, match=r"use pair\.save"):
        RECIPE(HR).show()
    notebook: Any = types.ModuleType("IPython")
    notebook.get_ipython = object
    notebook.display = types.SimpleNamespace(display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    pair = RECIPE(HR)
    pair.show()
    assert shown[-1] is pair


# --- seeds, indices, epochs ----------------------------------------------------------------------

FIVE = [np.int64(5), np.uint8(5), np.array(5), torch.tensor(5), torch.tensor(5, dtype=torch.uint8)]
NOT = [None, "5", 5.0, np.float32(5), True, torch.Generator(), [5, "a"], torch.tensor(5.0)]


@pytest.mark.parametrize("five", FIVE, ids=repr)
def test_integers_of_any_library(five: Any, tmp_path: Path) -> None:
    words = Key.of(5, 5, 5).words
    assert Key.of(five, 5, 5).words == words
    assert Key.of(5, five, 5).words == words
    assert Key.of(5, 5, five).words == words
    assert Key.of(5, [five], [five]).words == words
    assert torch.equal(RECIPE(HR, five, five).lr, RECIPE(HR, 5, 5).lr)
    batch = {"hr": HR, "index": torch.arange(6), "epoch": [five] * 6}
    assert torch.equal(
        next(pairs([batch], RECIPE, five)).lr, next(pairs([HR], RECIPE, 5, epoch=five)).lr
    )
    folder = DegradedFolder(sample_images(), "bicubic", seed=five, size=32, repeat=2)
    folder.set_epoch(five)
    same = DegradedFolder(sample_images(), "bicubic", seed=5, size=32, repeat=2)
    same.set_epoch(5)
    assert torch.equal(folder[five]["lq"], same[5]["lq"])


@pytest.mark.parametrize("bad", NOT, ids=lambda value: type(value).__name__)
def test_what_is_no_integer(bad: Any) -> None:
    folder = PatchFolder(sample_images(), 32)
    calls = {
        "seed": [
            lambda: Key.of(bad, 0),
            lambda: RECIPE(HR, seed=bad),
            lambda: pairs([HR], RECIPE, bad),
            lambda: PatchFolder(sample_images(), 32, seed=bad),
            lambda: DegradedFolder(folder, RECIPE, bad),
        ],
        "index": [
            lambda: Key.of(0, bad),
            lambda: RECIPE(HR, index=bad),
            lambda: folder[bad],
            lambda: next(pairs([(HR, [bad] * 6)], RECIPE)),
        ],
        "epoch": [
            lambda: Key.of(0, 0, bad),
            lambda: folder.set_epoch(bad),
            lambda: pairs([HR], RECIPE).set_epoch(bad),
        ],
    }
    for name, each in calls.items():
        for call in each:
            with pytest.raises((TypeError, ValueError), match=f"^{name} "):
                call()


def test_integers_beyond_64_bits() -> None:
    assert Key.of(2**64 + 5, 0).words == Key.of(5, 0).words, "seeds are taken modulo 2^64"
    for make in (lambda: Key.of(0, 2**64), lambda: Key.of(0, 0, 2**70)):
        with pytest.raises(ValueError, match="should fit in 64 bits"):
            make()
