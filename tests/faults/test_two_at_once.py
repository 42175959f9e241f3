"""Two processes on one output folder: one works, the other says so and leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Command, Ended, check_dataset, results, tree

from conftest import Run
from degrade import Recipe
from degrade.errors import SynthError
from degrade.synthesis import engines
from degrade.synthesis.job import prepare
from degrade.synthesis.manifest import Manifest
from degrade.synthesis.run import settings_record, synthesize, versions
from degrade.synthesis.settings import SynthSettings

WRITING = "another degrade process is writing here; wait for it to end"
TRAINING = "another process is training here; wait for it to end, or choose another --output"


def test_synth(datasets: Callable[[str], Run], tmp_path: Path) -> None:
    """The second comes while the first is in the middle, stopped for the purpose."""
    run, out = datasets("folder"), tmp_path / "out"
    args = [*run.args, "--engine", "inline", "--output", str(out)]
    first = Command("degrade", args, tmp_path / "first")
    first.wait(lambda: len(list(out.rglob("*.png"))) > 4)
    first.stop()
    before = tree(out)
    second = Command("degrade", args, tmp_path / "second").end()
    assert (second.code, WRITING in second.text) == (2, True), second.text
    assert tree(out) == before
    assert first.go_on().code == 0
    assert tree(out) == tree(run.folder)


def test_synth_many_at_the_start(datasets: Callable[[str], Run], tmp_path: Path) -> None:
    run, out = datasets("folder"), tmp_path / "out"
    args = [*run.args, "--engine", "inline", "--output", str(out)]
    commands = [Command("degrade", args, tmp_path / f"log{i}") for i in range(4)]
    ended: list[Ended] = [command.end() for command in commands]
    assert any(one.code == 0 for one in ended)
    for one in ended:
        assert one.code == 0 or (one.code == 2 and WRITING in one.text), one.text
    assert tree(out) == tree(run.folder)
    check_dataset(out, run.folder)


def test_the_lock_goes_with_its_process(photos: Path, tmp_path: Path) -> None:
    recipe, out = Recipe.load("realesrgan"), tmp_path / "out"
    job = prepare(recipe, SynthSettings(str(photos), patch=32), out)
    with (
        Manifest.open(out, recipe, settings_record(job, recipe), versions(job.backend)),
        pytest.raises(SynthError, match=WRITING),
    ):
        synthesize(job, recipe, engines.in_process)
    assert synthesize(job, recipe, engines.in_process).made == 5


@pytest.mark.parametrize("more", [[], ["--resume"]], ids=["again", "resume"])
def test_train(training: Run, tmp_path: Path, more: list[str]) -> None:
    out = tmp_path / "out"
    args = [*training.args, "--out", str(out)]
    first = Command("sr", args, tmp_path / "first")
    first.wait(lambda: (out / "last.state.pt").exists())
    first.stop()
    before = tree(out)
    second = Command("sr", [*args, *more], tmp_path / "second").end()
    assert (second.code, TRAINING in second.text) == (2, True), second.text
    assert tree(out) == before
    assert first.go_on().code == 0
    assert results(out) == results(training.folder)


def test_train_with_workers(training: Run, tmp_path: Path) -> None:
    """A killed run's lock goes with it, though the processes of its loader are there for
    seconds more.
    """
    out = tmp_path / "out"
    args = [*training.args, "--set", "workers=1", "--out", str(out)]
    first = Command("sr", args, tmp_path / "first")
    first.wait(lambda: (out / "last.state.pt").exists())
    first.kill()
    second = Command("sr", [*args, "--resume"], tmp_path / "second").end()
    assert second.code == 0, second.text
