"""Preview a recipe as one HTML page that needs no network: severity, every step, random draws, and
histograms of the parameters.

The page is a template and a block of JSON data. The page's script writes all data as text, or as
a picture from a data URI, so a recipe file from an untrusted source cannot inject markup or
scripts.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas
from degrade.fields import Range
from degrade.images.pixels import as_pixels
from degrade.inspection import metrics
from degrade.inspection.html import Album, JsonObject, fill
from degrade.inspection.story import acting_values, drawn_values
from degrade.plan import Column, Plan
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["LEVELS", "PreviewSettings", "preview", "preview_data", "render"]


LEVELS = tuple(round(0.05 + 0.1 * i, 2) for i in range(10))
"""The severities that the slider stops at."""
MAX_PICTURE_BYTES = 3_200_000
"""Bytes of pictures: with base64 and the rest, the page stays below 5 MB."""
MOST_IMAGES = 240
"""Images of a page: each holds a crop in memory."""
BINS = 24
BARS = 12
_TEMPLATE = Path(__file__).parent / "templates" / "preview.html"


@dataclass(frozen=True)
class PreviewSettings:
    """What a page shows.

    Args:
        draws: Random draws to show.
        measured: Random draws whose PSNR is measured; at least ``draws``.
        plans: Plans drawn for the histograms of parameters; no pixels are computed for them.
        size: Side of the HR centre crop.
        views: Images shown step by step; random draws use all images.
        seed: With the number of the draw, its key.
    """

    draws: int = 24
    measured: int = 240
    plans: int = 2000
    size: int = 192
    views: int = 3
    seed: int = 0


def preview(recipe: Recipe, files: Sequence[Path], settings: PreviewSettings | None = None) -> str:
    """Return the page as HTML.

    Raises:
        ImageError: An image cannot be read.
    """
    return render(preview_data(recipe, files, settings or PreviewSettings()))


def render(data: JsonObject, live: int | None = None) -> str:
    """Fill the template.

    Args:
        data: What to show, see :func:`preview_data`.
        live: Version of a page served by :mod:`degrade.inspection.preview_server`, which reloads
            when there is a newer one.
    """
    return fill(_TEMPLATE, {**data, "live": live}, "'self'" if live is not None else "'none'")


def preview_data(recipe: Recipe, files: Sequence[Path], settings: PreviewSettings) -> JsonObject:
    """Return what the template shows, as JSON data.

    Raises:
        ImageError: No image can be read.
    """
    size = max(settings.size // recipe.scale, 1) * recipe.scale
    files, crops, skipped = metrics.readable_crops(files[:MOST_IMAGES], size)
    album = Album()
    shown = list(zip(files, crops, strict=True))[: settings.views]
    views = [_view(recipe, file.name, hr, album, settings.seed) for file, hr in shown]
    drawn, found = _draws(recipe, files, crops, album, settings)
    return {
        "name": recipe.name,
        "scale": recipe.scale,
        "hash": recipe.hash,
        "description": recipe.description,
        "yaml": recipe.to_yaml(),
        "seed": settings.seed,
        "levels": LEVELS,
        "views": views,
        "draws": drawn,
        "psnr": _bins(found, found.min(), found.max()),
        "measured": len(found),
        "plans": settings.plans,
        "histograms": _histograms(recipe, settings),
        "pictures": album.encode(MAX_PICTURE_BYTES),
        "quality": album.quality,
        "skipped": skipped,
    }


# --- pictures ------------------------------------------------------------------------------------


def _view(recipe: Recipe, name: str, hr: Tensor, album: Album, seed: int) -> JsonObject:
    """Return one crop at every severity, after every step."""
    [reference] = metrics.bicubic_downscale(hr.float() / 255, recipe.scale)
    levels: list[JsonObject] = []
    for level in LEVELS:
        plan = recipe.severity(level, Key.of(seed, 0))
        steps = _Steps(acting_values(recipe, plan, 0), album)
        pair = recipe.apply(hr, plan, watch=steps.watch)
        [lr], [target] = as_pixels(pair.lr), as_pixels(pair.hr)
        one = {
            "steps": steps.found,
            "lr": album.add(lr, exact=True),
            "hr": album.add(target, exact=True),
        }
        levels.append({**one, "psnr": round(metrics.psnr(lr, reference), 2)})
    [raw] = as_pixels(hr.float() / 255)
    sizes = {
        "height": hr.shape[-2],
        "width": hr.shape[-1],
        "low": [int(n) for n in reference.shape[:2]],
    }
    return {"file": name, "hr": album.add(raw, exact=True), **sizes, "levels": levels}


class _Steps:
    """Collects the picture and the drawn values after every step of one sample."""

    def __init__(self, cells: dict[str, str], album: Album) -> None:
        self.found: list[JsonObject] = []
        self._cells, self._album = cells, album

    def watch(self, address: str, canvas: Canvas) -> None:
        """Add a step; a callback of :meth:`degrade.recipe.Recipe.apply`."""
        [pixels] = as_pixels(canvas.image(0)[None])
        height, width = pixels.shape[:2]
        step = {"address": address, "drawn": self._drawn(f"{address}.")}
        picture = {"picture": self._album.add(pixels, exact=False)}
        self.found.append({**step, **picture, "height": height, "width": width})

    def _drawn(self, prefix: str) -> list[list[str]]:
        """Names and values of the parameters below an address."""
        return [
            [address.removeprefix(prefix), value]
            for address, value in self._cells.items()
            if address.startswith(prefix) and not address.endswith(".p")
        ]


def _draws(
    recipe: Recipe,
    files: Sequence[Path],
    crops: Sequence[Tensor],
    album: Album,
    settings: PreviewSettings,
) -> tuple[list[JsonObject], NDArray[np.float64]]:
    """Return the shown draws, highest PSNR first, and the PSNR of all measured ones."""
    count = max(settings.draws, settings.measured)
    found = np.empty(count)
    shown: list[JsonObject] = []
    for k, hr in enumerate(crops):
        index = np.arange(k, count, len(crops))
        if not len(index):
            break
        [reference] = metrics.bicubic_downscale(hr.float() / 255, recipe.scale)
        for rows in metrics.batches(index, hr.shape[-1]):
            plan = recipe.plan(Key.of(settings.seed, rows))
            pair = recipe.apply(hr.expand(len(rows), -1, -1, -1), plan)
            for row, (i, lr) in enumerate(zip(rows.tolist(), as_pixels(pair.lr), strict=True)):
                found[i] = metrics.psnr(lr, reference)
                if i < settings.draws:
                    [target] = as_pixels(pair.hr[row : row + 1])
                    pictures = {"lr": album.add(lr, True), "hr": album.add(target, True)}
                    values = {"index": i, "file": files[k].name, "psnr": round(float(found[i]), 2)}
                    shown.append({**values, **pictures, "story": drawn_values(recipe, plan, row)})
    return sorted(shown, key=lambda draw: -draw["psnr"]), found


# --- histograms ----------------------------------------------------------------------------------


def _histograms(recipe: Recipe, settings: PreviewSettings) -> list[JsonObject]:
    """Return the histogram of each parameter, with its value at each severity."""
    plan = recipe.plan(Key.of(settings.seed, np.arange(settings.plans)))
    levels = [recipe.severity(level, Key.of(settings.seed, 0)) for level in LEVELS]
    return [_histogram(column, plan, levels) for column in recipe.columns]


def _histogram(column: Column, plan: Plan, levels: Sequence[Plan]) -> JsonObject:
    values = plan[column.address]
    values = values[~np.isnan(values)]
    variable = column.variable
    marks = [None if math.isnan(v := float(level[column.address][0])) else v for level in levels]
    data: JsonObject = {
        "address": column.address,
        "unit": variable.unit if isinstance(variable, Range) else "",
        "share": len(values) / len(plan),
        "marks": [None if mark is None else variable.label(mark) for mark in marks],
    }
    counts = Counter(values.tolist())
    if isinstance(variable, Range) and len(counts) > BARS:
        least, middle, most = np.percentile(values, [5, 50, 95])
        spread = f"median {middle:.3g}, 5 to 95 %: {least:.3g} to {most:.3g}"
        # Branches that share an address may have different ranges; the column holds the first.
        low, high = column.dist.support
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        return {**data, **_bins(values, low, high), "places": marks, "spread": spread}
    often = sorted(value for value, _ in counts.most_common(BARS))
    bars = [[variable.label(value), counts[value] / len(values)] for value in often]
    if len(counts) > BARS:
        others = sum(counts.values()) - sum(counts[value] for value in often)
        most = max(counts.values()) / len(values)
        label = f"{len(counts)} different, each at most {most:.1%}"
        bars = [[label, others / len(values)]]
    return {**data, "bars": bars}


def _bins(values: NDArray[np.float64], low: float, high: float) -> JsonObject:
    """Count values in equal bins from ``low`` to ``high``, or over the range of the values if a
    limit is infinite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, BINS, (low, high))
    return {"low": float(low), "high": float(high), "counts": counts.tolist()}
