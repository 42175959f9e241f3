"""What the fault suite shares: commands that can be killed without the price of a start, and what
must hold after.

A command runs in a process forked from one that has imported everything. It can be killed from
outside, told to kill itself before its n-th change to the disk, or shown a clock that jumps.
"""

from __future__ import annotations

import csv
import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degrade.storage.destination import Destination
from degrade.storage.files import sha256
from degrade.synthesis.manifest import read_rows
from degrade.synthesis.writers import open_writer

ROUNDS = int(os.environ.get("DEGRADE_FAULT_ROUNDS", "5"))
"""How often each random fault is tried. 5 are for CI; 50 and more for a release."""
LONG = ROUNDS > 5
SEED = os.environ.get("DEGRADE_FAULT_SEED", "0")
"""Of all random moments and places."""
UNCOUNTED = {".lock", "lock.mdb"}
"""Files whose bytes say nothing."""

os.environ["OMP_NUM_THREADS"] = "1"  # for the server below, and so for all that it forks
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *(
            "degrade.cli",
            "degrade.synthesis.run",
            "degrade.synthesis.engines",
            "degrade.inspection.gallery",
            "degrade.ops",
            "albumentations",
            "kornia",
        ),
        *(
            "sr.cli",
            "sr.training.loop",
            "sr.training.progress",
            "lightning_fabric",
            "matplotlib.pyplot",
            "lmdb",
            "webdataset.writer",
        ),
    ]
)


def chance(*what: object) -> random.Random:
    """The draws of one test; equal in every run of equal SEED."""
    return random.Random(f"{SEED} {what}")


def say(text: str) -> None:
    """What a test drew: shown where it fails, and with ``-s``."""
    sys.stdout.write(f"{text}\n")


# --- commands ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (or minus the signal), what it printed, seconds, changes
    to the disk.
    """

    code: int
    text: str
    seconds: float
    changes: int


class Command:
    """``degrade ARGS`` or ``sr ARGS``, started.

    Args:
        program: ``degrade`` or ``sr``.
        args: The arguments.
        log: A file for what it prints.
        folder: Where changes count.
        last: The change before which it kills itself; 0 for none.
        clock: Seed of a clock that jumps; empty for the true one.
    """

    def __init__(
        self,
        program: str,
        args: list[str],
        log: Path,
        folder: Path | None = None,
        last: int = 0,
        clock: str = "",
    ) -> None:
        self.log = log
        self._changes = _CONTEXT.Value("i", 0, lock=False)
        self._begun = _CONTEXT.Value("d", 0, lock=False)
        shared = self._begun, self._changes
        self.process = _CONTEXT.Process(
            target=_main, args=(program, args, log, str(folder or ""), last, clock, *shared)
        )
        self.process.start()

    def kill(self, after: float = 0.0) -> Ended:
        """SIGKILL some seconds after its beginning or, if that is longer ago, now; unless it
        ends before.
        """
        while not self._begun.value and self.process.is_alive():
            time.sleep(0.002)
        after += self._begun.value - time.monotonic()
        self.process.join(max(after, 0))
        self.process.kill()
        return self.end()

    def end(self) -> Ended:
        """Waits for its end."""
        self.process.join(120)
        assert self.process.exitcode is not None, "it hangs"
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return Ended(
            self.process.exitcode, text, time.monotonic() - self._begun.value, self._changes.value
        )

    def wait(self, until: Callable[[], bool]) -> None:
        """Until something is so."""
        while not until():
            assert self.process.is_alive(), f"it ended before: {self.log.read_text()}"
            time.sleep(0.002)

    def stop(self) -> None:
        """SIGSTOP."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> Ended:
        """SIGCONT, and its end."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)
        return self.end()


def _main(
    program: str,
    args: list[str],
    log: Path,
    folder: str,
    last: int,
    clock: str,
    begun: Any,
    changes: Any,
) -> None:
    begun.value = time.monotonic()
    # As in a command of its own: the loader's workers are then this process's children, and end
    # after it.
    multiprocessing.set_start_method("fork", force=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if clock:
        _jumping_clock(clock)
    if folder:
        _count(folder, last, changes)
    sys.argv = [program, *args]
    if program == "degrade":
        from degrade.cli import main
    else:
        from sr.cli import main
    main()


def _count(folder: str, last: int, changes: Any) -> None:
    """Counts the changes to a folder, and dies before the last one wanted. (What C code writes
    is not seen.)
    """
    counter = itertools.count(1)
    names = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(args[2], int) or not args[2] & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            ):
                return
        elif event not in names:
            return
        # A path relative to an open folder is of shutil.rmtree.
        relative = event in ("os.remove", "os.rmdir") and args[1] != -1
        if not relative and not str(args[0]).startswith(folder):
            return
        changes.value = next(counter)
        if changes.value == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _jumping_clock(seed: str) -> None:
    """From 1970 to 2100 and back, at each look."""
    draws = random.Random(seed)
    time.time = lambda: draws.uniform(0, 4.1e9)
    time.time_ns = lambda: draws.randrange(4_100_000_000 * 10**9)


# --- what must hold ------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, str]:
    """Each file below a folder, hidden or not, with its SHA-256; and each folder."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.name not in UNCOUNTED
    }
    return {name: "" if path.is_dir() else sha256(path) for name, path in found.items()}


def check_dataset(out: Path, whole: Path) -> int:
    """After a fault: what has its name is whole, and no row is doubled or without its pair.
    Returns the rows there.
    """
    if not (out / "manifest.csv").exists():
        return 0
    final = tree(whole)
    for name, digest in tree(out).items():
        if not any(part.startswith(".") for part in Path(name).parts) and name not in (
            "manifest.csv",
            "skipped.csv",
        ):
            assert final.get(name) == digest, f"{name} is not what it should be"
    lines = (whole / "manifest.csv").read_text().splitlines(keepends=True)
    there = (out / "manifest.csv").read_text().splitlines(keepends=True)
    rows = [line for line in there if line.endswith("\n")]
    assert set(rows) <= set(lines), "a row that is not of this dataset"
    assert len(set(rows)) == len(rows), "a doubled row"
    form = open_writer(Destination(out))
    for row in read_rows("".join(rows))[1]:
        pair = form.read(row)
        assert pair is not None, f"{row['name']}: a row without its pair"
        assert [sha256(one) for one in pair] == [row["hr_sha256"], row["lr_sha256"]], (
            f"{row['name']}: a partial pair"
        )
    return len(rows) - 1


def curves(folder: Path) -> list[dict[str, str]]:
    """A run's curves, but for what time they took."""
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


TIMED = ("curves.csv", "curves.png", "last.state.pt")
"""Files of a training run that hold how long it took."""


def results(folder: Path) -> dict[str, str]:
    """The files of a training run that are equal where two runs are: weights and pictures."""
    return {
        name: digest
        for name, digest in tree(folder).items()
        if name not in ("config.yaml", *TIMED)
    }


def flips(data: bytes, draws: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Copies of some bytes, each with one bit turned or with its end cut off, and what was
    done.
    """
    for i in range(count):
        place = draws.randrange(len(data))
        if i % 4 == 3:
            yield f"cut at {place}", data[:place]
        else:
            bit = draws.randrange(8)
            yield (
                f"bit {bit} of byte {place}",
                data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :],
            )
