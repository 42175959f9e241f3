"""Pairs read from a paired dataset.

Pair ``i`` of epoch ``e`` has the key ``Key.of(seed, i, e)``, of which its crop and its orientation
are drawn, so it does not depend on the batch size or the number of workers.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from degrade.data.epochs import EpochDataset, Epochs
from degrade.data.patches import DRAWS
from degrade.data.readers import EncodedImage, open_pairs, open_raw
from degrade.images.files import ImageError, read_image
from degrade.images.pixels import to_tensor
from degrade.rng import Key, integer

__all__ = ["PairedFolder"]


class PairedFolder(EpochDataset[dict[str, Any]]):
    """A paired dataset, in any format that ``degrade synth`` writes.

    Args:
        root: Folder or URL with ``hr`` and ``lr`` (or ``gt`` and ``lq``) images of equal names, or
            with their LMDB databases, or with WebDataset shards; or one shard. A dataset has the
            same items in every format; see :mod:`degrade.data.readers`.
        size: Side of a random HR crop of each pair; None for whole images.
        seed: Seed of the crops and orientations; an item's key is ``Key.of(seed, index, epoch)``.
        repeat: How often an epoch visits each pair.
        names: Keys of the LR and the HR image.
        fixed: Whether every pass has the same crops, as validation wants.
        flip: Whether to flip both images left and right, with probability 1/2.
        rotate: Whether to rotate both by the same random number of quarter turns; with ``flip``,
            all eight orientations are equally likely.
        raw: Whether items have ``hr_raw`` too, the HR image as it was before a recipe sharpened
            it: what ``degrade synth --keep-raw`` wrote, if it lies there; else HR itself.

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
        names: tuple[str, str] = ("lr", "hr"),
        fixed: bool = False,
        flip: bool = False,
        rotate: bool = False,
        raw: bool = False,
    ) -> None:
        self.reader = open_pairs(root)
        self._raw_reader = open_raw(root) if raw else None
        self.size, self.seed, self.names = size, integer("seed", seed), names
        self.flip, self.rotate, self.raw = flip, rotate, raw
        self._repeat = integer("repeat", repeat)
        self.epochs = Epochs(len(self), fixed)
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
        return len(self.reader.names) * self._repeat

    @property
    def repeat(self) -> int:
        """How often an epoch visits each pair."""
        return self._repeat

    @repeat.setter
    def repeat(self, repeat: int) -> None:
        self._repeat = integer("repeat", repeat)
        self.epochs.resize(len(self))

    def item(self, index: int, epoch: int) -> dict[str, Any]:
        """Return pair ``index`` of an epoch."""
        n = index % len(self.reader.names)
        images = self._read(n)
        y, x, flip, turns = Key.of(self.seed, index, epoch).uniforms(DRAWS)[0]
        if self.size is not None:
            images = self._crop(images, self.size, n, y, x)
        if self.flip and flip < 0.5:
            images = [image.flip(-1) for image in images]
        if self.rotate:
            images = [image.rot90(int(4 * turns), (-2, -1)) for image in images]
        names = (*self.names, "hr_raw") if self.raw else self.names
        named = dict(zip(names, images, strict=True))
        return {**named, "index": index, "epoch": epoch, "path": self.reader.label(n)}

    def _read(self, n: int) -> list[Tensor]:
        """Read LR, HR and, if it is wanted, HR as it was, of one size at this scale."""
        files = [*self.reader.read(n)]
        if self._raw_reader is not None:
            files.append(self._raw_reader.read(n)[1])
        lr, *high = (self._decode(file, n) for file in files)
        for hr in high:
            if hr.shape[-2:] != (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale):
                raise ImageError(
                    self.reader.label(n),
                    f"HR {tuple(hr.shape[-2:])} should be {self.scale} times"
                    f" LR {tuple(lr.shape[-2:])}",
                )
        if self.raw and self._raw_reader is None:
            high.append(high[0])
        return [lr, *high]

    def _decode(self, file: EncodedImage, n: int) -> Tensor:
        try:
            image = to_tensor(read_image(file))[:3]
        except ImageError as error:
            if not isinstance(file, bytes):
                raise
            raise ImageError(self.reader.label(n), error.reason) from None
        # Grey repeated: a batch has one number of channels.
        return image if len(image) == 3 else image[:1].repeat(3, 1, 1)

    def _crop(
        self, images: Sequence[Tensor], size: int, n: int, y: float, x: float
    ) -> list[Tensor]:
        """Return the same crop of LR and HR images, at a position on the LR pixel grid."""
        lr, *high = images
        side, scale = size // self.scale, self.scale
        free = [length - side for length in lr.shape[-2:]]
        if min(free) < 0:
            raise ImageError(
                self.reader.label(n),
                f"is {tuple(high[0].shape[-2:])}, smaller than the patch of {size}",
            )
        top, left = int(y * (free[0] + 1)), int(x * (free[1] + 1))
        crops = [lr[:, top : top + side, left : left + side]]
        top, left = scale * top, scale * left
        return crops + [hr[:, top : top + size, left : left + size] for hr in high]
