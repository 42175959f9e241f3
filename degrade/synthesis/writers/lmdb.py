"""LMDB format in BasicSR's layout: ``hr.lmdb`` and ``lr.lmdb``, each with ``data.mdb``,
``lock.mdb`` and ``meta_info.txt``.

``meta_info.txt`` has one line ``KEY.png (h,w,c) 1`` a pair, by index; keys are names
(:func:`degrade.data.readers.lmdb.key_of`); values are the PNG files. Both databases are written
when all pairs are staged, sorted by key, so that they are compact and never incomplete; while they
are written, the pairs take twice their space. (BasicSR: ``basicsr/utils/lmdb_util.py``; the 1 is
its compression level, which no reader uses.)
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from degrade.data.readers.lmdb import key_of, open_lmdb
from degrade.errors import SynthError, UserError
from degrade.extras import install
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import EncodedPair, PackedWriter, matches

__all__ = ["LmdbWriter"]

PAGE = 4096
"""Bytes of a page of the database."""
FILES = ("data.mdb", "meta_info.txt", "lock.mdb")
"""The files of a database, in the order they are moved in place."""


class LmdbWriter(PackedWriter):
    """Writes two databases, of HR and of LR files."""

    name = "lmdb"
    changed = False
    """Whether the databases must be written again."""

    def require_packages(self) -> None:
        _import()

    def verify(self, rows: Sequence[Row]) -> list[Row]:
        intact: list[Row] = []
        for row in rows:
            staged = self.verify_files(row)
            packed = not staged and self._is_packed(row)
            if not packed:
                self.changed = True
            if staged or packed:
                intact.append(row)
        return intact

    def _is_packed(self, row: Row) -> bool:
        """Return whether the databases hold a pair intact."""
        try:
            pair = self.read(row)
        except UserError:  # a damaged database: all its pairs are rendered again
            return False
        return pair is not None and matches(pair, row)

    def add(self, row: Row) -> None:
        self.changed = True

    def finish(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self.changed:
            hidden = self.destination.folder / f".{uuid.uuid4().hex}.tmp"
            hidden.mkdir()
            try:
                for side, final in enumerate(self._folders()):
                    self._write(hidden / final.name, side, rows)
                self.__dict__.pop("_databases", None)
                for final in self._folders():
                    # Staged files are deleted last: if the run is killed before, the next one
                    # writes both databases again.
                    if not final.exists():
                        (hidden / final.name).rename(final)
                        continue
                    # File by file, as a folder cannot replace another atomically; every pair
                    # that the manifest lists can be read throughout.
                    for name in FILES:
                        if (hidden / final.name / name).exists():
                            (hidden / final.name / name).replace(final / name)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
            self.changed = False
        for folder in self._folders():
            for name in FILES:
                if (folder / name).exists():
                    self.destination.put(folder / name, keep=True)
        self.delete_staging_dir()

    def read(self, row: Row) -> EncodedPair | None:
        staged = self.read_staged(row)
        if staged is not None:
            return staged
        found: list[bytes] = []
        for database in self._databases:
            with database.begin() as transaction:
                value = transaction.get(key_of(row["name"]).encode())
            if value is not None:
                found.append(bytes(value))
        return (found[0], found[1]) if len(found) == 2 else None

    def _folders(self) -> list[Path]:
        return [self.destination.folder / "hr.lmdb", self.destination.folder / "lr.lmdb"]

    @cached_property
    def _databases(self) -> list[Any]:
        """The open databases; empty if either is missing."""
        found = [self.destination.fetch(folder / FILES[0]) for folder in self._folders()]
        return (
            [] if None in found else [open_lmdb(path.parent) for path in found if path is not None]
        )

    def _write(self, folder: Path, side: int, rows: Sequence[Row]) -> None:
        """Write one database to a new folder. Raises SynthError."""
        lmdb = _import()
        size, lines = 0, list[str]()
        for row in rows:
            pair = self.read(row)
            assert pair is not None, f"{row['name']}: was deleted while the run went on"
            lines.append(_line(row, side, pair[side]))
            # A value takes whole pages after its header; its entry and the tree above it take
            # part of another.
            size += len(pair[side]) // PAGE * PAGE + 3 * PAGE
        try:
            with contextlib.closing(
                lmdb.open(str(folder), map_size=size + 1024 * PAGE, writemap=False)
            ) as database:
                ordered = sorted(rows, key=lambda row: key_of(row["name"]).encode())
                for start in range(0, len(ordered), self.shard):
                    with database.begin(write=True) as transaction:
                        for row in ordered[start : start + self.shard]:
                            pair = self.read(row)
                            assert pair is not None
                            transaction.put(key_of(row["name"]).encode(), pair[side], append=True)
                database.sync(True)
        except lmdb.Error as error:
            raise SynthError(
                f"{self.destination.folder}: cannot write LMDB ({error}); is the disk full?"
            ) from None
        (folder / "meta_info.txt").write_text("".join(lines), encoding="ascii")


def _line(row: Row, side: int, png: bytes) -> str:
    prefix = ("hr", "lr")[side]
    channels = 4 if png[25] == 6 else 3  # the colour type in a PNG header: 2 is RGB, 6 is RGBA
    height, width = row[f"{prefix}_height"], row[f"{prefix}_width"]
    return f"{key_of(row['name'])}.png ({height},{width},{channels}) 1\n"


def _import() -> Any:
    try:
        import lmdb
    except ImportError:
        raise UserError(f"--format lmdb: needs the lmdb package; {install('shards')}") from None
    return lmdb
