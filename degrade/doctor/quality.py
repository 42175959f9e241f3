"""No-reference quality of an HR image: traces of earlier compression, blur and enlargement.

Each measure is a pure function of 8-bit luma, (h, w) float32 in [0, 255]. Of more than 2^24 pixels
it looks at a part, evenly spread. A measure finds traces,
not causes: a blurred image to which noise was added looks sharp, a JPEG that was resized has lost
its grid, and a soft photograph looks like an enlarged one.

References:
    | Identification of bitmap compression history: JPEG detection and quantizer estimation
      (Fan and de Queiroz, 2003) | https://doi.org/10.1109/TIP.2002.807361
    | Relations between the statistics of natural images and the response properties of cortical
      cells (Field, 1987) | https://doi.org/10.1364/JOSAA.4.002379
"""

# numpy.divmod: types are partial.
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degrade.images.image import Pixels
from degrade.images.pixels import to_uint8

__all__ = [
    "Detail",
    "Grid",
    "blockiness",
    "bt601_luma",
    "detail",
    "flatness",
    "jpeg_grid",
    "laplacian_variance",
    "table_quality",
]

Plane = NDArray[np.float32]
Real = NDArray[np.float64]


def bt601_luma(pixels: Pixels) -> Plane:
    """Return the (h, w) luma of (h, w, C) pixels, 0.299 R + 0.587 G + 0.114 B of 8 bits as in
    JPEG, not rounded.

    >>> bt601_luma(np.array([[[255, 255, 255]]], np.uint8)).tolist()
    [[255.0]]
    """
    height, width, channels = pixels.shape
    y = np.empty((height, width), np.float32)
    for rows in _bands(height, width, sample=False):
        band = to_uint8(pixels[rows])
        if channels == 1:
            y[rows] = band[..., 0]
        else:
            y[rows] = band.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return y


