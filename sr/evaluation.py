"""Evaluation of a model by the protocol of the super-resolution literature.

HR is cropped to a multiple of the scale, LR is made from it by a recipe (``bicubic`` is MATLAB's
``imresize``), SR is rounded to 8 bits and ``scale`` pixels are shaved off each side; then PSNR and
SSIM on Y and on RGB, and LPIPS if its weights are installed. Results record their protocol.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.recipe import Recipe
from sr.examples import Example
from sr.metrics.lpips import LPIPS, load_lpips
from sr.metrics.psnr_ssim import psnr, ssim
from sr.models import Model
from sr.pretrained import MissingWeightsError
from sr.upscale import enlarge_tiled

__all__ = ["Results", "evaluate", "score"]


LPIPS_PROTOCOL = "AlexNet, version 0.1"
LPIPS_MISSING = "not measured: no weights of AlexNet, see `sr fetch alexnet`"


@dataclass(frozen=True)
class Results:
    """Metrics of a model on a set of images.

    Args:
        model: Name of the model.
        protocol: How they were measured.
        images: Metrics of each image by its name.
    """

    model: str
    protocol: dict[str, Any]
    images: dict[str, dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each metric over the images."""
        scores = list(self.images.values())
        return {name: sum(one[name] for one in scores) / len(scores) for name in scores[0]}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "mean": self.mean,
            "images": self.images,
        }

    def to_csv(self) -> str:
        """Return one line an image, then the mean."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", *self.mean])
        for name, row in [*self.images.items(), ("mean", self.mean)]:
            writer.writerow([name, *(f"{value:.6g}" for value in row.values())])
        return buffer.getvalue()


def score(sr: Tensor, hr: Tensor, shave: int) -> dict[str, float]:
    """Return PSNR and SSIM of one image, (1, 3, H, W) each in [0, 1]."""
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
    on_image: Callable[[Example, Tensor], None] | None = None,
    lpips: bool = True,
) -> Results:
    """Evaluate a model, which must be in eval mode.

    Args:
        model: Of the data's scale.
        name: Its name in the results.
        data: From :func:`sr.examples.load_examples`.
        recipe: What made the LR images; None for pairs on disk.
        tile: Side of the LR tiles of large images in pixels; results do not depend on it.
        on_image: Called with each example and its SR image.
        lpips: Whether to measure LPIPS if its weights are installed.

    Raises:
        UserError: If the scales differ, or there are no images.
    """
    distance = _load_lpips() if lpips else None
    images: dict[str, dict[str, float]] = {}
    for example in data:
        scale = example.hr.shape[-1] // example.lr.shape[-1]
        if model.scale != scale:
            raise UserError(
                f"{name}: its scale is {model.scale}, that of {example.name} is {scale}"
            )
        sr = enlarge_tiled(model, example.lr.to(model.device), tile).cpu().clamp(0, 1)
        images[example.name] = score(sr, example.hr, scale)
        if distance is not None:
            images[example.name]["lpips"] = float(distance(sr, example.hr))
        if on_image is not None:
            on_image(example, sr)
    if not images:
        raise UserError(f"{name}: no images to evaluate on")
    return Results(name, protocol(model.scale, recipe, distance is not None), images)


def protocol(scale: int, recipe: Recipe | None, lpips: bool) -> dict[str, Any]:
    """Return how :func:`evaluate` measures, in words."""
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
        "lpips": LPIPS_PROTOCOL if lpips else LPIPS_MISSING,
    }


def _load_lpips() -> LPIPS | None:
    """LPIPS on AlexNet; None if its weights are missing."""
    try:
        return load_lpips()
    except MissingWeightsError:
        return None
