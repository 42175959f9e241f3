"""Progress of long work: how much is done, how fast, and the remaining time. A bar on a terminal;
elsewhere, as under nohup, plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeAlias, TypeVar

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

from degrade.console import Console, printable

__all__ = ["Update", "show_progress", "track"]

T = TypeVar("T")
Update: TypeAlias = Callable[[int, int, str], None]
"""Takes the number done, of all, and a remark such as the last name."""
EVERY = 30.0
"""Seconds between two plain lines."""
LONGEST = 60
"""Characters of a remark, its last ones."""


@contextmanager
def show_progress(
    console: Console, unit: str, clock: Callable[[], float] = time.monotonic
) -> Generator[Update]:
    """Show progress on ``console``: as a bar if it is a terminal, else as a line every
    :data:`EVERY` seconds and one at the end.

    Args:
        console: Where.
        unit: What is counted, in the plural.
        clock: Seconds.
    """
    if not console.is_terminal:
        lines = _Lines(console, unit, clock)
        yield lines.update
        lines.end()
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, total: int, remark: str) -> None:
            text = printable(remark)[-LONGEST:]
            bar.update(task, completed=done, total=total, description=text)

        yield update


def track(console: Console, items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    """Yield the items, and show progress meanwhile."""
    with show_progress(console, unit) as update:
        for done, item in enumerate(items, 1):
            yield item
            update(done, total, "")


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s")


class _Lines:
    """Plain lines: ``120 of 4000 pairs, 12.3 pairs/s, 0:05:16 left  name``."""

    def __init__(self, console: Console, unit: str, clock: Callable[[], float]) -> None:
        self._console, self._unit, self._clock = console, unit, clock
        self._begun = self._printed = clock()
        self._first: int | None = None
        self._last: tuple[int, int, str] | None = None

    def update(self, done: int, total: int, remark: str) -> None:
        # What an earlier run made counts as done, but not for the rate.
        self._first = done - 1 if self._first is None else self._first
        self._last = (done, total, remark)
        if self._clock() - self._printed >= EVERY:
            self._print(*self._last)

    def end(self) -> None:
        if self._last is not None and self._printed > self._begun:
            self._print(*self._last)

    def _print(self, done: int, total: int, remark: str) -> None:
        now = self._clock()
        self._printed = now
        rate = max(done - (self._first or 0), 0) / max(now - self._begun, 1e-9)
        parts = [f"{done} of {total} {self._unit}"]
        if rate:
            parts += [f"{rate:.3g} {self._unit}/s"]
            if done < total:
                parts += [f"{timedelta(seconds=round((total - done) / rate))} left"]
        text = printable(remark)[-LONGEST:]
        self._console.print(f"{', '.join(parts)}  {text}".rstrip(), soft_wrap=True)
