"""sr: super-resolution models, trained on degradation recipes and evaluated by one protocol.

>>> from sr import build
>>> build("srcnn", scale=2).scale
2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sr.checkpoint import load
    from sr.comparison.compare import run_comparison
    from sr.comparison.config import Comparison
    from sr.evaluation import Results, evaluate
    from sr.examples import Example, load_examples
    from sr.metrics.lpips import load_lpips
    from sr.metrics.psnr_ssim import psnr, ssim
    from sr.models import Model, build
    from sr.training.config import Config, configure
    from sr.training.loop import train
    from sr.training.trainers import Trainer
    from sr.upscale import upscale_file, upscale_image

_HOME = {
    "checkpoint": ("load",),
    "comparison.compare": ("run_comparison",),
    "comparison.config": ("Comparison",),
    "evaluation": ("Results", "evaluate"),
    "examples": ("Example", "load_examples"),
    "metrics.lpips": ("load_lpips",),
    "metrics.psnr_ssim": ("psnr", "ssim"),
    "models": ("Model", "build"),
    "training.config": ("Config", "configure"),
    "training.loop": ("train",),
    "training.trainers": ("Trainer",),
    "upscale": ("upscale_file", "upscale_image"),
}

__all__ = [
    "Comparison",
    "Config",
    "Example",
    "Model",
    "Results",
    "Trainer",
    "build",
    "configure",
    "evaluate",
    "load",
    "load_examples",
    "load_lpips",
    "psnr",
    "run_comparison",
    "ssim",
    "train",
    "upscale_file",
    "upscale_image",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``sr --help`` does not wait for PyTorch."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"sr.{module}"), name)
    raise AttributeError(f"module 'sr' has no attribute {name!r}")
