"""Rows of a comparison: what has to be trained for them, and what is there already.

A model that is trained has a row for each recipe and a run for each seed. An adversarial run
begins from the same regime's generator, trained by a pixel loss: a run like any other, which may
be a row too. Models that exist, of whatever program, are rows as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from degrade.errors import UserError
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison, is_trained
from sr.comparison.runs import (
    LAST,
    UNTRAINED,
    PlannedRun,
    Row,
    TrainedModel,
    TrainingRecipe,
    is_finished,
    run_name,
    steps_of,
    training_of,
    training_tasks,
    wanted_steps,
)
from sr.comparison.workers import Task
from sr.models.external import is_external
from sr.training.config import Config, configure

__all__ = ["PlannedRow", "plan_rows", "training_phases"]

CURVE_POINTS = 60
"""Points of a training curve."""


@dataclass(frozen=True)
class PlannedRow:
    """A row, and the runs that it needs; one that needs none is there already."""

    row: Row
    runs: tuple[PlannedRun, ...] = ()

    def finished(self) -> Row:
        """Return the row with its trained models."""
        return replace(self.row, runs=tuple(run.trained() for run in self.runs) or self.row.runs)


# --- rows ----------------------------------------------------------------------------------------


def plan_rows(
    comparison: Comparison, recipes: Iterable[TrainingRecipe], report: Callable[[str], None]
) -> list[PlannedRow]:
    """Check the settings and files of all rows, and find their runs. Raises UserError.

    Args:
        comparison: The settings.
        recipes: Recipes to train on.
        report: Told of runs in ``reuse`` that would fit but are unfinished.
    """
    recipes = list(recipes)
    reusable = list(_reusable(comparison.reuse, report))
    rows: list[PlannedRow] = []
    for model in comparison.models:
        if model == BICUBIC:
            rows.append(PlannedRow(Row(BICUBIC, UNTRAINED, "")))
        elif not is_trained(model):
            rows.append(PlannedRow(_existing_row(model, comparison.scale)))
        else:
            for regime in recipes:
                seeds = range(comparison.seeds)
                runs = [_run(comparison, model, regime, seed, reusable) for seed in seeds]
                row = Row(model, regime.recipe.name, regime.recipe.hash)
                rows.append(PlannedRow(row, tuple(runs)))
    return rows


def _existing_row(model: str, scale: int) -> Row:
    """The row of a model that exists. Raises UserError if it is missing, damaged, unfinished or
    of another scale.
    """
    folder = Path(model)
    if folder.is_dir() and (folder / LAST).is_file():
        metadata = checkpoint.read_metadata(folder / LAST)
        if not is_finished(metadata):
            raise UserError(
                f"{model}: this run has done {steps_of(metadata)} of {wanted_steps(metadata)} "
                "steps; finish it with sr train --resume, or name one of its files"
            )
    checkpoint.load(model, scale)
    metadata = checkpoint.describe(model)
    name = checkpoint.label(model)
    if is_external(model):
        found = TrainedModel(Path(), 0, metadata, [], model)
        return Row(name, UNTRAINED, "", (found,))
    file = checkpoint.weights_file(model)
    if "hash" not in metadata:
        return Row(name, UNTRAINED, "", (TrainedModel(file, 0, metadata, []),))
    run = TrainedModel.read(file, 0)
    return Row(name, metadata.get("recipe", UNTRAINED), metadata["hash"], (run,))


def training_phases(rows: Iterable[PlannedRow]) -> list[list[Task]]:
    """Return what is left to train: runs that others begin from, then the others."""
    runs = [run for row in rows for run in row.runs if not run.finished]
    first = [run.needs for run in runs if run.needs is not None and not run.needs.finished]
    early = [run for run in runs if run.needs is None]
    late = [run for run in runs if run.needs is not None]
    return [training_tasks([*first, *early]), training_tasks(late)]


# --- runs ----------------------------------------------------------------------------------------


def _run(
    comparison: Comparison,
    model: str,
    regime: TrainingRecipe,
    seed: int,
    reusable: list[tuple[Path, dict[str, str]]],
) -> PlannedRun:
    """The run of a model, a recipe and a seed, with the one that it begins from. Raises
    UserError.
    """
    settings = dict(comparison.settings.get(model, {}))
    label = f"{model} / {regime.recipe.name}, seed {seed}"
    config = _config(comparison, model, regime, seed, settings)
    generator = config.architecture
    if config.trainer == "gan":  # the networks of both are built alike
        settings = {**_of_the_network(comparison.settings.get(generator, {})), **settings}
        config = _config(comparison, model, regime, seed, settings)
    found = _reused(comparison, model, regime.recipe, seed, reusable)
    needs = None
    from_noise = config.init is None and not config.gan.pretrain
    if config.trainer == "gan" and found is None and from_noise:
        own = {**comparison.settings.get(generator, {}), **_of_the_network(settings)}
        needs = PlannedRun(
            f"{generator} / {regime.recipe.name}, seed {seed}",
            _config(comparison, generator, regime, seed, own),
            _reused(comparison, generator, regime.recipe, seed, reusable),
        )
        # Hashed by the name of the run, not by its place.
        config = _config(comparison, model, regime, seed, settings, needs)
    return PlannedRun(label, config, found, needs)


def _of_the_network(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name.split(".")[0] == "model"}


def _config(
    comparison: Comparison,
    model: str,
    regime: TrainingRecipe,
    seed: int,
    settings: dict[str, Any],
    needs: PlannedRun | None = None,
) -> Config:
    flags = {
        "recipe": regime.source,
        "data": comparison.data,
        "scale": comparison.scale,
        "steps": comparison.steps,
        "seed": seed,
        "device": comparison.device,
        "tensorboard": False,
    }
    config = configure(model, flags, None, settings)
    begins = "" if needs is None else _identity(needs)
    folder = Path(comparison.out) / "runs" / run_name(config, regime.recipe, begins)
    changes: dict[str, Any] = {
        "val": None,
        "out": str(folder),
        "log_every": max(1, config.steps // CURVE_POINTS),
    }
    if needs is not None:
        changes["init"] = str(needs.file)
    return config.model_copy(update=changes)


def _identity(run: PlannedRun) -> str:
    """What a run that begins from this one depends on."""
    if run.found is None:
        return Path(run.config.out).name
    with open(run.found.file, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reusable(
    sources: Iterable[str], report: Callable[[str], None]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """The checkpoints of ``reuse`` with their metadata: files, the last of a run's folder, the
    last of each run in a folder of runs. Unfinished runs are left out, and said.

    Raises:
        UserError: There is none, or one is damaged.
    """
    for source in map(Path, sources):
        if source.is_dir():
            files = [source / LAST] if (source / LAST).is_file() else []
            files = files or sorted(source.glob(f"*/{LAST}"))
            if not files:
                raise UserError(f"--reuse {source}: no {LAST} here or one folder below")
        else:
            files = [checkpoint.weights_file(source)]
        for file in files:
            metadata = checkpoint.read_metadata(file)
            if source.is_dir() and not is_finished(metadata):
                done, wanted = steps_of(metadata), wanted_steps(metadata)
                report(f"not reused: {file.parent} has done {done} of {wanted} steps")
            else:
                yield file, metadata


def _reused(
    comparison: Comparison,
    model: str,
    recipe: Recipe,
    seed: int,
    reusable: Iterable[tuple[Path, dict[str, str]]],
) -> TrainedModel | None:
    """The first reusable checkpoint that fits."""
    wanted = (model, recipe.hash, str(comparison.scale), seed)
    for file, metadata in reusable:
        training = training_of(metadata)
        name, seen = training.get("method", metadata["name"]), training.get("seed", 0)
        if (name, metadata.get("hash"), metadata["scale"], seen) == wanted:
            return TrainedModel.read(file, seed)
    return None
