"""Manifest: the record of a dataset's pairs, and the lock of the one run that may write it.

A run appends one row a pair to ``manifest.csv`` and sorts it at the end. A row is written after
both of its files, so every pair that is listed exists; its last cell is the CRC-32 of the others.
When a run is resumed, checksums are verified and files hashed again; rows that are damaged, or
whose files are missing or damaged, are dropped, and their pairs rendered again.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from degrade.errors import SynthError
from degrade.recipe import Recipe
from degrade.storage.files import inside, sweep, write_atomic
from degrade.storage.lock import locked

__all__ = ["FIXED", "NUMBER", "Manifest", "Row", "drawn", "pair_files", "read_rows"]

Row = dict[str, str]
FIXED = (
    *("index", "key", "name", "source", "top", "left", "height", "width"),
    *("hr_height", "hr_width", "lr_height", "lr_width", "hr_sha256", "lr_sha256", "notes"),
)
"""The first columns, before those of the recipe's random variables."""
CHECK = "crc32"
"""The last column: the CRC-32 of the cells before it, each ended by a NUL."""
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
"""The index of a pair as text."""


def pair_files(output: Path, name: str) -> tuple[Path, Path]:
    """Return the HR and the LR file of a pair.

    >>> [path.as_posix() for path in pair_files(Path("out"), "below/a")]
    ['out/hr/below/a.png', 'out/lr/below/a.png']

    Raises:
        SynthError: the name leads out of the dataset.
    """
    return inside(output / "hr", f"{name}.png"), inside(output / "lr", f"{name}.png")


def read_rows(text: str) -> tuple[list[str], list[Row]]:
    """Return the columns and the complete rows of a manifest.

    An incomplete last line (process killed) is ignored.

    >>> read_rows("index,name\\n0,a\\n1,")
    (['index', 'name'], [{'index': '0', 'name': 'a'}])

    Raises:
        SynthError: the text is not a CSV table.
    """
    text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    try:
        columns = list(reader.fieldnames or [])
        return columns, [row for row in reader if None not in row and None not in row.values()]
    except csv.Error as error:
        raise SynthError(f"the manifest is not a CSV table: {error}") from None


def drawn(row: Row) -> Row:
    """Return the drawn values of a row, by address.

    >>> drawn({"index": "0", "noise.sigma": "1.5", "crc32": "00000000"})
    {'noise.sigma': '1.5'}
    """
    return {name: cell for name, cell in row.items() if name not in FIXED and name != CHECK}


