"""Print a benchmark as tables on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from degrade.inspection.bench import BenchResult
from degrade.kernels import native

__all__ = ["print_benchmark"]


def _cost(found: BenchResult) -> str:
    """What a batch costs besides the work on pixels."""
    host = f"Planning and lowering: {found.host_share:.1%} of the time of a batch"
    if found.launches is None:
        return f"{host}."
    what = "calls of native code" if found.backend == "native" else "kernel launches"
    return (
        f"{host}; {found.launches} {what} a batch, {found.uploaded} bytes of arguments uploaded."
    )


def print_benchmark(console: Console, found: BenchResult) -> None:
    """Print the measurements and the advice."""
    code = found.backend
    if code == "native":
        code = f"native code ({native.available()})"
    where = found.device if found.device != "cpu" else f"{found.cores} CPU cores"
    where = f"{where}, {code}"
    heading = f"{found.recipe} x{found.scale}, HR {found.size} x {found.size}, {where}"
    console.print(_speeds(found, heading))
    console.print(_steps(found))
    console.print(f"\n{_cost(found)}", soft_wrap=True)
    peaks = {
        "this process": found.memory,
        "largest worker": found.worker_memory,
        "device": found.device_memory,
    }
    if counted := [f"{name} {peak:.0f} MiB" for name, peak in peaks.items() if peak is not None]:
        console.print(f"\nPeak memory: {', '.join(counted)}.", soft_wrap=True)
    console.print(found.advice, markup=False, soft_wrap=True)


def _speeds(found: BenchResult, heading: str) -> Table:
    table = _table(heading, "", "pairs/s", "ms a pair")
    rows = [("decode and crop, one worker", found.load)]
    alone = "one thread" if found.device == "cpu" else f"batches of {found.batch}"
    rows.append((f"degrade, {alone}", found.degrade))
    for count, speed in found.end_to_end.items():
        star = " *" if count == found.workers else ""
        rows.append((f"end to end, {count} worker{'s' if count > 1 else ''}{star}", speed))
    for name, speed in rows:
        table.add_row(name, f"{speed:.1f}", f"{1000 / speed:.2f}")
    return table


def _steps(found: BenchResult) -> Table:
    table = _table("\nSteps", "", "ms when it runs", "runs in", "of the time")
    for step in sorted(found.steps, key=lambda step: -step.share):
        table.add_row(
            Text(step.address), f"{step.milliseconds:.3f}", f"{step.ran:.0%}", f"{step.share:.1%}"
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table
