"""Compare: every model, trained on every regime, judged on every regime.

.. math:: V_{m, r, t, i} = \\mathrm{metric}(m_r(\\mathrm{LR}_{t, i}), \\mathrm{HR}_{i})

for models m, training regimes r, test regimes t and images i. A cell (m, r) is a training run
named by what it depends on (:mod:`sr.comparison.runs`). Its one constraint: a test regime's LR
images are made once, with keys (seed, i); all models see the same pixels, so their values can be
compared image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.errors import UserError
from degrade.images.files import find_images
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison
from sr.comparison.runs import UNTRAINED, Entry, Regime, Watch, given_checkpoint, label_of, row
from sr.evaluation import Table, evaluate
from sr.examples import Example, examples, hr_images
from sr.figures import busiest, levels
from sr.models import Model
from sr.training.config import DEFAULTS

__all__ = ["Matrix", "Test", "compare"]


Pixels = NDArray[np.uint8]

SHOWN = 4
"""Images of each test regime whose squares are kept to show."""
WIDE = 96
"""Side of these squares."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A square of an image, kept to be looked at: HR, LR, and SR of each row."""

    hr: Pixels
    lr: Pixels
    sr: list[Pixels]


@dataclass(frozen=True, eq=False)
class Test:
    """A column of the matrix: a regime, the images that it was judged on, and squares of some
    of them by name.
    """

    recipe: Recipe
    images: list[str]
    plan: Plan
    shown: dict[str, Shown]

    __test__ = False  # for pytest, which collects by name

    @property
    def name(self) -> str:
        return self.recipe.name


@dataclass(frozen=True, eq=False)
class Matrix:
    """Results: ``values[metric][row][column]`` holds a value an image, mean over the seeds;
    ``tables`` one a seed.
    """

    comparison: Comparison
    entries: list[Entry]
    tests: list[Test]
    metrics: tuple[str, ...]
    values: dict[str, list[list[list[float]]]]
    tables: list[list[list[Table]]]
    trained: list[Recipe]

    @cached_property
    def plain(self) -> int | None:
        """The row of bicubic, if there is one."""
        return next((i for i, entry in enumerate(self.entries) if entry.model == BICUBIC), None)

    def matched(self, row: int, column: int) -> int | None:
        """The row of the same model trained on the regime of a column; None without one."""
        entry, wanted = self.entries[row], self.tests[column].recipe.hash
        rows = (
            i
            for i, other in enumerate(self.entries)
            if other.model == entry.model and other.hash == wanted
        )
        return next(rows, None) if entry.runs else None


# --- what to compare -----------------------------------------------------------------------------


# --- comparing -----------------------------------------------------------------------------------


def compare(comparison: Comparison, watch: Watch | None = None) -> Matrix:
    """Trains what is missing and judges everything.

    Raises:
        UserError: What a user can mend, most of it before anything is trained. Finished runs are
        kept.
    """
    tell: Watch = watch or (lambda _name, _status: None)
    trained = _regimes(comparison.train, comparison.scale)
    tested = _regimes(comparison.test, comparison.scale)
    _check(comparison)
    makers = [make for model in comparison.models for make in _rows(comparison, model, trained)]
    entries = [make(tell) for make in makers]
    models = [_models(comparison, entry) for entry in entries]
    tests: list[Test] = []
    columns: list[list[list[Table]]] = []
    for regime in tested:
        tell(f"judging on {regime.recipe.name}", None)
        test, tables = _judge(comparison, regime.recipe, models)
        tests.append(test)
        columns.append(tables)
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    metrics = tuple(rows[0][0][0].mean)
    values = {
        metric: [[_over_seeds(seeds, metric) for seeds in cells] for cells in rows]
        for metric in metrics
    }
    return Matrix(
        comparison, entries, tests, metrics, values, rows, [regime.recipe for regime in trained]
    )


def _regimes(names: Iterable[str], scale: int) -> list[Regime]:
    """Raises UserError if two recipes have one name, or one is there twice."""
    found: dict[str, Regime] = {}
    for name in names:
        recipe = Recipe.load(name, scale)
        if recipe.name in found:
            raise UserError(
                f"{name}: a recipe called {recipe.name} is there already; change its name"
            )
        found[recipe.name] = Regime(name, recipe)
    return list(found.values())


