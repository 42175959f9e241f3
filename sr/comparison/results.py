"""Files of a comparison: ``matrix.csv``, ``matrix.json`` and ``report.html``."""

from __future__ import annotations

import json
from pathlib import Path

from sr import checkpoint
from sr.comparison import html_report
from sr.comparison.matrix import Matrix
from sr.comparison.tables import to_csv, to_json

__all__ = ["write_results"]


def write_results(matrix: Matrix) -> Path:
    """Write the files and return their folder. Raises UserError if they cannot be written."""
    folder = Path(matrix.comparison.out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / "matrix.csv", to_csv(matrix).encode())
    text = json.dumps(to_json(matrix), indent=1, allow_nan=False)
    checkpoint.write(folder / "matrix.json", (text + "\n").encode())
    checkpoint.write(folder / "report.html", html_report.render(matrix).encode())
    return folder
