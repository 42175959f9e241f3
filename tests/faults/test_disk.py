"""Disks that are full or cannot be written: an error that says so, nothing half there, and with
room it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROUNDS, Command, chance, check_dataset, curves, results, say, tree

from conftest import Run
from degrade.synthesis.writers import FORMATS
from sr import checkpoint

ROOM = 8000
"""kB that are enough."""


def size(folder: Path) -> int:
    """kB that a folder's files take, in whole pages."""
    return sum(path.stat().st_size // 4096 * 4 + 4 for path in folder.rglob("*"))


@pytest.mark.parametrize("number", range(max(len(FORMATS), ROUNDS)))
def test_synth_on_a_full_disk(
    datasets: Callable[[str], Run], small_disk: Callable[[int], Path], tmp_path: Path, number: int
) -> None:
    format = list(FORMATS)[number % len(FORMATS)]
    run, log = datasets(format), tmp_path / "log"
    room = 4 + 4 * chance("full", number).randrange(size(run.folder) // 5)
    out = small_disk(room) / "out"
    args = [*run.args, "--engine", "inline", "--output", str(out)]
    for _ in range(2):  # it does not get worse when it is tried again
        ended = Command("degrade", args, log).end()
        assert ended.code == 2, ended.text
        # LMDB calls a page that fits in part an input/output error.
        assert "No space left on device" in ended.text or "is the disk full?" in ended.text
        assert str(out) in ended.text
        assert "Traceback" not in ended.text
        rows = check_dataset(out, run.folder)
        assert not list(out.rglob(".*.tmp"))
    say(f"round {number}: {format}, {room} kB, {rows} rows")
    small_disk(ROOM)
    ended = Command("degrade", args, log).end()
    assert ended.code == 0, ended.text
    assert tree(out) == tree(run.folder)


@pytest.mark.parametrize("number", range(max(2, ROUNDS // 2)))
def test_train_on_a_full_disk(
    training: Run, small_disk: Callable[[int], Path], tmp_path: Path, number: int
) -> None:
    log = tmp_path / "log"
    room = 4 + 4 * chance("full", "train", number).randrange(size(training.folder) // 5)
    out = small_disk(room) / "out"
    args = [*training.args, "--out", str(out)]
    ended = Command("sr", args, log).end()
    assert ended.code == 2, ended.text
    assert "No space left on device" in ended.text
    assert "Traceback" not in ended.text
    assert not list(out.rglob(".*.tmp"))
    saved = (out / "last.state.pt").exists()
    steps = int(checkpoint.load_state(out / "last.state.pt")["method"]["done"]) if saved else 0
    say(f"round {number}: {room} kB, {steps} steps saved")
    small_disk(ROOM)
    ended = Command("sr", [*args, "--resume"] if saved else args, log).end()
    assert ended.code == 0, ended.text
    assert results(out) == results(training.folder)
    assert curves(out) == curves(training.folder)


def test_tensorboard_on_a_full_disk(
    training: Run, small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    out = small_disk(8) / "out"
    args = [*training.args, "--set", "tensorboard=true", "--out", str(out)]
    ended = Command("sr", args, tmp_path / "log").end()
    assert ended.code == 2, ended.text
    assert "No space left on device" in ended.text


@pytest.mark.parametrize("there", ["nothing", "the dataset"])
def test_synth_where_nothing_can_be_written(
    datasets: Callable[[str], Run], read_only: Callable[[Path], None], tmp_path: Path, there: str
) -> None:
    run, place, out = datasets("folder"), tmp_path / "place", tmp_path / "place/out"
    place.mkdir()
    args = [*run.args, "--engine", "inline", "--output", str(out)]
    if there != "nothing":
        assert Command("degrade", args, tmp_path / "log").end().code == 0
    before = tree(place)
    read_only(place)
    ended = Command("degrade", args, tmp_path / "log").end()
    assert ended.code == 2, ended.text
    assert str(out) in ended.text
    assert "Read-only file system" in ended.text or "Permission denied" in ended.text
    assert tree(place) == before
    if there != "nothing":
        ended = Command("degrade", ["replay", str(out)], tmp_path / "log").end()
        assert ended.code == 0, ended.text


@pytest.mark.parametrize("there", ["nothing", "the run"])
def test_train_where_nothing_can_be_written(
    training: Run, read_only: Callable[[Path], None], tmp_path: Path, there: str
) -> None:
    place, out = tmp_path / "place", tmp_path / "place/out"
    place.mkdir()
    args = [*training.args, "--out", str(out)]
    if there != "nothing":
        assert Command("sr", args, tmp_path / "log").end().code == 0
        args += ["--resume"]
    before = tree(place)
    read_only(place)
    ended = Command("sr", args, tmp_path / "log").end()
    assert ended.code == 2, ended.text
    assert str(out) in ended.text
    assert "Read-only file system" in ended.text or "Permission denied" in ended.text
    assert tree(place) == before