def _rows(
    comparison: Comparison, model: str, regimes: Iterable[Regime]
) -> list[Callable[[Watch], Entry]]:
    if model == BICUBIC:
        return [lambda _tell: Entry(BICUBIC, UNTRAINED, "")]
    if model in DEFAULTS:
        return [row(comparison, model, regime) for regime in regimes]
    entry = given_checkpoint(model, comparison.scale)
    return [lambda _tell: entry]


def _check(comparison: Comparison) -> None:
    """Raises UserError if images are missing, or trained on and judged on."""
    if not comparison.val:
        raise UserError(
            "--val is missing: HR images to judge on (or --quick, for the sample photographs)"
        )
    for model in comparison.settings:
        if model not in comparison.models or model not in DEFAULTS:
            raise UserError(
                f"settings.{model}: is not trained here; {', '.join(_methods(comparison)) or 'nothing'} is"
            )
    if twice := repeated([label_of(model) for model in comparison.models]):
        raise UserError(f"--models: two are called {twice}; rename a file")
    judged = hr_images(comparison.val)
    if twice := repeated([path.stem for path in judged]):
        raise UserError(f"{comparison.val}: two images are called {twice}; rename one")
    if not _methods(comparison):
        return
    if not comparison.train:
        raise UserError("--train is missing: recipes to train on")
    if not comparison.data:
        raise UserError(
            "--data is missing: HR images to train on (or --quick, for the sample photographs)"
        )
    learned = {path.resolve() for source in comparison.data for path in find_images(source)}
    both = [path for path in judged if path.resolve() in learned]
    if both:
        raise UserError(
            f"{both[0]}: is in --data and in --val; a model must not be judged on what it learned"
        )


def _methods(comparison: Comparison) -> list[str]:
    return [model for model in comparison.models if model in DEFAULTS]


def repeated(names: Sequence[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for name in names if names.count(name) > 1), None)


def _models(comparison: Comparison, entry: Entry) -> list[Model]:
    """A row's models, one a seed."""
    device = comparison.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    files: Sequence[str | Path] = [run.file for run in entry.runs] or [BICUBIC]
    return [checkpoint.load(file, comparison.scale, device) for file in files]


def _judge(
    comparison: Comparison, recipe: Recipe, rows: Sequence[list[Model]]
) -> tuple[Test, list[list[Table]]]:
    """A column: one regime's images are made, judged by every model, and let go of. A table a
    row and seed.
    """
    images = list(examples(comparison.val, recipe, comparison.seed))
    squares = {
        image.name: _square(image) for image in images[:: max(1, len(images) // SHOWN)][:SHOWN]
    }
    shown = {
        image.name: Shown(squares[image.name](image.hr), squares[image.name](image.lr), [])
        for image in images
        if image.name in squares
    }

    def see(example: Example, sr: Tensor) -> None:
        if example.name in shown:
            shown[example.name].sr.append(squares[example.name](sr))

    tables = [
        [
            evaluate(model, recipe.name, images, recipe, see=None if i else see)
            for i, model in enumerate(seeds)
        ]
        for seeds in rows
    ]
    # The keys are those of `examples`, so row i is what image i was degraded with.
    plan = recipe.plan(Key.of(comparison.seed, np.arange(len(images))))
    return Test(recipe, [image.name for image in images], plan, shown), tables


def _square(image: Example) -> Callable[[Tensor], Pixels]:
    """Cuts the square where HR has most detail out of an image of HR's size, or of LR's."""
    (height, width), scale = image.hr.shape[-2:], image.hr.shape[-1] // image.lr.shape[-1]
    side = min(WIDE, height, width) // scale
    y, x = (start // scale for start in busiest(image.hr, side * scale))

    def cut(picture: Tensor) -> Pixels:
        k = scale * picture.shape[-1] // width
        return levels(picture[..., y * k : (y + side) * k, x * k : (x + side) * k])

    return cut


def _over_seeds(tables: Sequence[Table], metric: str) -> list[float]:
    """Per image, the mean over the seeds."""
    rows = zip(*(table.images.values() for table in tables), strict=True)
    return [sum(row[metric] for row in seeds) / len(seeds) for seeds in rows]
