"""SIGKILL of ``sr train``, at random moments and before each change to the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from harness import LONG, ROUNDS, TIMED, Command, chance, curves, results, say, tree

from conftest import Run
from degrade.images.files import read_image
from sr import checkpoint

WEIGHTS = ("best.safetensors", "last.safetensors")


def start(run: Run, out: Path, log: Path, last: int = 0) -> Command:
    """The run, from the beginning or on from its last checkpoint."""
    more = ["--resume"] if (out / "last.state.pt").exists() else []
    return Command("sr", [*run.args, "--out", str(out), *more], log, out, last)


def check(out: Path) -> int:
    """After a fault: what has its name is whole. Returns the steps that are saved."""
    for path in out.rglob("*") if out.exists() else []:
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix == ".safetensors":
            checkpoint.load(path)
        elif path.suffix == ".png":
            read_image(path)
        elif path.suffix == ".csv":
            assert [int(row["step"]) for row in curves(out)] == list(
                range(1, len(curves(out)) + 1)
            )
        elif path.suffix == ".yaml":
            yaml.safe_load(path.read_text())
    if not (out / "last.state.pt").exists():
        return 0
    steps = int(checkpoint.load_state(out / "last.state.pt")["method"]["done"])
    assert int(checkpoint.read_metadata(out / "last.safetensors")["step"]) >= steps
    return steps


def goes_on(run: Run, out: Path, log: Path) -> None:
    """To the same weights, byte for byte, and the same curves, no row lost or doubled, and
    nothing left over.
    """
    ended = start(run, out, log).end()
    assert ended.code == 0, ended.text
    assert check(out) == 12
    assert results(out) == results(run.folder)
    assert curves(out) == curves(run.folder)
    assert tree(out).keys() == tree(run.folder).keys()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_at_random_moments(training: Run, tmp_path: Path, number: int) -> None:
    """Each round is a run: killed several times, then gone on with."""
    draws = chance("train", number)
    out, log = tmp_path / "out", tmp_path / "log"
    for _ in range(draws.randint(2, 3)):
        moment = draws.uniform(0, 0.8 * training.ended.seconds)
        ended = start(training, out, log).kill(moment)
        assert ended.code in (-9, 0), ended.text
        steps = check(out)
        how = "killed" if ended.code else "ended"
        say(f"round {number}: {how} by {moment:.3f} s, {steps} steps saved")
    goes_on(training, out, log)


def test_before_a_change_to_the_disk(training: Run, tmp_path: Path) -> None:
    """The moments that differ, as far as Python makes them: before a file is opened, renamed or
    removed.
    """
    changes, out, log = training.ended.changes, tmp_path / "out", tmp_path / "log"
    assert changes > 50
    drawn = chance("train", "changes").sample(
        range(1, changes + 1), min(changes, ROUNDS if LONG else 2)
    )
    # The last change but a few: the state of the last step is written, or is not.
    for moment in sorted({*drawn, changes - 3}):
        ended = start(training, out, log, last=moment).end()
        assert ended.code == -9, ended.text
        steps = check(out)
        say(f"killed before change {moment} of {changes}, {steps} steps saved")
        goes_on(training, out, log)
        shutil.rmtree(out)


def test_what_holds_time_is_all_that_differs(training: Run) -> None:
    """The law above leaves nothing out but what must differ."""
    assert {name for name in WEIGHTS if name in results(training.folder)} == {*WEIGHTS}
    assert tree(training.folder).keys() - results(training.folder).keys() == {
        "config.yaml",
        *TIMED,
    }
