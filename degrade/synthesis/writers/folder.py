"""Folder format: ``hr/NAME.png`` and ``lr/NAME.png``; and the base of the packed formats."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from degrade.storage.destination import Destination
from degrade.storage.files import sha256
from degrade.synthesis.manifest import Row, pair_files, recorded_hashes

__all__ = ["EncodedPair", "FolderWriter", "PackedWriter", "matches", "utf8_bytes"]

MAX_NAME = 900
"""Most bytes of a name; systems allow 4096 for a path, with the dataset's folder."""

EncodedPair = tuple[bytes, ...]
"""The HR and the LR file and, if it is kept, the raw HR file."""


def matches(pair: EncodedPair, row: Row) -> bool:
    """Return whether all files have the SHA-256 that the manifest records."""
    return [sha256(file) for file in pair] == recorded_hashes(row)


def utf8_bytes(name: str) -> int:
    """Return the length of a name in a file system."""
    return len(name.encode())


class FolderWriter:
    """Writes pairs as files; the other formats differ in what they do with these files.

    Args:
        destination: Where the dataset is stored.
        shard: Pairs in a shard, in formats that have shards.
        total: Pairs in the whole dataset.
        sides: The names of the files of a pair, of the HR file first.
    """

    name = "folder"
    uses_staging = False
    """Whether pairs are kept in a hidden staging folder until they are packed."""
    packs_in_order = False
    """Whether pairs are packed in the order of their indices."""
    name_cost: Callable[[str], int] = staticmethod(utf8_bytes)
    """The length of a name, which is at most :attr:`longest_name`."""
    longest_name = MAX_NAME

    def __init__(
        self,
        destination: Destination,
        shard: int = 1000,
        total: int = 0,
        sides: Sequence[str] = ("hr", "lr"),
    ) -> None:
        self.destination, self.shard, self.total = destination, shard, total
        self.sides = tuple(sides)
        self.repaired: list[str] = []

    @property
    def staging_dir(self) -> Path:
        """The folder that engines write a pair's files to."""
        folder = self.destination.folder
        return folder / ".staged" if self.uses_staging else folder

    def require_packages(self) -> None:
        """Raise UserError if a package that this format needs is missing."""

    def begin(self) -> None:
        """Lock the destination, and fetch the records of an earlier run.

        Raises:
            SynthError: other files are there, or another machine is writing.
        """
        self.destination.lock()
        self.destination.restore()

    def verify(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows whose pairs are intact; delete damaged files."""
        return [row for row in rows if self.verify_files(row)]

    def verify_files(self, row: Row) -> bool:
        """Return whether the files of a pair are intact; delete a file that is not."""
        paths = self.files(row)
        intact = [
            self.destination.has(path, digest)
            for path, digest in zip(paths, recorded_hashes(row), strict=True)
        ]
        for path, fine in zip(paths, intact, strict=True):
            if not fine:
                self.destination.delete(path)
        if all(intact):
            self.add(row)
        return all(intact)

    def add(self, row: Row) -> None:
        """Store or pack a pair whose files are in the staging folder."""
        for path in self.files(row):
            if path.exists():
                self.destination.put(path)

    def skip(self, index: int) -> None:
        """Note that a pair cannot be made."""

    def finish(self, rows: Sequence[Row]) -> None:
        """Complete the dataset; ``rows`` are those of all its pairs, by index."""

    def read(self, row: Row) -> EncodedPair | None:
        """Return a pair's files, or None if one is missing."""
        found = [self.destination.read(path) for path in self.files(row)]
        files = tuple(file for file in found if file is not None)
        return files if len(files) == len(found) else None

    def files(self, row: Row) -> tuple[Path, ...]:
        """Return where engines write a pair's files."""
        return pair_files(self.staging_dir, row["name"], self.sides)


class PackedWriter(FolderWriter):
    """Base of the formats that pack staged pairs into larger files."""

    uses_staging = True

    def verify_files(self, row: Row) -> bool:
        """Return whether a pair is staged and intact; if not, delete its staged files."""
        pair = self.read_staged(row)
        intact = pair is not None and matches(pair, row)
        if not intact:
            self.delete_staged(row)
        return intact

    def add(self, row: Row) -> None:
        raise NotImplementedError

    def read_staged(self, row: Row) -> EncodedPair | None:
        """Return a staged pair, or None."""
        paths = self.files(row)
        whole = all(path.is_file() for path in paths)
        return tuple(path.read_bytes() for path in paths) if whole else None

    def delete_staged(self, row: Row) -> None:
        """Delete a pair's staged files."""
        for path in self.files(row):
            path.unlink(missing_ok=True)

    def delete_staging_dir(self) -> None:
        """Delete the staging folder."""
        if self.staging_dir.exists():
            shutil.rmtree(self.staging_dir)
