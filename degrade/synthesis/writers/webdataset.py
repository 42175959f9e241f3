"""WebDataset: tar shards ``pairs-000000.tar`` that hold ``000123.hr.png``, ``000123.json`` and
``000123.lr.png``.

Shard :math:`k` holds the pairs :math:`kN \\le i < (k + 1) N` in ascending order, whatever order
they were made in; each member's owner, mode and time are fixed; so a shard's bytes follow from its
pairs. It appears whole or not at all, and is written anew when a source that was skipped could be
used on a later run.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from degrade.data.readers import TarFile
from degrade.errors import UserError
from degrade.storage.destination import Home
from degrade.storage.files import sha256
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import Packed, Pair
from degrade.synthesis.writers.json_rows import to_json

__all__ = ["WebDataset"]


class WebDataset(Packed):
    """Shards of ``shard`` pairs, written by webdataset's ``TarWriter``."""

    name = "webdataset"
    numbered = True

    def __init__(self, home: Home, shard: int = 1000, total: int = 0) -> None:
        super().__init__(home, shard, total)
        self._rows: defaultdict[int, dict[int, Row]] = defaultdict(dict)
        self._skipped: defaultdict[int, set[int]] = defaultdict(set)
        self._stale: set[int] = set()
        self._open: TarFile | None = None

    def require(self) -> None:
        _tar_writer()

    def path(self, number: int) -> Path:
        """A shard's file."""
        return self.home.folder / f"pairs-{number:06d}.tar"

    def keep(self, rows: Sequence[Row]) -> list[Row]:
        shards: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            shards[int(row["index"]) // self.shard].append(row)
        kept: list[Row] = []
        for number, some in sorted(shards.items()):
            packed = self._packed(number, some)
            for row in some:
                index = int(row["index"])
                if index in packed:
                    self.unstage(row)
                elif self.sound(row):
                    self._stale.add(number)
                else:
                    continue
                self._rows[number][index] = row
                kept.append(row)
        return kept

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
        self.clear()

    def read(self, row: Row) -> Pair | None:
        waiting = self.waiting(row)
        if waiting is not None:
            return waiting
        index = int(row["index"])
        return self._from(self._shard(index // self.shard), index)

    def _shard(self, number: int) -> TarFile | None:
        """A packed shard, opened once for the pairs that are read from it in turn."""
        path = self.home.fetch(self.path(number))
        if path is None:
            return None
        if self._open is None or self._open.path != path:
            self._open = TarFile(path)
        return self._open

    def _from(self, tar: TarFile | None, index: int) -> Pair | None:
        names = [f"{index:06d}.{side}.png" for side in ("hr", "lr")]
        if tar is None or any(name not in tar for name in names):
            return None
        return tar.read(names[0]), tar.read(names[1])

    def _packed(self, number: int, rows: Sequence[Row]) -> set[int]:
        """The indices of the pairs that a shard holds as the manifest says; a damaged shard is
        removed.
        """
        path = self.path(number)
        if not path.is_file():
            # In a store, where a file is whole or absent.
            return {int(row["index"]) for row in rows} if self.home.has(path) else set()
        try:
            tar = TarFile(path)
            found = {int(row["index"]): self._from(tar, int(row["index"])) for row in rows}
        except UserError:
            path.unlink()
            return set()
        sound: set[int] = set()
        for row in rows:
            pair, said = found[int(row["index"])], f"{int(row['index']):06d}.json"
            whole = pair is not None and [sha256(one) for one in pair] == [
                row["hr_sha256"],
                row["lr_sha256"],
            ]
            if whole:
                sound.add(int(row["index"]))
            if pair is not None and not (
                whole and said in tar and tar.read(said) == to_json(row).encode()
            ):
                self._stale.add(number)
        self.home.publish(path)
        return sound

    def _pack_if_done(self, number: int) -> None:
        expected = min(self.shard, self.total - number * self.shard)
        if (
            len(self._rows[number].keys() | self._skipped[number]) == expected
            and number in self._stale
        ):
            self._pack(number)

    def _pack(self, number: int) -> None:
        """Writes a shard of what is staged and of what its earlier version held."""
        TarWriter = _tar_writer()  # noqa: N806
        path = self.path(number)
        rows = [row for _, row in sorted(self._rows[number].items())]
        self._stale.discard(number)
        if not rows:
            path.unlink(missing_ok=True)
            return
        temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb") as file:
                tar = TarWriter(
                    file, user="degrade", group="degrade", mode=0o644, encoder=None, mtime=0
                )
                try:
                    for row in rows:
                        pair = self.read(row)
                        assert pair is not None, f"{row['name']}: gone since it was recorded"
                        key = f"{int(row['index']):06d}"
                        tar.write(
                            {
                                "__key__": key,
                                "hr.png": pair[0],
                                "json": to_json(row).encode(),
                                "lr.png": pair[1],
                            }
                        )
                except OSError:
                    with contextlib.suppress(
                        OSError
                    ):  # else it tries once more when it is collected, and prints that
                        tar.close()
                    raise
                tar.close()
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._open = None
        self.home.publish(path)
        for row in rows:
            self.unstage(row)


def _tar_writer() -> Any:
    try:
        from webdataset.writer import TarWriter
    except ImportError:
        raise UserError(
            "--format webdataset: needs the webdataset package; pip install 'degrade[shards]'"
        ) from None
    return TarWriter
