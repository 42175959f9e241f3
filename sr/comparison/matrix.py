"""Matrix: the results of a comparison, models by test sets.

.. math:: V_{m, r, t, s, d, i}

is a metric of model m trained on recipe r with seed s, on draw d of image i of test set t:
``scores[metric][row][column]``, (S, D, N). A row is a model with the recipe it was trained on, a
column is a test set: the same HR images degraded by one recipe, pairs, or LR images alone. Metrics
that a test set does not have, and values that are not finite, are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.plan import Plan
from degrade.recipe import Recipe
from sr.comparison.cells import Crop
from sr.comparison.config import BICUBIC, Comparison
from sr.comparison.runs import Row

__all__ = ["Matrix", "Reals", "Representatives", "TestSet"]

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TestSet:
    """A column.

    Args:
        name: Its name.
        recipe: What made the LR images; None for images on disk.
        images: The images' names.
        plans: What was drawn for each image, one plan a draw; empty if nothing was.
        crops: Of some images by name, one for each row.
        protocol: How its values were measured.
        base: Name of the recipe, where the severity is fixed.
        level: This severity.
    """

    name: str
    recipe: Recipe | None
    images: Sequence[str]
    plans: Sequence[Plan] = ()
    crops: Mapping[str, Sequence[Crop]] = field(default_factory=dict[str, Sequence[Crop]])
    protocol: Mapping[str, Any] = field(default_factory=dict[str, Any])
    base: str = ""
    level: float | None = None

    __test__ = False  # pytest collects classes by this prefix

    @property
    def hash(self) -> str | None:
        return None if self.recipe is None else self.recipe.hash


@dataclass(frozen=True, eq=False)
class Representatives:
    """Representative degradations, each of all images (:mod:`sr.comparison.seal`).

    Args:
        recipes: Name of the recipe that each was drawn from.
        drawn: What was drawn, as text by address.
        scores: PSNR on Y of each row, (K, N): K degradations, N images, mean over seeds.
        lines: Acceptance and excellence line, (K,) each.
        about: What the lines are, in words.
    """

    recipes: Sequence[str]
    drawn: Sequence[dict[str, str]]
    scores: Sequence[Reals]
    lines: tuple[Reals, Reals]
    about: str


@dataclass(frozen=True, eq=False)
class Matrix:
    """The results of a comparison.

    Args:
        comparison: Its settings.
        rows: Models.
        tests: Test sets, the columns.
        metrics: Names.
        scores: ``scores[metric][row][column]``: values by seed, draw and image, (S, D, N).
        trained: Recipes that models were trained on.
        representatives: Representative degradations, if any were asked for.
        lower: Metrics of which lower values are better.
    """

    comparison: Comparison
    rows: Sequence[Row]
    tests: Sequence[TestSet]
    metrics: tuple[str, ...]
    scores: Mapping[str, Sequence[Sequence[Reals]]]
    trained: Sequence[Recipe]
    representatives: Representatives | None = None
    lower: Sequence[str] = ()

    @property
    def notes(self) -> list[str]:
        """What was found about test sets: whether pairs are aligned, files that were left out,
        values that are missing.
        """
        found: list[str] = []
        for column, test in enumerate(self.tests):
            own = [*test.protocol.get("notes", []), test.protocol.get("alignment", "")]
            notes = [note for note in (*own, *self._missing(column)) if note]
            found += [f"{test.name}: {note}" for note in notes]
        return found

    def _missing(self, column: int) -> list[str]:
        """What a column has no values of, although other rows or images have them."""
        images, found = len(self.tests[column].images), list[str]()
        lacking: dict[str, list[str]] = {}
        for metric in self.metrics:
            left = self.left_out(metric, column)
            if 0 < left < images:
                found.append(f"{left} of {images} images are left out, {metric} is not finite")
            values = [np.isfinite(row[column]).any() for row in self.scores[metric]]
            for row, has in zip(self.rows, values, strict=True):
                if any(values) and not has:
                    lacking.setdefault(row.label, []).append(metric)
        rows = [f"{label} has no finite {', '.join(names)}" for label, names in lacking.items()]
        return found + rows

    def sign(self, metric: str) -> int:
        """Return 1 for a metric of which higher values are better, else -1."""
        return -1 if metric in self.lower else 1

    @cached_property
    def baseline(self) -> int | None:
        """Index of the row of bicubic; None without one."""
        return next((i for i, row in enumerate(self.rows) if row.model == BICUBIC), None)

    def matched(self, row: int, column: int) -> int | None:
        """Index of the row of the same model trained on the recipe of a column; None without
        one.
        """
        own, digest = self.rows[row], self.tests[column].hash
        if not own.runs or digest is None:
            return None
        same = (row.model == own.model and row.hash == digest for row in self.rows)
        return next((i for i, found in enumerate(same) if found), None)

    def kept(self, metric: str, column: int) -> NDArray[np.bool_]:
        """Return the images whose value is finite for every row, (N,): the others have no mean,
        and rows stay comparable only if all leave out the same. A row without any finite value
        takes nothing from the others.
        """
        finite = [np.isfinite(row[column]) for row in self.scores[metric]]
        rows = [known.all((0, 1)) for known in finite if known.any()]
        return np.logical_and.reduce(rows or [np.zeros(finite[0].shape[-1], np.bool_)])

    def left_out(self, metric: str, column: int) -> int:
        """Return how many images :meth:`kept` leaves out."""
        return int((~self.kept(metric, column)).sum())

    def by_image(self, metric: str, row: int, column: int) -> Reals:
        """Return the values by image, means over seeds and draws, (N,); NaN where not finite."""
        values = self.scores[metric][row][column].mean((0, 1))
        return np.where(np.isfinite(values), values, np.nan)
