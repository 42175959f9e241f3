"""SIGKILL of ``degrade synth``, at random moments and before each change to the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import LONG, ROUNDS, Command, Ended, chance, check_dataset, say, tree

from conftest import Run
from degrade.synthesis.writers import FORMATS

pytest.importorskip("lmdb", reason="the extra 'shards' is not installed")
pytest.importorskip("webdataset", reason="the extra 'shards' is not installed")
Datasets = Callable[[str], Run]


def goes_on(run: Run, out: Path, log: Path) -> None:
    """The same command again ends with the dataset of a run that was let be, file by file."""
    ended = Command("degrade", [*run.args, "--engine", "inline", "--output", str(out)], log).end()
    assert ended.code == 0, ended.text
    assert tree(out) == tree(run.folder)
    check_dataset(out, run.folder)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_at_random_moments(datasets: Datasets, tmp_path: Path, number: int) -> None:
    """Each round is a dataset: killed several times, then gone on with. All formats in turn."""
    draws = chance("synth", number)
    format = list(FORMATS)[number % len(FORMATS)]
    run, out, log = datasets(format), tmp_path / "out", tmp_path / "log"
    for _ in range(draws.randint(2, 4)):
        command = Command("degrade", [*run.args, "--engine", "inline", "--output", str(out)], log)
        moment = draws.uniform(0, run.ended.seconds)
        ended = command.kill(moment)
        assert ended.code in (-9, 0), ended.text
        rows = check_dataset(out, run.folder)
        say(
            f"round {number}: {format}, inline, {'killed' if ended.code else 'ended'}"
            f" by {moment:.3f} s, {rows} rows"
        )
    goes_on(run, out, log)


@pytest.mark.parametrize("number", range(max(1, ROUNDS // 5)))
def test_at_random_moments_in_processes(datasets: Datasets, tmp_path: Path, number: int) -> None:
    """A kill when so many pairs are there, and a little later. The workers, who have no lock,
    end with their run.
    """
    draws = chance("processes", number)
    format = list(FORMATS)[number % len(FORMATS)]
    run, out, log = datasets(format), tmp_path / "out", tmp_path / "log"
    command = Command(
        "degrade",
        [*run.args, "--engine", "processes", "--workers", "2", "--output", str(out)],
        log,
    )
    count, moment = draws.randint(1, 16), draws.uniform(0, 0.05)
    manifest = out / "manifest.csv"
    command.wait(lambda: manifest.exists() and manifest.read_bytes().count(b"\n") > count)
    workers = children(command.process.pid or 0)
    time.sleep(moment)
    ended = command.kill()
    assert ended.code in (-9, 0), ended.text
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, "workers outlived their run by ten seconds"
        time.sleep(0.01)
    rows = check_dataset(out, run.folder)
    say(
        f"round {number}: {format}, processes, killed at {count} rows"
        f" and {moment:.3f} s, {rows} rows"
    )
    goes_on(run, out, log)


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def moments(changes: int, *what: object) -> list[int]:
    """Numbers of changes, of all that a run makes; all of them where there are as many rounds."""
    return sorted(
        chance("changes", *what).sample(range(1, changes + 1), min(changes, ROUNDS if LONG else 2))
    )


@pytest.mark.parametrize("format", FORMATS)
def test_before_a_change_to_the_disk(datasets: Datasets, tmp_path: Path, format: str) -> None:
    """The moments that differ, as far as Python makes them: before a file is opened, renamed or
    removed.
    """
    run, log = datasets(format), tmp_path / "log"
    assert run.ended.changes > 100
    for moment in moments(run.ended.changes, format):
        out = tmp_path / "out"
        args = [*run.args, "--engine", "inline", "--output", str(out)]
        ended = Command("degrade", args, log, out, last=moment).end()
        assert ended.code == -9, ended.text
        rows = check_dataset(out, run.folder)
        say(f"{format}: killed before change {moment} of {run.ended.changes}, {rows} rows")
        goes_on(run, out, log)
        shutil.rmtree(out)


@pytest.mark.parametrize("format", FORMATS)
def test_while_a_dataset_is_mended(datasets: Datasets, tmp_path: Path, format: str) -> None:
    """What was there already, and is replaced, is never lost or half there."""
    run, log, out = datasets(format), tmp_path / "log", tmp_path / "out"
    lines = (run.folder / "manifest.csv").read_text().splitlines(keepends=True)

    def mend(last: int) -> Ended:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(run.folder, out)
        (out / "manifest.csv").write_text("".join(lines[:7] + lines[8:]))
        return Command(
            "degrade", [*run.args, "--engine", "inline", "--output", str(out)], log, out, last
        ).end()

    whole = mend(0)
    assert whole.code == 0, whole.text
    assert tree(out) == tree(run.folder)
    for moment in moments(whole.changes, format, "mended"):
        assert mend(moment).code == -9
        rows = check_dataset(out, run.folder)
        say(
            f"{format}: killed before change {moment} of {whole.changes} while mended, {rows} rows"
        )
        goes_on(run, out, log)
