"""Quick: a comparison on the sample photographs, in minutes on two CPU cores. Three are trained
on, two are judged on.

The photographs judged on are cut into squares, each degraded by a draw of its own. Its one
constraint: no photograph is on both sides. Two photographs make no benchmark; they show an effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degrade.images.files import Pixels, read_image
from degrade.images.pixels import encode_png, to_uint8
from degrade.images.samples import sample_images
from sr import checkpoint
from sr.comparison.config import BICUBIC, Comparison, read_comparison

__all__ = ["quick"]

SIDE = 128
"""Of the squares."""
JUDGED = ("chelsea", "coffee")
"""Photographs that are not trained on."""
USUAL: dict[str, Any] = {
    "models": (BICUBIC, "srcnn"),
    "out": "comparison-quick",
    "steps": 800,
    "settings": {"srcnn": {"batch": 8, "model.kernels": [9, 1, 5], "model.filters": [32, 16]}},
}


def quick(flags: Mapping[str, Any]) -> Comparison:
    """SRCNN 9-1-5 with half the filters, 800 steps of 8 patches; flags go first. Writes the images
    into the folder.

    Raises:
        UserError: A flag that is wrong, or images that cannot be written.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    comparison = read_comparison(None, {**USUAL, **given})
    root = Path(comparison.out) / "images"
    for path in sample_images():
        pixels = to_uint8(read_image(path).pixels)
        if path.stem in JUDGED:
            for name, square in _squares(pixels).items():
                _write(root / "test" / f"{path.stem}_{name}.png", square)
        else:
            _write(root / "train" / f"{path.stem}.png", pixels)
    where = {
        "data": comparison.data or (str(root / "train"),),
        "val": comparison.val or str(root / "test"),
    }
    return comparison.model_copy(update=where)


def _squares(pixels: Pixels) -> dict[str, Pixels]:
    """As many as fit, about the middle; by row and column."""
    rows, columns = (size // SIDE for size in pixels.shape[:2])
    top, left = ((size % SIDE) // 2 for size in pixels.shape[:2])
    places = {
        f"{y}{x}": (top + y * SIDE, left + x * SIDE) for y in range(rows) for x in range(columns)
    }
    return {name: pixels[y : y + SIDE, x : x + SIDE] for name, (y, x) in places.items()}


def _write(path: Path, pixels: Pixels) -> None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(path, encode_png(pixels))
