"""A recipe as one HTML page that needs no network: severity, every step, random draws, and what is
drawn how often.

The page is a template and a block of data. Everything in the data is text that the page's script
writes as text, or a picture as a data URI; a recipe file, which may come from a stranger, can put
no markup and no script into it.
"""

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
from degrade.inspection.contact_sheet import story
from degrade.inspection.html import Album, Data, fill
from degrade.plan import Column, Plan
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["LEVELS", "Settings", "describe", "page", "preview"]


LEVELS = tuple(round(0.05 + 0.1 * i, 2) for i in range(10))
"""Where the slider stops."""
BUDGET = 3_200_000
"""Bytes for pictures: with base64 and the rest, the page stays below 5 MB."""
BINS = 24
BARS = 12
_TEMPLATE = Path(__file__).parent / "templates" / "preview.html"


@dataclass(frozen=True)
class Settings:
    """What a page shows.

    Args:
        draws: Random draws to show.
        measured: Random draws whose PSNR is measured; no fewer are than shown.
        plans: Plans drawn for the histograms of parameters; they cost no pixels.
        size: Side of the HR crop from the middle of an image.
        views: Pictures shown step by step; random draws go over all that are given.
        seed: With the number of the draw, its key.
    """

    draws: int = 24
    measured: int = 240
    plans: int = 2000
    size: int = 192
    views: int = 3
    seed: int = 0


def preview(recipe: Recipe, files: Sequence[Path], settings: Settings | None = None) -> str:
    """The page. Raises ImageError for an image that cannot be read."""
    return page(describe(recipe, files, settings or Settings()))


def page(data: Data, live: int | None = None) -> str:
    """Fills the template; ``live`` is the version that a page served by
    :mod:`degrade.inspection.preview_server` tells from the next one.
    """
    return fill(_TEMPLATE, {**data, "live": live}, "'self'" if live is not None else "'none'")


def describe(recipe: Recipe, files: Sequence[Path], settings: Settings) -> Data:
    """What the template shows, as JSON data."""
    size = max(settings.size // recipe.scale, 1) * recipe.scale
    crops = list(metrics.middles(files, size))
    album = Album()
    some = list(zip(files, crops, strict=True))[: settings.views]
    views = [_view(recipe, file.name, hr, album, settings.seed) for file, hr in some]
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
        "pictures": album.encode(BUDGET),
        "quality": album.quality,
    }


# --- pictures ------------------------------------------------------------------------------------


def _view(recipe: Recipe, name: str, hr: Tensor, album: Album, seed: int) -> Data:
    """One crop at every level of severity, after every step."""
    [reference] = metrics.plain(hr.float() / 255, recipe.scale)
    levels: list[Data] = []
    for level in LEVELS:
        plan = recipe.severity(level, Key.of(seed, 0))
        cells = plan.row(0, precise=False)
        steps: list[Data] = []

        def watch(
            address: str, canvas: Canvas, cells: dict[str, str] = cells, steps: list[Data] = steps
        ) -> None:
            [pixels] = as_pixels(canvas.image(0)[None])
            ending = len(address) + 1
            drawn = [
                [a[ending:], v]
                for a, v in cells.items()
                if a.startswith(address + ".") and not a.endswith(".p")
            ]
            height, width = pixels.shape[:2]
            small = album.add(pixels, exact=False)
            steps.append(
                {
                    "address": address,
                    "drawn": drawn,
                    "picture": small,
                    "height": height,
                    "width": width,
                }
            )

        pair = recipe.apply(hr, plan, watch=watch)
        [lr], [target] = as_pixels(pair.lr), as_pixels(pair.hr)
        one = {
            "steps": steps,
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


def _draws(
    recipe: Recipe,
    files: Sequence[Path],
    crops: Sequence[Tensor],
    album: Album,
    settings: Settings,
) -> tuple[list[Data], NDArray[np.float64]]:
    """The first draws, mildest first, and the PSNR of all that are measured."""
    count = max(settings.draws, settings.measured)
    found = np.empty(count)
    shown: list[Data] = []
    for k, hr in enumerate(crops):
        index = np.arange(k, count, len(crops))
        if not len(index):
            break
        [reference] = metrics.plain(hr.float() / 255, recipe.scale)
        plan = recipe.plan(Key.of(settings.seed, index))
        pair = recipe.apply(hr.expand(len(index), -1, -1, -1), plan)
        for row, (i, lr) in enumerate(zip(index.tolist(), as_pixels(pair.lr), strict=True)):
            found[i] = metrics.psnr(lr, reference)
            if i < settings.draws:
                [target] = as_pixels(pair.hr[row : row + 1])
                pictures = {"lr": album.add(lr, exact=True), "hr": album.add(target, exact=True)}
                values = {"index": i, "file": files[k].name, "psnr": round(float(found[i]), 2)}
                shown.append({**values, **pictures, "story": story(plan, row)})
    return sorted(shown, key=lambda draw: -draw["psnr"]), found


# --- histograms ----------------------------------------------------------------------------------


def _histograms(recipe: Recipe, settings: Settings) -> list[Data]:
    """How often what is drawn, and what each level of severity takes."""
    plan = recipe.plan(Key.of(settings.seed, np.arange(settings.plans)))
    levels = [recipe.severity(level, Key.of(settings.seed, 0)) for level in LEVELS]
    return [_histogram(column, plan, levels) for column in recipe.columns]


def _histogram(column: Column, plan: Plan, levels: Sequence[Plan]) -> Data:
    values = plan[column.address]
    values = values[~np.isnan(values)]
    variable = column.variable
    marks = [None if math.isnan(v := float(level[column.address][0])) else v for level in levels]
    data: Data = {
        "address": column.address,
        "unit": variable.unit if isinstance(variable, Range) else "",
        "share": len(values) / len(plan),
        "marks": [None if mark is None else variable.label(mark) for mark in marks],
    }
    counts = Counter(values.tolist())
    if isinstance(variable, Range) and len(counts) > BARS:
        least, middle, most = np.percentile(values, [5, 50, 95])
        spread = f"median {middle:.3g}, 5 to 95 %: {least:.3g} to {most:.3g}"
        # Branches that share an address may draw from other ranges than the first of them, which
        # the column holds.
        low, high = column.dist.support
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        return {**data, **_bins(values, low, high), "places": marks, "spread": spread}
    often = sorted(value for value, _ in counts.most_common(BARS))
    bars = [[variable.label(value), counts[value] / len(values)] for value in often]
    if len(counts) > BARS:
        others = sum(counts.values()) - sum(counts[value] for value in often)
        bars = [
            [
                f"{len(counts)} different, each at most {max(counts.values()) / len(values):.1%}",
                others / len(values),
            ]
        ]
    return {**data, "bars": bars}


def _bins(values: NDArray[np.float64], low: float, high: float) -> Data:
    """Counts in equal bins from ``low`` to ``high``, or over what was drawn where those are
    infinite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, BINS, (low, high))
    return {"low": float(low), "high": float(high), "counts": counts.tolist()}
