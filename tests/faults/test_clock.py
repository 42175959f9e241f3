"""The clock moves, and the times of files with it: nothing in a dataset or in going on depends
on either.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Command, chance, check_dataset, curves, results, tree

from conftest import Run
from degrade.synthesis.writers import FORMATS


def age(folder: Path, *what: object) -> None:
    """Gives each file any time from 1970 to 2100."""
    draws = chance("age", *what)
    for path in folder.rglob("*"):
        os.utime(path, (draws.uniform(0, 4.1e9), draws.uniform(0, 4.1e9)))


@pytest.mark.parametrize("format", FORMATS)
def test_synth(datasets: Callable[[str], Run], tmp_path: Path, format: str) -> None:
    run, out, log = datasets(format), tmp_path / "out", tmp_path / "log"
    args = [*run.args, "--engine", "inline", "--output", str(out)]
    ended = Command("degrade", args, log, out, last=run.ended.changes // 2, clock="1").end()
    assert ended.code == -9, ended.text
    check_dataset(out, run.folder)
    age(out, format)
    ended = Command("degrade", args, log, clock="2").end()
    assert ended.code == 0, ended.text
    assert tree(out) == tree(run.folder)


def test_train(training: Run, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    args = [*training.args, "--out", str(out)]
    ended = Command("sr", args, log, out, last=training.ended.changes * 2 // 3, clock="1").end()
    assert ended.code == -9, ended.text
    age(out, "train")
    ended = Command("sr", [*args, "--resume"], log, clock="2").end()
    assert ended.code == 0, ended.text
    assert results(out) == results(training.folder)
    assert curves(out) == curves(training.folder)
