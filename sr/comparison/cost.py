"""Cost of a comparison before it begins: how many trainings and evaluations, and about how long.

The speed of a trainer is that of its begun runs; where there are none, a few of its steps are
tried on this machine. That of a model is the time it takes for the first test image.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sr import checkpoint
from sr.comparison.cells import Cell, opened, read_cell
from sr.comparison.compare import Plan, cells_of
from sr.comparison.config import BICUBIC
from sr.comparison.rows import PlannedRow
from sr.comparison.runs import PlannedRun
from sr.evaluation import evaluate
from sr.examples import Examples
from sr.models import Model, build
from sr.models.sparse import SparseCoding
from sr.training.config import Config
from sr.training.history import read_history
from sr.training.loop import Status, train

__all__ = ["Cost", "duration", "estimate"]

TRIED_STEPS = 4
"""Steps that are tried; the first, which waits for loaders and libraries, is not timed."""
TRIED_SECONDS = 30.0
"""No more are tried when those timed took so long."""


@dataclass(frozen=True)
class Cost:
    """What a comparison has to do.

    Args:
        finished: Trainings that are done.
        begun: Trainings that will be resumed.
        new: Trainings that will begin.
        steps: Optimizer steps to do.
        cells: Evaluations, each of a model on a test set.
        measured: Those that are done.
        images: Images to enlarge and measure.
        training: Seconds of the trainings.
        testing: Seconds of the evaluations.
        side_by_side: Trainings and evaluations that run at a time without sharing a device.
    """

    finished: int
    begun: int
    new: int
    steps: int
    cells: int
    measured: int
    images: int
    training: float
    testing: float
    side_by_side: int

    def lines(self) -> list[str]:
        """Return it in words."""
        trainings = self.finished + self.begun + self.new
        total = (self.training + self.testing) / self.side_by_side
        return [
            f"{_count(trainings, 'training')}: {self.finished} finished, {self.begun} begun, "
            f"{self.new} to begin; {_count(self.steps, 'step')} to do",
            f"{_count(self.cells, 'evaluation')}: {self.measured} finished, "
            f"{self.cells - self.measured} to do; {_count(self.images, 'image')} to enlarge",
            f"about {duration(total)}: {duration(self.training)} of training, "
            f"{duration(self.testing)} of testing"
            + (f", {self.side_by_side} side by side" if self.side_by_side > 1 else ""),
        ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in words, to two digits or so.

    >>> duration(40), duration(700), duration(9000), duration(300000)
    ('40 s', '12 min', '2.5 h', '3.5 days')
    """
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def estimate(plan: Plan, report: Callable[[str], None]) -> Cost:
    """Return the cost of a comparison; trains only some steps of trainers that never ran here.

    Args:
        plan: From :func:`sr.comparison.compare.plan_comparison`.
        report: Told what is being tried.

    Raises:
        UserError: As for :func:`sr.training.loop.train`.
    """
    runs = list(_all_runs(plan.rows))
    left = [run for run in runs if not run.finished]
    steps = {run.config.out: run.config.steps - run.steps_done for run in left}
    training = sum(
        steps[run.config.out] * pace for run, pace in zip(left, _paces(left, report), strict=True)
    )
    counts = [_cells_left(plan, row) for row in plan.rows]
    testing = 0.0
    examples = plan.columns[0].examples(plan.comparison)
    for row, (_, _, images) in zip(plan.rows, counts, strict=True):
        if images:
            testing += images * _seconds_an_image(plan, row, examples)
    devices = plan.devices
    shared = 1 if devices[0] == "cpu" else min(len(devices), plan.processes)
    begun = sum(run.steps_done > 0 for run in left)
    return Cost(
        finished=len(runs) - len(left),
        begun=begun,
        new=len(left) - begun,
        steps=sum(steps.values()),
        cells=sum(cells for cells, _, _ in counts),
        measured=sum(measured for _, measured, _ in counts),
        images=sum(images for _, _, images in counts),
        training=training,
        testing=testing,
        side_by_side=shared,
    )


