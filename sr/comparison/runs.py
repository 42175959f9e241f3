"""Cells: the training runs of a comparison, found, gone on with, or begun.

A run's folder is named by a hash of all that it depends on. So a second comparison finds what a
first one trained, one that was stopped goes on, and a run is never taken for another. Its one
constraint: a run learns without validation and its last weights count, so that the images to judge
on never choose among its steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degrade.images.files import find_images
from degrade.recipe import Recipe
from sr import checkpoint
from sr.training.config import Config, configure
from sr.training.run import BEST, LAST, STATE, read_history

if TYPE_CHECKING:
    from sr.comparison.config import Comparison
    from sr.training.loop import Status

__all__ = [
    "UNTRAINED",
    "Entry",
    "Regime",
    "Trained",
    "Watch",
    "given_checkpoint",
    "label_of",
    "row",
    "run_name",
]

UNTRAINED = "none"
"""What stands for the training regime of a model that was not trained."""
ELSEWHERE = {
    "out",
    "data",
    "val",
    "recipe",
    "device",
    "workers",
    "tensorboard",
    "log_every",
    "val_every",
    "save_every",
}
"""Settings that do not change what a run learns, or that :func:`run_name` counts in another
way.
"""
POINTS = 60
"""Points of a training curve."""

Watch = Callable[[str, "Status | None"], None]
"""Told which run or evaluation is under way, and of a run how it stands."""


@dataclass(frozen=True)
class Regime:
    """A recipe and what names it: a name or a file, as ``sr train`` takes it."""

    source: str
    recipe: Recipe


@dataclass(frozen=True)
class Trained:
    """One trained model: where it lies, what it says of itself, how it learned."""

    file: Path
    seed: int
    metadata: dict[str, str]
    curve: list[dict[str, float]]

    @staticmethod
    def read(file: Path, seed: int) -> Trained:
        """From a checkpoint, with the curves beside it. Raises UserError."""
        return Trained(
            file, seed, checkpoint.read_metadata(file), read_history(file.parent / "curves.csv")
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the curve."""
        kept = {name: self.metadata.get(name) for name in ("name", "recipe", "hash", "step")}
        return {"file": str(self.file), "seed": self.seed, **kept}


@dataclass(frozen=True)
class Entry:
    """A row of the matrix: a model and the regime that it was trained on.

    Args:
        model: Its name.
        train: The regime's name, or ``none``.
        hash: The regime's hash; empty without one.
        runs: One for each seed; none for bicubic.
    """

    model: str
    train: str
    hash: str
    runs: tuple[Trained, ...] = ()

    @property
    def label(self) -> str:
        """For people: ``srcnn / realesrgan``."""
        return self.model if self.train == UNTRAINED else f"{self.model} / {self.train}"


def given_checkpoint(model: str, scale: int) -> Entry:
    """The row of a checkpoint named among the models. Raises UserError."""
    file = checkpoint.weights_file(model)
    checkpoint.load(file, scale)
    run = Trained.read(file, 0)
    return Entry(
        label_of(model),
        run.metadata.get("recipe", UNTRAINED),
        run.metadata.get("hash", ""),
        (run,),
    )


def label_of(model: str) -> str:
    """What a model is called: a file by its name, ``last`` and ``best`` by their folder."""
    path = Path(model)
    return (
        path.parent.name if path.name in (LAST, BEST) else path.name.removesuffix(".safetensors")
    )


def row(comparison: Comparison, model: str, regime: Regime) -> Callable[[Watch], Entry]:
    """A method's row, as what will make it; settings and files are checked at once. Raises
    UserError.
    """
    seeds = range(comparison.seeds)
    configs = [_config(comparison, model, regime, seed) for seed in seeds]
    found = [_reused(comparison, model, regime.recipe, seed) for seed in seeds]

    def make(tell: Watch) -> Entry:
        name = f"{model} / {regime.recipe.name}"
        runs = [
            run or _run(config, f"{name}, seed {config.seed}", tell)
            for run, config in zip(found, configs, strict=True)
        ]
        return Entry(model, regime.recipe.name, regime.recipe.hash, tuple(runs))

    return make


def _config(comparison: Comparison, model: str, regime: Regime, seed: int) -> Config:
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
    return config.model_copy(
        update={"val": None, "out": str(folder), "log_every": max(1, config.steps // POINTS)}
    )


def run_name(config: Config, recipe: Recipe) -> str:
    """A run's folder: method, recipe, seed, and a hash of all that it depends on.

    HR images count by their names and sizes in bytes, not by where they lie.
    """
    files = [path for source in config.data for path in find_images(source)]
    data = config.model_dump(mode="json", exclude=ELSEWHERE)
    data |= {"recipe": recipe.hash, "data": [[path.name, path.stat().st_size] for path in files]}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return f"{config.method}-{recipe.name}-{config.seed}-{digest[:12]}"


def _reused(comparison: Comparison, model: str, recipe: Recipe, seed: int) -> Trained | None:
    """A checkpoint of ``comparison.reuse`` for a cell."""
    for source in map(Path, comparison.reuse):
        runs = sorted(source.glob(f"*/{LAST}"))
        for file in runs or [checkpoint.weights_file(source)]:
            said = checkpoint.read_metadata(file)
            training = json.loads(said.get("training", "{}"))
            known = (
                training.get("method", said["name"]),
                said.get("hash"),
                said["scale"],
                training.get("seed", 0),
            )
            if known == (model, recipe.hash, str(comparison.scale), seed):
                return Trained.read(file, seed)
    return None


def _run(config: Config, label: str, tell: Watch) -> Trained:
    folder = Path(config.out)
    file = folder / LAST
    if not file.is_file() or int(checkpoint.read_metadata(file)["step"]) < config.steps:
        from sr.training.loop import train

        tell(f"training {label}", None)
        train(config, (folder / STATE).is_file(), lambda status: tell(f"training {label}", status))
    return Trained.read(file, config.seed)
