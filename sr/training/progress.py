"""Progress bar of a training run: steps, loss, PSNR, steps per second, share of time degrading."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
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

if TYPE_CHECKING:
    from sr.training.loop import Status

__all__ = ["training_progress"]


class _StepsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} it/s")


@contextmanager
def training_progress(console: Console) -> Generator[Callable[[Status], None]]:
    """Show a bar on ``console``, on rank 0 only; yields the callback of :func:`train`."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        _StepsPerSecond(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, disable=os.environ.get("RANK", "0") != "0") as bar:
        task = bar.add_task("", total=None)

        def update(status: Status) -> None:
            psnr = "" if status.psnr is None else f", {status.psnr:.2f} dB"
            text = f"loss {status.loss:.3g}{psnr}, degrading {status.degrading:.0%}"
            bar.update(task, completed=status.done, total=status.steps, description=text)

        yield update
