"""Manifest: the record of a dataset on disk, and the lock of the one run that may write it.

``manifest.csv`` grows a row a pair while a run goes on and is sorted when it ends. A row is written after both of its
files are in place, so whatever a manifest lists is there; on opening, the files of every row are hashed again, and rows
whose files are gone or damaged are dropped and made anew.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from degrade.errors import UserError
from degrade.images import write_atomic
from degrade.recipe import Recipe

__all__ = ["FIXED", "Manifest", "Row", "SynthError", "files", "inside", "place", "read_rows"]

Row = dict[str, str]
FIXED = (
    *("index", "key", "name", "source", "top", "left", "height", "width"),
    *("hr_height", "hr_width", "lr_height", "lr_width", "hr_sha256", "lr_sha256", "notes"),
)
"""Columns before those of the recipe's variables."""


class SynthError(UserError):
    """A run that cannot begin or go on, with the reason and the remedy."""


def files(output: Path, name: str) -> tuple[Path, Path]:
    """The HR and the LR file of a pair. Raises SynthError if the name leads out of the dataset."""
    return inside(output / "hr", f"{name}.png"), inside(output / "lr", f"{name}.png")


def inside(root: Path, relative: str) -> Path:
    """``root / relative``, which must lie in ``root``: manifests may come from strangers. Raises SynthError."""
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise SynthError(f"{relative!r} leads out of {root}; the manifest is not one that degrade wrote")
    return root / path


def place(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; leaves an equal one alone. Raises SynthError if another is there already."""
    if path.exists():
        if path.read_bytes() == data:
            return
        raise SynthError(f"{path}: exists and was not made by this run; move it away or choose another --output")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, sync=False)


def read_rows(text: str) -> tuple[list[str], list[Row]]:
    """The columns and the whole rows of a manifest; a last line that a kill cut short is no row. Raises SynthError."""
    text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    try:
        columns = list(reader.fieldnames or [])
        return columns, [row for row in reader if None not in row and None not in row.values()]
    except csv.Error as error:
        raise SynthError(f"the manifest is no CSV table: {error}") from None


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
        self._writer = csv.DictWriter(stream, columns, lineterminator="\n")
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

        ``keeper`` says which of its pairs are whole; without one the manifest is taken at its word.

        Raises:
            SynthError: the folder holds something else, other settings made it, or another process writes it.
        """
        _begin(folder)
        with open(folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SynthError(f"{folder}: another degrade process is writing here; wait for it to end") from None
            if keeper is not None:
                keeper.begin()
            _settle(folder, recipe, settings, versions)
            _sweep(folder)
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
        self._writer.writerow(row)
        self._stream.flush()

    def skip(self, source: str, reason: str) -> None:
        """Records a source that could not be used."""
        self._skipped[source] = reason

    def finish(self) -> None:
        """Sorts the manifest and writes ``skipped.csv``."""
        write_atomic(self.folder / "manifest.csv", _table(self._columns, self.rows()))
        skipped = [{"source": source, "reason": reason} for source, reason in sorted(self._skipped.items())]
        write_atomic(self.folder / "skipped.csv", _table(["source", "reason"], skipped))


def _begin(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SynthError(f"{folder}: is a file; name a folder with --output") from None
    known = folder / "synth.json"
    # Hidden files are the lock, those of a desktop, and what a run left that was killed at its first write.
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not known.exists():
        raise SynthError(
            f"{folder}: holds {', '.join(sorted(others)[:3])}, which degrade did not write; choose another --output"
        )


def _settle(folder: Path, recipe: Recipe, settings: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Writes the settings, or holds those of the run that began against them."""
    path = folder / "synth.json"
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise SynthError(f"{path}: is not what degrade synth writes; choose another --output")
        changed = [f"{k} was {before.get(k)!r}, now {v!r}" for k, v in settings.items() if before.get(k) != v]
        made_by = before.get("versions", {})
        changed += [f"{k} was {made_by.get(k)}, now {v}" for k, v in versions.items() if made_by.get(k) != v]
        if changed:
            raise SynthError(f"{folder}: holds another run ({'; '.join(changed)}); choose another --output")
    else:
        write_atomic(path, (json.dumps({**settings, "versions": versions}, indent=2) + "\n").encode())
    # After the settings, which mark the folder as a run's own: one killed between the two can go on.
    if not (folder / "recipe.yaml").exists():
        write_atomic(folder / "recipe.yaml", f"# SHA-256 {recipe.hash}\n{recipe.to_yaml()}".encode())


def _sweep(folder: Path) -> None:
    """Removes the unfinished files of a run that was killed; nothing else is called so."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def _recover(folder: Path, columns: list[str], keeper: Keeper | None) -> dict[int, Row]:
    """The rows whose pairs are whole."""
    path = folder / "manifest.csv"
    if not path.exists():
        write_atomic(path, _table(columns, []))
        return {}
    found, rows = read_rows(path.read_text(encoding="utf-8", errors="replace"))
    if found != columns:
        raise SynthError(f"{path}: has other columns than this recipe; choose another --output")
    numbered = {int(row["index"]): row for row in rows if row["index"].isdecimal()}
    whole = list(numbered.values()) if keeper is None else keeper.keep(list(numbered.values()))
    write_atomic(path, _table(columns, whole))
    return {int(row["index"]): row for row in whole}


def _table(columns: list[str], rows: list[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