class Verifier(Protocol):
    """The part of a writer that a manifest uses when it is opened."""

    def begin(self) -> None:
        """Lock the destination, and fetch the records of an earlier run."""
        ...

    def verify(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows whose pairs are intact."""
        ...


class Manifest:
    """An open manifest; see :meth:`open`."""

    def __init__(self, folder: Path, columns: list[str], stream: TextIO) -> None:
        self.folder = folder
        self._columns = columns
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._rows: dict[int, Row] = {}
        self._skipped: dict[str, str] = {}

    @staticmethod
    @contextmanager
    def open(
        folder: Path,
        recipe: Recipe,
        settings: Mapping[str, Any],
        versions: Mapping[str, str],
        verifier: Verifier | None = None,
    ) -> Generator[Manifest]:
        """Open the manifest of a new dataset, or of one that the same run began.

        Args:
            folder: The working folder.
            recipe: The recipe.
            settings: The settings of the run; see :func:`degrade.synthesis.run.settings_record`.
            versions: The versions of the packages.
            verifier: Verifies the pairs of an earlier run; without it, all are taken as intact.

        Raises:
            SynthError: the folder holds other files or another run's dataset, or another process
                is writing to it.
        """
        _check_folder(folder)
        with locked(folder, "another degrade process is writing here; wait for it to end"):
            if verifier is not None:
                verifier.begin()
            _write_records(folder, recipe, settings, versions)
            sweep(folder.rglob(".*.tmp"))
            columns = [*FIXED, *(column.address for column in recipe.columns)]
            rows = _recover(folder, columns, verifier)
            with open(folder / "manifest.csv", "a", newline="", encoding="utf-8") as stream:
                manifest = Manifest(folder, columns, stream)
                manifest._rows = rows
                yield manifest

    def done(self) -> set[int]:
        """Return the indices of the recorded pairs."""
        return set(self._rows)

    def rows(self) -> list[Row]:
        """Return all rows, by index."""
        return [self._rows[index] for index in sorted(self._rows)]

    def add(self, row: Row) -> None:
        """Record a pair, whose files are written."""
        self._rows[int(row["index"])] = row
        self._writer.writerow(_line(self._columns, row))
        self._stream.flush()

    def skip(self, source: str, reason: str) -> None:
        """Record a source that cannot be used."""
        self._skipped[source] = reason

    def finish(self) -> None:
        """Sort the manifest, and write ``skipped.csv``."""
        _write(self.folder / "manifest.csv", self._columns, self.rows())
        skipped = [["source", "reason"], *map(list, sorted(self._skipped.items()))]
        write_atomic(self.folder / "skipped.csv", _table(skipped))


def _check_folder(folder: Path) -> None:
    """Create the folder. Raises SynthError if it holds files that degrade did not write."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SynthError(f"{folder}: is a file; name a folder with --output") from None
    # Hidden files are the lock, a desktop's, or left by a run that was killed at its first write.
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not (folder / "synth.json").exists():
        raise SynthError(
            f"{folder}: holds {', '.join(sorted(others)[:3])}, which degrade did not write;"
            " choose another --output"
        )


def _write_records(
    folder: Path, recipe: Recipe, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Write ``synth.json`` and ``recipe.yaml``, after comparing them with an earlier run's."""
    path = folder / "synth.json"
    if path.exists():
        changed = _changes(path, settings, versions)
        if changed:
            raise SynthError(
                f"{folder}: holds another run ({'; '.join(changed)}); choose another --output"
            )
    # synth.json first: it marks the folder, so a run killed between the two can be resumed.
    # What defines its operators is no setting: a module may move.
    needs = {"import": list(recipe.imports)} if recipe.imports else {}
    record = json.dumps({**settings, **needs, "versions": versions}, indent=2) + "\n"
    _write_if_changed(path, record)
    _write_if_changed(folder / "recipe.yaml", f"# SHA-256 {recipe.hash}\n{recipe.to_yaml()}")


def _changes(path: Path, settings: Mapping[str, Any], versions: Mapping[str, str]) -> list[str]:
    """Return how settings and versions differ from those in a ``synth.json``, in words."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict) or not isinstance(before.get("versions", {}), dict):
        raise SynthError(f"{path}: is not what degrade synth writes; choose another --output")
    # A missing setting is not None (it may be a corrupted name).
    changes = [
        f"{k} was {before[k]!r}, now {v!r}" if k in before else f"{k} was missing, now {v!r}"
        for k, v in settings.items()
        if k not in before or before[k] != v
    ]
    made_by = {**before.get("versions", {})}
    if "native code" in made_by:  # what versions before 0.2 wrote
        made_by["backend"] = "native" if made_by["native code"] == "yes" else "opencv"
    changes += [
        f"{k} was {made_by.get(k)}, now {v}" for k, v in versions.items() if made_by.get(k) != v
    ]
    return changes


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_bytes() != text.encode():
        write_atomic(path, text.encode())


def _recover(folder: Path, columns: list[str], verifier: Verifier | None) -> dict[int, Row]:
    """Return the rows of an earlier run whose pairs are intact, and drop the others."""
    path = folder / "manifest.csv"
    if not path.exists():
        _write(path, columns, [])
        return {}
    try:
        # Not read_text, which takes a carriage return within a name for the end of a line.
        found, rows = read_rows(path.read_bytes().decode(errors="replace"))
    except SynthError:
        found, rows = [], []
    if found != [*columns, CHECK]:
        raise SynthError(
            f"{path}: is damaged, or not of this recipe;"
            " move it away and run again, to have it written anew"
        )
    undamaged = {
        int(row["index"]): row
        for row in rows
        if row.pop(CHECK) == _check([row[name] for name in columns])
        and NUMBER.fullmatch(row["index"])
    }
    intact = list(undamaged.values())
    if verifier is not None:
        intact = verifier.verify(intact)
    _write(path, columns, intact)
    return {int(row["index"]): row for row in intact}


def _write(path: Path, columns: list[str], rows: list[Row]) -> None:
    write_atomic(path, _table([[*columns, CHECK], *(_line(columns, row) for row in rows)]))


def _line(columns: list[str], row: Row) -> list[str]:
    cells = [row.get(name, "") for name in columns]
    return [*cells, _check(cells)]


def _check(cells: list[str]) -> str:
    return f"{zlib.crc32(b''.join(cell.encode() + bytes(1) for cell in cells)):08x}"


def _table(lines: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode()
