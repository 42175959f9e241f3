"""Pairs in LMDB databases of BasicSR's layout: ``hr.lmdb`` and ``lr.lmdb``."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from degrade.data.readers.base import EncodedImage, LazyHandle, name_order, shortened
from degrade.errors import UserError
from degrade.extras import install
from degrade.images.files import ImageError

__all__ = ["FILES", "LmdbReader", "key_of", "name_of", "open_lmdb", "read_keys"]

FILES = ("data.mdb", "meta_info.txt")
"""The files that a reader needs of a database's folder."""


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
        ValueError: keys that are in one database only.
        UserError: ``lmdb`` is not installed, or ``meta_info.txt`` is missing.
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
        names = [name_of(key) for key in high_keys]
        order = name_order(names)
        self.names = [names[i] for i in order]
        self._keys = [high_keys[i] for i in order]
        self._handles = [LazyHandle(open_lmdb, folder) for folder in self.folders]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        return self._value(0, self._keys[i]), self._value(1, self._keys[i])

    def _value(self, side: int, key: str) -> bytes:
        with self._handles[side].get().begin(buffers=False) as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise ImageError(
                f"{self.folders[side]}/{key}", "is in meta_info.txt but not in the database"
            )
        return bytes(value)

    def label(self, i: int) -> str:
        return f"{self.folders[1]}/{self._keys[i]}"


def read_keys(folder: Path) -> list[str]:
    """Return the keys that a database's ``meta_info.txt`` lists. Raises UserError."""
    path = folder / "meta_info.txt"
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not what BasicSR or degrade writes: {error}") from None
    return [line.split(".")[0] for line in lines if line]


_ENVIRONMENTS: dict[str, tuple[tuple[int, ...], weakref.ref[Any]]] = {}
"""The open environments of this process by folder, each with what it was opened for: the process
and the identity of its file. LMDB forbids opening a folder twice in a process.
"""


def open_lmdb(folder: Path) -> Any:
    """Open a database for reading; all readers of a folder in a process share one environment.

    A forked process opens its own, and a file that was replaced is opened anew.

    Raises:
        UserError: ``lmdb`` is not installed, or the folder is not a database.
    """
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{folder}: LMDB needs the lmdb package; {install('shards')}") from None
    path = os.path.realpath(folder)
    try:
        stat = os.stat(folder / FILES[0])
        identity = os.getpid(), stat.st_dev, stat.st_ino, stat.st_mtime_ns
        opened_for, reference = _ENVIRONMENTS.get(path, (identity, None))
        environment = reference() if reference is not None else None
        if environment is not None and opened_for != identity:
            environment.close()
            environment = None
        if environment is None:
            environment = lmdb.open(
                str(folder), readonly=True, lock=False, readahead=False, meminit=False
            )
    except (lmdb.Error, OSError) as error:
        raise UserError(f"{folder}: is not an LMDB database ({error})") from None
    _ENVIRONMENTS[path] = identity, weakref.ref(environment)
    return environment
