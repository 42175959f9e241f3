"""Progress bars: pairs done, pairs per second, remaining time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

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

__all__ = ["pair_progress"]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} pairs/s")


@contextmanager
def pair_progress(console: Console) -> Generator[Callable[[int, int, str], None]]:
    """Show a progress bar on ``console``.

    Yields:
        The function to call with the number of pairs done, of all pairs, and the last name.
    """
    bar = Progress(
        *(
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        ),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=None)

        def update(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(name[-40:]))

        yield update
