"""A dataset in a folder on this disk, and what every destination can do."""

from __future__ import annotations

from pathlib import Path

from degrade.storage.files import read_regular, sha256

__all__ = ["RECORDS", "Destination", "read_record"]

RECORDS = ("synth.json", "recipe.yaml", "manifest.csv")
"""The files that a resumed run needs. The first marks a folder as written by ``degrade synth``."""

MAX_RECORD = 2**24
"""Most bytes of ``synth.json`` and of ``recipe.yaml``."""
MAX_MANIFEST = 2**32
"""Most bytes of a manifest: about 4 million pairs."""


def read_record(path: Path) -> bytes:
    """Return one of ``RECORDS``, which may come from a stranger.

    Raises:
        UserError: it is too large, or not a regular file.
        OSError: it cannot be read.
    """
    return read_regular(path, MAX_MANIFEST if path.name == RECORDS[2] else MAX_RECORD)


class Destination:
    """A folder on this disk; the other destinations override what they do differently.

    Args:
        folder: The working folder, where files are written.
    """

    near = True
    """Whether stored files can be read without a download."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def lock(self) -> None:
        """Keep other machines from writing here. Raises SynthError if one already does."""

    def unlock(self) -> None:
        """Release the lock of :meth:`lock`, if it is held."""

    def restore(self) -> None:
        """Fetch the records of an earlier run. Raises SynthError if other files are here."""

    def put(self, path: Path, keep: bool = False) -> None:
        """Store a finished file of the working folder.

        Args:
            path: The file.
            keep: Whether the local copy is still needed.
        """

    def put_snapshot(self, path: Path) -> None:
        """Store a small file as it is now; it may change later, and be stored again."""

    def flush(self) -> None:
        """Wait until all stored files are in place."""

    def close(self) -> None:
        """Complete the dataset, all of whose files are stored."""

    def has(self, path: Path, digest: str = "") -> bool:
        """Return whether a file is stored and, if it is on this disk, has this SHA-256."""
        return path.is_file() and (not digest or sha256(path) == digest)

    def read(self, path: Path) -> bytes | None:
        """Return a file's contents, or None if it is missing."""
        return path.read_bytes() if path.is_file() else None

    def fetch(self, path: Path) -> Path | None:
        """Return a local copy of a file, or None if it is missing.

        The copy is valid until the next call but one.
        """
        return path if path.is_file() else None

    def delete(self, path: Path) -> None:
        """Delete a damaged file that the run wrote."""
        path.unlink(missing_ok=True)
