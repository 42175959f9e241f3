"""Folder: ``hr/NAME.png`` and ``lr/NAME.png``, each pair in place as soon as it is made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from degrade.storage.destination import Home
from degrade.storage.files import sha256
from degrade.synthesis.manifest import Row, files

__all__ = ["Folder", "Packed", "Pair"]

Pair = tuple[bytes, bytes]
"""The HR and the LR file."""


class Folder:
    """Pairs as files; the other formats differ from it by what becomes of the files.

    Args:
        home: Where the dataset lives.
        shard: Pairs that are packed together, in formats that do so.
        total: Pairs in the whole dataset.
    """

    name = "folder"
    staged = False
    """Whether pairs wait in a hidden folder until they are packed."""
    numbered = False
    """Whether pairs are packed by their numbers, and wait less if made in that order."""

    def __init__(self, home: Home, shard: int = 1000, total: int = 0) -> None:
        self.home, self.shard, self.total = home, shard, total

    @property
    def stage(self) -> Path:
        """Where engines put a pair's files."""
        return self.home.folder / ".staged" if self.staged else self.home.folder

    def require(self) -> None:
        """Raises UserError if a package is missing that pairs are written with."""

    def begin(self) -> None:
        """Takes the dataset for this run, and fetches what an earlier one left.

        Raises:
            SynthError: something else is there, or another machine is writing it.
        """
        self.home.claim()
        self.home.begin()

    def keep(self, rows: Sequence[Row]) -> list[Row]:
        """The rows whose pairs are whole; damaged files are removed, to be made again."""
        return [row for row in rows if self.sound(row)]

    def sound(self, row: Row) -> bool:
        """Whether both files of a pair are whole; removes those that are not."""
        paths = files(self.stage, row["name"])
        whole = [
            self.home.has(path, row[f"{side}_sha256"])
            for path, side in zip(paths, ("hr", "lr"), strict=True)
        ]
        for path, fine in zip(paths, whole, strict=True):
            if not fine:
                self.home.forget(path)
        if all(whole):
            self.add(row)
        return all(whole)

    def add(self, row: Row) -> None:
        """Takes a pair whose files are in place."""
        for path in files(self.stage, row["name"]):
            if path.exists():
                self.home.publish(path)

    def skip(self, index: int) -> None:
        """A pair that cannot be made."""

    def finish(self, rows: Sequence[Row]) -> None:
        """All pairs have been made: ``rows``, by index."""

    def read(self, row: Row) -> Pair | None:
        """A pair's files, or None if they are gone."""
        hr, lr = (self.home.read(path) for path in files(self.stage, row["name"]))
        return None if hr is None or lr is None else (hr, lr)


class Packed(Folder):
    """A format that packs staged pairs into larger files."""

    staged = True

    def sound(self, row: Row) -> bool:
        """Whether a pair is staged whole."""
        paths = files(self.stage, row["name"])
        whole = [
            path.is_file() and sha256(path) == row[f"{s}_sha256"]
            for path, s in zip(paths, ("hr", "lr"), strict=True)
        ]
        for path in paths if not all(whole) else ():
            path.unlink(missing_ok=True)
        return all(whole)

    def add(self, row: Row) -> None:
        raise NotImplementedError

    def unstage(self, row: Row) -> None:
        """Removes a pair's staged files, now that they are packed."""
        for path in files(self.stage, row["name"]):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the staging folder."""
        if self.stage.exists():
            shutil.rmtree(self.stage)

    def waiting(self, row: Row) -> Pair | None:
        """A staged pair, or None."""
        hr, lr = files(self.stage, row["name"])
        return (hr.read_bytes(), lr.read_bytes()) if hr.is_file() and lr.is_file() else None
