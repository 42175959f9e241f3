"""Validation of a run: metrics of the model on whole images, as :mod:`sr.evaluation` measures
them, and a sheet of a few of them.

Images are read one by one, every time; a small set stays in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.recipe import Recipe
from sr.evaluation import measure, super_resolve
from sr.examples import Example, Examples, load_examples
from sr.metrics import METRICS, open_metrics
from sr.metrics.base import window_of
from sr.models import Model
from sr.pretrained import MissingWeightsError
from sr.training.settings import Config

__all__ = ["Scores", "Validation", "describe_scores", "is_better"]

SHEET_IMAGES = 3
"""Images of samples/*.png."""
KEPT_BYTES = 256 * 2**20
"""Most bytes of validation images that stay in memory."""
TILE = 512
"""Side of the LR tiles of large images in pixels."""
PERCEPTUAL = ("lpips", "dists")
"""Distances, lower is better. The first whose weights are installed chooses a GAN's best
checkpoint.
"""

Shown = tuple[str, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Scores:
    """A validation.

    Args:
        means: Mean over the images of each metric.
        chosen_by: Metric that chooses the best checkpoint; None if this validation chooses none.
        shown: Name, LR, SR and HR of the first images.
    """

    means: dict[str, float]
    chosen_by: str | None
    shown: list[Shown]


def describe_scores(means: Mapping[str, float]) -> str:
    """Return PSNR, and the perceptual metric that chooses a GAN's checkpoint.

    >>> describe_scores({"psnr_y": 24.0, "ssim_y": 0.7, "lpips": 0.3})
    '24.00 dB Y, lpips 0.3000'
    """
    distances = [f", {name} {means[name]:.4f}" for name in PERCEPTUAL if name in means]
    return f"{means['psnr_y']:.2f} dB Y" + "".join(distances)


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Return whether a value is better than the best so far; None: there is none.

    >>> is_better("lpips", 0.2, 0.3), is_better("psnr_y", 20.0, 30.0)
    (True, False)
    """
    if best is None:
        return True
    return value < best if metric in PERCEPTUAL else value > best


class Validation:
    """The validation images and metrics of a run.

    Args:
        config: The run.
        recipe: Makes LR images; None for pairs on disk.

    Raises:
        UserError: There are no images, some are too small to be measured (all are named), or the
            weights of ``best_by`` are missing.
    """

    def __init__(self, config: Config, recipe: Recipe | None) -> None:
        self.config, self.recipe = config, recipe
        self.metrics = open_metrics(["psnr_y", "ssim_y"])
        self.chooser = self._chooser()
        self._kept = self._keep_small()

    def _chooser(self) -> str | None:
        """The metric that chooses the best checkpoint. PSNR prefers the blurred images of
        pretraining to those of a GAN, so a GAN's is perceptual, or its last checkpoint is its
        result.
        """
        wanted = self.config.best_by
        if wanted in PERCEPTUAL:
            names = (wanted,)
        elif wanted == "auto" and self.config.trainer == "gan":
            names = PERCEPTUAL
        else:
            return {"auto": "psnr_y", "none": None}.get(wanted, wanted)
        for name in names:
            try:
                self.metrics[name] = METRICS[name]()
            except MissingWeightsError as error:
                if wanted != "auto":
                    raise UserError(f"best_by {wanted}: {error}") from None
                continue
            return name
        return None

    def _keep_small(self) -> list[Example] | None:
        """Read all images, so that one that cannot be read is named before anything starts; None
        if they are too large to stay in memory.
        """
        kept: list[Example] = []
        size = 0
        for example in self._open():
            size += 4 * (example.hr.numel() + example.lr.numel())
            if size <= KEPT_BYTES:
                kept.append(example)
        return kept if size <= KEPT_BYTES else None

    def _open(self) -> Examples:
        window = window_of(self.metrics.values())
        val, scale = str(self.config.val), self.config.scale
        try:
            return load_examples(val, self.recipe, window=window, scale=scale)
        except UserError as error:
            raise UserError(f"--val {val}: {str(error).removeprefix(f'--val {val}: ')}") from None

    def _examples(self) -> Iterator[Example]:
        if self._kept is not None:
            yield from self._kept
        else:
            yield from self._open()

    @torch.no_grad()
    def __call__(self, model: Model, step: int) -> Scores:
        """Measure a model after ``step`` steps; its mode is restored."""
        training, device = model.training, model.device
        # Where float64 is: on CUDA the GPU measures too.
        place = device if device.type == "cuda" else torch.device("cpu")
        totals = dict.fromkeys(self.metrics, 0.0)
        shown: list[Shown] = []
        count = 0
        model.eval()
        with varying_sizes():
            for example in self._examples():
                sr = super_resolve(model, example, TILE, device=place)
                for name, value in measure(self.metrics, sr, example, model.scale).items():
                    totals[name] += value
                if len(shown) < SHEET_IMAGES:
                    shown.append((example.name, example.lr, sr.cpu(), example.hr))
                count += 1
        model.train(training)
        pretraining = self.config.trainer == "gan" and step <= self.config.gan.pretrain
        means = {name: total / count for name, total in totals.items()}
        return Scores(means, None if pretraining else self.chooser, shown)


@contextmanager
def varying_sizes() -> Generator[None]:
    """Switch cuDNN's benchmarks off, which each new size of image would cost seconds."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
