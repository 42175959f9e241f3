"""Comparison: every model, trained on every training recipe, tested on every test recipe.

.. math:: V_{m, r, t, i} = \\mathrm{metric}(m_r(\\mathrm{LR}_{t, i}), \\mathrm{HR}_{i})

for models m, training recipes r, test recipes t and images i. Each (m, r) is a training run
(:mod:`sr.comparison.runs`). The LR images of a test recipe are made once, with keys (seed, i): all
models see the same pixels, so their values are paired image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.errors import UserError
from degrade.images.files import find_images
from degrade.recipe import Recipe
from degrade.rng import Key
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison
from sr.comparison.matrix import Crop, Matrix, TestSet
from sr.comparison.runs import (
    UNTRAINED,
    ProgressCallback,
    Row,
    TrainingRecipe,
    checkpoint_row,
    model_label,
    prepare_row,
)
from sr.evaluation import Results, evaluate
from sr.examples import Example, hr_images, load_examples
from sr.figures import most_detailed, to_pixels
from sr.models import Model
from sr.training.config import DEFAULTS

__all__ = ["run_comparison"]

CROPS = 4
"""Images of each test set of which a crop is kept for the report."""
CROP_SIDE = 96
"""Side of these crops."""


def run_comparison(comparison: Comparison, callback: ProgressCallback | None = None) -> Matrix:
    """Train what is missing and evaluate every model on every test set.

    Args:
        comparison: Its settings.
        callback: Called with the name of the run or evaluation in progress, and with the status
            of a run.

    Raises:
        UserError: A setting or a file is wrong; most are found before anything is trained.
            Finished runs are kept.
    """
    report: ProgressCallback = callback or (lambda _name, _status: None)
    trained = _load_recipes(comparison.train, comparison.scale)
    tested = _load_recipes(comparison.test, comparison.scale)
    _check(comparison)
    prepared = [run for model in comparison.models for run in _prepare(comparison, model, trained)]
    rows = [run(report) for run in prepared]
    models = [_load_models(comparison, row) for row in rows]
    tests: list[TestSet] = []
    columns: list[list[list[Results]]] = []
    for regime in tested:
        report(f"testing on {regime.recipe.name}", None)
        test, column = _test(comparison, regime.recipe, models)
        tests.append(test)
        columns.append(column)
    results = [list(cells) for cells in zip(*columns, strict=True)]
    metrics = tuple(results[0][0][0].mean)
    values = {
        metric: [[_mean_over_seeds(seeds, metric) for seeds in cells] for cells in results]
        for metric in metrics
    }
    recipes = [regime.recipe for regime in trained]
    return Matrix(comparison, rows, tests, metrics, values, results, recipes)


def _load_recipes(names: Iterable[str], scale: int) -> list[TrainingRecipe]:
    """Raises UserError if two recipes have the same name."""
    found: dict[str, TrainingRecipe] = {}
    for name in names:
        recipe = Recipe.load(name, scale)
        if recipe.name in found:
            raise UserError(
                f"{name}: two recipes are called {recipe.name}; change the name of one"
            )
        found[recipe.name] = TrainingRecipe(name, recipe)
    return list(found.values())


def _prepare(
    comparison: Comparison, model: str, recipes: Iterable[TrainingRecipe]
) -> list[Callable[[ProgressCallback], Row]]:
    """The rows of a model, as functions that train what is missing."""
    if model == BICUBIC:
        return [lambda _callback: Row(BICUBIC, UNTRAINED, "")]
    if model in DEFAULTS:
        return [prepare_row(comparison, model, recipe) for recipe in recipes]
    row = checkpoint_row(model, comparison.scale)
    return [lambda _callback: row]


# --- validation ----------------------------------------------------------------------------------


def _check(comparison: Comparison) -> None:
    """Raises UserError if the settings contradict each other, or images are missing or both
    trained and tested on.
    """
    if not comparison.val:
        raise UserError(
            "--val is missing: HR images to test on (or --quick, for the sample photographs)"
        )
    trained = _trained(comparison)
    for model in comparison.settings:
        if model not in trained:
            raise UserError(
                f"settings.{model}: {model} is not trained in this comparison; "
                f"trained are: {', '.join(trained) or 'none'}"
            )
    if name := first_duplicate([model_label(model) for model in comparison.models]):
        raise UserError(f"--models: two are called {name}; rename a file")
    tested = hr_images(comparison.val)
    if name := first_duplicate([path.stem for path in tested]):
        raise UserError(f"{comparison.val}: two images are called {name}; rename one")
    if trained:
        _check_training_images(comparison, tested)


def _check_training_images(comparison: Comparison, tested: Iterable[Path]) -> None:
    """Raises UserError if there is nothing to train on, or an image is trained and tested on."""
    if not comparison.train:
        raise UserError("--train is missing: recipes to train on")
    if not comparison.data:
        raise UserError(
            "--data is missing: HR images to train on (or --quick, for the sample photographs)"
        )
    trained = {path.resolve() for source in comparison.data for path in find_images(source)}
    for path in tested:
        if path.resolve() in trained:
            raise UserError(
                f"{path}: is in --data and in --val; remove it from one, "
                "training and test images must be disjoint"
            )


def _trained(comparison: Comparison) -> list[str]:
    """Names of the models that are trained in this comparison."""
    return [model for model in comparison.models if model in DEFAULTS]


def first_duplicate(names: Sequence[str]) -> str | None:
    """The first name that occurs twice."""
    return next((name for name in names if names.count(name) > 1), None)


# --- evaluation ----------------------------------------------------------------------------------


def _load_models(comparison: Comparison, row: Row) -> list[Model]:
    """A row's models, one a seed."""
    device = comparison.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    files: Sequence[str | Path] = [run.file for run in row.runs] or [BICUBIC]
    return [checkpoint.load(file, comparison.scale, device) for file in files]


