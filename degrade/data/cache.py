"""Decoded images in files that all workers of a loader map: each is decoded once, and lies in
memory once, in the system's page cache, which gives it back under pressure.

Bounded by bytes. Passes over a data set visit all images equally often, so what came first stays:
to replace one image by another would gain nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degrade.images.pixels import Uint8

__all__ = ["CACHE_BYTES", "DecodedImages"]

PREFIX = "degrade-decoded-"

CACHE_BYTES = 2 * 2**30
"""Bytes of a cache unless said: about 240 photographs of 2040 x 1356."""

Decoded = tuple[Uint8, str]


class DecodedImages:
    """Pixels and notes of images by name, in a temporary folder that ends with this object.

    Args:
        limit: Most bytes of pixels.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # In shared memory: what the workers have stored in all.
        self._used: Tensor = torch.zeros((), dtype=torch.int64).share_memory_()
        self._mapped: dict[str, Decoded] = {}
        self.folder: Path | None = None
        if limit:
            _sweep()
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            weakref.finalize(self, _remove, self.folder, os.getpid())

    @property
    def full(self) -> bool:
        """Whether another image did not fit."""
        return int(self._used) >= self.limit

    def get(self, name: str, decode: Callable[[], Decoded]) -> Decoded | None:
        """Return an image, decoded unless some worker did; None if it is not here and the cache
        is full. Pixels are read-only.
        """
        if name in self._mapped:
            return self._mapped[name]
        if self.folder is None:
            return None
        path = self.folder / hashlib.sha256(os.fsencode(name)).hexdigest()
        if not path.exists():
            if self.full:
                return None
            decoded = decode()
            if not self._store(path, *decoded):
                return decoded
        pixels = np.load(path, mmap_mode="r")
        notes = path.with_suffix(".notes").read_text("utf-8")
        self._mapped[name] = pixels, notes
        return self._mapped[name]

    def _store(self, path: Path, pixels: Uint8, notes: str) -> bool:
        """Write an image; not if it does not fit, or the disk is full, which closes the cache."""
        size = int(self._used) + pixels.nbytes
        if size > self.limit:
            self._used.fill_(self.limit)
            return False
        self._used.fill_(size)
        temporary = path.with_name(uuid.uuid4().hex)
        try:
            path.with_suffix(".notes").write_text(notes, "utf-8")
            with open(temporary, "xb") as file:
                np.save(file, pixels)
            os.replace(temporary, path)
        except OSError:  # a cache may be left out, unlike what a user asked for
            temporary.unlink(missing_ok=True)
            self._used.fill_(self.limit)
            return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": {}}


def _remove(folder: Path, owner: int) -> None:
    """Delete the folder, unless this is a worker with a copy of the object."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Delete what killed processes left. A folder of a living one, in a container with process
    numbers of its own, would only cost that one its cache.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if os.name == "posix" and owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
