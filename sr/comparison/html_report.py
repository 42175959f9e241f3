"""HTML report of a comparison: the data of ``templates/report.html``, and the filled template.

The data are numbers, pictures as data URIs, and text that the script inserts as text nodes, so
names and descriptions cannot inject markup. The page loads nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from degrade.inspection.html import Album, fill
from degrade.recipe import Recipe
from sr import checkpoint
from sr.comparison.agreement import flips, tau
from sr.comparison.bootstrap import DRAWS, LEVEL, Interval
from sr.comparison.breakdown import Parameter, curve, losses, parameters, ranked
from sr.comparison.cells import Crop
from sr.comparison.matrix import Matrix, Reals, TestSet
from sr.comparison.runs import Row
from sr.comparison.statistics import (
    Json,
    cell,
    difference,
    finite_or_none,
    gap,
    interval_as_dict,
    mean_of,
    ranking,
)
from sr.comparison.tables import seal_as_dict
from sr.evaluation import TARGETS
from sr.metrics import digits_of

__all__ = ["render", "report_data"]

TITLES = {
    "psnr_y": ("PSNR on Y", "dB"),
    "ssim_y": ("SSIM on Y", ""),
    "psnr_rgb": ("PSNR on RGB", "dB"),
    "ssim_rgb": ("SSIM on RGB", ""),
    "ms_ssim": ("MS-SSIM on Y", ""),
    "lpips": ("LPIPS", ""),
    "dists": ("DISTS", ""),
    "niqe": ("NIQE", ""),
}
"""Titles and units of metrics; others have their names."""
HIDDEN = {"psnr_rgb": "psnr_y", "ssim_rgb": "ssim_y"}
"""Metrics that the report leaves to matrix.csv where those on Y say the same."""
LOSSLESS_CROPS = 160
"""Up to this many crops of 96 pixels are stored without loss, at most 28 kB each."""
PICTURE_BYTES = 3_500_000
"""Bytes of all pictures if there are more crops."""
CURVES = 6
"""Parameters, the most telling first, of which a curve is drawn."""
MARKS = 400
"""Most samples of a test set that are drawn as marks."""
_TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def render(matrix: Matrix) -> str:
    """Return the page, which needs no network and no other file."""
    return fill(_TEMPLATE, report_data(matrix))


def report_data(matrix: Matrix) -> Json:
    """Return the data of the template."""
    comparison = matrix.comparison
    album = Album()
    metrics = [name for name in matrix.metrics if HIDDEN.get(name) not in matrix.metrics]
    crops = _crops(matrix, album)
    found = [parameters(test) for test in matrix.tests]
    return {
        "scale": comparison.scale,
        "seeds": comparison.seeds,
        "draws": comparison.draws,
        "data": list(comparison.data),
        "val": comparison.val,
        "resamples": DRAWS,
        "level": LEVEL,
        "plain": matrix.baseline,
        "protocol": _protocol(matrix),
        "versions": checkpoint.versions(),
        "metrics": [_metric(matrix, name) for name in metrics],
        "tests": [
            _test(matrix, column, metrics, found[column]) for column in range(len(matrix.tests))
        ],
        "rows": [_row(row) for row in matrix.rows],
        "cells": {metric: _cells(matrix, metric) for metric in metrics},
        "gaps": {metric: _gaps(matrix, metric) for metric in metrics},
        "breakdown": [
            [_breakdown(matrix, row, column, found[column]) for column in range(len(matrix.tests))]
            for row in range(len(matrix.rows))
        ],
        "agreement": {metric: _agreement(matrix, metric) for metric in metrics},
        "seal": seal_as_dict(matrix),
        "crops": crops,
        "curves": _curves(matrix),
        "recipes": _recipes(matrix),
        "pictures": album.encode(PICTURE_BYTES),
        "quality": album.quality,
    }


def _protocol(matrix: Matrix) -> Json:
    """How values were measured, in one line of all columns, and what was found about them."""
    found = next((test for test in matrix.tests if _has_truth(test)), matrix.tests[0]).protocol
    line = str(found.get("line", "")).replace(f"LR: {found.get('recipe')}", "LR: by column", 1)
    return {"line": line, "notes": matrix.notes}


def _has_truth(test: TestSet) -> bool:
    return test.protocol.get("target") != TARGETS[None]


def _metric(matrix: Matrix, name: str) -> Json:
    title, unit = TITLES.get(name, (name, ""))
    shown = {"name": name, "title": title, "unit": unit, "digits": digits_of(name)}
    return {**shown, "lower": matrix.sign(name) < 0}


def _test(matrix: Matrix, column: int, metrics: Sequence[str], found: Sequence[Parameter]) -> Json:
    test = matrix.tests[column]
    return {
        "name": test.name,
        "hash": test.hash,
        "base": test.base,
        "level": test.level,
        "truth": _has_truth(test),
        "images": len(test.images),
        "left_out": {metric: matrix.left_out(metric, column) for metric in metrics},
        "parameters": [_parameter(parameter) for parameter in found],
    }


def _parameter(parameter: Parameter) -> Json:
    """Its groups, and for each sample the group and, for few samples, the value."""
    few = parameter.values.size <= MARKS
    return {
        "address": parameter.address,
        "unit": parameter.unit,
        "groups": [[group.label, finite_or_none(group.center)] for group in parameter.groups],
        "member": parameter.member.ravel().tolist(),
        "values": _numbers(parameter.values) if few else None,
    }


def _numbers(values: Reals) -> list[float | None]:
    return [finite_or_none(float(value)) for value in values.ravel()]


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


def _cell(matrix: Matrix, metric: str, row: int, column: int, rank: int | None) -> Json:
    baseline, matched = matrix.baseline, matrix.matched(row, column)
    return {
        "value": interval_as_dict(mean_of(cell(matrix, metric, row, column))),
        "rank": rank,
        "bicubic": interval_as_dict(difference(matrix, metric, row, column, baseline)),
        "matched": interval_as_dict(difference(matrix, metric, row, column, matched)),
        "own": matched == row,
    }


def _gaps(matrix: Matrix, metric: str) -> list[Json | None]:
    return [interval_as_dict(gap(matrix, metric, row)) for row in range(len(matrix.rows))]


# --- what explains it ----------------------------------------------------------------------------


def _breakdown(matrix: Matrix, row: int, column: int, found: Sequence[Parameter]) -> Json | None:
    """Losses of each sample, parameters by explained share, curves of the first of them; None if
    nothing was drawn or measured.
    """
    if not found or "psnr_y" not in matrix.scores:
        return None
    loss, against = losses(matrix, "psnr_y", row, column)
    if not np.isfinite(loss).any():
        return None
    shares = ranked(loss, found)
    return {
        "against": against,
        "losses": _numbers(loss),
        "ranking": [
            [share.parameter, *_ends(share.share), finite_or_none(share.rho)] for share in shares
        ],
        "curves": {
            share.parameter: [[*_ends(one), n] for one, n in curve(loss, found[share.parameter])]
            for share in shares[:CURVES]
        },
    }


def _ends(found: Interval) -> list[float | None]:
    return [finite_or_none(end) for end in (found.mean, found.low, found.high)]


def _agreement(matrix: Matrix, metric: str) -> Json:
    return {
        "tau": [[_ends(one) for one in row] for row in tau(matrix, metric)],
        "flips": [list(vars(flip).values()) for flip in flips(matrix, metric)],
    }


# --- pictures, curves, recipes -------------------------------------------------------------------


def _crops(matrix: Matrix, album: Album) -> list[list[Json]]:
    """For each test set, crops of some images: HR, LR and every row's SR."""
    count = sum(len(test.crops) for test in matrix.tests) * (len(matrix.rows) + 2)
    lossless = count <= LOSSLESS_CROPS
    return [
        [_crop(matrix, column, name, crops, album, lossless) for name, crops in test.crops.items()]
        for column, test in enumerate(matrix.tests)
    ]


