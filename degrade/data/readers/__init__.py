"""Readers of paired datasets: folders, WebDataset shards and LMDB databases.

==========  ============================================================================
folder      ``hr/NAME.png`` and ``lr/NAME.png``, or ``gt`` and ``lq``; ``x_HR`` beside ``x_LR``,
            ``NAME_HR.png`` beside ``NAME_LR4.png``, ``lr=DIR,hr=DIR``: see
            :mod:`degrade.data.readers.layouts`
webdataset  ``*.tar`` with ``KEY.hr.png``, ``KEY.lr.png`` and, for the name, ``KEY.json``
lmdb        BasicSR's ``hr.lmdb`` and ``lr.lmdb``, or ``gt.lmdb`` and ``lq.lmdb``
==========  ============================================================================

Pairs are sorted by name, so a dataset has the same items in every format. Readers keep no file
open, so they can be sent to a data loader's workers and shared by threads.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from degrade.data.readers.base import EncodedImage, PairReader
from degrade.data.readers.folder import FolderReader, UrlFolderReader
from degrade.data.readers.layouts import explicit_sides, find_layout, match_pairs
from degrade.data.readers.lmdb import FILES, LmdbReader
from degrade.data.readers.webdataset import WebDatasetReader
from degrade.storage.remote import is_url, join, list_files, local, local_copy

__all__ = [
    "SIDES",
    "EncodedImage",
    "FolderReader",
    "LmdbReader",
    "PairReader",
    "UrlFolderReader",
    "WebDatasetReader",
    "open_pairs",
    "open_raw",
]

SIDES = (("lr", "hr"), ("lq", "gt"), ("lq", "hq"))
"""The names of the LR and of the HR side: ours, BasicSR's, and a third that is common."""


def open_pairs(root: str | Path) -> PairReader:
    """Return a reader of the pairs in a folder, under a URL or in one shard.

    Raises:
        ValueError: none of the formats is there.
    """
    if isinstance(root, str) and is_url(root):
        return _open_url(root)
    sides = explicit_sides(str(root))
    if sides is not None:
        return FolderReader(match_pairs(*sides), sides[1])
    folder = (isinstance(root, str) and local(root)) or Path(root)
    if folder.suffix == ".tar" and folder.is_file():
        return WebDatasetReader([folder])
    for low, high in SIDES:
        if (folder / f"{low}.lmdb").is_dir() and (folder / f"{high}.lmdb").is_dir():
            return LmdbReader(folder / f"{low}.lmdb", folder / f"{high}.lmdb")
        if (folder / low).is_dir() and (folder / high).is_dir():
            return FolderReader(match_pairs(folder / low, folder / high), folder / high)
    shards = sorted(folder.glob("*.tar")) if folder.is_dir() else []
    if shards:
        return WebDatasetReader(shards)
    found = find_layout(folder)
    if found is None:
        raise _no_pairs(folder)
    return FolderReader(*found)


def open_raw(root: str | Path) -> PairReader | None:
    """Return a reader of LR images and HR images as they were, what ``degrade synth --keep-raw``
    wrote beside HR; None if they are not there in the format folder or lmdb.

    Raises:
        ValueError: a name without its partner.
    """
    if isinstance(root, str) and (is_url(root) or explicit_sides(root)):
        return None
    folder = (isinstance(root, str) and local(root)) or Path(root)
    for low, high in SIDES:
        lr, raw = folder / low, folder / f"{high}_raw"
        databases = lr.with_suffix(".lmdb"), raw.with_suffix(".lmdb")
        if all(folder.is_dir() for folder in databases):
            return LmdbReader(*databases)
        if lr.is_dir() and raw.is_dir():
            return FolderReader(match_pairs(lr, raw), raw)
    return None


def _open_url(url: str) -> PairReader:
    """Read images from a store one by one; copy shards and databases to the cache first."""
    root, names = list_files(url)
    for low, high in SIDES:
        bases = [f"{side}.lmdb" for side in (low, high)]
        if all(f"{base}/{name}" in names for base in bases for name in FILES):
            return LmdbReader(*(_database_copy(root, base) for base in bases))
        if all(any(name.startswith(f"{side}/") for name in names) for side in (low, high)):
            return UrlFolderReader(root, (low, high))
    shards = [name for name in names if name.endswith(".tar") and "/" not in name]
    if not shards:
        raise _no_pairs(url)
    return WebDatasetReader([local_copy(join(root, name)) for name in shards])


def _no_pairs(place: Path | str) -> ValueError:
    return ValueError(
        f"{place}: has no folders lr and hr (nor lq and gt), no lr.lmdb and hr.lmdb, no *.tar "
        "and no X_HR beside X_LR; for any two folders give lr=DIR,hr=DIR"
    )


def _database_copy(root: str, base: str) -> Path:
    """Return a folder in the cache with links to the copies of a database's files."""
    copies = [local_copy(join(root, f"{base}/{name}")) for name in FILES]
    folder = copies[0].parent / f"with {copies[1].parent.name}"
    folder.mkdir(exist_ok=True)
    for copy in copies:
        with contextlib.suppress(FileExistsError):
            os.link(copy, folder / copy.name)
    return folder
