"""HTML report of a comparison: the data of ``templates/report.html``, and the filled template.

The data are numbers, pictures as data URIs, and text that the script inserts as text nodes, so
names and descriptions cannot inject markup. The page loads nothing else.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from degrade.fields import Range
from degrade.inspection.html import Album, fill
from degrade.plan import Column
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.bootstrap import DRAWS, LEVEL, interval
from sr.comparison.matrix import Crop, Matrix, TestSet
from sr.comparison.runs import Row
from sr.comparison.statistics import (
    LOWER_IS_BETTER,
    Json,
    cell,
    difference,
    finite_or_none,
    gap,
    interval_as_dict,
    ranking,
)

__all__ = ["render", "report_data"]

TITLES = {
    "psnr_y": ("PSNR on Y", "dB", 2),
    "ssim_y": ("SSIM on Y", "", 4),
    "lpips": ("LPIPS", "", 4),
}
"""Metrics of the report: title, unit, digits."""
LOSSLESS_CROPS = 160
"""Up to this many crops of 96 pixels are stored without loss, at most 28 kB each."""
PICTURE_BYTES = 3_500_000
"""Bytes of all pictures if there are more crops."""
_TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def render(matrix: Matrix) -> str:
    """Return the page, which needs no network and no other file."""
    return fill(_TEMPLATE, report_data(matrix))


def report_data(matrix: Matrix) -> Json:
    """Return the data of the template."""
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
        "plain": matrix.baseline,
        "protocol": matrix.results[0][0][0].protocol,
        "versions": checkpoint.versions(),
        "metrics": [_metric(name) for name in metrics],
        "tests": [_test(test) for test in matrix.tests],
        "rows": [_row(row) for row in matrix.rows],
        "cells": {metric: _cells(matrix, metric) for metric in metrics},
        "gaps": {metric: _gaps(matrix, metric) for metric in metrics},
        "gains": {metric: _gains(matrix, metric) for metric in metrics},
        "crops": crops,
        "curves": _curves(matrix),
        "recipes": _recipes(matrix),
        "pictures": album.encode(PICTURE_BYTES),
        "quality": album.quality,
    }


def _metric(name: str) -> Json:
    title, unit, digits = TITLES[name]
    lower = name in LOWER_IS_BETTER
    return {"name": name, "title": title, "unit": unit, "digits": digits, "lower": lower}


def _test(test: TestSet) -> Json:
    parameters = [_parameter(test, column) for column in test.recipe.columns]
    return {
        "name": test.name,
        "hash": test.recipe.hash,
        "parameters": [parameter for parameter in parameters if parameter is not None],
    }


def _parameter(test: TestSet, column: Column) -> Json | None:
    """The value of a random variable for each image; None if all images have the same."""
    values = test.plan[column.address]
    distinct = sorted(set(values[~np.isnan(values)].tolist()))
    if len(distinct) < 2:
        return None
    data: Json = {"address": column.address, "unit": ""}
    if isinstance(column.variable, Range):
        numbers = [finite_or_none(value) for value in values]
        return {**data, "unit": column.variable.unit, "values": numbers}
    places = [None if math.isnan(value) else distinct.index(value) for value in values.tolist()]
    names = [column.variable.label(value) for value in distinct]
    return {**data, "values": places, "names": names}


def _row(row: Row) -> Json:
    return {
        "label": row.label,
        "model": row.model,
        "train": row.train,
        "hash": row.hash,
        "steps": [int(run.metadata.get("step", 0)) for run in row.runs],
    }


def _cells(matrix: Matrix, metric: str) -> list[list[Json]]:
    """For each row and column: mean, rank, differences to bicubic and to the matched model."""
    columns = range(len(matrix.tests))
    ranks = [ranking(matrix, metric, column) for column in columns]
    return [
        [_cell(matrix, metric, row, column, ranks[column][row]) for column in columns]
        for row in range(len(matrix.rows))
    ]


def _cell(matrix: Matrix, metric: str, row: int, column: int, rank: int) -> Json:
    baseline, matched = matrix.baseline, matrix.matched(row, column)
    return {
        "value": interval_as_dict(interval(cell(matrix, metric, row, column))),
        "rank": rank,
        "bicubic": interval_as_dict(difference(matrix, metric, row, column, baseline)),
        "matched": interval_as_dict(difference(matrix, metric, row, column, matched)),
        "own": matched == row,
    }


def _gaps(matrix: Matrix, metric: str) -> list[Json | None]:
    return [interval_as_dict(gap(matrix, metric, row)) for row in range(len(matrix.rows))]


def _gains(matrix: Matrix, metric: str) -> list[list[list[float | None]]] | None:
    """Per image, a row minus bicubic; None without bicubic."""
    baseline, values = matrix.baseline, matrix.values[metric]
    if baseline is None:
        return None
    return [
        [
            [finite_or_none(a - b) for a, b in zip(own, base, strict=True)]
            for own, base in zip(columns, values[baseline], strict=True)
        ]
        for columns in values
    ]


def _crops(matrix: Matrix, album: Album) -> list[list[Json]]:
    """For each test set, crops of some images: HR, LR and every row's SR."""
    count = sum(len(test.crops) for test in matrix.tests) * (len(matrix.rows) + 2)
    lossless = count <= LOSSLESS_CROPS
    return [
        [_crop(matrix, column, name, crop, album, lossless) for name, crop in test.crops.items()]
        for column, test in enumerate(matrix.tests)
    ]


def _crop(
    matrix: Matrix, column: int, name: str, crop: Crop, album: Album, lossless: bool
) -> Json:
    test = matrix.tests[column]
    i = test.images.index(name)
    drawn = test.plan.row(i, precise=False)
    return {
        "image": name,
        "side": len(crop.hr),
        "pictures": [album.add(picture, lossless) for picture in (crop.hr, crop.lr, *crop.sr)],
        "psnr": [finite_or_none(row[column][i]) for row in matrix.values["psnr_y"]],
        "drawn": [f"{a} {text}" for a, text in drawn.items() if not a.endswith(".p")],
    }


def _curves(matrix: Matrix) -> list[Json]:
    """The loss curve of every run that has one."""
    curves: list[Json] = []
    for i, row in enumerate(matrix.rows):
        for run in row.runs:
            points = [[point["step"], point["loss"]] for point in run.curve if "loss" in point]
            if points:
                curves.append({"row": i, "seed": run.seed, "points": points})
    return curves


def _recipes(matrix: Matrix) -> list[Json]:
    tested = {test.recipe.hash: test.recipe for test in matrix.tests}
    trained = {recipe.hash: recipe for recipe in matrix.trained}

    def use(recipe: Recipe) -> str:
        uses = {"trained on": trained, "tested on": tested}
        return ", ".join(word for word, recipes in uses.items() if recipe.hash in recipes)

    return [
        {"name": recipe.name, "hash": recipe.hash, "use": use(recipe), "yaml": recipe.to_yaml()}
        for recipe in (tested | trained).values()
    ]
