"""Comparison: every model, trained on every training recipe, tested on every test set.

.. math:: V_{m, r, t, i} = \\mathrm{metric}(m_r(\\mathrm{LR}_{t, i}), \\mathrm{HR}_{i})

for models m, training recipes r, test sets t and images i. Each (m, r) is a training run
(:mod:`sr.comparison.runs`), each (m, r, t) a cell (:mod:`sr.comparison.cells`); both are kept on
disk and made by one process or by several (:mod:`sr.comparison.workers`). The LR images of a test
set are a function of the seed and the image's index: all models see the same pixels, so their
values are paired image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degrade.errors import UserError
from degrade.images.files import check_hr, find_images
from degrade.recipe import Recipe
from sr.checkpoint import label
from sr.comparison.cells import Cell, CellResults, evaluate_cell, opened, read_cell
from sr.comparison.columns import Column, read_columns
from sr.comparison.config import BICUBIC, Comparison, is_trained, settable
from sr.comparison.matrix import Matrix, Reals, Representatives, TestSet
from sr.comparison.rows import PlannedRow, plan_rows, training_phases
from sr.comparison.runs import TrainingRecipe
from sr.comparison.seal import choose, read_lines
from sr.comparison.workers import ProgressCallback, Task, Workers, devices_of
from sr.examples import hr_images
from sr.metrics.base import window_of
from sr.registry import import_named

__all__ = ["Plan", "cells_of", "plan_comparison", "run_comparison"]


@dataclass(frozen=True)
class Plan:
    """What a comparison has to do, checked.

    Args:
        comparison: Its settings.
        recipes: Recipes to train on.
        rows: Models with their runs.
        columns: Test sets.
        typical: Representative degradations.
    """

    comparison: Comparison
    recipes: list[TrainingRecipe]
    rows: list[PlannedRow]
    columns: list[Column]
    typical: list[Column]

    @property
    def processes(self) -> int:
        return self.comparison.jobs or len(self.devices)

    @property
    def devices(self) -> list[str]:
        return devices_of(self.comparison.device, self.comparison.jobs)


def run_comparison(comparison: Comparison, callback: ProgressCallback | None = None) -> Matrix:
    """Train what is missing and evaluate every model on every test set.

    Args:
        comparison: Its settings.
        callback: Called with the name of the run or evaluation in progress, and with the status
            of a run.

    Raises:
        UserError: A setting or a file is wrong; most are found before anything is trained.
            Finished runs and evaluations are kept.
    """
    report: ProgressCallback = callback or (lambda _name, _status: None)
    plan = plan_comparison(comparison, lambda words: report(words, None))
    modules = comparison.modules
    with Workers(plan.processes, plan.devices, modules) as workers:
        for phase in training_phases(plan.rows):
            workers.run(phase, report)
        workers.run(_evaluations(plan), report)
    return _collect(plan)


def _evaluations(plan: Plan) -> list[Task]:
    """The cells that are not on disk; their models are."""
    return [
        Task(f"testing {cell.label}", _evaluate, cell)
        for column in (*plan.columns, *plan.typical)
        for row in plan.rows
        for cell in cells_of(plan, row, column)
        if read_cell(cell) is None
    ]


def _evaluate(cell: Cell, device: str, _callback: object) -> None:
    evaluate_cell(cell, device)


def plan_comparison(comparison: Comparison, report: Callable[[str], None] | None = None) -> Plan:
    """Read and check everything that a comparison needs. Trains nothing.

    Args:
        comparison: Its settings.
        report: Told of unfinished runs that are not reused, and of what takes a while.

    Raises:
        UserError: A setting or a file is wrong.
    """
    import_named(comparison.modules)
    recipes = _training_recipes(comparison)
    columns = read_columns(comparison, comparison.test)
    _check(comparison, columns)
    tell: Callable[[str], None] = report or (lambda _words: None)
    rows = plan_rows(comparison, recipes, tell)
    if comparison.representatives:
        tell(f"choosing {comparison.representatives} representative degradations")
    return Plan(comparison, recipes, rows, columns, _typical(comparison, columns))


def _training_recipes(comparison: Comparison) -> list[TrainingRecipe]:
    """Raises UserError if two recipes have the same name."""
    found: dict[str, TrainingRecipe] = {}
    for name in comparison.train:
        recipe = Recipe.load(name, comparison.scale)
        if recipe.name in found:
            raise UserError(
                f"{name}: two recipes are called {recipe.name}; change the name of one"
            )
        found[recipe.name] = TrainingRecipe(name, recipe)
    return list(found.values())


def _typical(comparison: Comparison, columns: Iterable[Column]) -> list[Column]:
    """The columns of the representative degradations of the test recipes."""
    if not comparison.representatives:
        return []
    recipes = [c.recipe for c in columns if c.recipe is not None and c.level is None]
    chosen = choose(recipes, comparison.representatives, comparison.seed)
    return [
        Column(f"{recipe.name} #{i}", comparison.val, recipe.dump(), row=row)
        for i, (recipe, row) in enumerate(chosen, start=1)
    ]


# --- validation ----------------------------------------------------------------------------------


def _check(comparison: Comparison, columns: Iterable[Column]) -> None:
    """Raises UserError if the settings contradict each other, or images are missing or both
    trained and tested on.
    """
    known = settable(comparison)
    for model in comparison.settings:
        if model not in known:
            raise UserError(
                f"settings.{model}: {model} is not trained in this comparison; "
                f"trained are: {', '.join(known) or 'none'}"
            )
    if name := first_duplicate([label(model) for model in comparison.models]):
        raise UserError(f"--models: two are called {name}; leave one out, or rename its file")
    if all(column.recipe is None for column in columns):
        tested: list[Path] = []
    elif not comparison.val:
        raise UserError(
            "--val is missing: HR images to test on (or --quick, for the sample photographs)"
        )
    else:
        tested = hr_images(comparison.val)
    metrics = opened(comparison.metrics)
    if comparison.representatives and "psnr_y" not in metrics:
        raise UserError("--representatives: are judged by psnr_y; add it to --metrics")
    for column in columns:
        judges = column.judges(metrics)
        if not judges:
            raise UserError(
                f"{column.name}: has no HR images, which all metrics need; "
                "add --metrics psnr_y,niqe or pyiqa:NAME"
            )
        column.examples(comparison, window=window_of(judges.values()))
    if any(is_trained(model) for model in comparison.models):
        _check_training_images(comparison, tested)


def _check_training_images(comparison: Comparison, tested: Iterable[Path]) -> None:
    """Raises UserError if there is nothing to train on, or an image is trained and tested on."""
    if not comparison.train:
        raise UserError("--train is missing: recipes to train on")
    if not comparison.data:
        raise UserError(
            "--data is missing: HR images to train on (or --quick, for the sample photographs)"
        )
    images = [path for source in comparison.data for path in find_images(source)]
    check_hr(images)
    trained = {path.resolve() for path in images}
    both = [str(path) for path in tested if path.resolve() in trained]
    if both:
        more = f" and {len(both) - 1} others" if len(both) > 1 else ""
        raise UserError(
            f"{both[0]}{more}: is in --data and in --val; remove it from one, "
            "training and test images must be disjoint"
        )


def first_duplicate(names: Sequence[str]) -> str | None:
    """The first name that occurs twice."""
    return next((name for name in names if names.count(name) > 1), None)


# --- results -------------------------------------------------------------------------------------


def cells_of(plan: Plan, row: PlannedRow, column: Column) -> list[Cell]:
    """Return the cells of a row and a column, one a seed and draw, draws innermost."""
    models = [run.model for run in row.runs or row.row.runs] or [BICUBIC]
    draws = column.draws(plan.comparison)
    name = f"{row.row.label} on {column.name}"
    names = [f"{name}, seed {i}" if len(models) > 1 else name for i in range(len(models))]
    return [
        Cell(each, model, column, plan.comparison, draw)
        for each, model in zip(names, models, strict=True)
        for draw in range(draws)
    ]


def _read(cell: Cell) -> CellResults:
    found = read_cell(cell)
    if found is None:
        raise UserError(f"{cell.file}: cannot be read; delete it and run the same command again")
    return found


def _collect(plan: Plan) -> Matrix:
    """The matrix of all cells, which are on disk."""
    comparison = plan.comparison
    rows = [row.finished() for row in plan.rows]
    tests: list[TestSet] = []
    scores: dict[str, list[list[Reals]]] = {}
    lower: set[str] = set()
    for column in plan.columns:
        found = [[_read(cell) for cell in cells_of(plan, row, column)] for row in plan.rows]
        tests.append(_test_set(column, comparison, found))
        lower |= set(found[0][0].lower)
        draws = column.draws(comparison)
        for metric in opened(comparison.metrics):
            new = [_scores(cells, metric, draws) for cells in found]
            scores.setdefault(metric, []).append(new)
    filled = {
        name: [list(row) for row in zip(*columns, strict=True)] for name, columns in scores.items()
    }
    typical = _representatives(plan) if plan.typical else None
    used = {row.hash for row in rows}
    recipes = [regime.recipe for regime in plan.recipes if regime.recipe.hash in used]
    return Matrix(comparison, rows, tests, tuple(filled), filled, recipes, typical, sorted(lower))


def _scores(cells: Sequence[CellResults], metric: str, draws: int) -> Reals:
    """Values of a metric by seed, draw and image; NaN where it was not measured."""
    values = [
        [scores.get(metric, np.nan) for scores in cell.results.images.values()] for cell in cells
    ]
    return np.array(values, np.float64).reshape(-1, draws, len(values[0]))


def _test_set(
    column: Column, comparison: Comparison, found: Sequence[Sequence[CellResults]]
) -> TestSet:
    first = found[0][0]
    images = list(first.results.images)
    seeds = range(comparison.seed, comparison.seed + column.draws(comparison))
    plans = [plan for seed in seeds if (plan := column.plan(len(images), seed)) is not None]
    crops = {name: [row[0].crops[name] for row in found] for name in first.crops}
    base = column.name if column.level is None else column.name.rpartition("@")[0]
    protocol = first.results.protocol
    return TestSet(column.name, column.recipe, images, plans, crops, protocol, base, column.level)


def _representatives(plan: Plan) -> Representatives:
    """PSNR of every row on every representative degradation, and the lines."""
    scores: list[Reals] = []
    for row in plan.rows:
        per_column: list[Reals] = []
        for column in plan.typical:
            cells = [_read(cell) for cell in cells_of(plan, row, column)]
            per_column.append(_scores(cells, "psnr_y", 1).mean((0, 1)))
        scores.append(np.stack(per_column))
    means = np.stack([row.mean(1) for row in scores])
    names = [column.name.rpartition(" #")[0] for column in plan.typical]
    drawn = [column.row or {} for column in plan.typical]
    lines = plan.comparison.lines
    if lines is not None:
        found, about = read_lines(lines, len(plan.typical)), f"lines of {lines}"
        return Representatives(names, drawn, scores, found, about)
    bicubic = next((i for i, row in enumerate(plan.rows) if row.row.model == BICUBIC), None)
    low = np.fmin.reduce(means) if bicubic is None else means[bicubic]
    about = (
        f"stand-ins: acceptance is {'the worst row' if bicubic is None else BICUBIC}, excellence "
        "the best row of each degradation, not models trained for it"
    )
    return Representatives(names, drawn, scores, (low, np.fmax.reduce(means)), about)
