"""Quick comparison on the sample photographs, in minutes on two CPU cores.

Three photographs are the training set; two are the test set, cut into crops that are each degraded
by a draw of their own. Two photographs are no benchmark; they show an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degrade.images.files import Pixels, read_image
from degrade.images.pixels import encode_png, to_uint8
from degrade.images.samples import sample_images
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison, read_comparison, settable

__all__ = ["quick_comparison"]

SIDE = 128
"""Side of the test crops."""
TEST = ("chelsea", "coffee")
"""Photographs of the test set; the others are the training set."""
QUICK: dict[str, Any] = {
    "models": (BICUBIC, "srcnn"),
    "out": "comparison-quick",
    "settings": {
        "srcnn": {
            **{"steps": 800, "batch": 8},
            **{"model.kernels": [9, 1, 5], "model.filters": [32, 16]},
        },
        "srresnet": {
            **{"steps": 2000, "batch": 8, "patch": 64, "rate": 1e-3},
            **{"model.channels": 32, "model.blocks": 4},
        },
        "rrdb": {
            **{"steps": 600, "batch": 8, "patch": 48, "rate": 5e-4},
            **{"model.channels": 16, "model.blocks": 2, "model.growth": 8},
        },
        "srgan": {
            **{"steps": 400, "batch": 8, "patch": 64},
            **{"gan.perceptual": "none", "gan.discriminator": {"channels": 16, "dense": 128}},
        },
    },
}


def quick_comparison(flags: Mapping[str, Any]) -> Comparison:
    """Return a comparison of bicubic with SRCNN 9-1-5 of half the filters, 800 steps of 8
    patches, and write its images into its folder. Flags take precedence. Of the other methods
    that may be asked for, networks and runs are as small.

    Raises:
        UserError: A flag is wrong, or the images cannot be written.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    comparison = read_comparison(None, {**QUICK, **given})
    if "settings" not in given:  # those of methods that are not trained would be an error
        known = settable(comparison)
        kept = {name: dict(of) for name, of in comparison.settings.items() if name in known}
        if "steps" in given:
            for settings in kept.values():
                settings.pop("steps", None)
        comparison = comparison.model_copy(update={"settings": kept})
    root = Path(comparison.out) / "images"
    for path in sample_images():
        pixels = to_uint8(read_image(path).pixels)
        if path.stem in TEST:
            for name, crop in _crops(pixels).items():
                _write(root / "test" / f"{path.stem}_{name}.png", crop)
        else:
            _write(root / "train" / f"{path.stem}.png", pixels)
    data = comparison.data or (str(root / "train"),)
    val = comparison.val or str(root / "test")
    return comparison.model_copy(update={"data": data, "val": val})


def _crops(pixels: Pixels) -> dict[str, Pixels]:
    """As many non-overlapping crops as fit, centred, by row and column."""
    rows, columns = (size // SIDE for size in pixels.shape[:2])
    top, left = ((size % SIDE) // 2 for size in pixels.shape[:2])
    corners = {
        f"{y}{x}": (top + y * SIDE, left + x * SIDE) for y in range(rows) for x in range(columns)
    }
    return {name: pixels[y : y + SIDE, x : x + SIDE] for name, (y, x) in corners.items()}


def _write(path: Path, pixels: Pixels) -> None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(path, encode_png(pixels))
