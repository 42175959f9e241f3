"""Evaluation of a model by the protocol of the super-resolution literature.

HR is cropped to a multiple of the scale, LR is made from it by a recipe (``bicubic`` is MATLAB's
``imresize``), SR is rounded to 8 bits and ``scale`` pixels are shaved off each side; then PSNR and
SSIM on Y and on RGB, LPIPS if its weights are installed, and any other metric asked for
(:mod:`sr.metrics`). Results say of every number how it was measured.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.images.files import ImageError
from degrade.recipe import Recipe
from sr.alignment import Alignment
from sr.checkpoint import versions
from sr.examples import Example, Examples
from sr.metrics import FIDELITY, Metric, default_metrics, open_metrics
from sr.models import Model
from sr.models.external import ExternalModel
from sr.pretrained import has_weights
from sr.tiles import enlarge_tiled, overlap_of

__all__ = ["TARGETS", "Results", "evaluate", "measure", "protocol", "score", "super_resolve"]

LPIPS_MISSING = "not measured: no weights of AlexNet, see `sr fetch alexnet`"
TARGETS = {
    "raw": "the HR image as it was",
    "recipe": "the recipe's target, which it may have sharpened",
    "files": "the HR files of the pairs",
    None: "none",
}


@dataclass(frozen=True)
class Results:
    """Metrics of a model on a set of images.

    Args:
        model: Name of the model.
        protocol: How they were measured.
        images: Metrics of each image by its name; NaN where an image has none.
    """

    model: str
    protocol: dict[str, Any]
    images: dict[str, dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each metric over the images that have one; NaN if none has."""
        names = next(iter(self.images.values()))
        return {name: _mean([one[name] for one in self.images.values()]) for name in names}

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Images without a value, by metric; a mean is over the others."""
        missing = {
            metric: [name for name, one in self.images.items() if math.isnan(one[metric])]
            for metric in self.mean
        }
        return {metric: names for metric, names in missing.items() if names}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the JSON file; null where there is no value."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "mean": _finite(self.mean),
            "left_out": self.left_out,
            "images": {name: _finite(scores) for name, scores in self.images.items()},
        }

    def to_csv(self) -> str:
        """Return one line an image, then the mean: the last line, of an empty name."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", *self.mean])
        for name, row in [*self.images.items(), ("", self.mean)]:
            values = ("" if math.isnan(value) else f"{value:.6g}" for value in row.values())
            writer.writerow([name, *values])
        return buffer.getvalue()


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def score(sr: Tensor, hr: Tensor, shave: int) -> dict[str, float]:
    """Return PSNR and SSIM of one image, (1, 3, H, W) each in [0, 1]."""
    return {name: metric(sr, hr, shave) for name, metric in open_metrics(FIDELITY).items()}


@torch.no_grad()
def evaluate(
    model: Model,
    name: str,
    data: Sequence[Example],
    recipe: Recipe | None = None,
    tile: int = 512,
    on_image: Callable[[Example, Tensor], None] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    overlap: int | None = None,
    on_error: Callable[[str, UserError], None] | None = None,
) -> Results:
    """Evaluate a model, which must be in eval mode. The protocol of ready-made pairs says whether
    they are aligned.

    Args:
        model: Of the data's scale.
        name: Its name in the results.
        data: From :func:`sr.examples.load_examples`, or a list.
        recipe: What made the LR images of a list; those of ``load_examples`` know it.
        tile: Side of the LR tiles of large images in pixels.
        on_image: Called with each example and its SR image, in 8-bit steps.
        metrics: From :func:`sr.metrics.open_metrics`; by default PSNR and SSIM on Y and RGB, and
            LPIPS if its weights are installed.
        overlap: As for :func:`sr.tiles.enlarge_tiled`.
        on_error: Called with the name of an image that cannot be read or upscaled, and the
            reason; the others are evaluated. Without it the first one ends the evaluation.

    Raises:
        UserError: If the scales differ, a metric needs the HR images that are missing, or no image
            is there or could be evaluated.
    """
    if metrics is None:
        metrics = default_metrics()
    examples = data if isinstance(data, Examples) else _listed(data, recipe)
    if examples.target is None:
        _check_blind(metrics)
    paired = isinstance(data, Examples) and examples.recipe is None and examples.target
    alignment = Alignment()
    images: dict[str, dict[str, float]] = {}
    failures: list[str] = []
    for i, label in enumerate(examples.names):
        try:
            example = examples[i]
            _check_scale(model, name, example)
            sr = super_resolve(model, example, tile, overlap)
            images[label] = measure(metrics, sr, example, model.scale)
            if paired:
                alignment.add(label, example.lr, example.hr)
        except UserError as error:
            if on_error is None:
                if isinstance(error, ImageError):  # names its file
                    raise
                raise UserError(f"{label}: {error}") from error
            on_error(label, error)
            failures.append(f"{label}: {error}")
            continue
        if on_image is not None:
            on_image(example, sr)
    if not images:
        raise UserError("\n".join([*failures, f"{name}: no images to evaluate on"]))
    described = protocol(model, examples, metrics, tile, overlap)
    if alignment.shifts:
        described["alignment"] = alignment.describe()
    return Results(name, described, images)


