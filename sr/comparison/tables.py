"""Report: a comparison as a table, as data, and as one HTML page that needs no network.

Intervals are of the paired bootstrap over images (:mod:`sr.comparison.bootstrap`). Differences are
image by image:

.. math:: \\Delta_i = V_{m, r, t, i} - V_{\\mathrm{bicubic}, t, i}, \\qquad
          G_{m, r} = \\operatorname{mean}_{t \\neq r, i} (V_{m, t, t, i} - V_{m, r, t, i})

G is the generalisation gap: what a model gives away, over the regimes that it was not trained on,
against the same model trained on them.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

from rich.console import Console

from sr import checkpoint
from sr.comparison.bootstrap import DRAWS, LEVEL, interval
from sr.comparison.compare import Matrix
from sr.comparison.statistics import Data, against, as_data, cell, finite, gap, ranks

__all__ = ["print_matrix", "to_csv", "to_json", "write_results"]


def write_results(matrix: Matrix) -> Path:
    """Writes ``matrix.csv``, ``matrix.json`` and ``report.html``; returns their folder. Raises
    UserError.
    """
    from sr.comparison.html_report import page  # it needs the numbers of this module

    folder = Path(matrix.comparison.out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / "matrix.csv", to_csv(matrix).encode())
    text = json.dumps(to_json(matrix), indent=1, allow_nan=False)
    checkpoint.write(folder / "matrix.json", (text + "\n").encode())
    checkpoint.write(folder / "report.html", page(matrix).encode())
    return folder


# --- numbers -------------------------------------------------------------------------------------


# --- files ---------------------------------------------------------------------------------------


def to_csv(matrix: Matrix) -> str:
    """A line for each model, training regime, test regime and metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "train", "test", "metric", "mean", "low", "high", "images"])
    for row, entry in enumerate(matrix.entries):
        for column, test in enumerate(matrix.tests):
            for metric in matrix.metrics:
                values = cell(matrix, metric, row, column)
                found = interval(values)
                numbers = (
                    "" if math.isnan(x) else f"{x:.6g}"
                    for x in (found.mean, found.low, found.high)
                )
                writer.writerow(
                    [entry.model, entry.train, test.name, metric, *numbers, len(values)]
                )
    return buffer.getvalue()


def to_json(matrix: Matrix) -> Data:
    """All that the results are and depend on; numbers that are not finite are null."""
    return {
        "comparison": matrix.comparison.model_dump(mode="json"),
        "versions": checkpoint.versions(),
        "bootstrap": {
            "resamples": DRAWS,
            "level": LEVEL,
            "over": "images, after the mean over seeds",
        },
        "metrics": list(matrix.metrics),
        "tests": [
            {
                "test": test.name,
                "hash": test.recipe.hash,
                "seed": matrix.comparison.seed,
                "protocol": matrix.tables[0][column][0].protocol,
                "images": test.images,
                "plan": [test.plan.row(i) for i in range(len(test.images))],
            }
            for column, test in enumerate(matrix.tests)
        ],
        "rows": [
            {
                "model": entry.model,
                "train": entry.train,
                "hash": entry.hash,
                "runs": [run.as_dict() for run in entry.runs],
                "gap": {metric: as_data(gap(matrix, metric, row)) for metric in matrix.metrics},
                "cells": [_cell_data(matrix, row, column) for column in range(len(matrix.tests))],
            }
            for row, entry in enumerate(matrix.entries)
        ],
    }


def _cell_data(matrix: Matrix, row: int, column: int) -> Data:
    matched = matrix.matched(row, column)
    return {
        "test": matrix.tests[column].name,
        "metrics": {
            metric: {
                **(as_data(interval(cell(matrix, metric, row, column))) or {}),
                "rank": ranks(matrix, metric, column)[row],
                "against_bicubic": as_data(against(matrix, metric, row, column, matrix.plain)),
                "against_matched": as_data(against(matrix, metric, row, column, matched)),
                "by_seed": [
                    [finite(image[metric]) for image in table.images.values()]
                    for table in matrix.tables[row][column]
                ],
            }
            for metric in matrix.metrics
        },
    }


# --- terminal ------------------------------------------------------------------------------------


def print_matrix(console: Console, matrix: Matrix, metric: str = "psnr_y") -> None:
    """Means of a metric; the best of each column is bold."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    # Rich would break names anywhere to make room; a name is worth more than a frame.
    table = Table(
        title=f"{metric.replace('_', ' ')}; rows: trained on, columns: tested on", box=SIMPLE
    )
    table.add_column("", no_wrap=True)
    for test in matrix.tests:
        table.add_column(Text(test.name), justify="right", no_wrap=True)
    for row, entry in enumerate(matrix.entries):
        cells: list[Text] = []
        for column in range(len(matrix.tests)):
            mean = float(cell(matrix, metric, row, column).mean())
            cells.append(
                Text(f"{mean:.2f}", "bold" if ranks(matrix, metric, column)[row] == 1 else "")
            )
        table.add_row(Text(entry.label), *cells)
    console.print(table)
