"""HR patches: one random crop of one image, turned and flipped, as a function of (seed, epoch,
index) and nothing else.

.. math:: \\mathrm{patch}_i = g_i \\, x_{i \\bmod n}[y_i : y_i + s, \\; x_i : x_i + s], \\qquad g_i \\in D_4

Position and turn are drawn from ``Key.of(seed, index, epoch)``, so an item is the same whichever
worker reads it, in whatever batch or order, and a run resumes by asking for the indices that it
lacks.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from degrade.images.files import Image, ImageError, find_sources, image_size, read_image
from degrade.images.pixels import Uint8, channel_notes, in_channels, reflected
from degrade.images.regions import open_image
from degrade.rng import Key
from degrade.storage.remote import is_url

__all__ = ["Augment", "Patch", "PatchFolder", "augmented", "crop", "oriented", "spot"]


_DRAWS = ("crop.y", "crop.x", "flip", "rotate")
_log = logging.getLogger(__name__)


class Patch(TypedDict):
    """An item of :class:`PatchFolder`; ``default_collate`` makes batches of it.

    ``hr`` is a (C, size, size) uint8 tensor, ``index`` its place in the epoch, ``path`` the file
    it comes from, and ``notes`` what was done to that file to read it, joined by "; ".
    """

    hr: Tensor
    index: int
    path: str
    notes: str


class Augment(Protocol):
    """What albumentations' transforms and compositions have in common."""

    def set_random_state(
        self, random_generator: np.random.Generator, py_random: random.Random
    ) -> None: ...

    def __call__(self, *, image: Uint8) -> dict[str, Any]: ...


# --- one image -----------------------------------------------------------------------------------


def crop(
    pixels: Uint8, size: int, y: float, x: float, *, flip: bool = False, turns: int = 0
) -> Uint8:
    """The (size, size, C) view at ``y``, ``x``, turned.

    Args:
        pixels: (h, w, C), both sides at least ``size``.
        size: Side of the patch.
        y: Place of the top edge, a fraction in [0, 1) of the h - size + 1 possible ones.
        x: Place of the left edge, likewise.
        flip: Whether to mirror left and right, before turning.
        turns: Quarter turns anticlockwise.
    """
    top, left = spot(pixels.shape[:2], size, y, x)
    return oriented(pixels[top : top + size, left : left + size], flip, turns)


def spot(shape: tuple[int, ...], size: int, y: float, x: float) -> tuple[int, int]:
    """The top left of the patch at ``y``, ``x`` of an image of height and width ``shape``; see
    :func:`crop`.
    """
    return int(y * (shape[0] - size + 1)), int(x * (shape[1] - size + 1))


def oriented(patch: Uint8, flip: bool, turns: int) -> Uint8:
    """One of a patch's eight views; see :func:`crop`."""
    return np.rot90(patch[:, ::-1] if flip else patch, turns)


def augmented(pixels: Uint8, transform: Augment, key: Key) -> Uint8:
    """One albumentations transform or composition, its draws seeded by the key of the one sample.

    All parts of a composition draw from one stream. (Its own ``set_random_seed`` gives each part
    the same seed, so that a horizontal and a vertical flip, each of probability 1/2, always come
    together.)
    """
    (seed,) = key.integers()
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return np.asarray(transform(image=pixels)["image"])


# --- many images ---------------------------------------------------------------------------------


