"""Replay: a pair comes back from its row and its source, bit for bit; what is wrong is said."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degrade import Recipe
from degrade.errors import SynthError, UserError
from degrade.images.files import ImageError
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(data.chelsea()[30 * i : 30 * i + 60, 90:150]).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def dataset(photos: Path, tmp_path: Path) -> Path:
    recipe, out = Recipe.load("realesrgan"), tmp_path / "out"
    synthesize(
        prepare(recipe, SynthSettings(str(photos), patch=48, per_image=2), out), recipe, in_process
    )
    return out


def change(dataset: Path, row: int, **cells: str) -> None:
    """Edits cells of the manifest."""
    table = list(csv.DictReader((dataset / "manifest.csv").open(encoding="utf-8")))
    table[row] |= {name.replace("__", "."): cell for name, cell in cells.items()}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    (dataset / "manifest.csv").write_text(out.getvalue(), encoding="utf-8")


def test_replay_is_equal(dataset: Path) -> None:
    pairs = list(replay_pairs(dataset))
    assert len(pairs) == 6
    assert all(pair.equal and pair.on_disk for pair in pairs)
    assert pairs[0].lr == (dataset / "lr" / f"{pairs[0].name}.png").read_bytes()
    [one] = replay_pairs(dataset / "manifest.csv", row=4)
    assert (one.name, one.lr) == (pairs[4].name, pairs[4].lr)


def test_sources_that_moved(dataset: Path, photos: Path, tmp_path: Path) -> None:
    shutil.move(photos, tmp_path / "elsewhere")
    with pytest.raises(ImageError, match=r"0.png: no such file"):
        list(replay_pairs(dataset))
    assert all(pair.equal for pair in replay_pairs(dataset, source=tmp_path / "elsewhere"))


def test_a_changed_source(dataset: Path, photos: Path) -> None:
    pixels = np.asarray(Image.open(photos / "1.png")).copy()
    pixels ^= 1
    Image.fromarray(pixels).save(photos / "1.png")
    assert [pair.equal for pair in replay_pairs(dataset)] == [True, False, True, True, False, True]
    Image.fromarray(pixels[:50]).save(photos / "1.png")
    with pytest.raises(
        SynthError, match=r"row 1: 1.png now gives another crop; is it the same image\?"
    ):
        list(replay_pairs(dataset))


def test_a_bit_flipped_source(dataset: Path, photos: Path) -> None:
    raw = bytearray((photos / "0.png").read_bytes())
    raw[len(raw) // 2] ^= 4
    (photos / "0.png").write_bytes(raw)
    with pytest.raises(ImageError, match=r"0.png: truncated or corrupt PNG"):
        list(replay_pairs(dataset))


def test_files_on_disk(dataset: Path) -> None:
    (dataset / "lr/0_s001.png").write_bytes(b"other")
    (dataset / "hr/1_s001.png").unlink()
    pairs = list(replay_pairs(dataset))
    assert all(pair.equal for pair in pairs)
    assert [pair.on_disk for pair in pairs[:3]] == [False, None, True]


def test_what_was_drawn_counts_not_the_seed(dataset: Path) -> None:
    change(dataset, 0, first__jpeg__quality="31")
    change(dataset, 1, key="7")
    assert [pair.equal for pair in replay_pairs(dataset)][:3] == [False, False, True]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"source": "../secret.png"}, "leads out of"),
        ({"source": "/etc/passwd"}, "leads out of"),
        ({"name": "../../x"}, "leads out of"),
        ({"source": "nowhere.png"}, r"nowhere.png: no such file"),
        ({"key": "-1"}, "a key should be a whole number"),
        ({"key": str(2**64)}, "a key should be a whole number"),
        ({"key": "many"}, "invalid literal"),
        ({"index": "first"}, "row first: invalid literal"),
        ({"first__jpeg__quality": ""}, r"row 0: first.jpeg.quality: has no value"),
        ({"first__jpeg__quality": "lots"}, r"first.jpeg.quality: 'lots' should be in \[1, 100\]"),
        ({"first__jpeg__quality": "1e9"}, r"first.jpeg.quality: '1e9' should be in \[1, 100\]"),
        ({"first__jpeg__quality": "nan"}, r"first.jpeg.quality: 'nan' should be in \[1, 100\]"),
        (
            {"first__blur__size": "99999999"},
            r"first.blur.size: '99999999' should be odd, in \[1, 201\]",
        ),
        ({"first__resize__filter": "cubic"}, r"first.resize.filter: 'cubic' should be one of"),
        ({"second__kernel__p": "2"}, r"second.kernel.p: '2' should be a probability"),
        ({"second__shuffle": "24"}, r"second.shuffle: '24' should be an order of 2 steps"),
        ({"second__shuffle": "-1"}, r"second.shuffle: '-1' should be an order of 2 steps"),
    ],
)
def test_manifests_of_strangers(dataset: Path, cells: dict[str, str], message: str) -> None:
    change(dataset, 0, **cells)
    with pytest.raises(UserError, match=message):
        list(replay_pairs(dataset))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "manifest.csv").unlink(), "no such manifest"),
        (lambda d: (d / "manifest.csv").write_text("a,b\n1,2\n"), "lacks the columns index, key"),
        (lambda d: (d / "manifest.csv").write_bytes(b"\xff\x00\n" * 9), "lacks the columns"),
        (lambda d: (d / "manifest.csv").write_text("x" * 200_000 + "\n"), "is not a CSV table"),
        (lambda d: (d / "recipe.yaml").unlink(), "no such file"),
        (lambda d: (d / "recipe.yaml").write_text("name: [\n"), r"recipe.yaml:2: "),
        (
            lambda d: shutil.copy("recipes/bicubic.yaml", d / "recipe.yaml"),
            "is not the recipe that made this dataset",
        ),
        (lambda d: (d / "synth.json").unlink(), "is not what degrade synth writes"),
        (lambda d: (d / "synth.json").write_text("[]"), "is not what degrade synth writes"),
        (
            lambda d: (d / "synth.json").write_text(
                (d / "synth.json").read_text().replace('"patch": 48', '"patch": "x"')
            ),
            "is not what degrade synth writes",
        ),
    ],
)
def test_spoiled_datasets(dataset: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(dataset)
    with pytest.raises(UserError, match=message):
        list(replay_pairs(dataset))


def resume(dataset: Path) -> None:
    recipe = Recipe.load("realesrgan")
    settings = SynthSettings(str(dataset.parent / "photos"), patch=48, per_image=2)
    synthesize(prepare(recipe, settings, dataset), recipe, in_process)


@pytest.mark.parametrize("name", ["manifest.csv", "synth.json", "recipe.yaml", ".lock"])
@pytest.mark.parametrize("kind", ["pipe", "endless", "large", "folder"])
def test_records_that_are_no_files(dataset: Path, name: str, kind: str) -> None:
    """Neither waited for nor read to an end that never comes."""
    path = dataset / name
    path.unlink(missing_ok=True)
    {
        "pipe": lambda: os.mkfifo(path),
        "endless": lambda: path.symlink_to("/dev/zero"),
        "large": lambda: path.touch() or os.truncate(path, 2**36),
        "folder": path.mkdir,
    }[kind]()
    attempts = [lambda: resume(dataset)]
    if name != ".lock":
        attempts.append(lambda: list(replay_pairs(dataset)))
    elif kind == "large":
        return
    signal.alarm(30)
    for attempt in attempts:
        with pytest.raises((UserError, IsADirectoryError), match=re.escape(name)):
            attempt()
    signal.alarm(0)


def test_rows_that_are_there_twice(dataset: Path) -> None:
    path = dataset / "manifest.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, *lines[1:3] * 500]))
    with pytest.raises(SynthError, match=r"manifest.csv: index 0 \(501 rows\), index 1 .* once"):
        list(replay_pairs(dataset))
    resume(dataset)
    assert path.read_text() == "".join(lines)


def test_no_such_row(dataset: Path) -> None:
    with pytest.raises(SynthError, match="has no row with index 6; there are 6 rows"):
        list(replay_pairs(dataset, row=6))
