"""WebDataset format: tar shards ``pairs-000000.tar`` of ``000123.hr.png``, ``000123.json`` and
``000123.lr.png``.

Shard :math:`k` holds the pairs :math:`kN \\le i < (k + 1) N` in ascending order, in whatever order
they were rendered; owner, mode and time of members are fixed, so a shard's bytes follow from its
pairs. A shard is written atomically, and again if a source that was skipped can be used in a later
run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from degrade.data.readers.tar import IndexedTar
from degrade.errors import UserError
from degrade.extras import install
from degrade.storage.destination import Destination
from degrade.storage.files import move_aside, sha256
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import EncodedPair, PackedWriter, matches
from degrade.synthesis.writers.json_rows import to_json

__all__ = ["WebDatasetWriter"]


class WebDatasetWriter(PackedWriter):
    """Writes shards of ``shard`` pairs with webdataset's ``TarWriter``."""

    name = "webdataset"
    packs_in_order = True

    def __init__(
        self,
        destination: Destination,
        shard: int = 1000,
        total: int = 0,
        sides: Sequence[str] = ("hr", "lr"),
    ) -> None:
        super().__init__(destination, shard, total, sides)
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
        for path in sorted(self.destination.folder.glob("pairs-*.tar")):
            digits = path.stem.removeprefix("pairs-")
            if digits.isdecimal() and int(digits) * self.shard >= self.total:
                self.repaired.append(f"not of this dataset: moved aside as {move_aside(path)}")
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
        tar = self._shard(index // self.shard)
        return None if tar is None else self._members(tar, index)

    def _shard(self, number: int) -> IndexedTar | None:
        """Return a packed shard, kept open for the pairs that are read from it in turn."""
        path = self.destination.fetch(self.path(number))
        if path is None:
            return None
        if self._open is None or self._open.path != path:
            self._open = IndexedTar(path)
        return self._open

    def _members(self, tar: IndexedTar, index: int) -> EncodedPair | None:
        """Return the files of a pair in a shard."""
        names = [f"{index:06d}.{side}.png" for side in self.sides]
        return tuple(map(tar.read, names)) if all(name in tar for name in names) else None

    def _packed(self, number: int, rows: Sequence[Row]) -> set[int]:
        """Return the indices of the pairs that a shard holds intact; delete a damaged shard."""
        path = self.path(number)
        if not path.is_file():
            # In an object store, where uploads are atomic.
            return {int(row["index"]) for row in rows} if self.destination.has(path) else set()
        try:
            tar = IndexedTar(path)
            found = {int(row["index"]): self._members(tar, int(row["index"])) for row in rows}
        except UserError as error:
            self.repaired.append(f"written again: {error}")
            path.unlink()
            return set()
        intact = [row for row in rows if (pair := found[int(row["index"])]) and matches(pair, row)]
        if not self._is_written(path, tar, intact):
            self.repaired.append(f"written again: {path}: is not what its pairs give")
            self._stale.add(number)
        self.destination.put(path)
        return {int(row["index"]) for row in intact}

    def _is_written(self, path: Path, tar: IndexedTar, rows: Sequence[Row]) -> bool:
        """Return whether a shard is, byte for byte, what is written of some pairs in it."""
        digest = _Digest()
        ordered = sorted(rows, key=lambda row: int(row["index"]))
        self._write(digest, ordered, lambda row: self._members(tar, int(row["index"])))
        return digest.hash.hexdigest() == sha256(path)

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
                self._write(file, rows, self.read)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._open = None
        self.destination.put(path)
        for row in rows:
            self.delete_staged(row)

    def _write(
        self,
        file: BinaryIO | _Digest,
        rows: Sequence[Row],
        read: Callable[[Row], EncodedPair | None],
    ) -> None:
        tar = _tar_writer()(
            file, user="degrade", group="degrade", mode=0o644, encoder=None, mtime=0
        )
        try:
            for row in rows:
                pair = read(row)
                assert pair is not None, f"{row['name']}: was deleted while the run went on"
                key, described = f"{int(row['index']):06d}", to_json(row).encode()
                files = {f"{side}.png": file for side, file in zip(self.sides, pair, strict=True)}
                tar.write({"__key__": key, **dict(sorted({**files, "json": described}.items()))})
        except OSError:
            # Closed now, or it would try to write once more when collected, and print the error.
            with contextlib.suppress(OSError):
                tar.close()
            raise
        tar.close()


class _Digest:
    """A file of which only the SHA-256 is kept."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Add to the hash."""
        self.hash.update(data)
        return len(data)


def _tar_writer() -> Any:
    try:
        from webdataset.writer import TarWriter
    except ImportError:
        raise UserError(
            f"--format webdataset: needs the webdataset package; {install('shards')}"
        ) from None
    return TarWriter
