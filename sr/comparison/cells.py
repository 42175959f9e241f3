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
import math
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from degrade.data.readers import open_pairs, open_raw
from degrade.images.files import find_images
from sr import checkpoint
from sr.comparison.columns import Column
from sr.comparison.config import BICUBIC, Comparison
from sr.evaluation import Results, evaluate
from sr.examples import LR_ONLY, PAIRS, Example
from sr.figures import most_detailed, to_pixels
from sr.metrics import Metric, default_metrics, open_metrics
from sr.metrics.base import window_of
from sr.models.external import is_external
from sr.registry import import_named

__all__ = ["Cell", "CellResults", "Crop", "evaluate_cell", "opened", "read_cell"]

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
            *("cell 4", checkpoint.versions()["degrade"], comparison.target),
            *(comparison.scale, comparison.seed + self.draw, column.identity),
            *(_content(self.model), _images(column.source), _protocols(comparison.metrics)),
        ]
        digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()
        return Path(comparison.out) / "cells" / f"{digest[:24]}.npz"


@dataclass(frozen=True, eq=False)
class CellResults:
    """What was measured, the crops of some images by name, and the metrics of which lower values
    are better.
    """

    results: Results
    crops: dict[str, Crop]
    lower: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def _content(model: str) -> str:
    """The hash of a model's file or module; of bicubic and of commands what they are called."""
    kind, _, place = model.partition(":")
    if model == BICUBIC or kind == "command":
        return model
    if kind == "python":
        module = place.partition(":")[0]
        import_named([module])  # in every process, or they would look for different files
        source = getattr(sys.modules.get(module), "__file__", None)
        return model + ("" if source is None else _digest(source))
    return _digest(place if is_external(model) else checkpoint.weights_file(model))


def _digest(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _images(source: str) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change of each file of a test set; of URLs the name."""
    if source.startswith(PAIRS):
        root = source.removeprefix(PAIRS)
        readers = open_pairs(root), open_raw(root)
        files = [file for reader in readers if reader is not None for file in reader.stored()]
    else:
        files = find_images(source.removeprefix(LR_ONLY))
    return [_stamp(file) for file in files]


def _stamp(file: Path | str) -> tuple[str, int, int]:
    if isinstance(file, str):  # a URL
        return file, 0, 0
    stat = file.stat()
    return file.as_posix(), stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=8)
def opened(names: tuple[str, ...]) -> dict[str, Metric]:
    """Return the metrics of their names, by default the usual ones. Raises UserError."""
    return open_metrics(names) if names else default_metrics()


def _protocols(names: tuple[str, ...]) -> dict[str, str]:
    """How each metric is measured, weights included."""
    return {name: metric.protocol for name, metric in opened(names).items()}


# --- evaluate ------------------------------------------------------------------------------------


def evaluate_cell(cell: Cell, device: str) -> None:
    """Evaluate a cell and write its results, unless they are there. Raises UserError."""
    file = cell.file
    if file.is_file() and read_cell(cell) is not None:
        return
    column, comparison = cell.column, cell.comparison
    model = checkpoint.load(cell.model, comparison.scale, device)
    metrics = column.judges(opened(comparison.metrics))
    examples = column.examples(comparison, cell.draw, window_of(metrics.values()))
    step = max(1, len(examples) // CROPS)
    shown = set(examples.names[::step][:CROPS]) if cell.draw == 0 else set[str]()
    crops: dict[str, Crop] = {}

    def keep(example: Example, sr: Tensor) -> None:
        if example.name in shown:
            cut = _cropper(example, sr)
            hr = sr if example.truth is None else example.truth
            crops[example.name] = Crop(cut(hr), cut(example.lr), cut(sr))

    results = evaluate(model, cell.model, examples, on_image=keep, metrics=metrics)
    lower = tuple(name for name, metric in metrics.items() if metric.lower)
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(file, _encode(CellResults(results, crops, lower)))


def _cropper(example: Example, sr: Tensor) -> Callable[[Tensor], Pixels]:
    """A function that cuts the most detailed square out of images of HR's or LR's size: of HR, or
    without ground truth of LR, for all models alike.
    """
    (height, width), scale = sr.shape[-2:], sr.shape[-1] // example.lr.shape[-1]
    side = min(CROP_SIDE, height, width) // scale
    y, x = (
        most_detailed(example.lr, side)
        if example.truth is None
        else (start // scale for start in most_detailed(example.truth, side * scale))
    )

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
    more = {"crops": list(found.crops), "lower": found.lower}
    text = json.dumps({**found.results.as_dict(), **more}, allow_nan=False)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, text=np.frombuffer(text.encode(), np.uint8), **pictures)
    return buffer.getvalue()


def read_cell(cell: Cell) -> CellResults | None:
    """Read a cell's results; None if they are missing or damaged."""
    file = cell.file  # what is wrong with the model or the images is said
    try:
        with np.load(file, allow_pickle=False) as archive:
            data: dict[str, Any] = json.loads(archive["text"].tobytes())
            images = {name: _numbers(scores) for name, scores in data["images"].items()}
            results = Results(data["model"], data["protocol"], images)
            crops = {
                name: Crop(*(archive[f"{side}{i}"] for side in ("hr", "lr", "sr")))
                for i, name in enumerate(data["crops"])
            }
            found = CellResults(results, crops, tuple(data["lower"]))
            return found if results.images else None
    except READ_ERRORS:
        return None


def _numbers(scores: dict[str, float | None]) -> dict[str, float]:
    """Values of JSON, where null stands for NaN."""
    return {name: math.nan if value is None else value for name, value in scores.items()}
