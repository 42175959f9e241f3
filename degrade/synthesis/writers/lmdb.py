"""LMDB in BasicSR's layout: ``hr.lmdb`` and ``lr.lmdb``, each with ``data.mdb``, ``lock.mdb`` and
``meta_info.txt``.

``meta_info.txt`` has a line ``KEY.png (h,w,c) 1`` a pair, by index; keys are names
(:func:`degrade.data.readers.key_of`); values are the PNG files. Both databases are made when all
pairs are there, in the order of their keys, so that they are compact and no database is ever half
full; until then the pairs lie in a hidden folder, and take their space twice while the databases
are made. (BasicSR: ``basicsr/utils/lmdb_util.py``; the 1 is its compression level, which no reader
uses.)
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from degrade.data.readers import key_of, open_lmdb
from degrade.errors import SynthError, UserError
from degrade.storage.files import sha256
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import Packed, Pair

__all__ = ["Lmdb"]

PAGE = 4096
FILES = ("data.mdb", "meta_info.txt", "lock.mdb")


class Lmdb(Packed):
    """Two databases, of HR and of LR files."""

    name = "lmdb"
    changed = False

    def require(self) -> None:
        _import()

    def keep(self, rows: Sequence[Row]) -> list[Row]:
        kept: list[Row] = []
        for row in rows:
            if self.sound(row):
                self.changed = True
            else:
                try:
                    pair = self.read(row)
                except UserError:  # a damaged database: all is made anew
                    pair = None
                if pair is None or [sha256(one) for one in pair] != [
                    row["hr_sha256"],
                    row["lr_sha256"],
                ]:
                    self.changed = True
                    continue
            kept.append(row)
        return kept

    def add(self, row: Row) -> None:
        self.changed = True

    def finish(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self.changed:
            hidden = self.home.folder / f".{uuid.uuid4().hex}.tmp"
            hidden.mkdir()
            try:
                for side, final in enumerate(self._folders()):
                    self._make(hidden / final.name, side, rows)
                self.__dict__.pop("_databases", None)
                for final in self._folders():
                    # Staged files go last: killed in between, the next run makes both again.
                    if not final.exists():
                        (hidden / final.name).rename(final)
                        continue
                    # File by file, as no folder can take another's place at once; what is listed
                    # is there throughout.
                    for name in FILES:
                        if (hidden / final.name / name).exists():
                            (hidden / final.name / name).replace(final / name)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
            self.changed = False
        for folder in self._folders():
            for name in FILES:
                if (folder / name).exists():
                    self.home.publish(folder / name, keep=True)
        self.clear()

    def read(self, row: Row) -> Pair | None:
        waiting = self.waiting(row)
        if waiting is not None:
            return waiting
        found: list[bytes] = []
        for database in self._databases:
            with database.begin() as transaction:
                value = transaction.get(key_of(row["name"]).encode())
            if value is not None:
                found.append(bytes(value))
        return (found[0], found[1]) if len(found) == 2 else None

    def _folders(self) -> list[Path]:
        return [self.home.folder / "hr.lmdb", self.home.folder / "lr.lmdb"]

    @cached_property
    def _databases(self) -> list[Any]:
        """What is packed already; nothing if either is missing."""
        found = [self.home.fetch(folder / FILES[0]) for folder in self._folders()]
        return (
            [] if None in found else [open_lmdb(path.parent) for path in found if path is not None]
        )

    def _make(self, folder: Path, side: int, rows: Sequence[Row]) -> None:
        """Makes one database in a new folder. Raises SynthError."""
        lmdb = _import()
        size, lines = 0, list[str]()
        for row in rows:
            pair = self.read(row)
            assert pair is not None, f"{row['name']}: gone since it was recorded"
            lines.append(_line(row, side, pair[side]))
            # A value takes whole pages after its header; its entry, and the tree above, part of
            # one.
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
                f"{self.home.folder}: cannot write LMDB ({error}); is the disk full?"
            ) from None
        (folder / "meta_info.txt").write_text("".join(lines), encoding="ascii")


def _line(row: Row, side: int, png: bytes) -> str:
    prefix = ("hr", "lr")[side]
    channels = 4 if png[25] == 6 else 3  # the colour type in a PNG header: 2 is RGB, 6 is RGBA
    return f"{key_of(row['name'])}.png ({row[f'{prefix}_height']},{row[f'{prefix}_width']},{channels}) 1\n"


def _import() -> Any:
    try:
        import lmdb
    except ImportError:
        raise UserError(
            "--format lmdb: needs the lmdb package; pip install 'degrade[shards]'"
        ) from None
    return lmdb
