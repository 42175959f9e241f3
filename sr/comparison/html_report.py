"""The page of a comparison: what ``templates/report.html`` shows, as JSON data, and the page
itself.

Everything in the data is a number, a picture as a data URI, or text that the page's script writes
as text. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from degrade.fields import Range
from degrade.inspection.html import Album, fill
from degrade.plan import Column
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.bootstrap import DRAWS, LEVEL, interval
from sr.comparison.compare import Matrix, Test
from sr.comparison.statistics import LOWER, against, as_data, cell, finite, gap, ranks

__all__ = ["describe", "page"]

Data = dict[str, Any]

TITLES = {
    "psnr_y": ("PSNR on Y", "dB", 2),
    "ssim_y": ("SSIM on Y", "", 4),
    "lpips": ("LPIPS", "", 4),
}
"""Metrics that the page shows: title, unit, digits."""
PICTURES = 160
"""So many squares of 96 pixels are kept without loss; each takes at most 28 kB."""
BUDGET = 3_500_000
"""Bytes for pictures if there are more."""
_TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def page(matrix: Matrix) -> str:
    """The page; it needs no network and no other file."""
    return fill(_TEMPLATE, describe(matrix))


def describe(matrix: Matrix) -> Data:
    """What the template shows."""
    comparison = matrix.comparison
    album = Album()
    metrics = [name for name in TITLES if name in matrix.metrics]
    crops = _crops(matrix, album)
    return {
        "scale": comparison.scale,
        "seeds": comparison.seeds,
        "data": list(comparison.data),
        "val": comparison.val,
        "images": len(matrix.tests[0].images),
        "resamples": DRAWS,
        "level": LEVEL,
        "plain": matrix.plain,
        "protocol": matrix.tables[0][0][0].protocol,
        "versions": checkpoint.versions(),
        "metrics": [_metric(name) for name in metrics],
        "tests": [_test(test) for test in matrix.tests],
        "rows": [
            {
                "label": entry.label,
                "model": entry.model,
                "train": entry.train,
                "hash": entry.hash,
                "steps": [int(run.metadata.get("step", 0)) for run in entry.runs],
            }
            for entry in matrix.entries
        ],
        "cells": {metric: _cells(matrix, metric) for metric in metrics},
        "gaps": {
            metric: [as_data(gap(matrix, metric, row)) for row in range(len(matrix.entries))]
            for metric in metrics
        },
        "gains": {metric: _gains(matrix, metric) for metric in metrics},
        "crops": crops,
        "curves": _curves(matrix),
        "recipes": _recipes(matrix),
        "pictures": album.encode(BUDGET),
        "quality": album.quality,
    }


def _metric(name: str) -> Data:
    title, unit, digits = TITLES[name]
    return {"name": name, "title": title, "unit": unit, "digits": digits, "lower": name in LOWER}


def _test(test: Test) -> Data:
    parameters = [_parameter(test, column) for column in test.recipe.columns]
    return {
        "name": test.name,
        "hash": test.recipe.hash,
        "parameters": [p for p in parameters if p is not None],
    }


def _parameter(test: Test, column: Column) -> Data | None:
    """What was drawn, an image a value; None if it tells no two images apart."""
    values = test.plan[column.address]
    drawn = sorted(set(values[~np.isnan(values)].tolist()))
    if len(drawn) < 2:
        return None
    data: Data = {"address": column.address, "unit": ""}
    if isinstance(column.variable, Range):
        return {
            **data,
            "unit": column.variable.unit,
            "values": [finite(value) for value in values],
        }
    places = [None if math.isnan(value) else drawn.index(value) for value in values.tolist()]
    return {**data, "values": places, "names": [column.variable.label(value) for value in drawn]}


def _cells(matrix: Matrix, metric: str) -> list[list[Data]]:
    found: list[list[Data]] = []
    order = [ranks(matrix, metric, column) for column in range(len(matrix.tests))]
    for row in range(len(matrix.entries)):
        found.append([])
        for column in range(len(matrix.tests)):
            found[-1].append(
                {
                    "value": as_data(interval(cell(matrix, metric, row, column))),
                    "rank": order[column][row],
                    "bicubic": as_data(against(matrix, metric, row, column, matrix.plain)),
                    "matched": as_data(
                        against(matrix, metric, row, column, matrix.matched(row, column))
                    ),
                    "own": matrix.matched(row, column) == row,
                }
            )
    return found


def _gains(matrix: Matrix, metric: str) -> list[list[list[float | None]]] | None:
    """Per image, a row minus bicubic; None without bicubic."""
    plain, values = matrix.plain, matrix.values[metric]
    if plain is None:
        return None
    return [
        [
            [finite(a - b) for a, b in zip(own, base, strict=True)]
            for own, base in zip(columns, values[plain], strict=True)
        ]
        for columns in values
    ]


def _crops(matrix: Matrix, album: Album) -> list[list[Data]]:
    """For each test regime, squares of some images: HR, LR and every row."""
    exact = sum(len(test.shown) for test in matrix.tests) * (len(matrix.entries) + 2) <= PICTURES
    found: list[list[Data]] = []
    for column, test in enumerate(matrix.tests):
        found.append([])
        for name, shown in test.shown.items():
            i = test.images.index(name)
            values = [finite(columns[column][i]) for columns in matrix.values["psnr_y"]]
            pictures = [album.add(picture, exact) for picture in (shown.hr, shown.lr, *shown.sr)]
            drawn = [
                f"{a} {text}"
                for a, text in test.plan.row(i, precise=False).items()
                if not a.endswith(".p")
            ]
            found[-1].append(
                {
                    "image": name,
                    "side": len(shown.hr),
                    "pictures": pictures,
                    "psnr": values,
                    "drawn": drawn,
                }
            )
    return found


def _curves(matrix: Matrix) -> list[Data]:
    """The loss of every run that has kept its curve."""
    return [
        {
            "row": row,
            "seed": run.seed,
            "points": [[point["step"], point["loss"]] for point in run.curve if "loss" in point],
        }
        for row, entry in enumerate(matrix.entries)
        for run in entry.runs
        if any("loss" in point for point in run.curve)
    ]


def _recipes(matrix: Matrix) -> list[Data]:
    tested = {test.recipe.hash: test.recipe for test in matrix.tests}
    trained = {recipe.hash: recipe for recipe in matrix.trained}

    def use(recipe: Recipe) -> str:
        uses = [
            word
            for word, known in (("trained on", trained), ("tested on", tested))
            if recipe.hash in known
        ]
        return ", ".join(uses)

    return [
        {"name": recipe.name, "hash": recipe.hash, "use": use(recipe), "yaml": recipe.to_yaml()}
        for recipe in (tested | trained).values()
    ]
