"""Training runs of a comparison: found, resumed or begun.

A run's folder is named by a hash of everything that its result depends on, so a later comparison
finds what an earlier one trained, an interrupted run is resumed, and cache keys cannot collide.
Runs train without validation and their last weights are used, so that the test images never
select a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degrade.images.files import find_images
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.config import Comparison
from sr.training.config import Config, configure
from sr.training.loop import Status, train
from sr.training.run import BEST, LAST, STATE, read_history

__all__ = [
    "UNTRAINED",
    "ProgressCallback",
    "Row",
    "TrainedModel",
    "TrainingRecipe",
    "checkpoint_row",
    "model_label",
    "prepare_row",
    "run_name",
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

ProgressCallback = Callable[[str, Status | None], None]
"""Called with the name of the run or evaluation in progress and, for a run, its status."""


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


def checkpoint_row(model: str, scale: int) -> Row:
    """Return the row of a checkpoint. Raises UserError if it is missing, damaged or of another
    scale.
    """
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


def prepare_row(
    comparison: Comparison, model: str, regime: TrainingRecipe
) -> Callable[[ProgressCallback], Row]:
    """Check a row's settings and files, and return the function that trains what is missing.
    Raises UserError.
    """
    seeds = range(comparison.seeds)
    configs = [_config(comparison, model, regime, seed) for seed in seeds]
    reused = [_reused(comparison, model, regime.recipe, seed) for seed in seeds]

    def train_row(callback: ProgressCallback) -> Row:
        name = f"{model} / {regime.recipe.name}"
        runs = [
            run or _trained(config, f"{name}, seed {config.seed}", callback)
            for run, config in zip(reused, configs, strict=True)
        ]
        return Row(model, regime.recipe.name, regime.recipe.hash, tuple(runs))

    return train_row


def run_name(config: Config, recipe: Recipe) -> str:
    """Return the name of a run's folder: trainer, recipe, seed, and a hash of everything that the
    result depends on. HR images are hashed by name and size in bytes, not by folder.
    """
    files = [path for source in config.data for path in find_images(source)]
    data = config.model_dump(mode="json", exclude=NOT_HASHED)
    data |= {"recipe": recipe.hash, "data": [[path.name, path.stat().st_size] for path in files]}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return f"{config.method}-{recipe.name}-{config.seed}-{digest[:12]}"


def _config(comparison: Comparison, model: str, regime: TrainingRecipe, seed: int) -> Config:
    flags = {
        "recipe": regime.source,
        "data": comparison.data,
        "scale": comparison.scale,
        "steps": comparison.steps,
        "seed": seed,
        "device": comparison.device,
        "tensorboard": False,
    }
    config = configure(model, flags, None, comparison.settings.get(model))
    folder = Path(comparison.out) / "runs" / run_name(config, regime.recipe)
    log_every = max(1, config.steps // CURVE_POINTS)
    return config.model_copy(update={"val": None, "out": str(folder), "log_every": log_every})


def _reused(comparison: Comparison, model: str, recipe: Recipe, seed: int) -> TrainedModel | None:
    """The first checkpoint of ``comparison.reuse`` that fits."""
    wanted = (model, recipe.hash, str(comparison.scale), seed)
    for source in map(Path, comparison.reuse):
        runs = sorted(source.glob(f"*/{LAST}"))
        for file in runs or [checkpoint.weights_file(source)]:
            metadata = checkpoint.read_metadata(file)
            training = json.loads(metadata.get("training", "{}"))
            name, seen = training.get("method", metadata["name"]), training.get("seed", 0)
            if (name, metadata.get("hash"), metadata["scale"], seen) == wanted:
                return TrainedModel.read(file, seed)
    return None


def _trained(config: Config, label: str, callback: ProgressCallback) -> TrainedModel:
    """The model of a run, trained or resumed unless it is finished."""
    folder = Path(config.out)
    file = folder / LAST
    if not file.is_file() or int(checkpoint.read_metadata(file)["step"]) < config.steps:
        name = f"training {label}"
        callback(name, None)
        train(config, (folder / STATE).is_file(), lambda status: callback(name, status))
    return TrainedModel.read(file, config.seed)
