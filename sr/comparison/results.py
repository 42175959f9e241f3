"""Files of a comparison: ``matrix.csv``, ``matrix.json`` and ``report.html``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from degrade.errors import UserError
from sr import checkpoint
from sr.comparison import html_report
from sr.comparison.matrix import Matrix
from sr.comparison.tables import to_csv, to_json

__all__ = ["check_folder", "write_results"]


FILES = ("matrix.csv", "matrix.json", "report.html")


def check_folder(folder: Path) -> None:
    """Refuse to write over files that are not of a comparison. Raises UserError."""
    if (folder / "cells").is_dir() or (folder / "runs").is_dir():
        return
    for name in FILES:
        if os.path.lexists(folder / name):
            raise UserError(
                f"{folder / name}: is already there, and is of no comparison; choose another "
                "--output"
            )


def write_results(matrix: Matrix) -> Path:
    """Write the files and return their folder. Raises UserError if they cannot be written."""
    folder = Path(matrix.comparison.out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / "matrix.csv", to_csv(matrix).encode())
    text = json.dumps(to_json(matrix), indent=1, allow_nan=False)
    checkpoint.write(folder / "matrix.json", (text + "\n").encode())
    checkpoint.write(folder / "report.html", html_report.render(matrix).encode())
    return folder
