"""Training pairs: degraded on the device, in the loader's workers, or read from a paired dataset.

Pair ``i`` of epoch ``e`` always has the key ``Key.of(seed, i, e)``, so it does not depend on the
batch size, the number of workers, or whether a run was resumed.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from degrade.data.patches import PatchFolder
from degrade.data.readers import EncodedImage, open_pairs
from degrade.execution import Backend
from degrade.images.files import ImageError, read_image
from degrade.images.pixels import to_tensor
from degrade.recipe import Pair, Recipe
from degrade.rng import Key

__all__ = ["DegradedFolder", "PairedFolder", "PatchFolder", "pairs"]

Names = tuple[str, str]


def pairs(
    loader: Iterable[Any],
    recipe: Recipe,
    seed: int = 0,
    device: torch.device | str | None = None,
    epoch: int = 0,
    backend: Backend | None = None,
) -> Iterator[Pair]:
    """Degrade the HR batches of a loader on a device.

    Args:
        loader: Yields HR batches: a (B, C, H, W) tensor, uint8 or float in [0, 1]; or (tensor,
            indices); or a mapping with the tensor under ``hr``, ``gt`` or ``image`` and optional
            indices under ``index``. Without indices, samples are counted from 0.
        recipe: The degradation.
        seed: Seed; a sample's key is ``Key.of(seed, index, epoch)``.
        device: Where to degrade; by default the device of the batch.
        epoch: The epoch; passed on to ``loader.dataset.set_epoch``, if there is one.
        backend: ``reference``, ``native`` or ``triton``; by default the fastest for the device.

    Yields:
        Pairs; ``pair.lr`` is (B, C, H / scale, W / scale) and ``pair.index`` (B,).
    """
    set_epoch = getattr(getattr(loader, "dataset", None), "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch)
    count = 0
    for batch in loader:
        hr, index = unpack(batch, count)
        count += len(hr)
        if device is not None:
            hr = hr.to(device, non_blocking=True)
        plan = recipe.plan(Key.of(seed, index, epoch))
        yield replace(recipe.apply(hr, plan, backend=backend), index=index)


def unpack(batch: Any, start: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the HR images of a batch, (B, C, H, W), and their indices, (B,).

    ``start`` is the index of the first sample of a batch without indices.

    >>> hr, index = unpack(torch.zeros(2, 3, 8, 8), start=6)
    >>> index
    array([6, 7])

    Raises:
        ValueError: the batch has another structure.
    """
    index: Any = None
    hr = batch
    if isinstance(batch, Mapping):
        names = [name for name in ("hr", "gt", "image") if name in batch]
        if not names:
            raise ValueError(
                f"the batch has {', '.join(map(str, batch))};"
                " its images should be under hr, gt or image"
            )
        hr, index = batch[names[0]], batch.get("index")
    elif isinstance(batch, tuple | list):
        hr, index = batch[0], batch[1] if len(batch) > 1 else None
    if not isinstance(hr, Tensor):
        raise ValueError(
            f"the batch's images are {type(hr).__name__}; they should be one (B, C, H, W) tensor"
        )
    if index is None:
        return hr, np.arange(start, start + len(hr))
    index = np.asarray(index, np.int64)
    if index.shape != (len(hr),):
        raise ValueError(f"{len(hr)} images but indices of shape {index.shape}")
    return hr, index


