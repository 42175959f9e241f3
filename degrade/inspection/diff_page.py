"""Compare two recipes as one HTML page that needs no network: pictures side by side, distributions
of effects and of drawn parameters over each other, and the parameters that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from degrade.fields import Range
from degrade.images.pixels import as_pixels
from degrade.inspection import metrics
from degrade.inspection.contact_sheet import enlarge
from degrade.inspection.diff import MEASURES, Change, Effect
from degrade.inspection.html import Album, JsonObject, fill
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["diff_page"]

MAX_PICTURE_BYTES = 3_200_000
PAIRS, PLANS, BINS, BARS = 8, 2000, 24, 12
_TEMPLATE = Path(__file__).parent / "templates" / "diff.html"

Real = NDArray[np.float64]


def diff_page(
    a: Recipe,
    b: Recipe,
    found: Sequence[Change],
    measured: Sequence[Effect],
    files: Sequence[Path],
    size: int = 256,
    seed: int = 0,
) -> str:
    """Return the page as HTML.

    Args:
        a: A recipe.
        b: Another.
        found: Their parameters, see :func:`degrade.inspection.diff.changes`.
        measured: Their effects, see :func:`degrade.inspection.diff.effects`.
        files: Images, of which the first are shown.
        size: Side of the HR centre crops.
        seed: With the number of the image, its key.
    """
    album = Album()
    one, other = (a.name, b.name) if a.name != b.name else (f"{a.name} (A)", f"{b.name} (B)")
    differ = [change for change in found if change.kind != "same"]
    count = len(measured[0].a)
    data: JsonObject = {
        "a": one,
        "b": other,
        "about": f"{one} x{a.scale} {a.hash[:12]}, {other} x{b.scale} {b.hash[:12]}, seed {seed}.",
        "about_effects": f"{count} LR images of each; bars: {one}, line: {other}.",
        "about_draws": f"{PLANS} draws of each; bars: {one}, line: {other}."
        " Those that are drawn alike are left out.",
        "summary": f"{len(differ)} differ, {len(found) - len(differ)} are the same.",
        "pairs": _pairs(a, b, files, album, size, seed),
        "effects": [_effect(effect) for effect in measured],
        "draws": _draws(a, b, seed),
        "changes": [[change.address, change.a or "-", change.b or "-"] for change in differ],
    }
    return fill(_TEMPLATE, {**data, "pictures": album.encode(MAX_PICTURE_BYTES)})


def _pairs(
    a: Recipe, b: Recipe, files: Sequence[Path], album: Album, size: int, seed: int
) -> list[JsonObject]:
    rows: list[JsonObject] = []
    for i in range(PAIRS):
        file = files[i % len(files)]
        [hr] = metrics.center_crops([file], size)
        row: JsonObject = {"file": file.name, "hr": album.add(as_pixels(hr / 255)[0], exact=False)}
        for name, recipe in (("a", a), ("b", b)):
            [lr] = as_pixels(recipe.apply(hr, recipe.plan(Key.of(seed, [i]))).lr)
            row[name] = album.add(enlarge(lr, recipe.scale), exact=False)
        rows.append(row)
    return rows


def _effect(effect: Effect) -> JsonObject:
    heading, _ = MEASURES[effect.name]
    return {"title": heading, **_histograms(effect.a, effect.b)}


def _histograms(a: Real, b: Real) -> JsonObject:
    """Shares of both in common bins, and their medians."""
    both = np.concatenate([a, b])
    low, high = float(both.min()), float(both.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    shares = [(np.histogram(x, BINS, (low, high))[0] / max(len(x), 1)).tolist() for x in (a, b)]
    note = f"medians {np.median(a):.3g} and {np.median(b):.3g}"
    return {
        "a": shares[0],
        "b": shares[1],
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "note": note,
    }


def _draws(a: Recipe, b: Recipe, seed: int) -> list[JsonObject]:
    """The distributions of the variables that both recipes have, as drawn, where they differ."""
    one, other = (recipe.plan(Key.of(seed, np.arange(PLANS))) for recipe in (a, b))
    charts: list[JsonObject] = []
    for column in a.columns:
        if column.address not in other:
            continue
        x, y = (plan[column.address] for plan in (one, other))
        if np.array_equal(x, y, equal_nan=True):
            continue
        x, y = x[~np.isnan(x)], y[~np.isnan(y)]
        if not len(x) or not len(y):
            continue
        counts = Counter([*x.tolist(), *y.tolist()])
        variable = column.variable
        chart: JsonObject
        if isinstance(variable, Range) and len(counts) > BARS:
            chart = _histograms(x, y)
        elif len(counts) > BARS:
            continue
        else:
            values = sorted(counts)
            shares = [[float((drawn == value).mean()) for value in values] for drawn in (x, y)]
            labels = [variable.label(value) for value in values]
            chart = {"a": shares[0], "b": shares[1], "note": "", "labels": labels}
        ran = f"drawn in {len(x) / PLANS:.0%} and {len(y) / PLANS:.0%}"
        note = f"{chart['note']}; {ran}" if chart["note"] else ran
        charts.append({"title": column.address, **chart, "note": note})
    return charts
