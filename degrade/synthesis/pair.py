"""One pair of a synthesis: crop the source, degrade, encode.

Pair ``index`` is a pure function of the job; it does not depend on the process that renders it.
"""

# cv2, torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from degrade.data.patches import crop_origin
from degrade.execution import Backend
from degrade.images.alpha import fill_transparent
from degrade.images.files import Image, ImageError, Pixels
from degrade.images.pixels import (
    as_pixels,
    channel_notes,
    encode_png,
    in_channels,
    reflected,
    to_uint8,
)
from degrade.images.regions import Box, OpenImage, open_image
from degrade.images.regions.base import crop_image
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.files import sha256
from degrade.synthesis.job import Job
from degrade.synthesis.manifest import Row
from degrade.synthesis.settings import SynthSettings

__all__ = [
    "HRCrop",
    "PairPixels",
    "RenderedPair",
    "degrade_crops",
    "encode_pair",
    "load_crop",
    "load_crops",
    "manifest_row",
    "with_alpha",
]

PairPixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""HR and LR pixels, (h, w, 3) or, if alpha is kept, (h, w, 4)."""


class RenderedPair(NamedTuple):
    """A finished pair.

    Args:
        row: Its row of the manifest.
        hr: The HR file.
        lr: The LR file.
    """

    row: Row
    hr: bytes
    lr: bytes


@dataclass(frozen=True, eq=False)
class HRCrop:
    """The part of a source that a pair uses.

    Args:
        pixels: (H, W, 3) uint8.
        alpha: (H, W) uint8, or None.
        box: Top, left, height and width in the source.
        notes: The conversions applied to the source, joined by "; ".
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    box: tuple[int, int, int, int]
    notes: str


class TooSmallError(ImageError):
    """An image is smaller than the requested patch."""


def load_crop(path: Path | str, settings: SynthSettings, scale: int, index: int) -> HRCrop:
    """Read the crop of pair ``index`` from a source. Raises ImageError."""
    with open_image(path) as image:
        [crop] = load_crops(image, settings, scale, [index])
    return crop


def load_crops(
    image: OpenImage, settings: SynthSettings, scale: int, indices: Sequence[int]
) -> list[HRCrop]:
    """Read the crops of some pairs of one source, which is decoded once, as far as needed.

    Raises:
        ImageError: the source cannot be read, or is too small.
    """
    height, width = image.size
    least = settings.patch or scale
    small = min(height, width) < least
    if small and settings.small == "skip":
        raise TooSmallError(image.name, f"{width} x {height} pixels, smaller than {least}")
    boxes = _boxes((max(height, least), max(width, least)), settings, scale, indices)
    distinct = list(dict.fromkeys(boxes))
    if small:
        [decoded] = image.read_regions([(0, 0, height, width)])
        reflection = _reflected(decoded, least)
        parts = [crop_image(reflection, box) for box in distinct]
        notes = [f"mirrored up from {width} x {height}"]
    else:
        parts, notes = image.read_regions(distinct), []
    crops = {
        box: _crop(part, box, notes, settings) for box, part in zip(distinct, parts, strict=True)
    }
    return [crops[box] for box in boxes]


def _boxes(
    size: tuple[int, int], settings: SynthSettings, scale: int, indices: Sequence[int]
) -> list[Box]:
    """Return the box of each pair in an image of a height and width."""
    if settings.patch is None:
        height, width = (n // scale * scale for n in size)
        return [(0, 0, height, width)] * len(indices)
    side = settings.patch
    levels = Key.of(settings.seed, list(indices)).uniforms(("crop.y", "crop.x"))
    return [(*crop_origin(size, side, y, x), side, side) for y, x in levels]


def _reflected(image: Image, least: int) -> Image:
    alpha = None if image.alpha is None else reflected(image.alpha[:, :, None], least)[:, :, 0]
    return Image(reflected(image.pixels, least), alpha, image.notes)


def _crop(image: Image, box: Box, more_notes: list[str], settings: SynthSettings) -> HRCrop:
    keep = image.alpha is not None and settings.alpha == "keep"
    alpha = to_uint8(image.alpha) if image.alpha is not None and keep else None
    notes = [note for note in channel_notes(image, 3).split("; ") if note]
    if keep:
        notes = [note for note in notes if note != "alpha dropped"]
    return HRCrop(in_channels(image, 3), alpha, box, "; ".join([*notes, *more_notes]))


def degrade_crops(
    crops: Sequence[HRCrop],
    recipe: Recipe,
    plan: Plan,
    device: str = "cpu",
    backend: Backend | None = None,
) -> list[PairPixels]:
    """Return the pairs of HR crops of equal size; crop ``i`` uses row ``i`` of the plan.

    Where alpha is kept, colour is extended under transparent pixels before it is degraded; see
    :mod:`degrade.images.alpha`.
    """
    filled = [
        crop.pixels if crop.alpha is None else fill_transparent(crop.pixels, crop.alpha)
        for crop in crops
    ]
    hr = torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2)
    pair = recipe.apply(hr.to(device), plan, backend=backend)
    hrs, lrs = as_pixels(pair.hr), as_pixels(pair.lr)
    return [
        (with_alpha(_as_shown(hr, crop, fill), crop.alpha), with_alpha(lr, crop.alpha))
        for crop, fill, hr, lr in zip(crops, filled, hrs, lrs, strict=True)
    ]


def _as_shown(hr: NDArray[np.uint8], crop: HRCrop, filled: Pixels) -> NDArray[np.uint8]:
    """Undo what filling changed where the image is not entirely transparent: the target is the
    source, wherever one sees it.
    """
    if crop.alpha is None or filled is crop.pixels:
        return hr
    change = (crop.pixels.astype(np.int16) - filled) * (crop.alpha > 0)[:, :, None]
    return np.asarray((hr + change).clip(0, 255), np.uint8)


def with_alpha(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return pixels with an alpha channel, resized by area averaging to their size.

    >>> with_alpha(np.zeros((2, 2, 3), np.uint8), np.full((4, 4), 9, np.uint8)).shape
    (2, 2, 4)
    """
    if alpha is None:
        return pixels
    import cv2

    size = pixels.shape[1], pixels.shape[0]
    small = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.dstack([pixels, small])


def encode_pair(hr: NDArray[np.uint8], lr: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """Return the HR and the LR image as PNG files."""
    return encode_png(hr), encode_png(lr)


def manifest_row(
    job: Job, recipe: Recipe, index: int, crop: HRCrop, plan: Plan, hr: bytes, lr: bytes
) -> Row:
    """Return a pair's row of the manifest."""
    height, width = crop.box[2:]
    return {
        "index": str(index),
        "key": str(int(plan.key.words[0])),
        "name": job.name(index),
        "source": job.sources[index % len(job.sources)],
        **dict(zip(("top", "left", "height", "width"), map(str, crop.box), strict=True)),
        "hr_height": str(height),
        "hr_width": str(width),
        "lr_height": str(height // recipe.scale),
        "lr_width": str(width // recipe.scale),
        "hr_sha256": sha256(hr),
        "lr_sha256": sha256(lr),
        "notes": crop.notes,
        **plan.row(0),
    }