def _listed(data: Sequence[Example], recipe: Recipe | None) -> Examples:
    return Examples([example.name for example in data], lambda i: data[i], recipe)


def _check_scale(model: Model, name: str, example: Example) -> None:
    if example.truth is not None:
        scale = example.truth.shape[-1] // example.lr.shape[-1]
        if model.scale != scale:
            raise UserError(
                f"{name}: its scale is {model.scale}, that of {example.name} is {scale}"
            )


def super_resolve(
    model: Model,
    example: Example,
    tile: int,
    overlap: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the SR image that is measured, (1, 3, H, W) in 8-bit steps; grey for a grey file.

    Args:
        model: In eval mode.
        example: Whose LR image is upscaled.
        tile: As for :func:`sr.tiles.enlarge_tiled`.
        overlap: As for :func:`sr.tiles.enlarge_tiled`.
        device: Of the result.

    Raises:
        UserError: The model failed.
    """
    sr = enlarge_tiled(model, example.lr.to(model.device), tile, overlap).to(device)
    if example.grey:
        sr = sr.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return (sr.clamp(0, 1) * 255).round() / 255


def measure(
    metrics: Mapping[str, Metric], sr: Tensor, example: Example, shave: int
) -> dict[str, float]:
    """Return the metrics of a result of :func:`super_resolve`, on its device; NaN where one has
    no value. Grey files are measured on their own values, as MATLAB and the papers do.

    Raises:
        UserError: A metric failed, such as on an image smaller than its window.
    """
    hr = sr if example.truth is None else example.truth.to(sr.device)
    if example.grey:
        sr, hr = sr[:, :1], hr[:, :1]
    return {name: _value(name, metric, sr, hr, shave) for name, metric in metrics.items()}


def _value(name: str, metric: Metric, sr: Tensor, hr: Tensor, shave: int) -> float:
    try:
        return metric(sr, hr, shave)
    except Exception as error:  # whatever a metric of others raises
        raise UserError(f"metric {name}: {type(error).__name__}: {error}") from error


def _check_blind(metrics: Mapping[str, Metric]) -> None:
    seeing = [name for name, metric in metrics.items() if not metric.blind]
    if seeing:
        raise UserError(
            f"there are no HR images, which {', '.join(seeing)} need; "
            "give --metrics niqe or pyiqa:NAME (such as pyiqa:musiq)"
        )


def protocol(
    model: Model,
    examples: Examples,
    metrics: Mapping[str, Metric],
    tile: int = 512,
    overlap: int | None = None,
) -> dict[str, Any]:
    """Return how :func:`evaluate` measures, in words."""
    recipe, scale = examples.recipe, model.scale
    on_disk = "LR images on disk" if examples.target is None else "ready-made pairs"
    lines = {name: metric.protocol for name, metric in metrics.items()}
    if lines.keys() == set(FIDELITY) and not has_weights("alexnet"):
        lines["lpips"] = LPIPS_MISSING
    target = TARGETS[examples.target]
    return {
        "line": _line(on_disk if recipe is None else recipe.name, target, scale, lines),
        "scale": scale,
        "recipe": on_disk if recipe is None else recipe.name,
        "recipe_hash": None if recipe is None else recipe.hash,
        "hr": "cropped at the bottom and the right to a multiple of the scale",
        "target": target,
        "sr": "clipped and rounded to 8 bits",
        "tiles": _tiles(model, tile, overlap),
        "shave": scale,
        "y": "16 + 65.481 R + 128.553 G + 24.966 B, not rounded",
        "grey": "files that are grey are measured on their own values, not on Y of them",
        "metrics": lines,
        "library": f"sr {versions()['degrade']}, torch {versions()['torch']}",
        "notes": list(examples.notes),
    }


def _line(recipe: str, target: str, scale: int, metrics: Mapping[str, str]) -> str:
    """The protocol of a table in one line."""
    others = [f"{name}: {line}" for name, line in metrics.items() if name not in FIDELITY]
    fidelity = [
        "PSNR and SSIM of 8-bit images on Y (BT.601, not rounded) or RGB, grey files as they are"
    ]
    return "; ".join(
        [
            f"x{scale}, LR: {recipe}, HR: {target}, {scale} pixels shaved",
            *(fidelity if set(FIDELITY) & metrics.keys() else []),
            *others,
            f"sr {versions()['degrade']}",
        ]
    )


def _tiles(model: Model, tile: int, overlap: int | None) -> str:
    if isinstance(model, ExternalModel) and model.windows is not None:
        return model.windows
    shared = overlap_of(model, overlap)
    if not tile or shared is None:
        return "none: whole images"
    reach = "unknown" if model.reach is None else f"{model.reach} pixels"
    return (
        f"LR images with a side above {tile} in tiles of {tile}, with {shared} pixels more on "
        f"each side; the receptive field's radius is {reach}"
    )
