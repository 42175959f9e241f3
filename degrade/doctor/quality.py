"""Health of an HR image: measures of what it may have been through before it came here.

Each measure is a pure function of 8-bit luma, (h, w) float32 in [0, 255]. One constraint: they see
traces, not history. A blurred image to which noise was added looks sharp, a JPEG that was resized
has lost its grid, and a soft photograph looks like an enlarged one.

References:
    | Identification of bitmap compression history: JPEG detection and quantizer estimation (Fan and de Queiroz, 2003)
      | https://doi.org/10.1109/TIP.2002.807361
    | Relations between the statistics of natural images and the response properties of cortical cells (Field, 1987)
      | https://doi.org/10.1364/JOSAA.4.002379
    | Implementation and benchmarking of perceptual image hash functions (Zauner, 2010) | https://www.phash.org
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Detail",
    "Grid",
    "blockiness",
    "detail",
    "difference_hash",
    "flatness",
    "frequency_hash",
    "jpeg_grid",
    "laplacian",
    "luma",
    "table_quality",
]

Plane = NDArray[np.float32]
Real = NDArray[np.float64]


def luma(pixels: NDArray[np.uint8]) -> Plane:
    """(h, w, C) 8-bit pixels -> (h, w) luma of BT.601, as JPEG has it, not rounded."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0].astype(np.float32)
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


# --- JPEG ----------------------------------------------------------------------------------------


def table_quality(tables: Sequence[Sequence[int]]) -> int:
    """The libjpeg quality whose luma table is nearest to that of a file, in [1, 100].

    Exact for files that libjpeg wrote at a quality; for tables of other encoders, the one of
    nearest mean step.

    Args:
        tables: The file's quantisation tables, 64 steps each, luma first.
    """
    steps = np.sort(np.asarray(tables[0], np.float64))
    return int(np.abs(np.sort(_tables(), axis=1) - steps).sum(1).argmin()) + 1


@dataclass(frozen=True)
class Grid:
    """The trace of a JPEG in decoded pixels.

    Args:
        row: Where blocks begin, modulo 8.
        column: The same for columns.
        quality: The libjpeg quality whose luma table fits the coefficients best.
        evidence: Mean log-likelihood ratio of a coefficient for that table, against none, in nats;
            about 0 or below where there was no JPEG.
    """

    row: int
    column: int
    quality: int
    evidence: float


def jpeg_grid(y: Plane, blocks: int = 512) -> Grid:
    """Finds the 8 x 8 grid of an earlier JPEG, and its quality.

    The grid is where most AC coefficients are nearly 0 (quantisation made them so). There, for
    each quality, every coefficient c that its step s would not have made 0 is weighed:

    .. math:: \\log(0.9 \\, s \\, \\phi_\\sigma(c - s \\, \\mathrm{round}(c / s)) + 0.1)

    the likelihood ratio of "a multiple of s, rounded to pixels" (sigma = 0.4) against a smooth
    density.

    Args:
        y: Luma, at least 16 x 16.
        blocks: How many blocks to look at, spread over the image.
    """
    where = _block_corners(y, blocks)
    zeros = np.empty((8, 8))
    for row in range(8):
        for column in range(8):
            zeros[row, column] = (
                np.abs(_coefficients(y, where[::2], row, column)[:, 1:]) < 0.5
            ).mean()
    row, column = (int(i) for i in np.unravel_index(zeros.argmax(), zeros.shape))
    coefficients = _coefficients(y, where, row, column)[:, 1:]
    evidence = np.array([_evidence(coefficients, table[1:]) for table in _tables()])
    best = int(evidence.argmax())
    return Grid(row, column, best + 1, float(evidence[best]))


def blockiness(y: Plane) -> float:
    """How much steeper steps are across block borders than elsewhere, on the axis and phase where
    that is most.

    The curvature-free step |d_x - (d_{x-1} + d_{x+1}) / 2| is averaged for each of the 8 phases;
    the result is its maximum over the median of the others, minus 1: 0 for no blocks.
    """
    found: list[float] = []
    for plane in (y, y.T):
        steps = np.diff(plane, axis=1)
        bend = np.minimum(np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2), 20).mean(0)
        if len(bend) < 16:
            continue
        phases = np.array([bend[i::8].mean() for i in range(8)])
        rest = np.median(np.delete(phases, phases.argmax()))
        found.append(float(phases.max() / rest - 1) if rest > 0.05 else 0.0)
    return max(found, default=0.0)


