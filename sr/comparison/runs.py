"""Training runs of a comparison: found, resumed or begun.

A run's folder is named by a hash of everything that its result depends on, so a later comparison
finds what an earlier one trained, an interrupted run is resumed, and cache keys cannot collide.
Runs train without validation and their last weights are used, so that the test images never
select a checkpoint. An adversarial run begins from the same regime's pixel-loss generator, which
is a run like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from degrade.errors import UserError
from degrade.images.files import find_images
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison
from sr.comparison.workers import Task
from sr.training.config import DEFAULTS, Config, configure
from sr.training.loop import Status, train
from sr.training.run import BEST, LAST, STATE, read_history

__all__ = [
    "UNTRAINED",
    "PlannedRow",
    "PlannedRun",
    "Row",
    "TrainedModel",
    "TrainingRecipe",
    "model_label",
    "plan_rows",
    "training_phases",
]

UNTRAINED = "none"
"""Label of the training recipe of models that were not trained."""
NOT_HASHED = {
    *("out", "data", "val", "recipe", "device", "workers", "tensorboard"),
    *("log_every", "val_every", "save_every"),
}
"""Settings that do not change what a run learns, or that :func:`run_name` hashes separately."""
CURVE_POINTS = 60
"""Points of a training curve."""


@dataclass(frozen=True)
class TrainingRecipe:
    """A recipe, and the name or file that ``sr train`` loads it from."""

    source: str
    recipe: Recipe


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint: its file, the run's seed, its metadata, its training curve."""

    file: Path
    seed: int
    metadata: dict[str, str]
    curve: list[dict[str, float]]

    @staticmethod
    def read(file: Path, seed: int) -> TrainedModel:
        """Read a checkpoint's metadata, and the curves beside it. Raises UserError."""
        curve = read_history(file.parent / "curves.csv")
        return TrainedModel(file, seed, checkpoint.read_metadata(file), curve)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON results hold of it, all but the curve."""
        metadata = {name: self.metadata.get(name) for name in ("name", "recipe", "hash", "step")}
        return {"file": str(self.file), "seed": self.seed, **metadata}


@dataclass(frozen=True)
class Row:
    """A row of the matrix: a model and the recipe that it was trained on.

    Args:
        model: Its name.
        train: The recipe's name, or ``none``.
        hash: The recipe's hash; empty without one.
        runs: One for each seed; none for bicubic.
    """

    model: str
    train: str
    hash: str
    runs: tuple[TrainedModel, ...] = ()

    @property
    def label(self) -> str:
        """Name in tables: ``srcnn / realesrgan``."""
        return self.model if self.train == UNTRAINED else f"{self.model} / {self.train}"


@dataclass(frozen=True)
class PlannedRun:
    """A run that a row needs: finished, begun or still to come.

    Args:
        label: Its name in messages.
        config: What ``sr train`` does.
        found: A finished run that is used instead.
        needs: The run whose weights this one begins from.
    """

    label: str
    config: Config
    found: TrainedModel | None = None
    needs: PlannedRun | None = None

    @property
    def file(self) -> Path:
        return self.found.file if self.found is not None else Path(self.config.out) / LAST

    @property
    def steps_done(self) -> int:
        """Steps of its last checkpoint; 0 before the first."""
        return 0 if not self.file.is_file() else _steps(checkpoint.read_metadata(self.file))

    @property
    def finished(self) -> bool:
        return self.found is not None or self.steps_done >= self.config.steps

    def trained(self) -> TrainedModel:
        """Return the finished run's model."""
        return self.found or TrainedModel.read(self.file, self.config.seed)


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
        elif model not in DEFAULTS:
            rows.append(PlannedRow(_checkpoint_row(model, comparison.scale)))
        else:
            for regime in recipes:
                seeds = range(comparison.seeds)
                runs = [_run(comparison, model, regime, seed, reusable) for seed in seeds]
                row = Row(model, regime.recipe.name, regime.recipe.hash)
                rows.append(PlannedRow(row, tuple(runs)))
    return rows


def _checkpoint_row(model: str, scale: int) -> Row:
    """The row of a checkpoint. Raises UserError if it is missing, damaged, unfinished or of
    another scale.
    """
    if Path(model).is_dir() and (Path(model) / LAST).is_file():
        metadata = checkpoint.read_metadata(Path(model) / LAST)
        if not _is_finished(metadata):
            raise UserError(
                f"{model}: this run has done {_steps(metadata)} of {_wanted_steps(metadata)} "
                "steps; finish it with sr train --resume, or name one of its files"
            )
    file = checkpoint.weights_file(model)
    checkpoint.load(file, scale)
    run = TrainedModel.read(file, 0)
    recipe, digest = run.metadata.get("recipe", UNTRAINED), run.metadata.get("hash", "")
    return Row(model_label(model), recipe, digest, (run,))


