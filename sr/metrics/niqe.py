"""NIQE: natural image quality evaluator, without reference.

Locally normalized luma is cut into blocks of 96 x 96 pixels (48 x 48 at half size). Of each block
18 numbers describe how its values, and the products of neighbours, are distributed (asymmetric
generalized Gaussians). The distance of their mean and covariance over the blocks from those of
natural photographs is the score; lower is better:

.. math:: \\sqrt{(\\nu_1 - \\nu_2)^T \\left(\\frac{\\Sigma_1 + \\Sigma_2}{2}\\right)^{+}
          (\\nu_1 - \\nu_2)}

The photographs' mean and covariance are the authors', in a file that ``sr fetch niqe`` downloads.

References:
    | Making a "completely blind" image quality analyzer (Mittal et al., 2013)
    | https://doi.org/10.1109/LSP.2012.2227726
    | BasicSR ``metrics/niqe.py``
"""

# torch, scipy: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.storage.files import sha256
from sr.color import rgb_to_y
from sr.metrics.base import Metric, as_rgb
from sr.models.interpolation import reduce
from sr.pretrained import MissingWeightsError, locate

__all__ = ["NaturalModel", "load_natural_model", "niqe", "niqe_metric"]

Array = NDArray[np.float64]
Plane = NDArray[np.float32]
"""Single precision, as in BasicSR: what its rounding leaves in flat blocks counts in the score."""

BLOCK = 96
"""Side of a block in pixels."""
FEATURES = 36
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours: to the right, below, and on both diagonals."""


@dataclass(frozen=True, eq=False)
class NaturalModel:
    """Mean (36,) and covariance (36, 36) of the features of natural photographs, and the window
    (7, 7) of local means.
    """

    mean: Array
    covariance: Array
    window: Array


def load_natural_model(file: str | Path | None = None) -> NaturalModel:
    """Read the authors' parameters, by default where ``sr fetch niqe`` stores them. Raises
    MissingWeightsError.
    """
    path = locate("niqe", file)
    try:
        with np.load(path, allow_pickle=False) as data:
            names = ("mu_pris_param", "cov_pris_param", "gaussian_window")
            mean, covariance, window = (np.asarray(data[name], np.float64) for name in names)
        sizes = mean.size, covariance.shape, window.shape
        if sizes != (FEATURES, (FEATURES, FEATURES), (7, 7)):
            raise ValueError(f"arrays of {sizes}")
    except Exception as error:  # np.load raises whatever a damaged file provokes
        raise MissingWeightsError(
            f"{path}: not the parameters of NIQE ({error}); run `sr fetch niqe`"
        ) from error
    return NaturalModel(mean.ravel(), covariance, window)


def niqe(image: Tensor, model: NaturalModel, shave: int = 0) -> float:
    """Return the score of an image; NaN if it is flat or has fewer than two blocks.

    Args:
        image: (1, C, H, W) RGB or grey in [0, 1]. Luma is rounded to integers, as in MATLAB.
        model: What natural photographs look like.
        shave: Pixels to cut off each side.
    """
    levels = (as_rgb(image).double().clamp(0, 1) * 255).round() / 255
    luma = rgb_to_y(levels)[0, 0].cpu().numpy().astype(np.float32)
    height, width = luma.shape
    luma = luma[shave : height - shave, shave : width - shave].round()
    rows, columns = (size // BLOCK for size in luma.shape)
    luma = luma[: rows * BLOCK, : columns * BLOCK]
    if rows * columns < 2:
        return float("nan")
    small = 255 * reduce(torch.from_numpy(luma)[None, None] / 255, 2)[0, 0]
    half = np.asarray(small.numpy(), np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # flat blocks have no distribution
        found = np.concatenate(
            [_features(luma, BLOCK, model.window), _features(half, BLOCK // 2, model.window)], 1
        )
    whole = found[~np.isnan(found).any(1)]
    if len(whole) < 2:
        return float("nan")
    difference = model.mean - np.nanmean(found, 0)
    inverse = np.linalg.pinv((model.covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _features(luma: Plane, side: int, window: Array) -> Array:
    """Features (blocks, 18) of luma in levels."""
    mean = _local_mean(luma, window)
    deviation = np.sqrt(np.abs(_local_mean(luma**2, window) - mean**2))
    normal = np.asarray((luma - mean) / (deviation + 1), np.float32)
    blocks = [
        normal[y : y + side, x : x + side]
        for x in range(0, normal.shape[1], side)
        for y in range(0, normal.shape[0], side)
    ]
    return np.array([_block_features(block) for block in blocks])


def _local_mean(plane: Plane, window: Array) -> Plane:
    ndimage: Any = import_module("scipy.ndimage")
    return np.asarray(ndimage.convolve(plane, window, mode="nearest"))


def _block_features(block: Plane) -> list[float]:
    shape, left, right = _fit(block)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit(np.multiply(block, np.roll(block, shift, (0, 1))))
        mean = (right - left) * float(_gamma(np.array(2 / shape)) / _gamma(np.array(1 / shape)))
        found += [shape, mean, left, right]
    return found


def _fit(values: Plane) -> tuple[float, float, float]:
    """Fit an asymmetric generalized Gaussian by its moments. Return its shape and both scales."""
    shapes, ratios = _shape_table()
    left = np.sqrt(np.mean(values[values < 0] ** 2)) if (values < 0).any() else np.nan
    right = np.sqrt(np.mean(values[values > 0] ** 2)) if (values > 0).any() else np.nan
    skew = left / right
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(shapes[np.argmin((ratios - ratio) ** 2)])
    scale = float(np.sqrt(_gamma(np.array(1 / shape)) / _gamma(np.array(3 / shape))))
    return shape, float(left) * scale, float(right) * scale


@lru_cache(1)
def _shape_table() -> tuple[Array, Array]:
    """Shapes 0.2 to 10 in steps of 0.001, and the ratio of moments of each."""
    shapes = np.arange(0.2, 10.001, 0.001)
    inverse = 1 / shapes
    return shapes, _gamma(2 * inverse) ** 2 / (_gamma(inverse) * _gamma(3 * inverse))


def _gamma(x: Array) -> Array:
    from scipy.special import gamma

    return np.asarray(gamma(x), np.float64)


def niqe_metric() -> Metric:
    """Return NIQE as a metric. Raises MissingWeightsError."""
    model = load_natural_model()
    return Metric(
        lambda sr, _hr, shave: niqe(sr, model, shave),
        f"NIQE, blocks of 96 x 96, of Y (BT.601) rounded, none of images that are flat or have "
        f"fewer than two blocks; parameters {sha256(locate('niqe'))[:8]}",
        window=(BLOCK, 2 * BLOCK),
        lower=True,
        blind=True,
    )
