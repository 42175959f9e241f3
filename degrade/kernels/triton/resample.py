"""Resampling in two passes, vertical first: a weighted sum of a few lines, then of a few columns.

``matlab`` rounds to 8-bit levels before, between and after, with sums in float64, because levels
are often exact ties at whole scales; it is the one kernel that is not float32.
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

from degrade.kernels.triton.pixel import FLOATS, OUT, SOURCE, WORDS, clip, slot, tile

__all__ = ["decimate", "matlab_across", "matlab_down", "resample_across", "resample_down"]

DOUBLES = tl.constexpr(tl.pointer_type(tl.float64))
TIE = tl.constexpr(0.5 + 1e-9)


@triton.jit
def level(x):
    """The 8-bit level of x in [0, 255], ties up."""
    return tl.floor(clip(x, 0.0, 255.0) + TIE)


@triton.jit(do_not_specialize=["first"])
def resample_down(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[i, j] = sum_t w[i, t] x[index[i, t], j]."""
    _down(words, pixels, first, False, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def matlab_down(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The same, of levels, leaving levels."""
    _down(words, pixels, first, True, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def resample_across(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[i, j] = sum_t w[j, t] x[i, index[j, t]]."""
    _across(words, pixels, first, False, ROWS, COLUMNS)


@triton.jit(do_not_specialize=["first"])
def matlab_across(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The same, of levels, leaving levels / 255."""
    _across(words, pixels, first, True, ROWS, COLUMNS)


@triton.jit
def _down(words, pixels, first, MATLAB: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    after = tl.load(record + 4)
    top, left, there = tile(after, width, ROWS, COLUMNS)
    if there:
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < after) & (x < width)
        source = slot(pixels, record, SOURCE) + tl.program_id(1) * height * width + x
        count = tl.load(record + 8)
        index = words + tl.load(record + 6) + y * count
        at = tl.load(record + 7)
        if MATLAB:
            weight = words.to(DOUBLES, bitcast=True) + at // 2 + y * count
            total = tl.zeros((ROWS, COLUMNS), tl.float64)
        else:
            weight = words.to(FLOATS, bitcast=True) + at + y * count
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for t in range(0, count):
            row = tl.load(index + t, mask=y < after, other=0)
            value = tl.load(source + row * width, mask=inside, other=0.0)
            if MATLAB:
                value = level(value * 255.0).to(tl.float64)
            total += tl.load(weight + t, mask=y < after, other=0.0) * value
        if MATLAB:
            total = level(total).to(tl.float32)
        out = slot(pixels, record, OUT) + tl.program_id(1) * after * width
        tl.store(out + y * width + x, total, mask=inside)


@triton.jit
def _across(words, pixels, first, MATLAB: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    record = words + (first + tl.program_id(2)) * WORDS
    width = tl.load(record + 3)
    height = tl.load(record + 4)
    after = tl.load(record + 5)
    top, left, there = tile(height, after, ROWS, COLUMNS)
    if there:
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < after)
        source = slot(pixels, record, SOURCE) + tl.program_id(1) * height * width + y * width
        count = tl.load(record + 11)
        index = words + tl.load(record + 9) + x * count
        at = tl.load(record + 10)
        if MATLAB:
            weight = words.to(DOUBLES, bitcast=True) + at // 2 + x * count
            total = tl.zeros((ROWS, COLUMNS), tl.float64)
        else:
            weight = words.to(FLOATS, bitcast=True) + at + x * count
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for t in range(0, count):
            column = tl.load(index + t, mask=x < after, other=0)
            value = tl.load(source + column, mask=inside, other=0.0)
            total += tl.load(weight + t, mask=x < after, other=0.0) * value
        if MATLAB:
            total = tl.div_rn(level(total).to(tl.float32), 255.0)
        out = slot(pixels, record, OUT) + tl.program_id(1) * height * after
        tl.store(out + y * after + x, total, mask=inside)


@triton.jit(do_not_specialize=["first"])
def decimate(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[i, j] = x[first + step (i, j)]."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    tall = tl.load(record + 4)
    wide = tl.load(record + 5)
    top, left, there = tile(tall, wide, ROWS, COLUMNS)
    if there:
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < tall) & (x < wide)
        row = tl.load(record + 6) + tl.load(record + 8) * y
        column = tl.load(record + 7) + tl.load(record + 9) * x
        source = slot(pixels, record, SOURCE) + tl.program_id(1) * height * width
        value = tl.load(source + row * width + column, mask=inside, other=0.0)
        out = slot(pixels, record, OUT) + tl.program_id(1) * tall * wide
        tl.store(out + y * wide + x, value, mask=inside)
