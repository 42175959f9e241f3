"""Training runs of a comparison: found, resumed or begun.

A run's folder is named by a hash of everything that its result depends on, so a later comparison
finds what an earlier one trained, an interrupted run is resumed, and cache keys cannot collide.
Runs train without validation and their last weights are used, so that the test images never
select a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from degrade.images.files import find_sources
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.workers import Task
from sr.training.config import Config
from sr.training.history import read_history
from sr.training.loop import Status, train
from sr.training.run import LAST, STATE

__all__ = [
    "LAST",
    "UNTRAINED",
    "PlannedRun",
    "Row",
    "TrainedModel",
    "TrainingRecipe",
    "is_finished",
    "run_name",
    "steps_of",
    "training_of",
    "training_tasks",
    "wanted_steps",
]

UNTRAINED = "none"
"""Label of the training recipe of models that were not trained."""
NOT_HASHED = {
    *("out", "data", "exclude", "val", "recipe", "device", "workers", "tensorboard"),
    *("log_every", "val_every", "save_every", "keep_every", "cache"),
}
"""Settings that do not change what a run learns, or that :func:`run_name` hashes separately."""


@dataclass(frozen=True)
class TrainingRecipe:
    """A recipe, and the name or file that ``sr train`` loads it from."""

    source: str
    recipe: Recipe


@dataclass(frozen=True)
class TrainedModel:
    """A model that exists.

    Args:
        file: Its checkpoint.
        seed: Seed of its run.
        metadata: Of the checkpoint.
        curve: Its training curve.
        spec: What it is loaded by, where it has no checkpoint: ``onnx:FILE``.
    """

    file: Path
    seed: int
    metadata: dict[str, str]
    curve: list[dict[str, float]]
    spec: str = ""

    @property
    def model(self) -> str:
        """What :func:`sr.checkpoint.load` loads."""
        return self.spec or str(self.file)

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
    def model(self) -> str:
        return str(self.file)

    @property
    def steps_done(self) -> int:
        """Steps of its last checkpoint; 0 before the first."""
        return 0 if not self.file.is_file() else steps_of(checkpoint.read_metadata(self.file))

    @property
    def finished(self) -> bool:
        return self.found is not None or self.steps_done >= self.config.steps

    def trained(self) -> TrainedModel:
        """Return the finished run's model."""
        return self.found or TrainedModel.read(self.file, self.config.seed)


# --- names and metadata --------------------------------------------------------------------------


def steps_of(metadata: Mapping[str, str]) -> int:
    """Return the steps that a checkpoint's run had done."""
    text = metadata.get("step", "0")
    return int(text) if text.isdecimal() else 0


def training_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of the run that wrote a checkpoint; empty if it does not say."""
    try:
        found: Any = json.loads(metadata.get("training", "{}"))
    except ValueError:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def wanted_steps(metadata: Mapping[str, str]) -> int:
    """Return the steps of a checkpoint's run when it is finished."""
    wanted = training_of(metadata).get("steps", 0)
    return wanted if isinstance(wanted, int) else 0


def is_finished(metadata: Mapping[str, str]) -> bool:
    """Return whether a checkpoint is of a finished run."""
    return steps_of(metadata) >= wanted_steps(metadata)


def run_name(config: Config, recipe: Recipe, begins: str = "") -> str:
    """Return the name of a run's folder: trainer, recipe, seed, and a hash of everything that the
    result depends on. HR images are hashed by relative path and size in bytes, not by folder.

    Args:
        config: The run.
        recipe: The recipe that it is trained on.
        begins: Identity of the run whose weights it begins from.
    """
    data = config.model_dump(mode="json", exclude=NOT_HASHED)
    images = [image for source in config.sources for image in _images(*source)]
    data |= {"recipe": recipe.hash, "data": images}
    if begins:
        data["begins"] = begins
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    name = f"{config.method}-{recipe.name}-{config.seed}"
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}-{digest[:12]}"


def _images(source: str, exclude: str | None) -> Iterator[list[Any]]:
    root = Path(source)
    for path in map(Path, find_sources(source, exclude)):
        name = path.relative_to(root).as_posix() if root.is_dir() else path.name
        yield [name, path.stat().st_size]


# --- training ------------------------------------------------------------------------------------


def training_tasks(runs: Iterable[PlannedRun]) -> list[Task]:
    """Return one task for each folder of runs: a generator may be a row too."""
    distinct = {run.config.out: run for run in runs}
    return [Task(f"training {run.label}", _train, run.config) for run in distinct.values()]


def _train(config: Config, device: str, callback: Callable[[Status], None] | None) -> None:
    """Train or resume a run. ``device`` is that of the worker."""
    folder = Path(config.out)
    given = config.model_copy(update={"device": device})
    train(given, (folder / STATE).is_file(), callback)
