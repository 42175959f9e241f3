"""Evaluation by the field's protocol: how near is SR to HR?

HR is cropped to a multiple of the scale, LR is made from it by a recipe (``bicubic`` is MATLAB's
``imresize``), SR is rounded to 8 bits and ``scale`` pixels are shaved off each side; then PSNR and
SSIM on Y and on RGB, and LPIPS where its weights are at hand. Its one constraint: a table says its
protocol.
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
from sr.metrics.psnr_ssim import psnr, ssim
from sr.models import Model
from sr.upscale import enlarge_tiled

__all__ = ["Table", "evaluate", "score"]


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
        return {
            "model": self.model,
            "protocol": self.protocol,
            "mean": self.mean,
            "images": self.images,
        }

    def to_csv(self) -> str:
        """A line an image, then the mean."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", *self.mean])
        for name, row in [*self.images.items(), ("mean", self.mean)]:
            writer.writerow([name, *(f"{value:.6g}" for value in row.values())])
        return buffer.getvalue()


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
        "lpips": "AlexNet, version 0.1"
        if lpips
        else "not measured: no weights of AlexNet, see `sr fetch alexnet`",
    }


def _lpips() -> torch.nn.Module | None:
    from sr.metrics.lpips import lpips
    from sr.pretrained import MissingWeightsError

    try:
        return lpips()
    except MissingWeightsError:
        return None
