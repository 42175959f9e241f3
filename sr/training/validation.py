"""Validation of a run: metrics of the model on whole images, and a sheet of a few of them.

Images are read one by one, every time; a small set stays in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.recipe import Recipe
from sr.examples import Example, load_examples
from sr.metrics.dists import load_dists
from sr.metrics.lpips import load_lpips
from sr.metrics.psnr_ssim import WINDOW, psnr, ssim
from sr.models import Model
from sr.pretrained import MissingWeightsError
from sr.tiles import enlarge_tiled
from sr.training.settings import Config

__all__ = ["Scores", "Validation", "is_better"]

SHEET_IMAGES = 3
"""Images of samples/*.png."""
KEPT_BYTES = 256 * 2**20
"""Most bytes of validation images that stay in memory."""
TILE = 512
"""Side of the LR tiles of large images in pixels."""
HIGHEST_PSNR = 100.0
"""An exact result has an infinite PSNR, which no mean can hold."""
LOWER_IS_BETTER = ("lpips", "dists")

Measure = Callable[[Tensor, Tensor, int], float]
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


def measure_of(distance: nn.Module) -> Measure:
    """Return a distance of two images as a measure, on their device."""
    return lambda sr, hr, _shave: float(distance.to(sr.device)(sr, hr))


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Return whether a value is better than the best so far; None: there is none.

    >>> is_better("lpips", 0.2, 0.3), is_better("psnr_y", 20.0, 30.0)
    (True, False)
    """
    if best is None:
        return True
    return value < best if metric in LOWER_IS_BETTER else value > best


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
        self.metrics: dict[str, Measure] = {
            "psnr_y": lambda sr, hr, shave: min(float(psnr(sr, hr, shave)), HIGHEST_PSNR),
            "ssim_y": lambda sr, hr, shave: float(ssim(sr, hr, shave)),
        }
        self.chooser = self._chooser()
        self._kept: list[Example] | None = None
        self._check()

    def _chooser(self) -> str | None:
        """The metric that chooses the best checkpoint. PSNR prefers the blurred images of
        pretraining to those of a GAN, so a GAN's is perceptual, or its last checkpoint is its
        result.
        """
        wanted = self.config.best_by
        loaders: dict[str, Callable[[], nn.Module]] = {"lpips": load_lpips, "dists": load_dists}
        if wanted in loaders:
            names = [wanted]
        elif wanted == "auto" and self.config.trainer == "gan":
            names = [*loaders]
        else:
            return {"auto": "psnr_y", "none": None}.get(wanted, wanted)
        for name in names:
            try:
                distance = loaders[name]()
            except MissingWeightsError as error:
                if wanted != "auto":
                    raise UserError(f"best_by {wanted}: {error}") from None
                continue
            self.metrics[name] = measure_of(distance)
            return name
        return None

    def _check(self) -> None:
        least = WINDOW + 2 * self.config.scale
        kept: list[Example] = []
        small: list[str] = []
        size = 0
        for example in load_examples(str(self.config.val), self.recipe):
            height, width = example.hr.shape[-2:]
            if min(height, width) < least:
                small.append(f"{example.name}: {width} x {height}")
            size += 4 * (example.hr.numel() + example.lr.numel())
            if size <= KEPT_BYTES:
                kept.append(example)
        if small:
            raise UserError(
                f"--val {self.config.val}: each side must be at least {least} pixels, for SSIM's "
                f"window of {WINDOW} inside a border of {self.config.scale}; too small:\n"
                + "\n".join(small)
            )
        if not size:
            raise UserError(f"--val {self.config.val}: no images")
        self._kept = kept if size <= KEPT_BYTES else None

    def _examples(self) -> Iterator[Example]:
        if self._kept is not None:
            yield from self._kept
        else:
            yield from load_examples(str(self.config.val), self.recipe)

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
                sr = enlarge_tiled(model, example.lr.to(device), TILE).to(place).clamp(0, 1)
                hr = example.hr.to(place)
                for name, measure in self.metrics.items():
                    totals[name] += measure(sr, hr, self.config.scale)
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
