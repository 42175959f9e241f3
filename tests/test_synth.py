"""Synthesis: the same bytes however it runs, nothing lost when it is killed, nobody else's
files touched.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degrade import PairedFolder, PatchFolder, Recipe
from degrade.data.tiles import cut_tiles
from degrade.errors import SynthError, UserError
from degrade.execution import choose_for
from degrade.images.files import list_images, read_image
from degrade.storage.files import inside, place, sha256
from degrade.synthesis import engines, render
from degrade.synthesis.job import MAX_PART, Job, prepare, unique_names
from degrade.synthesis.manifest import Manifest, read_rows
from degrade.synthesis.run import Report, settings_record, synthesize, versions
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers.folder import MAX_NAME, utf8_bytes
from degrade.synthesis.writers.lmdb import key_bytes
from sr.examples import load_examples

RECIPE = "realesrgan"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five small photographs, one of them in a folder below, two of one stem."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for i, name in enumerate(["a.png", "b.png", "b.bmp", "below/c.png", "below/a.webp"]):
        Image.fromarray(data.astronaut()[40 * i : 40 * i + 50 + i, 60:117]).save(
            folder / name, lossless=True
        )
    return folder


def make(
    source: Path | str, output: Path, run: engines.Engine = engines.in_process, **kwargs: Any
) -> Report:
    recipe = Recipe.load(kwargs.pop("recipe", RECIPE))
    job = prepare(recipe, SynthSettings(str(source), **kwargs), output)
    return synthesize(job, recipe, run)


def content(folder: Path) -> dict[str, bytes]:
    """All bytes of a dataset that a trainer sees, and of its manifest."""
    paths = [
        p
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".") and p.name != "contact_sheet.png"
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "manifest.csv").open(encoding="utf-8")))


# --- what a run leaves ---------------------------------------------------------------------------


def test_a_setting_that_is_not_said_is_not_the_same(tmp_path: Path) -> None:
    """A damaged name of one that is null, for example."""
    recipe = Recipe.load("bicubic")
    job = prepare(recipe, SynthSettings(patch=32), tmp_path)
    synthesize(job, recipe, engines.in_process)
    path = tmp_path / "synth.json"
    path.write_text(path.read_text().replace('"count"', '"couft"'))
    with pytest.raises(SynthError, match="count missing, now None"):
        synthesize(job, recipe, engines.in_process)


def test_what_a_run_leaves(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = make(photos, out)
    assert (report.made, report.kept, report.skipped) == (5, 0, [])
    names = ["a", "b_bmp", "b_png", "below/a", "below/c"]
    assert sorted(content(out)) == sorted(
        [f"{side}/{name}.png" for side in ("hr", "lr") for name in names]
        + ["manifest.csv", "recipe.yaml", "skipped.csv", "synth.json"]
    )
    assert Recipe.load(out / "recipe.yaml") == Recipe.load(RECIPE)
    said = json.loads((out / "synth.json").read_text())
    assert said["recipe_hash"] == Recipe.load(RECIPE).hash
    assert said["versions"] == versions(choose_for("cpu"))
    for i, row in enumerate(rows(out)):
        hr, lr = (out / side / f"{row['name']}.png" for side in ("hr", "lr"))
        assert int(row["index"]) == i
        assert (sha256(hr), sha256(lr)) == (row["hr_sha256"], row["lr_sha256"])
        high, low = read_image(hr).pixels, read_image(lr).pixels
        assert (
            high.shape[:2]
            == (4 * low.shape[0], 4 * low.shape[1])
            == (int(row["hr_height"]), int(row["hr_width"]))
        )
        assert (photos / row["source"]).is_file()


def test_engines_agree(photos: Path, tmp_path: Path) -> None:
    """In this process, in two others, in batches: the same bytes."""
    kwargs = {"patch": 32, "per_image": 4}
    make(photos, tmp_path / "inline", **kwargs)
    make(photos, tmp_path / "processes", partial(engines.process_pool, workers=2), **kwargs)
    make(
        photos,
        tmp_path / "batches",
        partial(engines.on_device, device="cpu", size=6, workers=2),
        **kwargs,
    )
    first = content(tmp_path / "inline")
    assert len(rows(tmp_path / "inline")) == 20
    for other in ("processes", "batches"):
        assert content(tmp_path / other) == first, other


def test_a_pair_depends_on_its_index_alone(photos: Path, tmp_path: Path) -> None:
    make(photos, tmp_path / "all", patch=32, per_image=2)
    make(photos, tmp_path / "some", patch=32, per_image=2, count=3)
    assert len(rows(tmp_path / "some")) == 3
    everything = content(tmp_path / "all")
    for name, pixels in content(tmp_path / "some").items():
        if name.endswith(".png"):
            assert everything[name] == pixels


def test_seed_and_patch_matter(photos: Path, tmp_path: Path) -> None:
    make(photos, tmp_path / "a", patch=32)
    make(photos, tmp_path / "b", patch=32, seed=1)
    assert content(tmp_path / "a")["lr/a.png"] != content(tmp_path / "b")["lr/a.png"]


def test_small_images(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()[:20, :90]).save(photos / "small.png")
    make(photos, tmp_path / "up", patch=48, small="reflect")
    assert (
        next(r for r in rows(tmp_path / "up") if r["name"] == "small")["notes"]
        == "mirrored up from 90 x 20"
    )
    assert make(photos, tmp_path / "twice", patch=40).notes == {"mirrored up": 1}
    [(_, reason)] = make(photos, tmp_path / "more", patch=44).skipped
    assert reason.startswith("90 x 20 pixels, less than half of 44; --small reflect")
    report = make(photos, tmp_path / "skip", patch=48, small="skip")
    assert [reason for _, reason in report.skipped] == ["90 x 20 pixels, smaller than 48"]
    assert 'small.png,"90 x 20 pixels' in (tmp_path / "skip" / "skipped.csv").read_text()
    Image.fromarray(data.astronaut()[:1, :3]).save(photos / "tiny.png")
    assert make(photos, tmp_path / "auto").skipped[0][1].startswith("3 x 1 pixels, less than half")
    make(photos, tmp_path / "tiny", small="reflect")
    assert read_image(tmp_path / "tiny/lr/tiny.png").pixels.shape == (1, 1, 3)


def test_alpha(photos: Path, tmp_path: Path) -> None:
    pixels = np.dstack([data.astronaut()[:40, :40], np.full((40, 40), 128, np.uint8)])
    pixels[:20, :, 3] = 0
    for path in photos.rglob("*.*"):
        path.unlink()
    Image.fromarray(pixels).save(photos / "glass.png")
    make(photos, tmp_path / "drop")
    assert rows(tmp_path / "drop")[0]["notes"] == "alpha dropped"
    assert read_image(tmp_path / "drop/lr/glass.png").alpha is None
    make(photos, tmp_path / "keep", alpha="keep")
    alpha = read_image(tmp_path / "keep/lr/glass.png").alpha
    assert alpha is not None
    assert (alpha[:5] == 0).all()
    assert (alpha[5:] == 128).all()


def test_bad_files_are_skipped(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("no image")
    report = make(photos, tmp_path / "out")
    assert report.made == 5
    listed = list(csv.DictReader((tmp_path / "out/skipped.csv").open()))
    assert [row["source"] for row in listed] == ["cut.png", "empty.jpg", "text.png"]
    assert all(row["reason"] for row in listed)


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/text.png").write_text("no image")
    with pytest.raises(
        SynthError,
        match=r"no pair could be made; all 1 sources were skipped:\n.*text.png: not an image",
    ):
        make(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (("a.png", "b.png"), ("a", "b")),
        (("a.jpg", "a.png"), ("a_jpg", "a_png")),
        (("A.png", "a.png"), ("A_png", "a_png_")),
        (("a.png", "a_png.png", "a.jpg"), ("a_png", "a_png_", "a_jpg")),
        (("x/a.png", "y/a.png"), ("x/a", "y/a")),
        (("a.jpg", "a.png/b.png"), ("a_jpg", "a.png/b")),
        (("a.jpg", "a_s001.png/b.png"), ("a_jpg", "a_s001.png/b")),
        (("a.jpg", "a/b.png"), ("a", "a/b")),
        (("\u00e9.png", "e\u0301.png"), ("\u00e9_png", "e\u0301_png_")),
        (("a\rb\udce9.png", "100%41.png"), ("a%0Db%E9", "100%2541")),
    ],
)
def test_names_are_unique(sources: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert unique_names(sources) == names
    assert len({name.lower() for name in names}) == len(names)


def test_long_names() -> None:
    """Cut, and still different: a part for the file system, all for a path or for a key."""
    sources = [f"{'x' * 250}{i}.png" for i in range(3)] + [f"{'深' * 80}/" * 4 + "a.png"]
    for cost, longest in ((utf8_bytes, MAX_NAME), (key_bytes, 480)):
        found = unique_names(sources, cost, longest)
        assert len(set(found)) == len(sources)
        assert all(cost(name) <= longest for name in found)
        assert all(len(part.encode()) <= MAX_PART for name in found for part in name.split("/"))


def test_a_name_that_the_disk_refuses(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pair is skipped with its reason, and the rest is made."""

    def refuse(path: Path, data: bytes) -> None:
        if path.stem == "b_bmp":
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        place(path, data)

    monkeypatch.setattr(render, "place", refuse)
    report = make(photos, tmp_path / "out")
    assert report.made == 4
    [(source, reason)] = report.skipped
    assert source.endswith("b.bmp")
    assert reason == "cannot be written as b_bmp: Invalid argument"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"patch": 30}, "--patch 30: should be a multiple of the scale 4"),
        ({"patch": 0}, "--patch 0: should be a multiple of the scale 4"),
        ({"patch": 10**6}, r"at most 11585 \(DEGRADE_MAX_PIXELS\)"),
        ({"per_image": 0}, "--per-image 0: should be from 1 to 4000000"),
        ({"per_image": 10**7}, "--per-image 10000000: should be from 1 to 4000000"),
        ({"per_image": 10**6}, "5 images with .* 5000000 pairs, more than 4000000; .* --count"),
        ({"count": 0, "small": "x"}, "--small x: .*\n--count 0: should be from 1 to"),
        ({"names": "lr,hr"}, "--names lr,hr: should be one of hr,lr  gt,lq  hq,lq"),
    ],
)
def test_settings_are_checked(
    photos: Path, tmp_path: Path, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(SynthError, match=message):
        make(photos, tmp_path / "out", **kwargs)
    assert not (tmp_path / "out").exists()


def test_a_dataset_within_its_sources(photos: Path) -> None:
    """Goes on, and does not eat itself."""
    assert make(photos, photos / "out").made == 5
    assert make(photos, photos / "out").kept == 5


@pytest.mark.parametrize("where", ["synth", "photos/synth"])
def test_another_dataset_within_the_sources(photos: Path, tmp_path: Path, where: str) -> None:
    """Two recipes with their outputs in the input folder: the second does not take the first
    one's pairs for photographs, and says so; nor does what else looks for images.
    """
    first, second = photos / where / "first", photos / where / "second"
    make(photos, first)
    before = (first / "skipped.csv").read_bytes()
    assert make(photos, second, recipe="bicubic").made == 5
    assert "a dataset that degrade synth made" in (second / "skipped.csv").read_text()
    assert make(photos, second, recipe="bicubic").kept == 5
    assert (
        len(PatchFolder(photos, 32)) == len(list(load_examples(photos, Recipe.load("clean")))) == 5
    )
    assert make(photos, first).kept == 5
    assert before != (first / "skipped.csv").read_bytes(), "which names the second"


@pytest.mark.parametrize("names", ["hr,lr", "gt,lq"])
def test_a_dataset_as_hr_images(photos: Path, tmp_path: Path, names: str) -> None:
    out = tmp_path / "out"
    make(photos, out, names=names)
    high = names[:2]
    message = rf"out: is a dataset .* its HR images are in {high}; its pairs are pairs:.*out in sr"
    for read in (
        lambda: make(out, tmp_path / "other"),
        lambda: PatchFolder(out, 32),
        lambda: list(load_examples(out, Recipe.load("clean"))),
        lambda: list_images(out.as_uri().replace("file://", "local://")),
    ):
        with pytest.raises(UserError, match=message):
            read()
    assert make(out / high, tmp_path / "again").made == 5


@pytest.mark.parametrize("names", ["hr,lr", "gt,lq"])
@pytest.mark.parametrize("given", ["{lr}", "{lr}/below", "{lr}/a.png", "*/*.png", "**/[bc].*"])
def test_lr_images_of_a_dataset_as_hr_images(
    photos: Path, tmp_path: Path, names: str, given: str
) -> None:
    """However they are named; as LR images they are as good as others."""
    out = tmp_path / "out"
    make(photos, out, names=names)
    low = names[3:]
    source = out / given.format(lr=low)
    (tmp_path / "link").symlink_to(out / low)
    message = (
        rf"out/{low}\S*: holds the LR images of a dataset .* in {names[:2]}.* pairs:\S*out in"
    )
    for read in (
        lambda: make(source, tmp_path / "other"),
        lambda: make(tmp_path / "link", tmp_path / "other"),
        lambda: PatchFolder(source, 32),
        lambda: list(load_examples(source, Recipe.load("clean"))),
        lambda: cut_tiles([source], tmp_path / "tiles", 32),
        lambda: make(f"local://{source}", tmp_path / "other"),
    ):
        with pytest.raises(UserError, match=message):
            read()
    assert not (tmp_path / "other").exists()
    assert len(PairedFolder(f"lr={out / low},hr={out / names[:2]}")) == 5


# --- going on ------------------------------------------------------------------------------------


def test_again_makes_nothing(photos: Path, tmp_path: Path) -> None:
    make(photos, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    report = make(photos, tmp_path / "out")
    assert (report.made, report.kept) == (0, 5)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")} == before


def test_damage_is_mended(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(photos, out)
    before = content(out)
    (out / "lr/a.png").write_bytes(before["lr/a.png"][:40])
    (out / "hr/below/c.png").unlink()
    text = (out / "manifest.csv").read_text()
    (out / "manifest.csv").write_text(text[:-30])
    report = make(photos, out)
    assert report.made == 2
    assert content(out) == before


@pytest.mark.parametrize("left", [[], ["synth.json"], ["synth.json", "recipe.yaml"]])
def test_killed_at_the_start(photos: Path, tmp_path: Path, left: list[str]) -> None:
    """After any of the first writes, and amid one."""
    make(photos, tmp_path / "whole")
    out = tmp_path / "out"
    (out / "hr").mkdir(parents=True) if left else out.mkdir()
    for name in left:
        shutil.copy(tmp_path / "whole" / name, out / name)
    stray = out / f".{'0a' * 16}.tmp"
    stray.write_bytes(b"half")
    make(photos, out)
    assert content(out) == content(tmp_path / "whole")
    assert not stray.exists()


SCRIPT = """
import sys
from pathlib import Path
from degrade import Recipe
from degrade.synthesis import engines
from degrade.synthesis.job import prepare
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.run import synthesize
recipe = Recipe.load("realesrgan")
job = prepare(recipe, SynthSettings(sys.argv[1], patch=32, per_image=8), Path(sys.argv[2]))
print("ready", flush=True)
synthesize(job, recipe, engines.in_process)
"""


def start(photos: Path, out: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(photos), str(out)], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_killed_at_any_moment(photos: Path, tmp_path: Path) -> None:
    """SIGKILL, three times in one dataset; then it ends with the bytes of a run that was let
    be.
    """
    make(photos, tmp_path / "whole", patch=32, per_image=8)
    out, moments = tmp_path / "out", random.Random(0)
    progress = []
    for _ in range(3):
        process = start(photos, out)
        time.sleep(moments.uniform(0.02, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait()
        manifest = out / "manifest.csv"
        for row in read_rows(manifest.read_text())[1] if manifest.exists() else []:
            for side in ("hr", "lr"):
                assert sha256(out / side / f"{row['name']}.png") == row[f"{side}_sha256"], (
                    "a row without its file"
                )
        progress.append(len(list(out.rglob("lr/*.png"))))
    report = make(photos, out, patch=32, per_image=8)
    assert report.made + report.kept == 40
    assert content(out) == content(tmp_path / "whole")
    assert progress == sorted(progress)
    assert not list(out.rglob(".*.tmp"))


def test_one_writer(photos: Path, tmp_path: Path) -> None:
    recipe, out = Recipe.load(RECIPE), tmp_path / "out"
    job = prepare(recipe, SynthSettings(str(photos)), out)
    with (
        Manifest.open(out, recipe, settings_record(job, recipe), versions(job.backend)),
        pytest.raises(
            SynthError, match="another degrade process is writing here; wait for it to end"
        ),
    ):
        make(photos, out)
    assert make(photos, out).made == 5, "the lock went with its process"


# --- other people's files ------------------------------------------------------------------------


def test_a_folder_of_other_files_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("all there is")
    with pytest.raises(
        SynthError, match=r"holds thesis.tex, which degrade did not write; choose another --output"
    ):
        make(photos, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(SynthError, match="is a file; name a folder with --output"):
        make(photos, tmp_path / "out/thesis.tex")


def test_a_file_without_its_row(photos: Path, tmp_path: Path) -> None:
    """Kept if it is what is made; else moved aside, and that is said."""
    out = tmp_path / "out"
    make(photos, out)
    before = content(out)
    (out / "manifest.csv").unlink()
    (out / "hr/a.png").write_bytes(b"mine")
    (out / "lr/b_png.png").write_bytes(before["lr/b_png.png"][:60])
    (out / "hr/a.png.aside").write_bytes(b"of another time")
    report = make(photos, out)
    assert report.made == 5
    assert report.repaired == [
        f"moved aside as {out}/hr/a.png.aside2",
        f"moved aside as {out}/lr/b_png.png.aside",
    ]
    after = content(out)
    assert after.pop("hr/a.png.aside") == b"of another time"
    assert after.pop("hr/a.png.aside2") == b"mine"
    assert after.pop("lr/b_png.png.aside") == before["lr/b_png.png"][:60]
    assert after == before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"patch": 32}, {"per_image": 2}, {"recipe": "realesrnet"}]
)
def test_another_run_is_refused(photos: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    make(photos, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(
        SynthError, match=r"holds another run \((seed|patch|per_image|recipe|pairs) \S+, now"
    ):
        make(photos, tmp_path / "out", **change)
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"scale": 2}, {"scale": 4}, "scale 2, now 4"),
        (
            {"changes": {"first.jpeg.quality": 30}},
            {},
            r"first\[\d\].jpeg.quality 30, now \[30, 95\]",
        ),
        ({"names": "gt,lq"}, {}, "names gt,lq, now hr,lr"),
        ({}, {"keep_raw": True}, "keep_raw False, now True"),
        ({"format": "huggingface"}, {}, "format huggingface, now folder"),
        ({"seed": 3}, {"seed": 4}, "seed 3, now 4"),
    ],
)
def test_what_differs_is_said(
    photos: Path, tmp_path: Path, one: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    def run(scale: int = 4, changes: Any = None, format: str = "folder", **kwargs: Any) -> Report:
        recipe = Recipe.load(RECIPE, scale, changes)
        settings = SynthSettings(str(photos), count=1, **kwargs)
        job = prepare(recipe, settings, tmp_path / "out", format)
        return synthesize(job, recipe, engines.in_process)

    run(**one)
    with pytest.raises(SynthError, match=rf"holds another run \({message}\)"):
        run(**other)


def test_other_versions_are_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(photos, out, count=1)
    said = json.loads((out / "synth.json").read_text())
    said["versions"]["numpy"] = "0.1"
    (out / "synth.json").write_text(json.dumps(said))
    with pytest.raises(SynthError, match=r"holds another run \(numpy 0.1, now "):
        make(photos, out, count=1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_broken_settings_file(photos: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/synth.json").write_text(text)
    with pytest.raises(SynthError, match=r"synth.json: is not what degrade synth writes"):
        make(photos, tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0b", ".."])
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(SynthError, match="leads out of"):
        inside(tmp_path, name)


# --- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be made here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(photos: Path, tmp_path: Path, small_disk: Path) -> None:
    """An error, no partial file; with room again, the run goes on to the same bytes."""
    out = small_disk / "out"
    (small_disk / "ballast").write_bytes(bytes(150_000))
    with pytest.raises(OSError, match="No space left"):
        make(photos, out)
    for row in (
        read_rows((out / "manifest.csv").read_text())[1] if (out / "manifest.csv").exists() else []
    ):
        assert sha256(out / "hr" / f"{row['name']}.png") == row["hr_sha256"]
    assert not list(small_disk.rglob(".*.tmp"))
    (small_disk / "ballast").unlink()
    make(photos, out)
    make(photos, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def test_full_disk_without_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where nothing may be mounted: the third picture does not fit."""
    count = 0

    def full(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(28, "No space left on device", str(path))
        place(path, data)

    monkeypatch.setattr(render, "place", full)
    with pytest.raises(OSError, match="No space left"):
        make(photos, tmp_path / "out")
    monkeypatch.undo()
    assert len(read_rows((tmp_path / "out/manifest.csv").read_text())[1]) == 2
    assert make(photos, tmp_path / "out").kept == 2
    make(photos, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_place_is_whole_or_absent(tmp_path: Path) -> None:
    place(tmp_path / "a/b.png", b"one")
    place(tmp_path / "a/b.png", b"one")
    with pytest.raises(SynthError):
        place(tmp_path / "a/b.png", b"two")
    assert (tmp_path / "a/b.png").read_bytes() == b"one"


def test_a_job_travels(photos: Path, tmp_path: Path) -> None:
    import pickle

    job = prepare(Recipe.load(RECIPE), SynthSettings(str(photos)), tmp_path / "out")
    again: Job = pickle.loads(pickle.dumps(job))
    assert again == job
    assert Recipe.load(again.recipe).hash == Recipe.load(RECIPE).hash