def model_label(model: str) -> str:
    """Return a model's name in tables: the file's name, of ``last`` and ``best`` the folder's."""
    path = Path(model)
    if path.name in (LAST, BEST):
        return path.parent.name
    return path.name.removesuffix(".safetensors")


def _steps(metadata: dict[str, str]) -> int:
    text = metadata.get("step", "0")
    return int(text) if text.isdecimal() else 0


def _training(metadata: dict[str, str]) -> dict[str, Any]:
    """The settings of the run that wrote a checkpoint; empty if it does not say."""
    try:
        found: Any = json.loads(metadata.get("training", "{}"))
    except ValueError:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _wanted_steps(metadata: dict[str, str]) -> int:
    wanted = _training(metadata).get("steps", 0)
    return wanted if isinstance(wanted, int) else 0


def _is_finished(metadata: dict[str, str]) -> bool:
    return _steps(metadata) >= _wanted_steps(metadata)


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
    found = _reused(comparison, model, regime.recipe, seed, reusable)
    needs = None
    if model == "srgan" and found is None and not (config.gan.init or config.gan.pretrain):
        generator = config.generator
        own = {
            **comparison.settings.get(generator, {}),
            **{name: value for name, value in settings.items() if name.split(".")[0] == "model"},
        }
        needs = PlannedRun(
            f"{generator} / {regime.recipe.name}, seed {seed}",
            _config(comparison, generator, regime, seed, own),
            _reused(comparison, generator, regime.recipe, seed, reusable),
        )
        # Hashed by the name of the run, not by its place.
        config = _config(comparison, model, regime, seed, settings, needs)
    return PlannedRun(label, config, found, needs)


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
        changes["gan"] = config.gan.model_copy(update={"init": str(needs.file)})
    return config.model_copy(update=changes)


def _identity(run: PlannedRun) -> str:
    """What a run that begins from this one depends on."""
    if run.found is None:
        return Path(run.config.out).name
    with open(run.found.file, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_name(config: Config, recipe: Recipe, begins: str = "") -> str:
    """Return the name of a run's folder: trainer, recipe, seed, and a hash of everything that the
    result depends on. HR images are hashed by relative path and size in bytes, not by folder.

    Args:
        config: The run.
        recipe: The recipe that it is trained on.
        begins: Identity of the run whose weights it begins from.
    """
    data = config.model_dump(mode="json", exclude=NOT_HASHED)
    images = [image for source in config.data for image in _images(source)]
    data |= {"recipe": recipe.hash, "data": images}
    if begins:
        data["begins"] = begins
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return f"{config.method}-{recipe.name}-{config.seed}-{digest[:12]}"


def _images(source: str) -> Iterator[list[Any]]:
    root = Path(source)
    for path in find_images(source):
        name = path.relative_to(root).as_posix() if root.is_dir() else path.name
        yield [name, path.stat().st_size]


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
            if source.is_dir() and not _is_finished(metadata):
                done, wanted = _steps(metadata), _wanted_steps(metadata)
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
        training = _training(metadata)
        name, seen = training.get("method", metadata["name"]), training.get("seed", 0)
        if (name, metadata.get("hash"), metadata["scale"], seen) == wanted:
            return TrainedModel.read(file, seed)
    return None


# --- training ------------------------------------------------------------------------------------


def training_phases(rows: Iterable[PlannedRow]) -> list[list[Task]]:
    """Return what is left to train: runs that others begin from, then the others."""
    runs = [run for row in rows for run in row.runs if not run.finished]
    first = [run.needs for run in runs if run.needs is not None and not run.needs.finished]
    early = [run for run in runs if run.needs is None]
    late = [run for run in runs if run.needs is not None]
    return [_tasks([*first, *early]), _tasks(late)]


def _tasks(runs: Iterable[PlannedRun]) -> list[Task]:
    """One task for each folder: a generator may be a row too."""
    distinct = {run.config.out: run for run in runs}
    return [Task(f"training {run.label}", _train, run.config) for run in distinct.values()]


def _train(config: Config, device: str, callback: Callable[[Status], None] | None) -> None:
    """Train or resume a run. ``device`` is that of the worker."""
    folder = Path(config.out)
    given = config.model_copy(update={"device": device})
    train(given, (folder / STATE).is_file(), callback)
