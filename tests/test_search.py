"""Searching for images: globs as folders, each folder once, nothing passed over in silence."""

from __future__ import annotations

import csv
import io
import logging
import os
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from degrade.doctor.checks import examine_folder
from degrade.doctor.report import exclusions, to_csv
from degrade.images import search
from degrade.images.files import ImageError, find_images, list_images, search_images
from degrade.images.pixels import encode_png
from degrade.recipe import Recipe
from degrade.storage.names import escape, unescape
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings

NAMES = ("a.png", "b/c.JPG", "b/d/e.webp", "b/d/f [1].png", "g [2]/h.png", "z.tiff")


def make(root: Path, names: Iterable[str], data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def found(source: Path | str, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(source)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make(tmp_path, NAMES)
    return tmp_path


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("**", NAMES),
        ("**/*", NAMES),
        ("*", ("a.png", "z.tiff")),
        ("*.png", ("a.png",)),
        ("**/*.png", ("a.png", "b/d/f [1].png", "g [2]/h.png")),
        ("*/*", ("b/c.JPG", "g [2]/h.png")),
        ("**/d/*", ("b/d/e.webp", "b/d/f [1].png")),
        ("**/**/d/**", ("b/d/e.webp", "b/d/f [1].png")),
        ("b/**/*.[wp]*", ("b/d/e.webp", "b/d/f [1].png")),
        ("?/d", ()),
        ("g [2]/*", ("g [2]/h.png",)),
        ("b/d/f [1].png", ("b/d/f [1].png",)),
        ("b/../*.png", ("b/../a.png",)),
    ],
)
def test_globs(tree: Path, glob: str, names: tuple[str, ...]) -> None:
    if not names:
        with pytest.raises(ImageError, match="no images here"):
            find_images(tree / glob)
    else:
        assert found(f"{tree}/{glob}", tree) == sorted(names)


def test_relative_globs(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in find_images("*.png")] == ["a.png"]
    assert [path.as_posix() for path in find_images("./b/*/*.webp")] == ["b/d/e.webp"]


@pytest.mark.parametrize("glob", ["", "**", "**/*", "**/*.*"])
@pytest.mark.parametrize(
    "links",
    [
        [("b/up", "..")],
        [("b/up", ".."), ("b/d/up", "../.."), ("b/d/self", ".")],
        [("0", "b"), ("zz", "b/d"), ("b/zz", "../g [2]")],
        [("b/loop", "loop"), ("broken", "nowhere")],
    ],
)
def test_links_are_followed_once(tree: Path, glob: str, links: list[tuple[str, str]]) -> None:
    """And a folder goes by its own path, whatever the names of links to it."""
    for link, target in links:
        (tree / link).symlink_to(target)
    assert found(f"{tree}/{glob}" if glob else tree, tree) == sorted(NAMES)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path, ("photos/a.png", "other/b.png", "other/c/d.png"))
    (tmp_path / "photos/y").symlink_to("../other")
    (tmp_path / "photos/x").symlink_to("../other")
    names = ["a.png", "x/b.png", "x/c/d.png"]
    assert found(tmp_path / "photos", tmp_path / "photos") == names
    assert found(tmp_path / "photos/**/*.png", tmp_path / "photos") == names
    assert found(tmp_path / "photos/y/*.png", tmp_path / "photos") == ["y/b.png"]


def test_a_link_may_match_where_its_folder_does_not(tree: Path) -> None:
    (tree / "wanted").symlink_to("b/d")
    assert found(f"{tree}/**/wanted/*", tree) == ["wanted/e.webp", "wanted/f [1].png"]


