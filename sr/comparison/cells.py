"""Cells of a comparison: one model on one test set, evaluated image by image and kept on disk.

A cell's file is named by a hash of everything that its numbers depend on, as a run's folder is: a
comparison that was killed goes on where it stopped, and one with a new row or column evaluates
only what is new. No more than one image is in memory at a time.
"""

# numpy: archives are untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from degrade.data.pairs import PairedFolder
from degrade.images.files import find_images
from sr import checkpoint
from sr.comparison.columns import Column
from sr.comparison.config import BICUBIC, Comparison
from sr.evaluation import Results, evaluate
from sr.examples import PAIRS, Example, hr_images
from sr.figures import most_detailed, to_pixels
from sr.pretrained import MissingWeightsError, locate

__all__ = ["Cell", "CellResults", "Crop", "count_images", "evaluate_cell", "read_cell"]

CROPS = 4
"""Images of each test set of which a crop is kept for the report."""
CROP_SIDE = 96
"""Side of these crops."""
READ_ERRORS = (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile)
"""What reading a damaged cell raises."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Crop:
    """The same crop of HR, LR and SR, (side, side, 3) 8-bit each."""

    hr: Pixels
    lr: Pixels
    sr: Pixels


@dataclass(frozen=True)
class Cell:
    """A model on a test set.

    Args:
        label: What is evaluated on what, for messages.
        model: What :func:`sr.checkpoint.load` loads.
        column: The test set.
        comparison: Gives scale, seeds and folder.
        draw: Number of the draw of each image: seed + draw degrades.
    """

    label: str
    model: str
    column: Column
    comparison: Comparison
    draw: int = 0

    @property
    def file(self) -> Path:
        """Where its results are kept. Reads the model's file, once."""
        comparison, column = self.comparison, self.column
        data = [
            *("cell 1", checkpoint.versions()["degrade"]),
            *(comparison.scale, comparison.seed + self.draw, column.identity),
            *(_content(self.model), _images(column.source), _measures_lpips()),
        ]
        digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()
        return Path(comparison.out) / "cells" / f"{digest[:24]}.npz"


@dataclass(frozen=True, eq=False)
class CellResults:
    """What was measured, and the crops of some images by name."""

    results: Results
    crops: dict[str, Crop]


@lru_cache(maxsize=256)
def _content(model: str) -> str:
    """The hash of a model's file."""
    if model == BICUBIC:
        return BICUBIC
    with open(checkpoint.weights_file(model), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _images(source: str) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change of each file of a test set."""
    files = find_images(source.removeprefix(PAIRS))
    stats = [(path, path.stat()) for path in files]
    return [(path.as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _measures_lpips() -> bool:
    try:
        locate("alexnet")
    except MissingWeightsError:
        return False
    return True


def count_images(source: str) -> int:
    """Return the number of images of a test set."""
    if source.startswith(PAIRS):
        return len(PairedFolder(source.removeprefix(PAIRS)))
    return len(hr_images(source))


# --- evaluate ------------------------------------------------------------------------------------


def evaluate_cell(cell: Cell, device: str) -> None:
    """Evaluate a cell and write its results, unless they are there. Raises UserError."""
    file = cell.file
    if file.is_file() and read_cell(cell) is not None:
        return
    column, scale = cell.column, cell.comparison.scale
    model = checkpoint.load(cell.model, scale, device)
    count = count_images(column.source)
    shown = set(range(0, count, max(1, count // CROPS))[:CROPS]) if cell.draw == 0 else set[int]()
    crops: dict[str, Crop] = {}
    seen = 0

    def keep(example: Example, sr: Tensor) -> None:
        nonlocal seen
        if seen in shown:
            cut = _cropper(example)
            crops[example.name] = Crop(cut(example.hr), cut(example.lr), cut(sr))
        seen += 1

    examples = column.examples(cell.comparison.seed + cell.draw)
    results = evaluate(model, cell.model, examples, column.recipe, on_image=keep)
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(file, _encode(CellResults(results, crops)))


def _cropper(example: Example) -> Callable[[Tensor], Pixels]:
    """A function that cuts the most detailed square of HR out of images of HR's or LR's size."""
    (height, width), scale = example.hr.shape[-2:], example.hr.shape[-1] // example.lr.shape[-1]
    side = min(CROP_SIDE, height, width) // scale
    y, x = (start // scale for start in most_detailed(example.hr, side * scale))

    def crop(image: Tensor) -> Pixels:
        k = scale * image.shape[-1] // width
        return to_pixels(image[..., y * k : (y + side) * k, x * k : (x + side) * k])

    return crop


# --- files ---------------------------------------------------------------------------------------


def _encode(found: CellResults) -> bytes:
    pictures = {
        f"{side}{i}": getattr(crop, side)
        for i, crop in enumerate(found.crops.values())
        for side in ("hr", "lr", "sr")
    }
    text = json.dumps({**found.results.as_dict(), "crops": list(found.crops)})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, text=np.frombuffer(text.encode(), np.uint8), **pictures)
    return buffer.getvalue()


def read_cell(cell: Cell) -> CellResults | None:
    """Read a cell's results; None if they are missing or damaged."""
    try:
        with np.load(cell.file, allow_pickle=False) as archive:
            data: dict[str, Any] = json.loads(archive["text"].tobytes())
            results = Results(data["model"], data["protocol"], data["images"])
            crops = {
                name: Crop(*(archive[f"{side}{i}"] for side in ("hr", "lr", "sr")))
                for i, name in enumerate(data["crops"])
            }
            return CellResults(results, crops) if results.images else None
    except READ_ERRORS:
        return None