def _evidence(coefficients: Real, steps: Real) -> float:
    residual = coefficients - steps * np.rint(coefficients / steps)
    kept = np.abs(coefficients) > steps / 2
    sigma = 0.4
    density = steps * np.exp(-0.5 * (residual / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return float(np.log(0.9 * density + 0.1)[kept].sum() / coefficients.size)


@functools.cache
def _tables() -> Real:
    """(100, 64) luma tables of libjpeg, by quality, row by row."""
    from degrade.kernels.jpeg import quantization_table

    return np.stack(
        [np.asarray(quantization_table(q, chroma=False)).reshape(64) for q in range(1, 101)]
    )


@functools.cache
def _dct() -> Real:
    k, n = np.mgrid[:8, :8]
    return np.sqrt(np.where(k == 0, 1, 2) / 8) * np.cos(np.pi * (n + 0.5) * k / 8)


def _block_corners(y: Plane, count: int) -> NDArray[np.intp]:
    """(n, 2) corners of 15 x 15 areas at multiples of 8: room for a block at any phase. Without
    those that are clipped, where there are others: clipping takes coefficients off their
    multiples."""
    rows, columns = ((n - 7) // 8 for n in y.shape)
    corners = np.stack(np.divmod(np.arange(rows * columns), columns), 1) * 8
    middle = y[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    whole = ((middle.min((1, 3)) > 2) & (middle.max((1, 3)) < 253)).ravel()
    usable = corners[whole] if whole.sum() >= 32 else corners
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
    """How far up the spectrum an image has detail, where it has most. NaN where contrast is too
    low to tell.

    Args:
        softness: How far it could be shrunk without loss: 1 is sharp to the last pixel, 2 has
            detail for half its size.
        nyquist: Level at the highest frequencies, in dB: about 0 where the power falls like 1 /
            f^2 to the end.
    """

    softness: float
    nyquist: float


def detail(y: Plane, tile: int = 256, drop: float = 10) -> Detail:
    """Finds where the spectrum ends.

    In photographs the power falls like P(f) = 1 / f^2 (Field, 1987), so f^2 P(f) is level. Where
    it has dropped for good by ``drop`` dB from its value at low frequencies, detail ends, and 0.5
    over that frequency is the softness. Taken on the axis and the tile with most detail, the
    rounding noise of 8 bits subtracted.

    Args:
        y: Luma.
        tile: Side of the windows looked at, up to 9 of them.
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
    return [int(start) for start in np.linspace(0, length - side, max(1, min(3, length // side)))]


def _ends(tile: Plane, drop: float) -> Iterator[tuple[float, float]]:
    """Softness and level at the Nyquist frequency, along x and along y, where there is
    contrast.
    """
    side = len(tile)
    window = np.hanning(side + 1)[:side]
    power = (
        np.abs(np.fft.fft2((tile - tile.mean()) * np.outer(window, window))) ** 2
        / (window**2).sum() ** 2
    )
    frequency = np.arange(side // 2 + 1) / side
    edges = np.linspace(0.025, 0.5, 20)
    members = [(frequency >= a) & (frequency <= b) for a, b in itertools.pairwise(edges)]
    for axis in (power.mean(0), power.mean(1)):
        spectrum = axis[: side // 2 + 1]
        # Of less contrast, the level at high frequencies drowns in the rounding noise even if the
        # tile is sharp.
        if np.median(spectrum[(frequency > 0.005) & (frequency < 0.045)]) < 400:
            continue
        # Rounding to 8 bits has variance 1/12; twice that, since its spectrum fluctuates.
        level = np.maximum(spectrum - 2 / 12, 1e-9) * frequency**2
        decibel = 10 * np.log10([np.median(level[band]) for band in members])
        decibel -= np.median(decibel[:4])
        lost = decibel < -drop
        end = edges[len(lost) - int(np.argmin(lost[::-1]))] if not lost.all() else edges[0]
        yield 0.5 / max(float(end), 1 / 16), float(decibel[-1])


def laplacian(y: Plane) -> float:
    """Variance of the Laplacian, in squared levels: little where there are no edges, or none
    that are sharp.
    """
    inner = y[1:-1, 1:-1]
    return (
        float((4 * inner - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]).var())
        if inner.size
        else 0.0
    )


def flatness(y: Plane, side: int = 16, level: float = 2) -> float:
    """The share of blocks of ``side`` pixels whose standard deviation is below ``level`` grey
    levels.
    """
    height, width = (n // side * side for n in y.shape)
    if not height or not width:
        return float(y.std() < level)
    blocks = y[:height, :width].reshape(height // side, side, width // side, side)
    return float((blocks.std((1, 3)) < level).mean())


# --- duplicates ----------------------------------------------------------------------------------


def difference_hash(y: Plane) -> int:
    """dHash: 64 bits, whether each of 8 x 8 areas is darker than its right neighbour."""
    small = _shrunk(y, 9, 8)
    return _bits(small[:, 1:] > small[:, :-1])


def frequency_hash(y: Plane) -> int:
    """pHash: 64 bits, which low frequencies of a 32 x 32 thumbnail exceed their median, the
    mean left out.
    """
    import cv2

    low = cv2.dct(_shrunk(y, 32, 32))[:9, :9].ravel()[1:65]
    return _bits(low > np.median(low))


def _shrunk(y: Plane, width: int, height: int) -> Plane:
    import cv2

    return np.asarray(cv2.resize(y, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags.ravel()).tobytes(), "big")