class PatchFolder(Dataset[Patch]):
    """Random HR patches of the images in a folder.

    Item ``i`` of an epoch is a patch of image ``i mod n``. Uint8 are 8-bit, as the data sets of
    this field are: 16 bits are rounded, alpha is dropped, and the item's ``notes`` say so. Images
    smaller than the patch are mirrored up or left out, never replaced by others.

    Files that turn out bad when the folder is opened are left out, logged and listed in
    ``skipped`` with the reason. One whose body turns out bad only when it is read, in the middle
    of a run, raises: to replace it would change the data.

    Args:
        root: A folder (searched to its leaves), a file, a glob, a URL of one, or a list of files.
        size: Side of the patch in pixels.
        seed: Seed of all draws.
        repeat: Patches of each image an epoch.
        flip: Whether to mirror left and right, with probability 1/2.
        rotate: Whether to turn by a random number of quarters; with ``flip``, all eight are
            equally likely.
        augment: An albumentations transform or composition, applied to the whole image before the
            crop. Must keep or leave both sides at least ``size``.
        small: What to do with images smaller than the patch: mirror them up, or leave them out.
        channels: 3 (grey is repeated) or 1 (colour becomes 0.299 R + 0.587 G + 0.114 B).
        check: What to look at when opening: nothing, every file's header, or all of every file.
        cache: Whether to keep decoded images in memory, in each worker its own. For small sets.
        limit: Most pixels an image may have, by default :func:`degrade.limits.max_pixels`.

    Raises:
        ImageError: No usable image; from an item, a file that cannot be read.
        ValueError: Parameters out of range.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        size: int = 256,
        *,
        seed: int = 0,
        repeat: int = 1,
        flip: bool = True,
        rotate: bool = True,
        augment: Augment | None = None,
        small: Literal["reflect", "skip"] = "reflect",
        channels: Literal[1, 3] = 3,
        check: Literal["none", "header", "full"] = "header",
        cache: bool = False,
        limit: int | None = None,
    ) -> None:
        if size < 1 or repeat < 1:
            raise ValueError(f"size {size} and repeat {repeat} must be at least 1")
        if channels not in (1, 3):
            raise ValueError(f"channels {channels!r} must be 1 or 3")
        if small not in ("reflect", "skip"):
            raise ValueError(f"small {small!r} must be 'reflect' or 'skip'")
        if check not in ("none", "header", "full"):
            raise ValueError(f"check {check!r} must be 'none', 'header' or 'full'")
        if small == "skip" and check == "none":
            raise ValueError("small='skip' needs sizes: use check='header' or 'full'")
        if augment is not None and not hasattr(augment, "set_random_state"):
            raise ValueError(
                f"augment {augment!r} cannot be seeded; give an albumentations transform or Compose"
            )
        self.size, self.seed, self.repeat, self.flip, self.rotate = (
            size,
            seed,
            repeat,
            flip,
            rotate,
        )
        self.augment, self.small, self.limit, self.cache = augment, small, limit, cache
        self.channels: Literal[1, 3] = channels
        self.skipped: list[tuple[str, str]] = []
        if isinstance(root, str | os.PathLike):
            self.paths = find_sources(root)
        else:
            self.paths = [
                path if isinstance(path, str) and is_url(path) else Path(path) for path in root
            ]
        # Shared memory, so that workers that outlive an epoch see the next one.
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()
        self._decoded: dict[Path | str, tuple[Uint8, str]] = {}
        if check != "none":
            self._check(_full_size if check == "full" else image_size)
        if not self.paths:
            first = f"; first, {': '.join(self.skipped[0])}" if self.skipped else ""
            raise ImageError(str(root), f"no usable image, {len(self.skipped)} skipped{first}")

    @property
    def epoch(self) -> int:
        """The epoch that items are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draws other patches from the next item on, in persistent workers too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.paths) * self.repeat

    def __getitem__(self, index: int) -> Patch:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in [0, {len(self)})")
        path = self.paths[index % len(self.paths)]
        key = Key.of(self.seed, index, self.epoch)
        y, x, flip, rotate = key.uniforms(_DRAWS)[0]
        if self.cache or self.augment is not None:
            pixels, notes = self._read(path)
            pixels = reflected(pixels, self.size)
            if self.augment is not None:
                pixels = self._augmented(pixels, key, path)
            patch = crop(pixels, self.size, y, x)
        else:
            patch, notes = self._window(path, y, x)
        patch = oriented(patch, self.flip and flip < 0.5, int(4 * rotate) if self.rotate else 0)
        hr = torch.as_tensor(patch.transpose(2, 0, 1).copy())
        return {"hr": hr, "index": index, "path": str(path), "notes": notes}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoded": {}}

    def _read(self, path: Path | str) -> tuple[Uint8, str]:
        found = self._decoded.get(path)
        if found is None:
            image = read_image(path, limit=self.limit)
            found = in_channels(image, self.channels), self._notes(image)
            if self.cache:
                self._decoded[path] = found
        return found

    def _window(self, path: Path | str, y: float, x: float) -> tuple[Uint8, str]:
        """The patch at ``y``, ``x`` alone, of large images."""
        size = self.size
        with open_image(path, limit=self.limit) as image:
            height, width = image.size
            if min(height, width) < size:
                [whole] = image.read_regions([(0, 0, height, width)])
                return crop(
                    reflected(in_channels(whole, self.channels), size), size, y, x
                ), self._notes(whole)
            [patch] = image.read_regions([(*spot(image.size, size, y, x), size, size)])
            return in_channels(patch, self.channels), self._notes(patch)

    def _notes(self, image: Image) -> str:
        return channel_notes(image, self.channels)

    def _augmented(self, pixels: Uint8, key: Key, path: Path | str) -> Uint8:
        assert self.augment is not None
        pixels = augmented(pixels.copy(), self.augment, key.fold("augment"))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or min(pixels.shape[:2]) < self.size:
            raise ValueError(
                f"{path}: augment returned {pixels.dtype} of shape {pixels.shape}; "
                f"it must return uint8 (h, w, {self.channels}) with both sides at least {self.size}"
            )
        return pixels

    def _check(self, measure: Callable[..., tuple[int, int]]) -> None:
        """Leaves out what cannot be used."""
        with ThreadPoolExecutor(8) as pool:
            reasons = list(pool.map(partial(self._reason, measure), self.paths))
        self.skipped = [
            (str(path), reason) for path, reason in zip(self.paths, reasons, strict=True) if reason
        ]
        self.paths = [path for path, reason in zip(self.paths, reasons, strict=True) if not reason]
        for path, reason in self.skipped:
            _log.warning("skipped %s: %s", path, reason)

    def _reason(self, measure: Callable[..., tuple[int, int]], path: Path | str) -> str:
        try:
            height, width = measure(path, limit=self.limit)
        except ImageError as error:
            return error.reason
        if self.small == "skip" and min(height, width) < self.size:
            return f"{width} x {height} pixels, smaller than the patch of {self.size}"
        return ""


def _full_size(path: Path | str, *, limit: int | None) -> tuple[int, int]:
    height, width = read_image(path, limit=limit).pixels.shape[:2]
    return height, width