def _crop(
    matrix: Matrix, column: int, name: str, crops: Sequence[Crop], album: Album, lossless: bool
) -> Json:
    test = matrix.tests[column]
    i = list(test.images).index(name)
    pictures = [crops[0].hr, crops[0].lr, *(crop.sr for crop in crops)]
    rows = range(len(matrix.rows))
    psnr = [
        matrix.scores["psnr_y"][row][column][0, 0, i] if "psnr_y" in matrix.scores else math.nan
        for row in rows
    ]
    return {
        "image": name,
        "side": len(crops[0].hr),
        "pictures": [album.add(picture, lossless) for picture in pictures],
        "psnr": [finite_or_none(float(value)) for value in psnr],
        "drawn": _drawn(test, i),
    }


def _drawn(test: TestSet, i: int) -> list[str]:
    drawn = test.plans[0].row(i, precise=False) if test.plans else {}
    return [f"{a} {text}" for a, text in drawn.items() if not a.endswith(".p")]


def _curves(matrix: Matrix) -> list[Json]:
    """The loss curve of every run that has one."""
    curves: list[Json] = []
    for i, row in enumerate(matrix.rows):
        for run in row.runs:
            known = [point for point in run.curve if math.isfinite(point.get("loss", math.nan))]
            points = [[point["step"], point["loss"]] for point in known]
            if points:
                curves.append({"row": i, "seed": run.seed, "points": points})
    return curves


def _recipes(matrix: Matrix) -> list[Json]:
    tested = {
        test.recipe.hash: test.recipe
        for test in matrix.tests
        if test.recipe is not None and test.level is None
    }
    trained = {recipe.hash: recipe for recipe in matrix.trained}

    def use(recipe: Recipe) -> str:
        uses = {"trained on": trained, "tested on": tested}
        return ", ".join(word for word, recipes in uses.items() if recipe.hash in recipes)

    return [
        {"name": recipe.name, "hash": recipe.hash, "use": use(recipe), "yaml": recipe.to_yaml()}
        for recipe in (tested | trained).values()
    ]
