"""Manifest: the record of a dataset on disk, and the lock of the one run that may write it.

``manifest.csv`` grows a row a pair while a run goes on and is sorted when it ends. A row is
written after both of its files are in place, so whatever a manifest lists is there; each ends with
the CRC-32 of its other cells. On opening, the rows are held against it, and the files of every row
are hashed again; rows that are damaged, or whose files are gone or damaged, are dropped and made
anew.
"""

from __future__ import annotations

import csv
import fcntl
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

__all__ = ["FIXED", "NUMBER", "Manifest", "Row", "drawn", "files", "read_rows"]

Row = dict[str, str]
FIXED = (
    *("index", "key", "name", "source", "top", "left", "height", "width"),
    *("hr_height", "hr_width", "lr_height", "lr_width", "hr_sha256", "lr_sha256", "notes"),
)
"""Columns before those of the recipe's variables."""
CHECK = "crc32"
"""The last column: the CRC-32 of the cells before it, each ended by a NUL."""


NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
"""A pair's index as text."""


def files(output: Path, name: str) -> tuple[Path, Path]:
    """The HR and the LR file of a pair. Raises SynthError if the name leads out of the dataset."""
    return inside(output / "hr", f"{name}.png"), inside(output / "lr", f"{name}.png")


def read_rows(text: str) -> tuple[list[str], list[Row]]:
    """The columns and the whole rows of a manifest; a last line that a kill cut short is no
    row. Raises SynthError.
    """
    text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    try:
        columns = list(reader.fieldnames or [])
        return columns, [row for row in reader if None not in row and None not in row.values()]
    except csv.Error as error:
        raise SynthError(f"the manifest is no CSV table: {error}") from None


def drawn(row: Row) -> Row:
    """What a row says was drawn, by address."""
    return {name: cell for name, cell in row.items() if name not in FIXED and name != CHECK}


class Keeper(Protocol):
    """What a manifest asks of a dataset's format."""

    def begin(self) -> None:
        """Fetches what an earlier run left."""
        ...

    def keep(self, rows: Sequence[Row]) -> list[Row]:
        """The rows whose pairs are whole."""
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
        keeper: Keeper | None = None,
    ) -> Generator[Manifest]:
        """Opens a new dataset, or one that the same run began.

        ``keeper`` says which of its pairs are whole; without one the manifest is taken at its
        word.

        Raises:
            SynthError: the folder holds something else, other settings made it, or another process
            writes it.
        """
        _begin(folder)
        with open(folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SynthError(
                    f"{folder}: another degrade process is writing here; wait for it to end"
                ) from None
            if keeper is not None:
                keeper.begin()
            _settle(folder, recipe, settings, versions)
            sweep(folder.rglob(".*.tmp"))
            columns = [*FIXED, *(column.address for column in recipe.columns)]
            rows = _recover(folder, columns, keeper)
            with open(folder / "manifest.csv", "a", newline="", encoding="utf-8") as stream:
                manifest = Manifest(folder, columns, stream)
                manifest._rows = rows
                yield manifest

    def done(self) -> set[int]:
        """The indices of the pairs that are there."""
        return set(self._rows)

    def rows(self) -> list[Row]:
        """All rows, by index."""
        return [self._rows[index] for index in sorted(self._rows)]

    def add(self, row: Row) -> None:
        """Records a pair whose files are in place."""
        self._rows[int(row["index"])] = row
        self._writer.writerow(_line(self._columns, row))
        self._stream.flush()

    def skip(self, source: str, reason: str) -> None:
        """Records a source that could not be used."""
        self._skipped[source] = reason

    def finish(self) -> None:
        """Sorts the manifest and writes ``skipped.csv``."""
        _write(self.folder / "manifest.csv", self._columns, self.rows())
        skipped = [["source", "reason"], *map(list, sorted(self._skipped.items()))]
        write_atomic(self.folder / "skipped.csv", _table(skipped))


def _begin(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SynthError(f"{folder}: is a file; name a folder with --output") from None
    known = folder / "synth.json"
    # Hidden files are the lock, those of a desktop, and what a run left that was killed at its
    # first write.
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not known.exists():
        raise SynthError(
            f"{folder}: holds {', '.join(sorted(others)[:3])}, which degrade did not write; choose another --output"
        )


def _settle(
    folder: Path, recipe: Recipe, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Holds the settings against those of the run that began, if one did, and writes what is
    not there as it should.
    """
    path = folder / "synth.json"
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if not isinstance(before, dict) or not isinstance(before.get("versions", {}), dict):
            raise SynthError(f"{path}: is not what degrade synth writes; choose another --output")
        # A name that is not there is no setting of None: one flipped bit makes "count" another
        # name.
        changed = [
            f"{k} was {before[k]!r}, now {v!r}" if k in before else f"{k} was not said, now {v!r}"
            for k, v in settings.items()
            if k not in before or before[k] != v
        ]
        made_by = before.get("versions", {})
        changed += [
            f"{k} was {made_by.get(k)}, now {v}"
            for k, v in versions.items()
            if made_by.get(k) != v
        ]
        if changed:
            raise SynthError(
                f"{folder}: holds another run ({'; '.join(changed)}); choose another --output"
            )
    for name, written in (
        # First, since it marks the folder as a run's own: one killed between the two can go on.
        ("synth.json", json.dumps({**settings, "versions": versions}, indent=2) + "\n"),
        ("recipe.yaml", f"# SHA-256 {recipe.hash}\n{recipe.to_yaml()}"),
    ):
        path = folder / name
        if not path.exists() or path.read_bytes() != written.encode():
            write_atomic(path, written.encode())


def _recover(folder: Path, columns: list[str], keeper: Keeper | None) -> dict[int, Row]:
    """The rows whose pairs are whole."""
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
            f"{path}: damaged, or not of this recipe; move it away and run again, to have it written anew"
        )
    intact = {
        int(row["index"]): row
        for row in rows
        if row.pop(CHECK) == _check([row[name] for name in columns])
        and NUMBER.fullmatch(row["index"])
    }
    whole = list(intact.values()) if keeper is None else keeper.keep(list(intact.values()))
    _write(path, columns, whole)
    return {int(row["index"]): row for row in whole}


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
