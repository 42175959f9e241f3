"""Tables of a comparison: CSV, JSON, and the terminal's."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from degrade.console import Console
from sr import checkpoint
from sr.comparison.bootstrap import DRAWS, LEVEL, interval
from sr.comparison.matrix import Matrix
from sr.comparison.runs import Row
from sr.comparison.statistics import (
    Json,
    cell,
    difference,
    finite_or_none,
    gap,
    interval_as_dict,
    ranking,
)

__all__ = ["print_matrix", "to_csv", "to_json"]

# --- files ---------------------------------------------------------------------------------------


def to_csv(matrix: Matrix) -> str:
    """Return one line for each model, training recipe, test recipe and metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "train", "test", "metric", "mean", "low", "high", "images"])
    for i, row in enumerate(matrix.rows):
        for column, test in enumerate(matrix.tests):
            for metric in matrix.metrics:
                values = cell(matrix, metric, i, column)
                numbers = _interval_text(values)
                writer.writerow([row.model, row.train, test.name, metric, *numbers, len(values)])
    return buffer.getvalue()


def _interval_text(values: NDArray[np.float64]) -> list[str]:
    """Mean and ends of the interval; empty where it has none."""
    found = interval(values)
    ends = (found.mean, found.low, found.high)
    return ["" if math.isnan(end) else f"{end:.6g}" for end in ends]


def to_json(matrix: Matrix) -> Json:
    """Return the results and everything that they depend on; non-finite numbers are null."""
    over = "images, after the mean over seeds"
    return {
        "comparison": matrix.comparison.model_dump(mode="json"),
        "versions": checkpoint.versions(),
        "bootstrap": {"resamples": DRAWS, "level": LEVEL, "over": over},
        "metrics": list(matrix.metrics),
        "tests": [_test_as_dict(matrix, column) for column in range(len(matrix.tests))],
        "rows": [_row_as_dict(matrix, i, row) for i, row in enumerate(matrix.rows)],
    }


def _test_as_dict(matrix: Matrix, column: int) -> Json:
    test = matrix.tests[column]
    return {
        "test": test.name,
        "hash": test.recipe.hash,
        "seed": matrix.comparison.seed,
        "protocol": matrix.results[0][column][0].protocol,
        "images": test.images,
        "plan": [test.plan.row(i) for i in range(len(test.images))],
    }


def _row_as_dict(matrix: Matrix, i: int, row: Row) -> Json:
    return {
        "model": row.model,
        "train": row.train,
        "hash": row.hash,
        "runs": [run.as_dict() for run in row.runs],
        "gap": {metric: interval_as_dict(gap(matrix, metric, i)) for metric in matrix.metrics},
        "cells": [_cell_as_dict(matrix, i, column) for column in range(len(matrix.tests))],
    }


def _cell_as_dict(matrix: Matrix, row: int, column: int) -> Json:
    metrics = {metric: _metric_as_dict(matrix, metric, row, column) for metric in matrix.metrics}
    return {"test": matrix.tests[column].name, "metrics": metrics}


def _metric_as_dict(matrix: Matrix, metric: str, row: int, column: int) -> Json:
    own = interval_as_dict(interval(cell(matrix, metric, row, column))) or {}
    baseline = difference(matrix, metric, row, column, matrix.baseline)
    matched = difference(matrix, metric, row, column, matrix.matched(row, column))
    by_seed = [
        [finite_or_none(scores[metric]) for scores in results.images.values()]
        for results in matrix.results[row][column]
    ]
    return {
        **own,
        "rank": ranking(matrix, metric, column)[row],
        "against_bicubic": interval_as_dict(baseline),
        "against_matched": interval_as_dict(matched),
        "by_seed": by_seed,
    }


# --- terminal ------------------------------------------------------------------------------------


def print_matrix(console: Console, matrix: Matrix, metric: str = "psnr_y") -> None:
    """Print the means of a metric, the best of each column in bold."""
    title = f"{metric.replace('_', ' ')}; rows: trained on, columns: tested on"
    table = Table(title=title, box=SIMPLE)
    # Rich would break names anywhere to make room.
    table.add_column("", no_wrap=True)
    for test in matrix.tests:
        table.add_column(test.name, justify="right", no_wrap=True)
    columns = range(len(matrix.tests))
    ranks = [ranking(matrix, metric, column) for column in columns]
    for i, row in enumerate(matrix.rows):
        means = [float(cell(matrix, metric, i, column).mean()) for column in columns]
        styles = ["bold" if ranks[column][i] == 1 else "" for column in columns]
        cells = [Text(f"{mean:.2f}", style) for mean, style in zip(means, styles, strict=True)]
        table.add_row(row.label, *cells)
    console.print(table)
