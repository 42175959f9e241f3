"""Pairs in LMDB databases of BasicSR's layout: ``hr.lmdb`` and ``lr.lmdb``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from degrade.data.readers.base import EncodedImage, name_order, shortened
from degrade.data.readers.mdb import Database
from degrade.errors import UserError
from degrade.storage.files import read_regular

__all__ = ["FILES", "LmdbReader", "key_of", "name_of", "read_keys"]

FILES = ("data.mdb", "meta_info.txt")
"""The files that a reader needs of a database's folder."""
MAX_META_INFO = 2**30
"""Most bytes of a ``meta_info.txt``."""


def key_of(name: str) -> str:
    """Return a pair's key: its name, with ``%XX`` for dots and what is not printable ASCII.

    BasicSR cuts a line of ``meta_info.txt`` at its first dot and encodes keys as ASCII
    (``data_util.py``, ``paired_paths_from_lmdb``; ``file_client.py``).

    >>> key_of("below/v1.2")
    'below/v1%2E2'
    """
    characters = (
        chr(byte) if 32 < byte < 127 and chr(byte) not in "%.()" else f"%{byte:02X}"
        for byte in name.encode()
    )
    return "".join(characters)


def name_of(key: str) -> str:
    """Return the name of a key; the inverse of :func:`key_of`.

    >>> name_of("below/v1%2E2")
    'below/v1.2'
    """
    return unquote(key)


class LmdbReader:
    """The pairs in two databases.

    Args:
        low: The folder of the LR database.
        high: The folder of the HR database.

    Raises:
        ValueError: keys that are in one database only, or in ``meta_info.txt`` only.
        UserError: a database or its ``meta_info.txt`` is missing or damaged.
    """

    def __init__(self, low: Path, high: Path) -> None:
        self.folders = low, high
        low_keys, high_keys = (read_keys(folder) for folder in self.folders)
        unmatched = set(low_keys) ^ set(high_keys)
        if unmatched:
            raise ValueError(
                f"{low.parent}: {shortened(unmatched)}: only in one of {low.name}, {high.name}"
            )
        if not low_keys:
            raise ValueError(f"{low.parent}: {low.name} and {high.name} list no pairs")
        doubled = [key for key, count in Counter(high_keys + low_keys).items() if count > 2]
        if doubled:
            raise ValueError(f"{low.parent}: {shortened(doubled)}: listed more than once")
        names = [name_of(key) for key in high_keys]
        order = name_order(names)
        self.names = [names[i] for i in order]
        self._keys = [high_keys[i] for i in order]
        self._databases = [Database(folder) for folder in self.folders]
        for folder, database in zip(self.folders, self._databases, strict=True):
            lost = [key for key in self._keys if key not in database]
            if lost:
                raise ValueError(
                    f"{folder}: {shortened(lost)}: in meta_info.txt but not in the database"
                )

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        low, high = (database.get(self._keys[i]) for database in self._databases)
        assert low is not None, "listed keys are in the database"
        assert high is not None, "listed keys are in the database"
        return low, high

    def label(self, i: int) -> str:
        return f"{self.folders[1]}/{self._keys[i]}"

    def stored(self) -> list[Path | str]:
        return [folder / name for folder in self.folders for name in FILES]


def read_keys(folder: Path) -> list[str]:
    """Return the keys that a database's ``meta_info.txt`` lists. Raises UserError."""
    path = folder / "meta_info.txt"
    try:
        lines = read_regular(path, MAX_META_INFO).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not what BasicSR or degrade writes: {error}") from None
    return [line.split(".")[0] for line in lines if line]
