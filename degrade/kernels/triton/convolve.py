"""Correlation with a kernel in space, and with an outer product of two rows of taps in two passes.

Tiles that lie inside their image by the kernel's reach need no border. A tap is one load of the
tile, moved; sums run over the kernel's columns, in each from top to bottom.
"""

# ruff: noqa: ANN001, ANN201, ANN202, N803
# pyright: reportMissingParameterType=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
# Arguments are of the types of Triton's compiler; what is compiled in is in capitals.

from __future__ import annotations

# Triton's language is untyped.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
import triton
import triton.language as tl

from degrade.kernels.triton.pixel import (
    EXTRA,
    FLOATS,
    OUT,
    SOURCE,
    WORDS,
    clip,
    slot,
    tile,
)

__all__ = ["across", "correlate", "down"]


@triton.jit
def border(i, n, kind):
    """Indices into [0, n): 0 mirrored, for a reach below n; 1 the edge repeated; 2 mirrored as
    often as it takes.
    """
    period = tl.maximum(2 * n - 2, 1)
    folded = tl.abs(i)
    if kind == 2:
        folded = folded % period
    folded = tl.minimum(folded, period - folded)
    # Pixels of a tile that are outside its image meet indices that one fold does not bring in.
    return clip(tl.where(kind == 1, i, folded), 0, n - 1)


@triton.jit(do_not_specialize=["first"])
def correlate(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[p] = sum_d k[d] x[p + d]; word 27: the border as :func:`border` has it."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if not there:
        return
    y = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]
    plane = tl.program_id(1) * height * width
    source = slot(pixels, record, SOURCE) + plane
    taps = words.to(FLOATS, bitcast=True) + tl.load(record + 6)
    tall = tl.load(record + 7)
    wide = tl.load(record + 8)
    kind = tl.load(record + EXTRA)
    up = tall // 2
    back = wide // 2
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    interior = (top >= up) & (top + ROWS + up <= height)
    interior &= (left >= back) & (left + COLUMNS + back <= width)
    if interior:
        corner = source + (y - up) * width + x - back
        for j in range(0, wide):
            for i in range(0, tall):
                total += tl.load(taps + i * wide + j) * tl.load(corner + i * width + j)
    else:
        for j in range(0, wide):
            column = source + border(x + j - back, width, kind)
            for i in range(0, tall):
                row = border(y + i - up, height, kind) * width
                total += tl.load(taps + i * wide + j) * tl.load(column + row)
    out = slot(pixels, record, OUT) + plane
    tl.store(out + y * width + x, total, mask=(y < height) & (x < width))


@triton.jit
def line(
    source,
    taps,
    count,
    kind,
    top,
    left,
    height,
    width,
    threshold,
    ALONG: tl.constexpr,
    MASK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of one plane, correlated along axis ``ALONG``; with ``MASK``, [ |x| > threshold ]."""
    y = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]
    reach = count // 2
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    if ALONG == 0:
        interior = (top >= reach) & (top + ROWS + reach <= height) & (left + COLUMNS <= width)
        corner = source + (y - reach) * width + x
        step = width
    else:
        interior = (left >= reach) & (left + COLUMNS + reach <= width) & (top + ROWS <= height)
        corner = source + y * width + x - reach
        step = 1
    if interior:
        for i in range(0, count):
            value = tl.load(corner + i * step)
            if MASK:
                value = (tl.abs(value) > threshold).to(tl.float32)
            total += tl.load(taps + i) * value
    else:
        row = source + tl.minimum(y, height - 1) * width
        column = source + tl.minimum(x, width - 1)
        for i in range(0, count):
            if ALONG == 0:
                at = column + border(y + i - reach, height, kind) * width
            else:
                at = row + border(x + i - reach, width, kind)
            value = tl.load(at)
            if MASK:
                value = (tl.abs(value) > threshold).to(tl.float32)
            total += tl.load(taps + i) * value
    return total


@triton.jit(do_not_specialize=["first"])
def down(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The pass along y. Words 27 to 29: border, taps, their count."""
    _pass(words, pixels, first, 0, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def across(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The pass along x."""
    _pass(words, pixels, first, 1, ROWS, COLUMNS)


@triton.jit
def _pass(words, pixels, first, ALONG: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there:
        plane = tl.program_id(1) * height * width
        source = slot(pixels, record, SOURCE) + plane
        taps = words.to(FLOATS, bitcast=True) + tl.load(record + EXTRA + 1)
        count = tl.load(record + EXTRA + 2)
        kind = tl.load(record + EXTRA)
        total = line(
            source, taps, count, kind, top, left, height, width, 0.0, ALONG, False, ROWS, COLUMNS
        )
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        out = slot(pixels, record, OUT) + plane
        tl.store(out + y * width + x, total, mask=(y < height) & (x < width))
