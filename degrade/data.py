"""From HR images to batches of pairs: on the device, in the workers, or from a folder of ready-made pairs.

All three give pair ``i`` of epoch ``e`` the key ``Key.of(seed, i, e)``, so that they agree, whatever the batch size,
the number of workers or the moment a run was resumed.
"""

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

from degrade.images import ImageError, find_images, read_image, to_tensor
from degrade.patches import PatchFolder
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
) -> Iterator[Pair]:
    """Degrades what a loader yields, a whole batch at a time, on the device.

    Args:
        loader: Yields HR batches: a (B, C, H, W) tensor, uint8 or float in [0, 1]; or (tensor, indices); or a mapping
            with the tensor under ``hr``, ``gt`` or ``image`` and, if it has them, the indices under ``index``. Without
            indices the samples are counted from 0.
        recipe: The degradation.
        seed: With ``epoch`` and a sample's index, its key.
        device: Where to degrade; by default where the batch is.
        epoch: Told to the loader's dataset too, if it has ``set_epoch``.

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
        yield replace(recipe.apply(hr, recipe.plan(Key.of(seed, index, epoch))), index=index)


def unpack(batch: Any, start: int) -> tuple[Tensor, NDArray[np.int64]]:
    """The HR images of a batch and their indices."""
    index: Any = None
    hr = batch
    if isinstance(batch, Mapping):
        names = [name for name in ("hr", "gt", "image") if name in batch]
        if not names:
            raise ValueError(f"the batch has {', '.join(map(str, batch))}; its images should be under hr, gt or image")
        hr, index = batch[names[0]], batch.get("index")
    elif isinstance(batch, tuple | list):
        hr, index = batch[0], batch[1] if len(batch) > 1 else None
    if not isinstance(hr, Tensor):
        raise ValueError(f"the batch's images are {type(hr).__name__}; they should be one (B, C, H, W) tensor")
    if index is None:
        return hr, np.arange(start, start + len(hr))
    index = np.asarray(index, np.int64)
    if index.shape != (len(hr),):
        raise ValueError(f"{len(hr)} images but indices of shape {index.shape}")
    return hr, index


class DegradedFolder(Dataset[dict[str, Any]]):
    """Pairs made inside the loader's workers: for CPU training, and for code that wants a plain ``Dataset``.

    Item ``i`` is ``{"lq": (C, h, w), "gt": (C, H, W), "index": i, "path": ...}``, the pair that :func:`pairs` makes of
    item ``i`` of ``patches``.

    Args:
        patches: HR patches.
        recipe: The degradation.
        seed: As for :func:`pairs`.
        names: Keys of the LR and the HR image, ``("lr", "hr")`` for example.
    """

    def __init__(self, patches: PatchFolder, recipe: Recipe, seed: int = 0, names: Names = ("lq", "gt")) -> None:
        self.patches = patches
        self.recipe = recipe
        self.seed = seed
        self.names = names

    def __len__(self) -> int:
        return len(self.patches)

    def set_epoch(self, epoch: int) -> None:
        """Begins another epoch: other crops, other degradations."""
        self.patches.set_epoch(epoch)

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = self.patches[i]
        pair = self.recipe.apply(item["hr"][None], self.recipe.plan(Key.of(self.seed, i, self.patches.epoch)))
        lr, hr = self.names
        return {lr: pair.lr[0], hr: pair.hr[0], "index": i, "path": item["path"]}


class PairedFolder(Dataset[dict[str, Any]]):
    """Ready-made pairs, as ``degrade synth`` writes them: ``hr/NAME.png`` and ``lr/NAME.png``.

    Args:
        root: Folder with ``hr`` and ``lr`` (or ``gt`` and ``lq``) of the same names.
        size: HR patch to cut from each pair, at a place drawn from (seed, index, epoch); None for whole images.
        seed: See above.
        repeat: How many times an epoch goes through the folder.
        names: Keys of the LR and the HR image.

    Raises:
        ValueError: no pairs, a name without its partner, or sizes that are not one whole multiple.
    """

    def __init__(
        self, root: str | Path, size: int | None = None, seed: int = 0, repeat: int = 1, names: Names = ("lr", "hr")
    ) -> None:
        folder = Path(root)
        found = [
            (lr, hr) for lr, hr in (("lr", "hr"), ("lq", "gt")) if (folder / lr).is_dir() and (folder / hr).is_dir()
        ]
        if not found:
            raise ValueError(f"{folder}: has no folders lr and hr (nor lq and gt)")
        low, high = (folder / name for name in found[0])
        self.files = match(low, high)
        self.size, self.seed, self.repeat, self.names = size, seed, repeat, names
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        lr, hr = (read_image(path).pixels.shape[:2] for path in self.files[0])
        self.scale = hr[0] // lr[0]
        if self.scale < 1 or (lr[0] * self.scale, lr[1] * self.scale) != hr[:2]:
            raise ValueError(f"{self.files[0][1]}: HR {hr[:2]} should be a whole multiple of LR {lr[:2]}")
        if size is not None and size % self.scale:
            raise ValueError(f"size {size} should be a multiple of the scale {self.scale}")

    def __len__(self) -> int:
        return len(self.files) * self.repeat

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begins another epoch: other crops."""
        self._epoch.fill_(epoch)

    def __getitem__(self, i: int) -> dict[str, Any]:
        low, high = self.files[i % len(self.files)]
        lr, hr = (to_tensor(read_image(path))[:3] for path in (low, high))
        if hr.shape[-2:] != (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale):
            raise ImageError(high, f"HR {tuple(hr.shape[-2:])} should be {self.scale} times LR {tuple(lr.shape[-2:])}")
        if self.size is not None:
            lr, hr = self._cut(lr, hr, high, i)
        names = self.names
        return {names[0]: lr, names[1]: hr, "index": i, "path": str(high)}

    def _cut(self, lr: Tensor, hr: Tensor, path: Path, i: int) -> tuple[Tensor, Tensor]:
        assert self.size is not None
        side = self.size // self.scale
        room = [n - side for n in lr.shape[-2:]]
        if min(room) < 0:
            raise ImageError(path, f"is {tuple(hr.shape[-2:])}, smaller than the patch of {self.size}")
        levels = Key.of(self.seed, i, self.epoch).uniforms(("crop.y", "crop.x"))[0]
        y, x = (int(level * (free + 1)) for level, free in zip(levels, room, strict=True))
        s, n = self.scale, self.size
        return lr[:, y : y + side, x : x + side], hr[:, y * s : y * s + n, x * s : x * s + n]


def match(low: Path, high: Path) -> list[tuple[Path, Path]]:
    """LR and HR files of the same path and stem under two folders. Raises ValueError naming those without a partner."""
    by_stem = [
        {path.relative_to(folder).with_suffix(""): path for path in find_images(folder)} for folder in (low, high)
    ]
    lonely = sorted(map(str, by_stem[0].keys() ^ by_stem[1].keys()))
    if lonely:
        more = f" and {len(lonely) - 3} more" if len(lonely) > 3 else ""
        raise ValueError(f"{low.parent}: {', '.join(lonely[:3])}{more}: only in one of {low.name} and {high.name}")
    return [(by_stem[0][stem], by_stem[1][stem]) for stem in sorted(by_stem[0])]