def _test(
    comparison: Comparison, recipe: Recipe, rows: Sequence[list[Model]]
) -> tuple[TestSet, list[list[Results]]]:
    """A column: the test set of a recipe, and the results of every row and seed on it."""
    examples = list(load_examples(comparison.val, recipe, comparison.seed))
    shown = examples[:: max(1, len(examples) // CROPS)][:CROPS]
    cut = {example.name: _cropper(example) for example in shown}
    crops = {
        example.name: Crop(cut[example.name](example.hr), cut[example.name](example.lr), [])
        for example in shown
    }

    def keep_crop(example: Example, sr: Tensor) -> None:
        if example.name in crops:
            crops[example.name].sr.append(cut[example.name](sr))

    results = [
        [
            evaluate(model, recipe.name, examples, recipe, on_image=None if seed else keep_crop)
            for seed, model in enumerate(models)
        ]
        for models in rows
    ]
    # The keys are those of `load_examples`, so row i of the plan is what image i was degraded
    # with.
    plan = recipe.plan(Key.of(comparison.seed, np.arange(len(examples))))
    return TestSet(recipe, [example.name for example in examples], plan, crops), results


def _cropper(example: Example) -> Callable[[Tensor], NDArray[np.uint8]]:
    """A function that cuts the most detailed square of HR out of images of HR's or LR's size."""
    (height, width), scale = example.hr.shape[-2:], example.hr.shape[-1] // example.lr.shape[-1]
    side = min(CROP_SIDE, height, width) // scale
    y, x = (start // scale for start in most_detailed(example.hr, side * scale))

    def crop(image: Tensor) -> NDArray[np.uint8]:
        k = scale * image.shape[-1] // width
        return to_pixels(image[..., y * k : (y + side) * k, x * k : (x + side) * k])

    return crop


def _mean_over_seeds(seeds: Sequence[Results], metric: str) -> list[float]:
    """Per image, the mean over the seeds."""
    images = zip(*(results.images.values() for results in seeds), strict=True)
    return [sum(scores[metric] for scores in image) / len(image) for image in images]
