"""SEAL: how many of the representative degradations a model handles, and how well.

For degradation i with PSNR :math:`Q_i` of a model, an acceptance line :math:`A_i` and an
excellence line :math:`E_i`, both PSNR of models that know the degradation,

.. math:: \\mathrm{AR} = \\frac1K \\left|\\{i : Q_i \\geq A_i\\}\\right|, \\qquad
          \\mathrm{RPR}_i = \\sigma\\left(\\frac{Q_i - A_i}{E_i - A_i}\\right)

are the acceptance rate and the relative performance ratio, with the logistic function
:math:`\\sigma`. :math:`\\mathrm{RPR}_I` is its interquartile range, :math:`\\mathrm{RPR}_A` and
:math:`\\mathrm{RPR}_U` its means over accepted and other degradations. Degradations whose lines
are less than 0.1 dB apart are left out.

The representatives stand for the degradations of the recipes: many are drawn, each is described by
the histogram of what it makes of one photograph, the histograms are clustered, and of each cluster
the draw nearest to its mean is taken.

References:
    | SEAL: a framework for systematic evaluation of real-world super-resolution (Zhang et al.,
      2024) | https://arxiv.org/abs/2309.03020
"""

# scikit-learn is untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import to_tensor
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["Seal", "choose", "read_lines", "seal", "seal_of"]

CANDIDATES = 1000
"""Draws that are clustered."""
SIDE = 128
"""Side of the part of a photograph that they degrade."""
BINS = 64
"""Bins of the histogram of each channel."""
LEAST = 0.1
"""Degradations are left out whose lines are closer, in dB."""

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Seal:
    """SEAL's numbers of a model.

    Args:
        rate: Acceptance rate AR.
        spread: Interquartile range of the relative performance ratio; lower is steadier.
        accepted: Its mean over the accepted degradations; 0 if there are none.
        unaccepted: Its mean over the others; 0 if there are none.
        count: Degradations that were not left out.
    """

    rate: float
    spread: float
    accepted: float
    unaccepted: float
    count: int


def seal(
    scores: ArrayLike, acceptance: ArrayLike, excellence: ArrayLike, least: float = LEAST
) -> Seal:
    """Return SEAL's numbers of one model.

    >>> seal([25.0, 23.0], acceptance=[24.0, 24.0], excellence=[25.0, 26.0]).rate
    0.5

    Args:
        scores: PSNR on each degradation, (K,).
        acceptance: Acceptance line, (K,).
        excellence: Excellence line, (K,).
        least: Smallest distance of the lines in dB.

    Raises:
        ValueError: The lines are nowhere that far apart.
    """
    q, low, high = (np.asarray(line, np.float64) for line in (scores, acceptance, excellence))
    kept = high - low >= least
    if not kept.any():
        raise ValueError(f"the lines are nowhere {least} dB apart")
    q, low, high = q[kept], low[kept], high[kept]
    ratio = 1 / (1 + np.exp(-(q - low) / (high - low)))
    good = q >= low
    first, third = np.quantile(ratio, [0.25, 0.75])
    means = [float(ratio[some].mean()) if some.any() else 0.0 for some in (good, ~good)]
    return Seal(float(good.mean()), float(third - first), *means, count=int(kept.sum()))


def seal_of(scores: ArrayLike, lines: tuple[Reals, Reals]) -> Seal | None:
    """Return :func:`seal`'s numbers; None if the lines are nowhere far enough apart, or scores
    are missing.
    """
    low, high = lines
    known = np.isfinite(np.asarray(scores, np.float64)).all()
    return seal(scores, low, high) if known and (high - low >= LEAST).any() else None


def read_lines(file: str | Path, count: int) -> tuple[Reals, Reals]:
    """Read a CSV file with the columns ``acceptance`` and ``excellence``, one row a degradation.
    Raises UserError.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
        lines = np.array([[float(row[n]) for n in ("acceptance", "excellence")] for row in rows])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"lines {file}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"lines {file}: should have the columns acceptance and excellence, PSNR in dB, "
            "one row a degradation"
        ) from None
    if len(lines) != count or not np.isfinite(lines).all():
        raise UserError(f"lines {file}: {len(lines)} rows; should be {count} finite ones")
    return lines[:, 0], lines[:, 1]


def choose(
    recipes: Sequence[Recipe], count: int, seed: int = 0, candidates: int = CANDIDATES
) -> list[tuple[Recipe, dict[str, str]]]:
    """Return representative degradations: recipes with a row of drawn values each.

    Args:
        recipes: Recipes to draw from, equally often; those that draw nothing are left out.
        count: Number of clusters K.
        seed: Seed of the draws and of the clustering.
        candidates: Number of draws.

    Raises:
        UserError: No recipe draws anything, or there are fewer draws than clusters.
    """
    random = [recipe for recipe in recipes if recipe.columns]
    if not random:
        raise UserError("representatives: none of the test recipes draws anything")
    each = -(-candidates // len(random))
    if not 2 <= count <= each * len(random):
        raise UserError(f"representatives {count}: should be from 2 to {each * len(random)}")
    found: list[tuple[Recipe, dict[str, str]]] = []
    features: list[Reals] = []
    hr = to_tensor(read_image(sample_images()[0]))
    top, left = ((size - SIDE) // 2 for size in hr.shape[-2:])
    hr = hr[None, :, top : top + SIDE, left : left + SIDE]
    for recipe in random:
        plan = recipe.plan(Key.of(seed, np.arange(each)))
        for i in range(each):
            lr = recipe.apply(hr, plan.take(slice(i, i + 1))).lr[0]
            features.append(np.concatenate([_histogram(channel.numpy()) for channel in lr]))
            found.append((recipe, plan.row(i)))
    return [found[i] for i in _centres(np.stack(features), count, seed)]


def _histogram(values: NDArray[np.float32]) -> Reals:
    """The square roots of the shares of values in equal bins; their distance is Hellinger's."""
    shares, _ = np.histogram(values, BINS, (0, 1))
    return np.sqrt(shares / values.size)


def _centres(features: Reals, count: int, seed: int) -> list[int]:
    """The member of each cluster that is nearest to its mean, in the order of the members."""
    from sklearn.cluster import SpectralClustering

    gram = features @ features.T
    own = np.diag(gram)
    squares = np.maximum(own[:, None] + own[None, :] - 2 * gram, 0)
    affinity = np.exp(-squares / max(float(np.median(squares)), 1e-12))
    model = SpectralClustering(count, affinity="precomputed", random_state=seed % 2**32)
    labels = np.asarray(model.fit_predict(affinity))
    centres: list[int] = []
    for label in range(count):
        members = np.flatnonzero(labels == label)
        if len(members):
            far = ((features[members] - features[members].mean(0)) ** 2).sum(1)
            centres.append(int(members[far.argmin()]))
    return sorted(centres)
