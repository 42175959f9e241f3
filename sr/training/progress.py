"""Progress of a training run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from degrade.console import Console
from sr.training import distributed
from sr.training.validation import describe_scores

if TYPE_CHECKING:
    from sr.training.loop import Status

__all__ = ["Lines", "training_progress"]

INTERVAL = 30.0
"""Least seconds between two lines where there is no terminal."""


class _StepsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} it/s")


@contextmanager
def training_progress(console: Console) -> Generator[Callable[[Status], None]]:
    """Show progress on ``console``, on rank 0 only; yields the callback of :func:`train`."""
    if not distributed.is_main():
        yield lambda _status: None
        return
    if not console.is_terminal:
        yield Lines(lambda line: console.print(line, markup=False, soft_wrap=True))
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        _StepsPerSecond(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, visible=False)  # until there is something to show

        def update(status: Status) -> None:
            bar.update(
                task,
                completed=status.done,
                total=status.steps,
                description=describe(status),
                visible=True,
            )

        yield update


def describe(status: Status) -> str:
    """Return the loss, the last validation if there is one, and the share of degrading."""
    scores = f", {describe_scores(status.scores)}" if status.scores else ""
    return f"loss {status.loss:.3g}{scores}, degrading {status.degrading:.0%}"


class Lines:
    """A line for the first status, the last, and one every 30 seconds, or as seldom as statuses
    come.

    >>> from sr.training.loop import Status
    >>> Lines(print)(Status(done=100, steps=400, loss=0.02, scores={}, degrading=0.1))
    step 100/400, loss 0.02, degrading 10%

    Args:
        write: Writes a line.
        clock: Seconds.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.write, self.clock = write, clock
        self._first: tuple[float, int] | None = None
        self._last = 0.0

    def __call__(self, status: Status) -> None:
        now = self.clock()
        if self._first is None or status.done <= self._first[1]:  # of a first or another run
            self._first, self._last = (now, status.done), now
        elif now - self._last < INTERVAL and status.done < status.steps:
            return
        self._last = now
        begun, start = self._first
        speed = ""
        if status.done > start and now > begun:
            rate = (status.done - start) / (now - begun)
            left = timedelta(seconds=round((status.steps - status.done) / rate))
            speed = f", {rate:.1f} it/s, {left} left"
        self.write(f"step {status.done}/{status.steps}{speed}, {describe(status)}")