def _all_runs(rows: Iterable[PlannedRow]) -> Iterable[PlannedRun]:
    """Every run once, with those that others begin from."""
    found: dict[str, PlannedRun] = {}
    for row in rows:
        for run in row.runs:
            needed = [] if run.needs is None or run.finished else [run.needs]
            found |= {str(one.file): one for one in (*needed, run)}
    return found.values()


def _cells_left(plan: Plan, row: PlannedRow) -> tuple[int, int, int]:
    """Cells of a row, those that are measured, and images of the others."""
    cells = [
        (cell, column)
        for column in (*plan.columns, *plan.typical)
        for cell in cells_of(plan, row, column)
    ]
    left = [column for cell, column in cells if not _is_measured(cell)]
    return len(cells), len(cells) - len(left), sum(len(c.examples(plan.comparison)) for c in left)


def _is_measured(cell: Cell) -> bool:
    there = cell.model == BICUBIC or Path(cell.model).is_file()
    return there and read_cell(cell) is not None


# --- speed ---------------------------------------------------------------------------------------


def _paces(runs: Iterable[PlannedRun], report: Callable[[str], None]) -> Iterable[float]:
    """Seconds a step of each run; runs that differ in recipe and seed alone are tried once."""
    known: dict[str, float] = {}
    for run in runs:
        config = run.config
        kind = config.model_dump_json(exclude={"recipe", "seed", "out", "init"})
        if kind not in known:
            known[kind] = _pace_so_far(config) or _tried_pace(config, run.label, report)
        yield known[kind]


def _pace_so_far(config: Config) -> float | None:
    """Seconds a step of the runs of this trainer beside a run's folder; None without any."""
    folder = Path(config.out)
    for file in sorted(folder.parent.glob(f"{config.method}-*/curves.csv")):
        history = read_history(file)
        if len(history) > 1 and history[-1]["step"] > history[0]["step"]:
            first, last = history[0], history[-1]
            return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    return None


class _EnoughError(Exception):
    """Ends a run that was only tried."""


def _tried_pace(config: Config, label: str, report: Callable[[str], None]) -> float:
    report(f"trying some steps of {label}")
    begun = time.monotonic()
    times: list[float] = []

    def note(status: Status) -> None:
        times.append(time.monotonic())
        enough = len(times) == TRIED_STEPS or times[-1] - times[0] > TRIED_SECONDS
        if enough or status.done == status.steps:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder:
        changes = {
            "out": folder,
            "log_every": 1,
            "save_every": 10**9,
            "val": None,
            "init": None,
        }
        with suppress(_EnoughError):
            train(config.model_copy(update=changes), callback=note)
    # The fastest: a machine that does other things is not slower for good.
    return min((b - a for a, b in pairwise(times)), default=times[0] - begun)


def _seconds_an_image(plan: Plan, row: PlannedRow, examples: Examples) -> float:
    model = _model(plan, row)
    metrics = {
        name: metric
        for name, metric in opened(plan.comparison.metrics).items()
        if metric.blind or examples.target is not None
    }
    begun = time.monotonic()
    evaluate(model, row.row.label, [examples[0]], metrics=metrics)
    return time.monotonic() - begun


def _model(plan: Plan, row: PlannedRow) -> Model:
    """The row's first model; of one that is still to be trained, its architecture."""
    scale, device = plan.comparison.scale, plan.devices[0]
    models = [run.model for run in row.runs if run.finished] or [run.model for run in row.row.runs]
    if models or not row.runs:
        return checkpoint.load(models[0] if models else BICUBIC, scale, device)
    config = row.runs[0].config
    model = build(config.architecture, scale=scale, **config.model)
    if isinstance(model, SparseCoding):  # its time does not depend on what it has learned
        model.fitted.fill_(1)
    return model.to(device).eval()
