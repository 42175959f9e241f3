"""Tables of a comparison: CSV, JSON, and the terminal's."""

from __future__ import annotations

import csv
import io
import math

from rich.box import SIMPLE
from rich.text import Text

from degrade.console import Console
from sr import checkpoint
from sr.comparison.agreement import flips, tau
from sr.comparison.bootstrap import DRAWS, LEVEL, Interval
from sr.comparison.matrix import Matrix
from sr.comparison.runs import Row
from sr.comparison.seal import seal_of
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
from sr.metrics import digits_of
from sr.text_table import Column, print_table

__all__ = ["print_matrix", "to_csv", "to_json"]

# --- files ---------------------------------------------------------------------------------------


def to_csv(matrix: Matrix) -> str:
    """Return one line for each model, training recipe, test set and metric that it has."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["model", "train", "test", "metric", "mean", "low", "high", "images", "seeds", "left_out"]
    )
    for i, row in enumerate(matrix.rows):
        for column, test in enumerate(matrix.tests):
            for metric in matrix.metrics:
                values = cell(matrix, metric, i, column)
                seeds, images = values.shape
                counts = [images, seeds, matrix.left_out(metric, column)]
                numbers = _interval_text(mean_of(values))
                writer.writerow([row.model, row.train, test.name, metric, *numbers, *counts])
    return buffer.getvalue()


def _interval_text(found: Interval) -> list[str]:
    """Mean and ends of the interval; empty where it has none."""
    ends = (found.mean, found.low, found.high)
    return ["" if math.isnan(end) else f"{end:.6g}" for end in ends]


def to_json(matrix: Matrix) -> Json:
    """Return the results and everything that they depend on; non-finite numbers are null."""
    over = "seeds and images" if matrix.comparison.seeds > 1 else "images, of one seed"
    return {
        "comparison": matrix.comparison.model_dump(mode="json"),
        "versions": checkpoint.versions(),
        "bootstrap": {"resamples": DRAWS, "level": LEVEL, "over": over},
        "metrics": list(matrix.metrics),
        "tests": [_test_as_dict(matrix, column) for column in range(len(matrix.tests))],
        "rows": [_row_as_dict(matrix, i, row) for i, row in enumerate(matrix.rows)],
        "ranks": {metric: agreement_as_dict(matrix, metric) for metric in matrix.metrics},
        "seal": seal_as_dict(matrix),
    }


def _test_as_dict(matrix: Matrix, column: int) -> Json:
    test = matrix.tests[column]
    plans = [[plan.row(i) for i in range(len(test.images))] for plan in test.plans]
    left_out = {metric: matrix.left_out(metric, column) for metric in matrix.metrics}
    return {
        "test": test.name,
        "hash": test.hash,
        "level": test.level,
        "seed": matrix.comparison.seed,
        "protocol": dict(test.protocol),
        "images": list(test.images),
        "left_out": {metric: count for metric, count in left_out.items() if count},
        "plans": plans,
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
    own = interval_as_dict(mean_of(cell(matrix, metric, row, column))) or {}
    baseline = difference(matrix, metric, row, column, matrix.baseline)
    matched = difference(matrix, metric, row, column, matrix.matched(row, column))
    scores = matrix.scores[metric][row][column]
    return {
        **own,
        "rank": ranking(matrix, metric, column)[row],
        "against_bicubic": interval_as_dict(baseline),
        "against_matched": interval_as_dict(matched),
        "by_seed_draw_image": [
            [[finite_or_none(value) for value in draw] for draw in seed] for seed in scores
        ],
    }


def agreement_as_dict(matrix: Matrix, metric: str) -> Json:
    """Kendall's tau of every two test sets, and the rows that change places."""
    names = [test.name for test in matrix.tests]
    return {
        "kendall_tau": [[interval_as_dict(one) for one in row] for row in tau(matrix, metric)],
        "flips": [
            {
                "better": matrix.rows[flip.better].label,
                "worse": matrix.rows[flip.worse].label,
                "on": names[flip.here],
                "reversed_on": names[flip.there],
            }
            for flip in flips(matrix, metric)
        ],
    }


def seal_as_dict(matrix: Matrix) -> Json | None:
    """The representative degradations with their lines, and every row's acceptance."""
    found = matrix.representatives
    if found is None:
        return None
    low, high = found.lines
    rows = [seal_of(scores.mean(1), found.lines) for scores in found.scores]
    return {
        "lines": found.about,
        "degradations": [
            {
                "recipe": recipe,
                "drawn": drawn,
                "acceptance": finite_or_none(a),
                "excellence": finite_or_none(e),
            }
            for recipe, drawn, a, e in zip(found.recipes, found.drawn, low, high, strict=True)
        ],
        "rows": [
            {
                "row": row.label,
                "psnr_y": [finite_or_none(value) for value in scores.mean(1)],
                **(vars(own) if own is not None else {}),
            }
            for row, scores, own in zip(matrix.rows, found.scores, rows, strict=True)
        ],
    }


# --- terminal ------------------------------------------------------------------------------------


def print_matrix(console: Console, matrix: Matrix) -> None:
    """Print the means of the metrics that were asked for, by default of the first, PSNR on Y; the
    best of each column in bold.
    """
    for metric in matrix.comparison.metrics or matrix.metrics[:1]:
        arrow = "↓" if matrix.sign(metric) < 0 else "↑"
        title = f"{metric.replace('_', ' ')} {arrow}; rows: trained on, columns: tested on"
        labels = Column("", [row.label for row in matrix.rows])
        columns = [_means(matrix, metric, column) for column in range(len(matrix.tests))]
        print_table(console, labels, columns, title, SIMPLE)


def _means(matrix: Matrix, metric: str, column: int) -> Column:
    """The means of all rows on a test set."""
    cells: list[Text] = []
    for row, rank in enumerate(ranking(matrix, metric, column)):
        mean = mean_of(cell(matrix, metric, row, column)).mean
        text = "-" if math.isnan(mean) else f"{mean:.{digits_of(metric)}f}"
        cells.append(Text(text, "bold" if rank == 1 else ""))
    return Column(matrix.tests[column].name, cells)
