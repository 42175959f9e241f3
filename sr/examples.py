"""Examples to evaluate on: HR images with the LR images that a recipe makes, or pairs on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from degrade.data.pairs import PairedFolder
from degrade.errors import UserError
from degrade.images.files import find_images, read_image
from degrade.images.pixels import to_tensor
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["PAIRS", "SAMPLES", "Example", "hr_images", "load_examples"]

PAIRS = "pairs:"
"""Prefix of the folder of pairs on disk."""
SAMPLES = "samples"
"""The sample photographs, instead of a folder."""
SAMPLE_CROP = 192
"""Side of the centre crop of a sample photograph."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image to evaluate on: LR (1, 3, h, w) and HR (1, 3, h scale, w scale) in [0, 1]."""

    name: str
    lr: Tensor
    hr: Tensor


def hr_images(source: str | Path) -> list[Path]:
    """Return the HR images of a folder; if it has ``X_HR`` beside ``X_LR``, only the former."""
    files = find_images(source)
    stems = {path.with_suffix("") for path in files}
    paired = [path for path in files if path.stem.endswith("_HR") and _lr_path(path) in stems]
    return paired or files


def _lr_path(path: Path) -> Path:
    return path.with_name(path.stem.removesuffix("_HR") + "_LR")


def load_examples(source: str | Path, recipe: Recipe | None, seed: int = 0) -> Iterator[Example]:
    """Yield HR images with their LR images.

    Args:
        source: HR images, image i degraded with key (seed, i); ``samples`` for the centre crop of
            each sample photograph; or ``pairs:DIR`` for pairs on disk.
        recipe: Makes the LR images; None only for pairs.
        seed: Seed of the keys.

    Raises:
        UserError: No images, an image smaller than the scale, or no recipe.
    """
    if str(source).startswith(PAIRS):
        yield from _paired(str(source).removeprefix(PAIRS))
        return
    if recipe is None:
        raise UserError(
            f"--val {source}: a run on pairs has no recipe, so it is validated on pairs; "
            f"give --val {PAIRS}DIR"
        )
    samples = source == SAMPLES
    for i, path in enumerate(sample_images() if samples else hr_images(source)):
        image = to_tensor(read_image(path))
        if samples:
            image = _center_crop(image, SAMPLE_CROP)
        hr = recipe.crop(image.expand(3, -1, -1)[None])
        if min(hr.shape[-2:]) == 0:
            raise UserError(f"{path}: each side must be at least the scale, {recipe.scale} pixels")
        pair = recipe.apply(hr, recipe.plan(Key.of(seed, i)))
        yield Example(path.stem, pair.lr, pair.hr)


def _center_crop(image: Tensor, side: int) -> Tensor:
    top, left = ((size - side) // 2 for size in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _paired(root: str) -> Iterator[Example]:
    try:
        folder = PairedFolder(root)
    except ValueError as error:
        raise UserError(str(error)) from None
    for i in range(len(folder)):
        item = folder[i]
        lr, hr = (item[name].expand(3, -1, -1)[None] for name in ("lr", "hr"))
        yield Example(Path(item["path"]).stem, lr, hr)