def _bands(height: int, width: int, step: int = 1, sample: bool = True) -> Iterator[slice]:
    """Slices of a multiple of ``step`` rows, about 2^20 pixels each, to bound memory; of more than
    2^24 pixels only every second slice, third slice, ..., to bound time.
    """
    rows = max(2**20 // width // step, 1) * step
    every = -(-height * width // 2**24) if sample else 1
    return (slice(start, min(start + rows, height)) for start in range(0, height, every * rows))


# --- JPEG ----------------------------------------------------------------------------------------


def table_quality(tables: Sequence[Sequence[int]]) -> int:
    """Return the libjpeg quality in [1, 100] whose luma table is nearest to that of a file.

    Exact for files that libjpeg wrote; for tables of other encoders, the one with the nearest
    steps.

    Args:
        tables: The file's quantisation tables, 64 steps each, luma first.

    >>> table_quality([[1] * 64])
    100
    """
    steps = np.sort(np.asarray(tables[0], np.float64))
    return int(np.abs(np.sort(_tables(), axis=1) - steps).sum(1).argmin()) + 1


@dataclass(frozen=True)
class Grid:
    """The trace of a JPEG in decoded pixels.

    Args:
        row: First row of the blocks, modulo 8.
        column: First column of the blocks, modulo 8.
        quality: The libjpeg quality whose luma table fits the coefficients best.
        evidence: Mean log-likelihood ratio of a coefficient for that table, against none, in nats;
            about 0 or below where there was no JPEG.
    """

    row: int
    column: int
    quality: int
    evidence: float


def jpeg_grid(y: Plane, blocks: int = 512) -> Grid:
    """Estimate the 8 x 8 grid and the quality of an earlier JPEG.

    The grid is at the phase where most AC coefficients are nearly 0, as quantisation leaves them.
    There, for each quality, the evidence is the mean over all coefficients c, of those that their
    step s would not have quantised to 0, of

    .. math:: \\log(0.9 \\, s \\, \\phi_\\sigma(c - s \\, \\mathrm{round}(c / s)) + 0.1)

    the log-likelihood ratio of "a multiple of s, rounded to pixels" (sigma = 0.4) against a smooth
    density.

    Args:
        y: Luma, at least 16 x 16.
        blocks: Number of blocks to look at, spread over the image.
    """
    corners = _block_corners(y, blocks)
    zeros = np.empty((8, 8))
    for row, column in np.ndindex(8, 8):
        ac = _coefficients(y, corners[::2], row, column)[:, 1:]
        zeros[row, column] = (np.abs(ac) < 0.5).mean()
    row, column = (int(i) for i in np.unravel_index(zeros.argmax(), zeros.shape))
    coefficients = _coefficients(y, corners, row, column)[:, 1:]
    evidence = np.array([_evidence(coefficients, table[1:]) for table in _tables()])
    best = int(evidence.argmax())
    return Grid(row, column, best + 1, float(evidence[best]))


def blockiness(y: Plane) -> float:
    """Return the excess of steps across block borders, at whatever phase the blocks have.

    The curvature-free step |d_x - (d_{x-1} + d_{x+1}) / 2| is averaged for each of the 8 phases;
    the result is its maximum over the median of the others, minus 1, on the axis where that is
    largest: 0 for no blocks.

    >>> blockiness(np.zeros((32, 32), np.float32))
    0.0
    """
    excess: list[float] = []
    for plane in (y, y.T):
        height, width = plane.shape
        if width < 19:  # steps at 16 places
            continue
        total, count = np.zeros(width - 3), 0
        for rows in _bands(height, width):
            steps = np.diff(plane[rows], axis=1)
            flat = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2)
            total += np.minimum(flat, 20).sum(0, np.float64)
            count += len(steps)
        mean = total / count
        phases = np.array([mean[i::8].mean() for i in range(8)])
        rest = np.median(np.delete(phases, phases.argmax()))
        excess.append(float(phases.max() / rest - 1) if rest > 0.05 else 0.0)
    return max(excess, default=0.0)


def _evidence(coefficients: Real, steps: Real) -> float:
    """Mean log-likelihood ratio of a quantisation table; see :func:`jpeg_grid`."""
    residual = coefficients - steps * np.rint(coefficients / steps)
    kept = np.abs(coefficients) > steps / 2
    sigma = 0.4
    density = steps * np.exp(-0.5 * (residual / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return float(np.log(0.9 * density + 0.1)[kept].sum() / coefficients.size)


@functools.cache
def _tables() -> Real:
    """(100, 64) luma tables of libjpeg, qualities 1 to 100, in row-major order."""
    from degrade.kernels.jpeg import quantization_table

    tables = [quantization_table(q, chroma=False) for q in range(1, 101)]
    return np.stack([np.asarray(table).reshape(64) for table in tables])


@functools.cache
def _dct() -> Real:
    """The (8, 8) matrix of the orthonormal DCT-II."""
    k, n = np.mgrid[:8, :8]
    return np.sqrt(np.where(k == 0, 1, 2) / 8) * np.cos(np.pi * (n + 0.5) * k / 8)


def _block_corners(y: Plane, count: int) -> NDArray[np.intp]:
    """(n, 2) corners of 15 x 15 areas at multiples of 8: room for a block at any phase. Areas with
    clipped pixels are left out if there are enough others: clipping moves coefficients off the
    multiples of their steps.
    """
    rows, columns = ((n - 7) // 8 for n in y.shape)
    corners = np.stack(np.divmod(np.arange(rows * columns), columns), 1) * 8
    middle = y[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    unclipped = ((middle.min((1, 3)) > 2) & (middle.max((1, 3)) < 253)).ravel()
    usable = corners[unclipped] if unclipped.sum() >= 32 else corners
    return usable[np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(np.intp)]


def _coefficients(y: Plane, corners: NDArray[np.intp], row: int, column: int) -> Real:
    """(n, 64) DCT coefficients of the blocks at corners shifted by (row, column)."""
    offsets = np.arange(8)
    rows = corners[:, 0, None, None] + row + offsets[:, None]
    columns = corners[:, 1, None, None] + column + offsets
    blocks = y[rows, columns].astype(np.float64)
    return (_dct() @ blocks @ _dct().T).reshape(-1, 64)


# --- detail --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detail:
    """The highest frequency at which an image has detail. NaN if its contrast is too low.

    Args:
        softness: The factor by which it could be downscaled without loss: 1 has detail up to the
            Nyquist frequency, 2 up to half of it.
        nyquist: Level at the highest frequencies, in dB: about 0 if the power falls like 1 / f^2
            up to there.
    """

    softness: float
    nyquist: float


def detail(y: Plane, tile: int = 256, drop: float = 10) -> Detail:
    """Find the highest frequency with detail.

    In photographs the power falls like P(f) = 1 / f^2 (Field, 1987), so f^2 P(f) is constant.
    Detail ends at the frequency beyond which it stays ``drop`` dB below its value at low
    frequencies, and softness is 0.5 over that frequency. Computed on the axis and the tile with
    most detail, after subtracting the rounding noise of 8 bits.

    Args:
        y: Luma.
        tile: Side of the tiles looked at, up to 9 of them.
        drop: In dB.
    """
    height, width = y.shape
    side = min(tile, height, width) // 2 * 2
    if side < 32:
        return Detail(math.nan, math.nan)
    found = [
        end
        for top in _starts(height, side)
        for left in _starts(width, side)
        for end in _ends(y[top : top + side, left : left + side], drop)
    ]
    softness, nyquist = zip(*found, strict=True) if found else ((math.nan,), (math.nan,))
    return Detail(min(softness), max(nyquist))


def _starts(length: int, side: int) -> list[int]:
    """The starts of up to 3 tiles, spread over a length."""
    return [int(start) for start in np.linspace(0, length - side, max(1, min(3, length // side)))]


def _ends(tile: Plane, drop: float) -> Iterator[tuple[float, float]]:
    """Softness and level at the Nyquist frequency, along x and along y, where there is
    contrast.
    """
    side = len(tile)
    window = np.hanning(side + 1)[:side]
    spectrum2d = np.fft.fft2((tile - tile.mean()) * np.outer(window, window))
    power = np.abs(spectrum2d) ** 2 / (window**2).sum() ** 2
    frequency = np.arange(side // 2 + 1) / side
    edges = np.linspace(0.025, 0.5, 20)
    members = [(frequency >= a) & (frequency <= b) for a, b in itertools.pairwise(edges)]
    for axis in (power.mean(0), power.mean(1)):
        spectrum = axis[: side // 2 + 1]
        # With less contrast, rounding noise hides high frequencies even of a sharp tile.
        if np.median(spectrum[(frequency > 0.005) & (frequency < 0.045)]) < 400:
            continue
        # Rounding to 8 bits has variance 1/12; twice that, since its spectrum fluctuates.
        level = np.maximum(spectrum - 2 / 12, 1e-9) * frequency**2
        decibel = 10 * np.log10([np.median(level[band]) for band in members])
        decibel -= np.median(decibel[:4])
        lost = decibel < -drop
        end = edges[len(lost) - int(np.argmin(lost[::-1]))] if not lost.all() else edges[0]
        yield 0.5 / max(float(end), 1 / 16), float(decibel[-1])


def laplacian_variance(y: Plane) -> float:
    """Return the variance of the Laplacian, in squared levels: small without sharp edges.

    >>> laplacian_variance(np.zeros((8, 8), np.float32))
    0.0
    """
    height, width = (n - 2 for n in y.shape)
    if height < 1 or width < 1:
        return 0.0
    sums, count = np.zeros(2), 0
    for rows in _bands(height, width):
        part = y[rows.start : rows.stop + 2]
        around = part[:-2, 1:-1] + part[2:, 1:-1] + part[1:-1, :-2] + part[1:-1, 2:]
        found = (4 * part[1:-1, 1:-1] - around).astype(np.float64)
        sums += found.sum(), (found**2).sum()
        count += found.size
    mean, square = sums / count
    return float(max(square - mean**2, 0))


def flatness(y: Plane, side: int = 16, level: float = 2) -> float:
    """Return the share of blocks of ``side`` pixels whose standard deviation is below ``level``
    grey levels.

    >>> flatness(np.zeros((32, 32), np.float32))
    1.0
    """
    height, width = (n // side * side for n in y.shape)
    if not height or not width:
        return float(y.std() < level)
    flat = [
        y[rows, :width].reshape(-1, side, width // side, side).std((1, 3)).ravel() < level
        for rows in _bands(height, width, side)
    ]
    return float(np.concatenate(flat).mean())
