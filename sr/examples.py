"""Images to evaluate on, each with the LR image that a recipe makes of it, or ready-made pairs."""

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

__all__ = ["Example", "examples", "hr_images"]

PAIRS = "pairs:"
"""Begins the name of a folder of ready-made pairs."""


SAMPLES = "samples"


MIDDLE = 192
"""Side of what is taken of a sample photograph."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image to evaluate on: LR (1, 3, h, w) and HR (1, 3, h scale, w scale) in [0, 1]."""

    name: str
    lr: Tensor
    hr: Tensor


def hr_images(source: str | Path) -> list[Path]:
    """The HR images of a folder; where it has ``X_HR`` beside ``X_LR``, only the former."""
    files = find_images(source)
    stems = {path.with_suffix("") for path in files}
    paired = [path for path in files if path.stem.endswith("_HR") and _twin(path) in stems]
    return paired or files


def _twin(path: Path) -> Path:
    return path.with_name(path.stem.removesuffix("_HR") + "_LR")


def examples(source: str | Path, recipe: Recipe | None, seed: int = 0) -> Iterator[Example]:
    """Images with their LR images.

    Args:
        source: HR images, image i degraded with the key of sample i; ``samples`` for the middle of
            each sample photograph; or ``pairs:DIR`` of ready-made pairs.
        recipe: What makes LR images; None only for pairs.
        seed: Of the keys.

    Raises:
        UserError: No images, or one smaller than the scale, or no recipe for them.
    """
    if str(source).startswith(PAIRS):
        yield from _paired(str(source).removeprefix(PAIRS))
        return
    if recipe is None:
        raise UserError(
            f"--val {source}: pairs of an unknown recipe are validated on pairs: give --val {PAIRS}DIR"
        )
    samples = source == SAMPLES
    for i, path in enumerate(sample_images() if samples else hr_images(source)):
        image = to_tensor(read_image(path))
        hr = recipe.crop((_middle(image, MIDDLE) if samples else image).expand(3, -1, -1)[None])
        if min(hr.shape[-2:]) == 0:
            raise UserError(f"{path}: smaller than the scale {recipe.scale}")
        pair = recipe.apply(hr, recipe.plan(Key.of(seed, i)))
        yield Example(path.stem, pair.lr, pair.hr)


def _middle(image: Tensor, side: int) -> Tensor:
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
