"""WebDataset format: tar shards ``pairs-000000.tar`` of ``000123.hr.png``, ``000123.json`` and
``000123.lr.png``.

Shard :math:`k` holds the pairs :math:`kN \\le i < (k + 1) N` in ascending order, in whatever order
they were rendered; owner, mode and time of members are fixed, so a shard's bytes follow from its
pairs. A shard is written atomically, and again if a source that was skipped can be used in a later
run.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from degrade.data.readers.webdataset import IndexedTar
from degrade.errors import UserError
from degrade.extras import install
from degrade.storage.destination import Destination
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import EncodedPair, PackedWriter, matches
from degrade.synthesis.writers.json_rows import to_json

__all__ = ["WebDatasetWriter"]


class WebDatasetWriter(PackedWriter):
    """Writes shards of ``shard`` pairs with webdataset's ``TarWriter``."""

    name = "webdataset"
    packs_in_order = True

    def __init__(self, destination: Destination, shard: int = 1000, total: int = 0) -> None:
        super().__init__(destination, shard, total)
        self._rows: defaultdict[int, dict[int, Row]] = defaultdict(dict)
        self._skipped: defaultdict[int, set[int]] = defaultdict(set)
        self._stale: set[int] = set()
        self._open: IndexedTar | None = None

    def require_packages(self) -> None:
        _tar_writer()

    def path(self, number: int) -> Path:
        """Return a shard's file."""
        return self.destination.folder / f"pairs-{number:06d}.tar"

    def verify(self, rows: Sequence[Row]) -> list[Row]:
        shards: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            shards[int(row["index"]) // self.shard].append(row)
        intact: list[Row] = []
        for number, shard_rows in sorted(shards.items()):
            packed = self._packed(number, shard_rows)
            for row in shard_rows:
                index = int(row["index"])
                if index in packed:
                    self.delete_staged(row)
                elif self.verify_files(row):
                    self._stale.add(number)
                else:
                    continue
                self._rows[number][index] = row
                intact.append(row)
        return intact

    def add(self, row: Row) -> None:
        number = int(row["index"]) // self.shard
        self._rows[number][int(row["index"])] = row
        self._stale.add(number)
        self._pack_if_done(number)

    def skip(self, index: int) -> None:
        self._skipped[index // self.shard].add(index)
        self._pack_if_done(index // self.shard)

    def finish(self, rows: Sequence[Row]) -> None:
        for number in sorted(self._stale):
            self._pack(number)
        self.delete_staging_dir()

    def read(self, row: Row) -> EncodedPair | None:
        staged = self.read_staged(row)
        if staged is not None:
            return staged
        index = int(row["index"])
        return _read_pair(self._shard(index // self.shard), index)

    def _shard(self, number: int) -> IndexedTar | None:
        """Return a packed shard, kept open for the pairs that are read from it in turn."""
        path = self.destination.fetch(self.path(number))
        if path is None:
            return None
        if self._open is None or self._open.path != path:
            self._open = IndexedTar(path)
        return self._open

    def _packed(self, number: int, rows: Sequence[Row]) -> set[int]:
        """Return the indices of the pairs that a shard holds intact; delete a damaged shard."""
        path = self.path(number)
        if not path.is_file():
            # In an object store, where uploads are atomic.
            return {int(row["index"]) for row in rows} if self.destination.has(path) else set()
        try:
            tar = IndexedTar(path)
            found = {int(row["index"]): _read_pair(tar, int(row["index"])) for row in rows}
        except UserError:
            path.unlink()
            return set()
        packed: set[int] = set()
        for row in rows:
            index = int(row["index"])
            pair, described = found[index], f"{index:06d}.json"
            if pair is None:
                continue
            intact = matches(pair, row)
            if intact:
                packed.add(index)
            same_row = described in tar and tar.read(described) == to_json(row).encode()
            if not (intact and same_row):
                self._stale.add(number)
        self.destination.put(path)
        return packed

    def _pack_if_done(self, number: int) -> None:
        expected = min(self.shard, self.total - number * self.shard)
        done = self._rows[number].keys() | self._skipped[number]
        if len(done) == expected and number in self._stale:
            self._pack(number)

    def _pack(self, number: int) -> None:
        """Write a shard of its staged pairs and of those of its previous version."""
        path = self.path(number)
        rows = [row for _, row in sorted(self._rows[number].items())]
        self._stale.discard(number)
        if not rows:
            path.unlink(missing_ok=True)
            return
        temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb") as file:
                self._write(file, rows)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._open = None
        self.destination.put(path)
        for row in rows:
            self.delete_staged(row)

    def _write(self, file: BinaryIO, rows: Sequence[Row]) -> None:
        tar = _tar_writer()(
            file, user="degrade", group="degrade", mode=0o644, encoder=None, mtime=0
        )
        try:
            for row in rows:
                pair = self.read(row)
                assert pair is not None, f"{row['name']}: was deleted while the run went on"
                key, described = f"{int(row['index']):06d}", to_json(row).encode()
                tar.write(
                    {"__key__": key, "hr.png": pair[0], "json": described, "lr.png": pair[1]}
                )
        except OSError:
            # Closed now, or it would try to write once more when collected, and print the error.
            with contextlib.suppress(OSError):
                tar.close()
            raise
        tar.close()


def _read_pair(tar: IndexedTar | None, index: int) -> EncodedPair | None:
    names = [f"{index:06d}.{side}.png" for side in ("hr", "lr")]
    if tar is None or any(name not in tar for name in names):
        return None
    return tar.read(names[0]), tar.read(names[1])


def _tar_writer() -> Any:
    try:
        from webdataset.writer import TarWriter
    except ImportError:
        raise UserError(
            f"--format webdataset: needs the webdataset package; {install('shards')}"
        ) from None
    return TarWriter
