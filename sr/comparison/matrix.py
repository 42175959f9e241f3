"""Matrix: the results of a comparison, models by test sets.

``values[metric][row][column]`` holds one value an image. A row is a model with the recipe it was
trained on, a column is a test set: the same HR images degraded by one recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from degrade.plan import Plan
from degrade.recipe import Recipe
from sr.comparison.config import BICUBIC, Comparison
from sr.comparison.runs import Row
from sr.evaluation import Results

__all__ = ["Crop", "Matrix", "TestSet"]


@dataclass(frozen=True, eq=False)
class Crop:
    """The same crop of HR, of LR and of each row's SR, (side, side, 3) 8-bit each."""

    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8]
    sr: list[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class TestSet:
    """A column: the recipe of its LR images, the images' names, what was drawn for each, and
    crops of some of them by name.
    """

    recipe: Recipe
    images: list[str]
    plan: Plan
    crops: dict[str, Crop]

    __test__ = False  # pytest collects classes by this prefix

    @property
    def name(self) -> str:
        return self.recipe.name


@dataclass(frozen=True, eq=False)
class Matrix:
    """The results of a comparison.

    Args:
        comparison: Its settings.
        rows: Models.
        tests: Test sets, the columns.
        metrics: Names.
        values: ``values[metric][row][column]``: one value an image, the mean over the seeds.
        results: ``results[row][column]``: one evaluation a seed.
        trained: Recipes that models were trained on.
    """

    comparison: Comparison
    rows: list[Row]
    tests: list[TestSet]
    metrics: tuple[str, ...]
    values: dict[str, list[list[list[float]]]]
    results: list[list[list[Results]]]
    trained: list[Recipe]

    @cached_property
    def baseline(self) -> int | None:
        """Index of the row of bicubic; None without one."""
        return next((i for i, row in enumerate(self.rows) if row.model == BICUBIC), None)

    def matched(self, row: int, column: int) -> int | None:
        """Index of the row of the same model trained on the recipe of a column; None without
        one.
        """
        own, recipe = self.rows[row], self.tests[column].recipe
        if not own.runs:
            return None
        same = (row.model == own.model and row.hash == recipe.hash for row in self.rows)
        return next((i for i, found in enumerate(same) if found), None)
