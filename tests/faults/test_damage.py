"""Bits turned and ends cut off, in inputs, manifests and states: seen and said, never taken for
what was there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import LONG, ROUNDS, Command, chance, flips, results, say, tree
from PIL import Image
from skimage import data

from conftest import Run
from degrade import PairedFolder, Recipe
from degrade.errors import UserError
from degrade.images.files import ImageError
from degrade.storage.destination import open_destination
from degrade.synthesis import engines
from degrade.synthesis.job import prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import Report, synthesize
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers import FORMATS
from sr import checkpoint

COUNT = 2 * ROUNDS
"""Damages of each kind."""


def make(photos: Path, out: Path | str, format: str = "folder") -> Report:
    recipe = Recipe.load("realesrgan")
    settings = SynthSettings(str(photos), patch=32, per_image=2)
    return synthesize(prepare(recipe, settings, out, format, shard=4), recipe, engines.in_process)


def refusal(attempt: Callable[[], object]) -> str:
    """What an attempt is refused with; nothing if it is not."""
    try:
        attempt()
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module", params=["folder", "webdataset"])
def whole(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A dataset whose names differ by a bit: a change of one row's name is the name of
    another's.
    """
    out = tmp_path_factory.mktemp(request.param) / "out"
    make(photos, out, request.param)
    return request.param, out


def test_manifest(photos: Path, whole: tuple[str, Path], tmp_path: Path) -> None:
    """Damaged rows are made anew; a damaged head is said, with a remedy that works."""
    format, before = whole
    good = (before / "manifest.csv").read_bytes()
    for what, bad in flips(good, chance("manifest", format), COUNT):
        out = shutil.copytree(before, tmp_path / "out")
        (out / "manifest.csv").write_bytes(bad)
        say(what)
        said = refusal(lambda: make(photos, out, format))  # noqa: B023
        if said:
            words = "manifest.csv: is damaged, or not of this recipe; move it away and run again"
            assert words in said
            assert (out / "manifest.csv").read_bytes() == bad
            (out / "manifest.csv").unlink()
            make(photos, out, format)
        assert tree(out) == tree(before)
        shutil.rmtree(out)


@pytest.mark.parametrize("name", ["synth.json", "recipe.yaml"])
def test_settings(photos: Path, whole: tuple[str, Path], tmp_path: Path, name: str) -> None:
    """Refused with nothing touched, or mended."""
    format, before = whole
    out = shutil.copytree(before, tmp_path / "out")
    good = (before / name).read_bytes()
    for what, bad in [
        *flips(good, chance(name, format), COUNT),
        ("the end of the last line", good[:-1]),
    ]:
        (out / name).write_bytes(bad)
        damaged = tree(out)
        say(what)
        said = refusal(lambda: make(photos, out, format))
        if said:
            assert str(out) in said
            assert tree(out) == damaged
            (out / name).write_bytes(good)
        assert tree(out) == tree(before)


def test_sources(photos: Path, whole: tuple[str, Path], tmp_path: Path) -> None:
    """A PNG that is damaged is skipped and listed, or has the pixels that it had; mended, its
    pairs are made.
    """
    format, _ = whole
    here, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "out"
    make(here, tmp_path / "before", format)
    good = (here / "c.png").read_bytes()
    for what, bad in flips(good, chance("source", format), COUNT):
        (here / "c.png").write_bytes(bad)
        report = make(here, out, format)
        say(f"{what}: {report.skipped}")
        assert report.made == 10 - len(report.skipped)
        assert {Path(path).name for path, _ in report.skipped} <= {"c.png"}
        (here / "c.png").write_bytes(good)
        assert make(here, out, format).made == len(report.skipped)
        assert tree(out) == tree(tmp_path / "before")
        shutil.rmtree(out)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "bmp"])
