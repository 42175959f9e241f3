"""History of a run: a row for each logging of losses and each validation, as ``curves.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["checked_history", "history_csv", "read_history"]


def checked_history(rows: Any) -> list[dict[str, float]]:
    """Validate a history that was read. Raises ValueError, TypeError or AttributeError."""
    return [{str(name): float(value) for name, value in row.items()} for row in rows]


def history_csv(history: Sequence[dict[str, float]]) -> str:
    """Return a history as CSV, columns in the order in which they first appear.

    >>> print(history_csv([{"step": 1, "loss": 0.5}, {"step": 2, "psnr_y": 30.0}]), end="")
    step,loss,psnr_y
    1,0.5,
    2,,30
    """
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in history)
    return buffer.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """Read a file of :func:`history_csv`; no rows if it does not exist."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]