def test_the_order_of_entries_does_not_matter(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for link in ("0", "a", "m", "z"):
        (tree / link).symlink_to("b")
    scandir = os.scandir

    class Shuffled(list):
        def __enter__(self) -> Shuffled:
            return self

        def __exit__(self, *_: object) -> None: ...

    def shuffled(seed: int, path: str) -> Shuffled:
        entries = list(scandir(path))
        random.Random(seed).shuffle(entries)
        return Shuffled(entries)

    for seed in range(5):
        monkeypatch.setattr(search.os, "scandir", lambda path, seed=seed: shuffled(seed, path))
        assert found(tree, tree) == sorted(NAMES)


JUNK = ("@eaDir/a.png/SYNO_THUMB_M.jpg", "b/__MACOSX/c.jpg", "#recycle/d.png", "LOST+FOUND/e.png")
HIDDEN = (".thumbnails/a.png", "b/.cache/d/e.png", "._a.png", ".a.png")


@pytest.mark.parametrize("glob", ["", "**", "*/**/*.*"])
def test_folders_of_the_system_are_left_out(tree: Path, glob: str) -> None:
    make(tree, (*JUNK, *HIDDEN))
    images, skipped = search_images(f"{tree}/{glob}" if glob else tree)
    names = [path.relative_to(tree).as_posix() for path in images]
    assert names == sorted(name for name in NAMES if not glob.startswith("*/") or "/" in name)
    wanted = ["#recycle", "@eaDir", "LOST+FOUND", "b/__MACOSX"]
    assert sorted(skipped) == [str(tree / name) for name in wanted]


def test_hidden_and_system_folders_can_be_named(tree: Path) -> None:
    make(tree, (*JUNK, *HIDDEN))
    assert found(tree / "@eaDir", tree) == [JUNK[0]]
    assert found(f"{tree}/@eaDir/*/*", tree) == [JUNK[0]]
    assert found(f"{tree}/*/__MACOSX/*", tree) == [JUNK[1]]
    assert found(f"{tree}/.thumb*/*.png", tree) == [HIDDEN[0]]
    assert found(f"{tree}/.*.png", tree) == sorted(HIDDEN[2:])


OTHERS = ("x.HEIC", "b/y.heif", "r.NEF", "r.dng", "s.exr", "t.jxl")


def test_images_of_other_formats_are_said(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tree, (*OTHERS, "notes.txt", "clip.mp4"))
    images, skipped = search_images(tree)
    assert len(images) == len(NAMES)
    assert sorted(skipped) == sorted(str(tree / name) for name in OTHERS)
    assert all("convert it" in reason for reason in skipped.values())
    with caplog.at_level(logging.WARNING):
        find_images(f"{tree}/**")
    for line in ("2 x HEIF is not read", "2 x camera RAW", "1 x OpenEXR", "1 x JPEG XL"):
        assert line in caplog.text
    caplog.clear()
    find_images(f"{tree}/*.png")
    assert not caplog.text
    with pytest.raises(ImageError, match=r"no images here, of 1 files.*passed over 1 x OpenEXR"):
        find_images(f"{tree}/*.exr")


@pytest.fixture
def closed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that cannot be read, for root too."""
    make(tree, ("closed/i.png",))
    scandir = os.scandir

    def deny(path: str) -> object:
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(search.os, "scandir", deny)
    return tree / "closed"


@pytest.mark.parametrize("glob", ["", "**"])
def test_an_unreadable_folder_does_not_stop_the_search(closed: Path, glob: str) -> None:
    images, skipped = search_images(f"{closed.parent}/{glob}" if glob else closed.parent)
    assert len(images) == len(NAMES)
    assert skipped == {str(closed): "cannot be read: permission denied"}
    with pytest.raises(ImageError, match="closed: permission denied"):
        find_images(closed)


def test_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for name in (*NAMES, *JUNK, *HIDDEN, *OTHERS):
        store.pipe(f"/search/{name}", b"x")
    root, names, skipped = list_images("memory://search")
    assert names == sorted(NAMES)
    assert sorted(skipped) == sorted(OTHERS)
    assert root.startswith("memory://")


# --- commands ------------------------------------------------------------------------------------

STRANGE = [b"caf\xe9.png", b"line\rend.png", b"two\nlines.png", b"\x1b[31mred.png", b"100%41.png"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images with names of every kind, and what is not read."""
    folder = tmp_path / "photos"
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    make(folder, map(os.fsdecode, STRANGE), encode_png(noise))
    make(folder, (*OTHERS, *JUNK))
    return folder


def test_doctor_takes_any_name(photos: Path) -> None:
    diagnoses = examine_folder(photos)
    assert len(diagnoses) == len(STRANGE) + len(OTHERS)
    lines = exclusions(diagnoses).splitlines()
    assert {os.fsencode(unescape(line)) for line in lines} >= {*STRANGE, *map(str.encode, OTHERS)}
    rows = list(csv.DictReader(io.StringIO(to_csv(diagnoses))))
    assert [unescape(row["file"]) for row in rows] == [each.exam.file for each in diagnoses]
    reasons = {row["file"]: row["problems"] for row in rows}
    assert reasons["x.HEIC"] == "unreadable: HEIF is not read; convert it to PNG"
    to_csv(diagnoses).encode()


def test_errors_of_any_name_can_be_written(tmp_path: Path) -> None:
    for name in map(os.fsdecode, STRANGE):
        error = ImageError(tmp_path / name, "damaged")
        assert error.path == str(tmp_path / name)
        assert str(error) == f"{tmp_path}/{escape(name)}: damaged"


def test_synthesis_lists_what_it_passed_over(photos: Path, tmp_path: Path) -> None:
    for name in STRANGE[1:]:
        (photos / os.fsdecode(name)).unlink()
    (photos / os.fsdecode(STRANGE[0])).rename(photos / "a.png")
    recipe = Recipe.load("bicubic", scale=2)
    job = prepare(recipe, SynthSettings(str(photos)), tmp_path / "out")
    report = synthesize(job, recipe, in_process)
    assert (report.made, report.skipped) == (1, [])
    with open(tmp_path / "out/skipped.csv", newline="", encoding="utf-8") as file:
        skipped = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert len(skipped) == len(OTHERS) + len(JUNK)
    assert skipped["s.exr"] == "OpenEXR is not read; convert it to PNG"