class DegradedFolder(Dataset[dict[str, Any]]):
    """Pairs degraded in the loader's workers: for CPU training, or where a ``Dataset`` is needed.

    Item ``i`` is ``{"lq": (C, h, w), "gt": (C, H, W), "index": i, "path": ...}``, the pair that
    :func:`pairs` yields for item ``i`` of ``patches``.

    Args:
        patches: HR patches.
        recipe: The degradation.
        seed: As for :func:`pairs`.
        names: Keys of the LR and the HR image, ``("lr", "hr")`` for example.
        backend: As for :func:`pairs`.
    """

    def __init__(
        self,
        patches: PatchFolder,
        recipe: Recipe,
        seed: int = 0,
        names: Names = ("lq", "gt"),
        backend: Backend | None = None,
    ) -> None:
        self.patches = patches
        self.recipe = recipe
        self.seed = seed
        self.names = names
        self.backend: Backend | None = backend

    def __len__(self) -> int:
        return len(self.patches)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which changes crops and degradations."""
        self.patches.set_epoch(epoch)

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = self.patches[i]
        plan = self.recipe.plan(Key.of(self.seed, i, self.patches.epoch))
        pair = self.recipe.apply(item["hr"][None], plan, backend=self.backend)
        lr, hr = self.names
        return {lr: pair.lr[0], hr: pair.hr[0], "index": i, "path": item["path"]}


class PairedFolder(Dataset[dict[str, Any]]):
    """A paired dataset, in any format that ``degrade synth`` writes.

    Args:
        root: Folder or URL with ``hr`` and ``lr`` (or ``gt`` and ``lq``) images of equal names, or
            with their LMDB databases, or with WebDataset shards; or one shard. A dataset has the
            same items in every format; see :mod:`degrade.data.readers`.
        size: Side of a random HR crop of each pair; None for whole images.
        seed: Seed of the crops; an item's key is ``Key.of(seed, index, epoch)``.
        repeat: How often an epoch visits each pair.
        names: Keys of the LR and the HR image.

    Raises:
        ValueError: no pairs, a name without its partner, or an HR size that is not an integer
            multiple of the LR size.
    """

    def __init__(
        self,
        root: str | Path,
        size: int | None = None,
        seed: int = 0,
        repeat: int = 1,
        names: Names = ("lr", "hr"),
    ) -> None:
        self.reader = open_pairs(root)
        self.size, self.seed, self.repeat, self.names = size, seed, repeat, names
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        lr, hr = (self._decode(file, 0).shape[-2:] for file in self.reader.read(0))
        self.scale = hr[0] // lr[0]
        if self.scale < 1 or (lr[0] * self.scale, lr[1] * self.scale) != tuple(hr):
            raise ValueError(
                f"{self.reader.label(0)}: HR {tuple(hr)} should be an integer multiple of"
                f" LR {tuple(lr)}"
            )
        if size is not None and size % self.scale:
            raise ValueError(f"size {size} should be a multiple of the scale {self.scale}")

    def __len__(self) -> int:
        return len(self.reader.names) * self.repeat

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which changes the crops."""
        self._epoch.fill_(epoch)

    def __getitem__(self, i: int) -> dict[str, Any]:
        n = i % len(self.reader.names)
        path = self.reader.label(n)
        lr, hr = (self._decode(file, n) for file in self.reader.read(n))
        if hr.shape[-2:] != (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale):
            raise ImageError(
                path,
                f"HR {tuple(hr.shape[-2:])} should be {self.scale} times"
                f" LR {tuple(lr.shape[-2:])}",
            )
        if self.size is not None:
            lr, hr = self._crop(lr, hr, self.size, path, i)
        low, high = self.names
        return {low: lr, high: hr, "index": i, "path": path}

    def _decode(self, file: EncodedImage, n: int) -> Tensor:
        try:
            image = to_tensor(read_image(file))[:3]
        except ImageError as error:
            if not isinstance(file, bytes):
                raise
            raise ImageError(self.reader.label(n), error.reason) from None
        # Grey repeated: a batch has one number of channels.
        return image if len(image) == 3 else image[:1].repeat(3, 1, 1)

    def _crop(self, lr: Tensor, hr: Tensor, size: int, path: str, i: int) -> tuple[Tensor, Tensor]:
        """Return the same random crop of both images, at a position on the LR pixel grid."""
        side, scale = size // self.scale, self.scale
        free = [n - side for n in lr.shape[-2:]]
        if min(free) < 0:
            raise ImageError(path, f"is {tuple(hr.shape[-2:])}, smaller than the patch of {size}")
        levels = Key.of(self.seed, i, self.epoch).uniforms(("crop.y", "crop.x"))[0]
        y, x = (int(level * (n + 1)) for level, n in zip(levels, free, strict=True))
        top, left = scale * y, scale * x
        return (
            lr[:, y : y + side, x : x + side],
            hr[:, top : top + size, left : left + size],
        )
