"""Unsharp masking in four passes, of which the first is a plain one along y:

    blur along x, leaving r = x - blurred;      blur of [ |r| > threshold ] along y;
    blur of that along x, leaving y = x + soft (clip(x + amount r) - x).

Words 24 to 29: what is blurred, what is left, x (or r), border, taps, their count.
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

from degrade.kernels.triton.convolve import line
from degrade.kernels.triton.pixel import (
    EXTRA,
    FLOATS,
    OUT,
    SIDE,
    SOURCE,
    WORDS,
    clip,
    real,
    slot,
    tile,
)

__all__ = ["blend", "mask", "residual"]


@triton.jit(do_not_specialize=["first"])
def residual(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """r = x - blurred: x is at SIDE."""
    _pass(words, pixels, first, 1, 0, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def mask(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The mask, blurred along y: r is at SOURCE."""
    _pass(words, pixels, first, 0, 1, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def blend(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The result in place of x, which is at OUT; r is at SIDE."""
    _pass(words, pixels, first, 1, 2, ROWS, COLUMNS)


@triton.jit
def _pass(
    words,
    pixels,
    first,
    ALONG: tl.constexpr,
    PHASE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
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
        least = real(record, 9)
        total = line(
            source,
            taps,
            count,
            kind,
            top,
            left,
            height,
            width,
            least,
            ALONG,
            PHASE == 1,
            ROWS,
            COLUMNS,
        )
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < width)
        at = plane + y * width + x
        out = slot(pixels, record, OUT) + at
        side = slot(pixels, record, SIDE) + at
        if PHASE == 0:
            total = tl.load(side, mask=inside, other=0.0) - total
        if PHASE == 2:
            pixel = tl.load(out, mask=inside, other=0.0)
            sharp = clip(pixel + real(record, 8) * tl.load(side, mask=inside, other=0.0), 0.0, 1.0)
            total = pixel + total * (sharp - pixel)
        tl.store(out, total, mask=inside)
