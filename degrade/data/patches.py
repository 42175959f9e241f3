"""HR patches: random crops, flips and quarter turns, a function of (seed, epoch, index) alone.

.. math::
    \\mathrm{patch}_i = g_i \\, x_{i \\bmod n}[y_i : y_i + s, \\; x_i : x_i + s],
    \\qquad g_i \\in D_4

Position and orientation are drawn from ``Key.of(seed, index, epoch)``, so an item does not depend
on the worker, the batch or the order, and a run resumes by asking for the indices it still needs.
Each pass of a loader is another epoch; see :mod:`degrade.data.epochs`.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor

from degrade.data.cache import CACHE_BYTES, DecodedImages
from degrade.data.epochs import EpochDataset, Epochs
from degrade.images.files import Image, ImageError, find_sources, image_size, read_image, without
from degrade.images.pixels import Uint8, channel_notes, in_channels, reflected
from degrade.images.regions import Box, open_image
from degrade.images.regions.mirrored import mirrored_window, read_mirrored
from degrade.rng import Key, integer
from degrade.storage.remote import is_url

__all__ = ["Augment", "Patch", "PatchFolder", "augmented", "crop", "crop_origin", "oriented"]


DRAWS = ("crop.y", "crop.x", "flip", "rotate")
"""Names of the draws of a patch."""
_log = logging.getLogger(__name__)


class Patch(TypedDict):
    """An item of :class:`PatchFolder`; ``default_collate`` makes batches of it.

    ``hr`` is a (C, side, side) uint8 tensor, side = size + 2 margin, ``index`` its index in the
    epoch, ``path`` its source file, and ``notes`` the conversions applied to that file, joined by
    "; ".
    """

    hr: Tensor
    index: int
    epoch: int
    margin: int
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
    """Return the (size, size, C) crop at ``y``, ``x``, flipped and rotated: a view.

    Args:
        pixels: (h, w, C), both sides at least ``size``.
        size: Side of the crop.
        y: Position of the top edge, a fraction in [0, 1) of the h - size + 1 possible ones.
        x: Position of the left edge, likewise.
        flip: Whether to flip left and right, before the rotation.
        turns: Quarter turns anticlockwise.

    >>> crop(np.arange(9, dtype=np.uint8).reshape(3, 3, 1), 2, 0.5, 0.0)[..., 0]
    array([[3, 4],
           [6, 7]], dtype=uint8)
    """
    top, left = crop_origin(pixels.shape[:2], size, y, x)
    return oriented(pixels[top : top + size, left : left + size], flip, turns)


def crop_origin(shape: tuple[int, ...], size: int, y: float, x: float) -> tuple[int, int]:
    """Return the top and left of the crop at ``y``, ``x`` of an image; see :func:`crop`.

    >>> crop_origin((100, 200), 64, 0.5, 0.999)
    (18, 136)
    """
    return int(y * (shape[0] - size + 1)), int(x * (shape[1] - size + 1))


def oriented(patch: Uint8, flip: bool, turns: int) -> Uint8:
    """Return a patch, first flipped left-right, then rotated by quarter turns anticlockwise.

    >>> oriented(np.array([[[1], [2]], [[3], [4]]], np.uint8), flip=True, turns=1)[..., 0]
    array([[1, 3],
           [2, 4]], dtype=uint8)
    """
    return np.rot90(patch[:, ::-1] if flip else patch, turns)


def augmented(pixels: Uint8, transform: Augment, key: Key) -> Uint8:
    """Apply an albumentations transform or composition, seeded by the key of one sample.

    All parts of a composition draw from one stream. (Its own ``set_random_seed`` gives each part
    the same seed, so that a horizontal and a vertical flip, each of probability 1/2, always
    coincide.)
    """
    (seed,) = key.integers()
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return np.asarray(transform(image=pixels)["image"])


# --- many images ---------------------------------------------------------------------------------


Root: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
"""A folder, file, glob or URL; or a list of files."""


class PatchFolder(EpochDataset[Patch]):
    """Random HR patches of the images in a folder, other ones in each epoch.

    Item ``i`` of an epoch is a patch of image ``i mod n``, 8-bit as the data sets of this field
    are: 16 bits are rounded, alpha is dropped, and the item's ``notes`` say so. Images smaller
    than the patch are reflected up to its size or skipped, never replaced by others.

    Files that prove unusable when the folder is opened are skipped, logged, and listed in
    ``skipped`` with the reason. If a file fails only when an item is read, the error is raised: to
    replace the image would change the data in the middle of a run.

    Args:
        root: A folder (searched recursively), a file, a glob, a URL of one, or a list of files.
        size: Side of the patch in pixels.
        seed: Seed of all draws.
        repeat: Patches of each image an epoch.
        flip: Whether to flip left and right, with probability 1/2.
        rotate: Whether to rotate by a random number of quarter turns; with ``flip``, all eight
            orientations are equally likely.
        augment: An albumentations transform or composition, applied to the whole image before the
            crop. Both sides of what it returns must be at least ``size``.
        small: What to do with images smaller than the patch: ``reflect`` or ``skip`` them.
        channels: 3 (grey is repeated) or 1 (colour becomes 0.299 R + 0.587 G + 0.114 B).
        check: What to read on opening: ``none``, every file's ``header``, or each file in
            ``full``.
        cache: Whether to keep decoded images, which workers share, or most bytes of them; True:
            2 GiB. Images beyond are read anew; see :mod:`degrade.data.cache`.
        limit: Most pixels an image may have, by default :func:`degrade.limits.max_pixels`.
        margin: Pixels read around each patch, mirrored at the image's border, for a degradation
            to see; :func:`degrade.pairs` and :class:`degrade.DegradedFolder` cut them off again.
        fixed: Whether every pass is of the same epoch, as validation wants.
        exclude: A text file of images to leave out, as ``degrade doctor --exclude`` writes it:
            paths relative to ``root``, or those of the list.

    Raises:
        ImageError: no usable image; from an item, a file that cannot be read.
        ValueError: parameters out of range.
    """

    def __init__(
        self,
        root: Root,
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
        cache: bool | int = False,
        limit: int | None = None,
        margin: int = 0,
        fixed: bool = False,
        exclude: str | os.PathLike[str] | None = None,
    ) -> None:
        self.size = _at_least(1, size=size)
        self._repeat = _at_least(1, repeat=repeat)
        self.margin = _at_least(0, margin=margin)
        self.seed = integer("seed", seed)
        _one_of("channels", channels, (1, 3))
        _one_of("small", small, ("reflect", "skip"))
        _one_of("check", check, ("none", "header", "full"))
        if small == "skip" and check == "none":
            raise ValueError("small='skip' needs sizes: use check='header' or 'full'")
        if augment is not None and not hasattr(augment, "set_random_state"):
            raise ValueError(
                f"augment {augment!r} cannot be seeded;"
                " give an albumentations transform or Compose"
            )
        self.flip = flip
        self.rotate = rotate
        self.augment = augment
        self.small = small
        self.channels: Literal[1, 3] = channels
        self.cache = DecodedImages(CACHE_BYTES if cache is True else int(cache))
        self.limit = limit
        self.paths = _paths(root, exclude)
        self.skipped: list[tuple[str, str]] = []
        if check != "none":
            self._skip_unusable(_full_size if check == "full" else image_size)
        if not self.paths:
            first = f"; first, {': '.join(self.skipped[0])}" if self.skipped else ""
            raise ImageError(str(root), f"no usable image, {len(self.skipped)} skipped{first}")
        self.epochs = Epochs(len(self), fixed)

    def __len__(self) -> int:
        return len(self.paths) * self._repeat

    @property
    def repeat(self) -> int:
        """Patches of each image an epoch."""
        return self._repeat

    @repeat.setter
    def repeat(self, repeat: int) -> None:
        self._repeat = _at_least(1, repeat=repeat)
        self.epochs.resize(len(self))

    def item(self, index: int, epoch: int) -> Patch:
        """Return patch ``index`` of an epoch."""
        path = self.paths[index % len(self.paths)]
        key = Key.of(self.seed, index, epoch)
        y, x, flip, rotate = key.uniforms(DRAWS)[0]
        decoded = self.cache.get(str(path), partial(self._read, path))
        if decoded is None and self.augment is not None:
            decoded = self._read(path)
        if decoded is not None:
            pixels, notes = decoded
            if self.augment is not None:
                pixels = self._augmented(reflected(pixels, self.size), key, path)
            shape = pixels.shape[:2]
            rows, columns = mirrored_window(shape, self._box(shape, y, x), self.margin)
            patch = pixels[rows[:, None], columns]
        else:
            patch, notes = self._read_patch(path, y, x)
        patch = oriented(patch, self.flip and flip < 0.5, int(4 * rotate) if self.rotate else 0)
        return {
            "hr": torch.as_tensor(patch.transpose(2, 0, 1).copy()),
            "index": index,
            "epoch": epoch,
            "margin": self.margin,
            "path": str(path),
            "notes": notes,
        }

    def _read(self, path: Path | str) -> tuple[Uint8, str]:
        image = read_image(path, limit=self.limit)
        return in_channels(image, self.channels), self._notes(image)

    def _read_patch(self, path: Path | str, y: float, x: float) -> tuple[Uint8, str]:
        """Decode only the patch at ``y``, ``x``, and its margin, if the image is large."""
        with open_image(path, limit=self.limit) as image:
            [part] = read_mirrored(image, [self._box(image.size, y, x)], self.margin)
        return in_channels(part, self.channels), self._notes(part)

    def _box(self, shape: tuple[int, ...], y: float, x: float) -> Box:
        """Return the box of the patch at ``y``, ``x``, which is larger than a small image."""
        size = self.size
        return (*crop_origin(tuple(max(n, size) for n in shape), size, y, x), size, size)

    def _notes(self, image: Image) -> str:
        return channel_notes(image, self.channels)

    def _augmented(self, pixels: Uint8, key: Key, path: Path | str) -> Uint8:
        assert self.augment is not None
        pixels = augmented(pixels.copy(), self.augment, key.fold("augment"))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or min(pixels.shape[:2]) < self.size:
            raise ValueError(
                f"{path}: augment returned {pixels.dtype} of shape {pixels.shape}; it must return"
                f" uint8 (h, w, {self.channels}) with both sides at least {self.size}"
            )
        return pixels

    def _skip_unusable(self, measure: Callable[..., tuple[int, int]]) -> None:
        """Remove from ``paths``, log, and list in ``skipped`` the files that cannot be used."""
        with ThreadPoolExecutor(8) as pool:
            reasons = list(pool.map(partial(self._reason, measure), self.paths))
        checked = list(zip(self.paths, reasons, strict=True))
        self.skipped = [(str(path), reason) for path, reason in checked if reason]
        self.paths = [path for path, reason in checked if not reason]
        for path, reason in self.skipped:
            _log.warning("skipped %s: %s", path, reason)

    def _reason(self, measure: Callable[..., tuple[int, int]], path: Path | str) -> str:
        """Return why a file cannot be used, or an empty string."""
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


def _paths(root: Root, exclude: str | os.PathLike[str] | None) -> list[Path | str]:
    if isinstance(root, str | os.PathLike):
        return find_sources(root, exclude)
    names = without([os.fspath(path) for path in root], exclude)
    return [name if is_url(name) else Path(name) for name in names]


def _at_least(least: int, **named: int) -> int:
    ((name, given),) = named.items()
    value = integer(name, given)
    if value < least:
        raise ValueError(f"{name} {value} must be at least {least}")
    return value


def _one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        *others, last = map(repr, known)
        raise ValueError(f"{name} {value!r} must be {', '.join(others)} or {last}")
