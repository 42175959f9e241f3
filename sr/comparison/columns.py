"""Columns of a comparison: test sets, each an LR image for every HR image.

===================  =======================================================================
``realesrgan``       the HR images of ``val``, degraded by a recipe, each with a draw of its own
``realesrgan@0.75``  the same with every variable at its quantile 0.75, mild at 0, severe near 1
``pairs:DIR``        pairs on disk
``lr:DIR``           LR images on disk, without ground truth
===================  =======================================================================

Beside them stand the representative degradations of :mod:`sr.comparison.seal`: the HR images, all
degraded by one and the same row of a plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from degrade.errors import UserError
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from sr.comparison.config import Comparison
from sr.examples import LR_ONLY, PAIRS, Examples, load_examples
from sr.metrics.base import Metric, Window

__all__ = ["Column", "FixedRecipe", "SevereRecipe", "read_columns", "severity_of"]


@dataclass(frozen=True)
class SevereRecipe(Recipe):
    """A recipe whose variables are at their quantiles of a level, not drawn."""

    level: float = 0.0

    def plan(self, key: Key) -> Plan:
        return self.severity(self.level, key)


@dataclass(frozen=True)
class FixedRecipe(Recipe):
    """A recipe with one row of drawn values for all samples; noise over pixels differs."""

    row: tuple[tuple[str, str], ...] = ()

    def plan(self, key: Key) -> Plan:
        rows: list[Mapping[str, str]] = [dict(self.row)] * len(key)
        return Plan(self.columns, self.read_plan(rows, [0] * len(key)).values, key)


@dataclass(frozen=True)
class Column:
    """A test set. Pickles small, and is built anew in a worker process.

    Args:
        name: Its name in tables, unique in a comparison.
        source: HR images, ``pairs:DIR`` or ``lr:DIR``.
        data: The resolved recipe; None for images on disk.
        level: Severity of all its draws; None to draw.
        row: What all images are degraded with, by address; None to draw.
    """

    name: str
    source: str
    data: dict[str, Any] | None = None
    level: float | None = None
    row: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "recipe"}

    @cached_property
    def recipe(self) -> Recipe | None:
        if self.data is None:
            return None
        base = Recipe.load(self.data)
        parts = (self.name, base.scale, base.hr, base.stages, base.description)
        if self.level is not None:
            return SevereRecipe(*parts, level=self.level)
        if self.row is not None:
            return FixedRecipe(*parts, row=tuple(self.row.items()))
        return base

    @property
    def identity(self) -> str:
        """What its LR images depend on, but for the HR images and the seed."""
        recipe = None if self.recipe is None else self.recipe.hash
        place = self.source if recipe is None else ""
        return json.dumps([recipe, place, self.level, self.row], sort_keys=True)

    def judges(self, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
        """Return the metrics that it can be judged by: without HR images only blind ones."""
        blind = self.source.startswith(LR_ONLY)
        return {name: one for name, one in metrics.items() if one.blind or not blind}

    def draws(self, comparison: Comparison) -> int:
        """How often each image is degraded; once if nothing is drawn."""
        recipe = self.recipe
        random = recipe is not None and recipe.columns and self.level is None and self.row is None
        return comparison.draws if random else 1

    def examples(self, comparison: Comparison, draw: int = 0, window: Window = (1, 1)) -> Examples:
        """Find the images, which are read one by one and degraded, image i with the key
        (seed + draw, i).
        """
        seed = comparison.seed + draw
        target, scale = comparison.target, comparison.scale
        return load_examples(self.source, self.recipe, seed, target, window, scale)

    def plan(self, images: int, seed: int) -> Plan | None:
        """What is drawn for each image: the rows behind :meth:`examples`."""
        recipe = self.recipe
        return None if recipe is None else recipe.plan(Key.of(seed, np.arange(images)))


def severity_of(name: str) -> tuple[str, float | None]:
    """Split ``NAME@LEVEL``.

    >>> severity_of("realesrgan@0.75"), severity_of("a@b.yaml")
    (('realesrgan', 0.75), ('a@b.yaml', None))
    """
    base, at, text = name.rpartition("@")
    try:
        level = float(text) if at else None
    except ValueError:
        level = None
    return (name, None) if level is None else (base, level)


def read_columns(comparison: Comparison, names: Iterable[str]) -> list[Column]:
    """Return the columns of their names; of a recipe also one for each level of
    ``comparison.severity``.

    Raises:
        UserError: A recipe or folder is wrong, or two columns have the same name.
    """
    found: dict[str, Column] = {}
    for name in names:
        for column in _columns(comparison, name):
            if column.name in found:
                raise UserError(
                    f"{name}: two test sets are called {column.name}; change the name of one"
                )
            found[column.name] = column
    return list(found.values())


def _columns(comparison: Comparison, name: str) -> Iterator[Column]:
    if name.startswith((PAIRS, LR_ONLY)):
        yield Column(name, name)
        return
    base, level = severity_of(name)
    recipe = Recipe.load(base, comparison.scale)
    data = recipe.dump()
    levels = [level, *(comparison.severity if level is None and recipe.columns else ())]
    for each in levels:
        if each is not None and not 0 <= each < 1:
            raise UserError(f"{base}@{each:g}: the severity should be in [0, 1), such as 0.75")
        suffix = "" if each is None else f"@{each:g}"
        yield Column(recipe.name + suffix, comparison.val, data, each)
