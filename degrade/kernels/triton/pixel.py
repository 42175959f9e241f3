"""Where pixels lie, images in and targets and LR images out, and what is done pixel by pixel.

A slot is addressed in units of 64 floats, so that 32 bits reach 512 GiB. Words 24 to 31 of a
record, which no kernel's arguments reach, say what :mod:`degrade.execution.launches` decided:

====  ====================================================================
word  meaning
====  ====================================================================
24    slot that is read
25    slot that is written
26    a third slot
27-   further numbers of that launch
====  ====================================================================
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

__all__ = ["convert", "load", "real", "slot", "store"]

SOURCE, OUT, SIDE, EXTRA = (tl.constexpr(word) for word in (24, 25, 26, 27))
UNIT = tl.constexpr(64)
"""Floats of a unit of slots' addresses."""
WORDS = tl.constexpr(32)

FLOATS = tl.constexpr(tl.pointer_type(tl.float32))
# Adding and subtracting 1.5 2^23 rounds half to even what is below 2^22. Kernels that use it, or
# compare with a reference bit for bit, are compiled without fused multiply-add.
ROUND = tl.constexpr(12582912.0)


@triton.jit
def real(record, word):
    """A word of a record as a float32."""
    return tl.load(record + word).to(tl.float32, bitcast=True)


@triton.jit
def slot(pixels, record, word):
    """The pointer to the slot that a word of a record names."""
    return pixels + tl.load(record + word).to(tl.int64) * UNIT


@triton.jit
def tile(height, width, rows: tl.constexpr, columns: tl.constexpr):
    """The corner of this instance's tile, and whether the image has it."""
    across = tl.cdiv(width, columns)
    top = tl.program_id(0) // across * rows
    return top, tl.program_id(0) % across * columns, top < height


@triton.jit
def clip(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def rounded(x, levels):
    """clip(x) rounded half to even to ``levels`` steps; 0: only clipped; below 0: x itself."""
    inside = clip(x, 0.0, 1.0)
    count = tl.maximum(levels, 1.0)
    whole = (inside * count + ROUND) - ROUND
    return tl.where(levels > 0, tl.div_rn(whole, count), tl.where(levels < 0, x, inside))


@triton.jit(do_not_specialize=["first"])
def load(
    words,
    pixels,
    first,
    images,
    batch_stride,
    plane_stride,
    row_stride,
    column_stride,
    BYTES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """x = image, or k / 255 of bytes."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if not there:
        return
    y = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]
    inside = (y < height) & (x < width)
    plane = tl.program_id(1)
    image = images + tl.load(record + 1).to(tl.int64) * batch_stride + plane * plane_stride
    value = tl.load(image + y * row_stride + x * column_stride, mask=inside, other=0)
    if BYTES:
        value = tl.div_rn(value.to(tl.float32), 255.0)
    out = slot(pixels, record, OUT) + plane * height * width
    tl.store(out + y * width + x, value, mask=inside)


@triton.jit(do_not_specialize=["first"])
def store(
    words,
    pixels,
    first,
    images,
    batch_stride,
    plane_stride,
    row_stride,
    column_stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """image = x, rounded as word 27 says."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if not there:
        return
    y = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]
    inside = (y < height) & (x < width)
    plane = tl.program_id(1)
    source = slot(pixels, record, SOURCE) + plane * height * width
    value = rounded(tl.load(source + y * width + x, mask=inside, other=0.0), real(record, EXTRA))
    image = images + tl.load(record + 1).to(tl.int64) * batch_stride + plane * plane_stride
    tl.store(image + y * row_stride + x * column_stride, value, mask=inside)


@triton.jit(do_not_specialize=["first"])
def convert(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Quantise and clip, in place."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if not there:
        return
    y = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]
    inside = (y < height) & (x < width)
    at = slot(pixels, record, SOURCE) + tl.program_id(1) * height * width + y * width + x
    value = tl.load(at, mask=inside, other=0.0)
    tl.store(at, rounded(value, real(record, EXTRA)), mask=inside)