def test_sources_without_checksums(tmp_path: Path, suffix: str) -> None:
    """Skipped or used as they decode, and then each pair can be made again; never another
    error.
    """
    here = tmp_path / "photos"
    here.mkdir()
    Image.fromarray(data.astronaut()[:64, 60:124]).save(here / "whole.png")
    Image.fromarray(data.astronaut()[:64, 60:124]).save(here / f"x.{suffix}")
    good = (here / f"x.{suffix}").read_bytes()
    for what, bad in flips(good, chance("source", suffix), COUNT):
        (here / f"x.{suffix}").write_bytes(bad)
        say(what)
        report = make(here, tmp_path / "out")
        assert report.made + len(report.skipped) == 4
        assert all(pair.equal and pair.on_disk for pair in replay_pairs(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")


def test_sources_that_are_gone(photos: Path, whole: tuple[str, Path], tmp_path: Path) -> None:
    """A dataset is neither replayed nor gone on with without a source, and both as before with
    it.
    """
    format, _ = whole
    here, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "out"
    make(here, out, format)
    before = tree(out)
    (here / "c.png").rename(tmp_path / "elsewhere.png")
    with pytest.raises(ImageError, match=r"c\.png: no such file"):
        list(replay_pairs(out))
    with pytest.raises(UserError, match=r"holds another run \(the names of the sources"):
        make(here, out, format)
    assert tree(out) == before
    (tmp_path / "elsewhere.png").rename(here / "c.png")
    assert all(pair.equal for pair in replay_pairs(out))
    assert make(here, out, format).kept == 10
    assert tree(out) == before


# --- what a power cut leaves ---------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut at a page": lambda data: data[: len(data) // 8192 * 4096],
    "zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "a bit": lambda data: data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 4])
    + data[len(data) // 3 + 1 :],
    "doubled": lambda data: data + data,
    "a byte more": lambda data: data + b"x",
}  # fmt: skip


@pytest.fixture(scope="module")
def five(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same dataset in each format; as an archive, it is the folder that is packed."""
    root = tmp_path_factory.mktemp("five")
    for format in FORMATS:
        make(photos, root / format, format)
    return {**{format: root / format for format in FORMATS}, "zip": root / "folder"}


@pytest.mark.parametrize("rows", ["kept", "lost"])
@pytest.mark.parametrize("format", [*FORMATS, "zip"])
def test_files_that_a_power_cut_damaged(
    photos: Path,
    five: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    rows: str,
) -> None:
    """All is as it was after the next run, which says what it found."""
    monkeypatch.setenv("DEGRADE_CACHE", str(tmp_path / "cache"))
    before, draws = five[format], chance("power cut", format, rows)
    target = f"zip://{tmp_path}/out.zip" if format == "zip" else tmp_path / "out"
    kind = "folder" if format == "zip" else format
    files = sorted(path.relative_to(before) for path in before.rglob("*.*") if path.is_file())
    files = [path for path in files if path.suffix not in (".csv", ".yaml") and path.name not in
             ("synth.json", ".lock", "lock.mdb")]  # fmt: skip
    assert len(files) > 2
    for what, damage in draws.sample([*DAMAGES.items()], k=len(DAMAGES) if LONG else 4):
        out = shutil.copytree(before, open_destination(str(target)).folder)
        hit = draws.sample(files, k=2)
        for path in hit:
            (out / path).write_bytes(damage((out / path).read_bytes()))
        if rows == "lost":
            (out / "manifest.csv").write_text(
                "".join((out / "manifest.csv").read_text().splitlines(keepends=True)[:1])
            )
        say(f"{what}: {', '.join(map(str, hit))}")
        report = make(photos, target, kind)
        pairs = [path for path in hit if path.suffix != ".jsonl"]
        assert rows == "lost" or bool(report.repaired) == bool(pairs)
        found = {name: digest for name, digest in tree(out).items() if ".aside" not in name}
        assert found == tree(before)
        if format != "zip":
            assert len(PairedFolder(out)) == 10
            assert all(pair.equal and pair.on_disk for pair in replay_pairs(out))
        assert make(photos, target, kind).repaired == []
        shutil.rmtree(out)


@pytest.mark.parametrize("name", ["hr.lmdb/data.mdb", "lr.lmdb/data.mdb", "pairs-000001.tar"])
def test_readers_of_damaged_files(five: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Read or refused, whatever bytes a file has; the process goes on."""
    before = five["lmdb" if name.endswith("mdb") else "webdataset"]
    out = shutil.copytree(before, tmp_path / "out")
    good = (before / name).read_bytes()
    page = flips(good[:4096] + good[-8192:], chance("reader", name), COUNT)
    cases = [*flips(good, chance("readers", name), 4 * COUNT)]
    cases += [
        (f"an end, {what}", bad[:4096] + good[4096:-8192] + bad[4096:]) for what, bad in page
    ]
    cases += [(what, damage(good)) for what, damage in DAMAGES.items()]
    for what, bad in cases:
        (out / name).write_bytes(bad)
        say(what)

        def read() -> None:
            pairs = PairedFolder(out)
            for i in range(len(pairs)):
                assert pairs[i]["hr"].shape[0] == 3

        said = refusal(read)
        assert not said or str(out) in said


# --- training ------------------------------------------------------------------------------------


@pytest.fixture
def halfway(training: Run, tmp_path: Path) -> Path:
    """A run killed after its first checkpoint."""
    out = tmp_path / "out"
    command = Command("sr", [*training.args, "--out", str(out)], tmp_path / "log")
    command.wait(lambda: (out / "last.state.pt").exists())
    assert command.kill().code == -9
    return out


def same(a: Any, b: Any) -> bool:
    """Equality of states, tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and list(a) == list(b)
            and all(same(a[name], b[name]) for name in a)
        )
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_state(training: Run, tmp_path: Path) -> None:
    """Refused as damaged, or all of it as it was."""
    path, good = tmp_path / "last.state.pt", (training.folder / "last.state.pt").read_bytes()
    whole, refused = checkpoint.load_state(training.folder / "last.state.pt"), 0
    found: list[dict[str, Any]] = []
    for what, bad in flips(good, chance("state"), 50 * COUNT):
        path.write_bytes(bad)
        said = refusal(lambda: found.append(checkpoint.load_state(path)))
        if said:
            assert "last.state.pt: damaged" in said
        refused += bool(said)
        assert said or same(found.pop(), whole), what
    say(f"{refused} of {50 * COUNT} refused")
    assert refused > COUNT


def test_a_state_whose_parts_are_said_to_be_folders(training: Run, tmp_path: Path) -> None:
    """A bit that no checksum covers, and at which PyTorch leaves a tensor's memory as it found
    it.
    """
    path, good = tmp_path / "last.state.pt", (training.folder / "last.state.pt").read_bytes()
    entries = [match.start() for match in re.finditer(b"PK\x01\x02", good)]
    assert len(entries) > 10
    for entry in entries:
        bad = bytearray(good)
        bad[entry + 38] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"last\.state\.pt: damaged"):
            checkpoint.load_state(path)


def test_resume_from_a_damaged_state(training: Run, halfway: Path, tmp_path: Path) -> None:
    args = [*training.args, "--out", str(halfway), "--resume"]
    good = (halfway / "last.state.pt").read_bytes()
    (halfway / "last.state.pt").write_bytes(good[: len(good) // 2])
    before = tree(halfway)
    ended = Command("sr", args, tmp_path / "log").end()
    assert (ended.code, "last.state.pt: damaged" in ended.text) == (2, True), ended.text
    assert tree(halfway) == before
    (halfway / "last.state.pt").write_bytes(good)
    assert Command("sr", args, tmp_path / "log").end().code == 0
    assert results(halfway) == results(training.folder)


@pytest.mark.parametrize(
    ("keep", "message"),
    [(0, "its images is 5, this run's is 4"), (0.6, "c.png: truncated or corrupt PNG")],
)
def test_resume_with_a_damaged_image(
    training: Run, halfway: Path, photos: Path, tmp_path: Path, keep: float, message: str
) -> None:
    """It is not left out in silence, which would give all that follows another order."""
    here = shutil.copytree(photos, tmp_path / "photos")
    args = [word if word != str(photos) else str(here) for word in training.args]
    args += ["--val", str(photos), "--out", str(halfway), "--resume"]
    good = (here / "c.png").read_bytes()
    (here / "c.png").write_bytes(good[: int(keep * len(good))])
    ended = Command("sr", args, tmp_path / "log").end()
    assert (ended.code, message in ended.text) == (2, True), ended.text
    (here / "c.png").write_bytes(good)
    assert Command("sr", args, tmp_path / "log").end().code == 0
    found = {
        name: digest for name, digest in results(halfway).items() if name.endswith("safetensors")
    }
    assert found == {
        name: digest for name, digest in results(training.folder).items() if name in found
    }
