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
from collections.abc import Sequence
from pathlib import Path

from degrade.data.readers.base import SIDES, EncodedImage, PairReader, Sides
from degrade.data.readers.folder import FolderReader, UrlFolderReader
from degrade.data.readers.layouts import explicit_sides, find_layout, match_pairs
from degrade.data.readers.lmdb import FILES, LmdbReader
from degrade.data.readers.webdataset import WebDatasetReader, has_sides
from degrade.storage.remote import is_file, is_url, join, list_files, local, local_copy

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
    "recipe_file",
]

RECIPE = "recipe.yaml"
"""What ``degrade synth`` leaves beside its pairs."""


def open_pairs(root: str | Path) -> PairReader:
    """Return a reader of the pairs in a folder, under a URL or in one shard.

    Raises:
        ValueError: none of the formats is there.
    """
    place = _place(root)
    folders = _explicit(place)
    if folders is not None:
        return FolderReader(match_pairs(*folders), folders[1])
    reader = _open(place, SIDES)
    if reader is None and isinstance(place, Path):
        found = find_layout(place)
        reader = found and FolderReader(*found)
    if reader is None:
        raise _no_pairs(place)
    return reader


def open_raw(root: str | Path) -> PairReader | None:
    """Return a reader of LR images and HR images as they were, what ``degrade synth --keep-raw``
    wrote beside HR; None if they are not there.

    Raises:
        ValueError: a name without its partner.
    """
    place = _place(root)
    if _explicit(place) is not None:
        return None
    return _open(place, [(low, f"{high}_raw") for low, high in SIDES])


def recipe_file(root: str | Path) -> Path | None:
    """Return the ``recipe.yaml`` that ``degrade synth`` left with pairs, from a store a copy; None
    if it is not there.

    Raises:
        UserError: the store cannot be read.
    """
    place = _place(root)
    if isinstance(place, str):
        url = join(place, RECIPE)
        return local_copy(url) if is_file(url) else None
    file = (place.parent if place.is_file() else place) / RECIPE
    return file if file.is_file() else None


def _place(root: str | Path) -> Path | str:
    """A folder or file on this disk, or a URL elsewhere."""
    if isinstance(root, str) and is_url(root):
        return root
    return (isinstance(root, str) and local(root)) or Path(root)


def _explicit(place: Path | str) -> tuple[Path, Path] | None:
    return explicit_sides(str(place)) if isinstance(place, Path) else None


def _open(place: Path | str, sides: Sequence[Sides]) -> PairReader | None:
    """Return a reader of the first sides that are there; None if none are."""
    if isinstance(place, str):
        return _open_url(place, sides)
    if place.suffix == ".tar" and place.is_file():
        return _open_shards([place], sides)
    for low, high in ((place / low, place / high) for low, high in sides):
        databases = [folder.with_name(f"{folder.name}.lmdb") for folder in (low, high)]
        if all(database.is_dir() for database in databases):
            return LmdbReader(*databases)
        if low.is_dir() and high.is_dir():
            return FolderReader(match_pairs(low, high), high)
    shards = sorted(place.glob("*.tar")) if place.is_dir() else []
    return _open_shards(shards, sides) if shards else None


def _open_url(url: str, sides: Sequence[Sides]) -> PairReader | None:
    """Read images from a store one by one; copy shards and databases to the cache first."""
    root, names = list_files(url)
    for pair in sides:
        bases = [f"{side}.lmdb" for side in pair]
        if all(f"{base}/{name}" in names for base in bases for name in FILES):
            return LmdbReader(*(_database_copy(root, base) for base in bases))
        if all(any(name.startswith(f"{side}/") for name in names) for side in pair):
            return UrlFolderReader(root, pair)
    shards = [name for name in names if name.endswith(".tar") and "/" not in name]
    if not shards:
        return None
    return _open_shards([local_copy(join(root, name)) for name in shards], sides)


def _open_shards(shards: Sequence[Path], sides: Sequence[Sides]) -> PairReader | None:
    """Return None for shards that do not keep HR as it was, which is no error. Shards without any
    pairs are one, which the reader says.
    """
    there = sides is SIDES or has_sides(shards[0], sides)
    return WebDatasetReader(shards, sides) if there else None


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
