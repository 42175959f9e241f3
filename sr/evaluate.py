"""Evaluation by the field's protocol: how near is SR to HR?

HR is cropped to a multiple of the scale, LR is made from it by a recipe (``bicubic`` is MATLAB's ``imresize``), SR is
rounded to 8 bits and ``scale`` pixels are shaved off each side; then PSNR and SSIM on Y and on RGB, and LPIPS where its
weights are at hand. Its one constraint: a table says its protocol.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degrade.data.pairs import PairedFolder
from degrade.errors import UserError
from degrade.images.files import find_images, read_image, to_tensor
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.rng import Key
from sr.metrics.psnr_ssim import psnr, ssim
from sr.models import Model
from sr.training.config import PAIRS
from sr.upscale import enlarge_tiled

__all__ = ["Example", "Table", "evaluate", "examples", "hr_images", "score"]

SAMPLES = "samples"
MIDDLE = 192
"""Side of what is taken of a sample photograph."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image to evaluate on: LR (1, 3, h, w) and HR (1, 3, h scale, w scale) in [0, 1]."""

    name: str
    lr: Tensor
    hr: Tensor


@dataclass(frozen=True)
class Table:
    """Results.

    Args:
        model: What was evaluated.
        protocol: How.
        images: Metrics by name of the image.
    """

    model: str
    protocol: dict[str, Any]
    images: dict[str, dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the images, of each metric that all have."""
        rows = list(self.images.values())
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"model": self.model, "protocol": self.protocol, "mean": self.mean, "images": self.images}

    def to_csv(self) -> str:
        """A line an image, then the mean."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", *self.mean])
        for name, row in [*self.images.items(), ("mean", self.mean)]:
            writer.writerow([name, *(f"{value:.6g}" for value in row.values())])
        return buffer.getvalue()


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
        source: HR images, image i degraded with the key of sample i; ``samples`` for the middle of each sample
            photograph; or ``pairs:DIR`` of ready-made pairs.
        recipe: What makes LR images; None only for pairs.
        seed: Of the keys.

    Raises:
        UserError: No images, or one smaller than the scale, or no recipe for them.
    """
    if str(source).startswith(PAIRS):
        yield from _paired(str(source).removeprefix(PAIRS))
        return
    if recipe is None:
        raise UserError(f"--val {source}: pairs of an unknown recipe are validated on pairs: give --val {PAIRS}DIR")
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


def score(sr: Tensor, hr: Tensor, shave: int) -> dict[str, float]:
    """PSNR and SSIM of one image, (1, 3, H, W) each."""
    return {
        "psnr_y": float(psnr(sr, hr, shave, "y")),
        "ssim_y": float(ssim(sr, hr, shave, "y")),
        "psnr_rgb": float(psnr(sr, hr, shave, "rgb")),
        "ssim_rgb": float(ssim(sr, hr, shave, "rgb")),
    }


@torch.no_grad()
def evaluate(
    model: Model,
    name: str,
    data: Iterable[Example],
    recipe: Recipe | None,
    tile: int = 512,
    see: Callable[[Example, Tensor], None] | None = None,
    lpips: bool = True,
) -> Table:
    """Evaluates a model, which is in eval mode.

    Args:
        model: Of the data's scale.
        name: What to call it.
        data: From :func:`examples`.
        recipe: What made the LR images; None for ready-made pairs.
        tile: Side of the LR tiles of large images; results do not depend on it.
        see: Shown each example with its SR image.
        lpips: Whether to measure LPIPS if its weights are there.

    Raises:
        UserError: If the scales differ, or there are no images.
    """
    distance = _lpips() if lpips else None
    images: dict[str, dict[str, float]] = {}
    for example in data:
        scale = example.hr.shape[-1] // example.lr.shape[-1]
        if model.scale != scale:
            raise UserError(f"{name}: is for scale {model.scale}, but {example.name} is x{scale}")
        sr = enlarge_tiled(model, example.lr.to(model.device), tile).cpu().clamp(0, 1)
        images[example.name] = score(sr, example.hr, scale)
        if distance is not None:
            images[example.name]["lpips"] = float(distance(sr, example.hr))
        if see is not None:
            see(example, sr)
    if not images:
        raise UserError(f"{name}: no images to evaluate on")
    return Table(name, protocol(model.scale, recipe, distance is not None), images)


def protocol(scale: int, recipe: Recipe | None, lpips: bool) -> dict[str, Any]:
    """How :func:`evaluate` measures, in words."""
    return {
        "scale": scale,
        "recipe": "ready-made pairs" if recipe is None else recipe.name,
        "recipe_hash": None if recipe is None else recipe.hash,
        "hr": "cropped at the bottom and the right to a multiple of the scale",
        "sr": "clipped and rounded to 8 bits",
        "shave": scale,
        "y": "16 + 65.481 R + 128.553 G + 24.966 B, not rounded",
        "psnr": "peak 255, MSE over all pixels (and channels) of an image",
        "ssim": "11 x 11 Gaussian window, sigma 1.5, valid region, K = 0.01, 0.03",
        "lpips": "AlexNet, version 0.1" if lpips else "not measured: no weights of AlexNet, see `sr fetch alexnet`",
    }


def _lpips() -> torch.nn.Module | None:
    from sr.metrics.lpips import lpips
    from sr.pretrained import MissingWeightsError

    try:
        return lpips()
    except MissingWeightsError:
        return None
