"""Report diagnoses: as CSV, as a list of files to exclude, as a table on the console."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields

import rich.markup
from rich.console import Console
from rich.table import Table

from degrade.doctor.checks import Diagnosis, Exam, lowest_quality
from degrade.storage.names import escape

__all__ = ["exclusions", "print_problems", "to_csv"]

_SEVERITY: dict[str, Callable[[Exam], float]] = {
    "small": lambda exam: min(exam.height, exam.width),
    "jpeg": lowest_quality,
    "soft": lambda exam: -exam.softness,
    "flat": lambda exam: -exam.flat,
}
"""Problem -> sort key, the worst first."""


def to_csv(diagnoses: Sequence[Diagnosis]) -> str:
    """Return one row a file: verdict, problems, all measures.

    >>> text = to_csv([Diagnosis(Exam("a.png", height=64), {"small": "64 x 64"})])
    >>> text.splitlines()[1][:34]
    'a.png,exclude,small: 64 x 64,,64,0'
    """
    text = io.StringIO()
    columns = [field.name for field in fields(Exam)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "verdict", "problems", *columns[1:]])
    for diagnosis in diagnoses:
        problems = "; ".join(f"{name}: {what}" for name, what in diagnosis.problems.items())
        file, *measures = (_cell(name, getattr(diagnosis.exam, name)) for name in columns)
        row = [file, "exclude" if problems else "keep", problems, *measures]
        writer.writerow(map(escape, row))
    return text.getvalue()


def _cell(name: str, value: float | str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return f"{value:016x}" if name in ("dhash", "phash") else str(value)


def exclusions(diagnoses: Sequence[Diagnosis]) -> str:
    """Return the files with a problem, one a line, as :func:`degrade.storage.names.escape` writes
    names.

    >>> exclusions([Diagnosis(Exam("a.png"), {"small": ""}), Diagnosis(Exam("b.png"), {})])
    'a.png\\n'
    """
    files = (diagnosis.exam.file for diagnosis in diagnoses if diagnosis.problems)
    return "".join(f"{escape(file)}\n" for file in files)


def print_problems(console: Console, diagnoses: Sequence[Diagnosis]) -> None:
    """Print each problem with its count and worst files, then the notes with their counts."""
    counts = Counter(name for diagnosis in diagnoses for name in diagnosis.problems)
    table = Table("problem", "images", "share", "worst", box=None, header_style="bold")
    for name, count in counts.most_common():
        share = f"{count / len(diagnoses):.0%}"
        table.add_row(name, str(count), share, "\n".join(_worst(name, diagnoses)))
    if counts:
        console.print(table)
    healthy = sum(not diagnosis.problems for diagnosis in diagnoses)
    console.print(f"{healthy} of {len(diagnoses)} images without a problem", soft_wrap=True)
    notes = Counter(note for d in diagnoses for note in d.exam.notes.split("; ") if note)
    if notes:
        listed = ", ".join(f"{note} ({count})" for note, count in notes.most_common())
        console.print(f"notes: {listed}", markup=False, soft_wrap=True)


def _worst(problem: str, diagnoses: Sequence[Diagnosis], count: int = 3) -> list[str]:
    """The files with the worst of a problem, and its description."""
    severity = _SEVERITY.get(problem, lambda _: 0.0)
    found = [diagnosis for diagnosis in diagnoses if problem in diagnosis.problems]
    found.sort(key=lambda diagnosis: severity(diagnosis.exam))
    return [rich.markup.escape(f"{d.exam.file}: {d.problems[problem]}") for d in found[:count]]
