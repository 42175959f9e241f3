"""What libjpeg leaves of an image, in integers, with the numbers of :mod:`degrade.kernels.jpeg`.

Three passes: RGB to samples of luma and averaged chroma, 8-bit, in planes padded to whole blocks;
each block through DCT, quantisation and back, in place; chroma interpolated, and RGB again. The
planes lie one after the other in a slot. Grey images have one.

Word 27: the offset of the DCT's matrix and the two tables at quality 50, 64 numbers each.
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

from degrade.kernels.triton.pixel import EXTRA, OUT, ROUND, SOURCE, WORDS, clip, slot, tile

__all__ = ["BLOCKS", "code", "rebuild", "sample"]

BLOCKS = 8
"""Blocks of a line of blocks that an instance of :func:`code` works."""
BYTES = tl.constexpr(tl.pointer_type(tl.uint8))


@triton.jit
def up_to(n, multiple):
    return tl.cdiv(n, multiple) * multiple


@triton.jit
def whole(pointer, inside):
    """Pixels as whole numbers in [0, 255], half to even."""
    x = clip(tl.load(pointer, mask=inside, other=0.0), 0.0, 1.0)
    return ((x * 255.0 + ROUND) - ROUND).to(tl.int32)


@triton.jit(do_not_specialize=["first"])
def sample(words, pixels, first, GREY: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A tile of chroma samples, and the luma of the v x h pixels that each of them spans."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    v = tl.load(record + 7)
    h = tl.load(record + 8)
    stride = up_to(width, 8 * h)
    tall = up_to(height, 8 * v) // v
    wide = stride // h
    top, left, there = tile(tall, wide, ROWS, COLUMNS)
    if there:
        i = top + tl.arange(0, ROWS)[:, None]
        j = left + tl.arange(0, COLUMNS)[None, :]
        inside = (i < tall) & (j < wide)
        source = slot(pixels, record, SOURCE)
        luma = slot(pixels, record, OUT).to(BYTES, bitcast=True)
        size = height * width
        blue = tl.zeros((ROWS, COLUMNS), tl.int32)
        red = tl.zeros((ROWS, COLUMNS), tl.int32)
        # To the right pixels are repeated, but at the bottom it is averages of them.
        near = tl.minimum(i, tl.cdiv(height, v) - 1)
        for a in range(0, v):
            for b in range(0, h):
                x = tl.minimum(j * h + b, width - 1)
                at = source + tl.minimum(i * v + a, height - 1) * width + x
                y = whole(at, inside)
                if not GREY:
                    y = 19595 * y + 38470 * whole(at + size, inside)
                    y = (y + 7471 * whole(at + 2 * size, inside) + 32768) >> 16
                    at = source + tl.minimum(near * v + a, height - 1) * width + x
                    r = whole(at, inside)
                    g = whole(at + size, inside)
                    b_ = whole(at + 2 * size, inside)
                    blue += (-11059 * r - 21709 * g + 32768 * b_ + 8421375) >> 16
                    red += (32768 * r - 27439 * g - 5329 * b_ + 8421375) >> 16
                tl.store(luma + (i * v + a) * stride + j * h + b, y.to(tl.uint8), mask=inside)
        if not GREY:
            shift = tl.where(v * h == 4, 2, tl.where(v * h == 2, 1, 0))
            bias = tl.where(v * h == 4, 1 + j % 2, tl.where(v * h == 2, j % 2, 0))
            out = luma + tall * v * stride + i * wide + j
            tl.store(out, ((blue + bias) >> shift).to(tl.uint8), mask=inside)
            tl.store(out + tall * wide, ((red + bias) >> shift).to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=["first"])
def code(words, pixels, first, BLOCKS: tl.constexpr):
    """A few blocks of a plane, after DCT, quantisation and back."""
    record = words + (first + tl.program_id(2)) * WORDS
    plane = tl.program_id(1)
    v = tl.load(record + 7)
    h = tl.load(record + 8)
    tall = up_to(tl.load(record + 2), 8 * v)
    wide = up_to(tl.load(record + 3), 8 * h)
    source = slot(pixels, record, SOURCE).to(BYTES, bitcast=True)
    if plane > 0:
        source += tall * wide + (plane - 1) * (tall // v) * (wide // h)
        tall = tall // v
        wide = wide // h
    row, column, there = tile(tall // 8, wide // 8, 1, BLOCKS)
    if there:
        a = tl.arange(0, 8)
        n = column + tl.arange(0, BLOCKS)
        at = (row * 8 + a[None, :, None]) * wide + n[:, None, None] * 8 + a[None, None, :]
        inside = (n * 8 < wide)[:, None, None] & (a >= 0)[None, :, None] & (a >= 0)[None, None, :]
        tables = words + tl.load(record + EXTRA)
        dct = tl.load(tables + a[:, None] * 8 + a[None, :])[None, None, :, :]
        quality = tl.load(record + 6)
        scale = tl.where(quality < 50, 5000 // quality, 200 - 2 * quality)
        tables += tl.where(plane > 0, 128, 64)
        # Steps of column frequencies by row frequencies, as the coefficients below.
        step = tl.load(tables + a[None, :] * 8 + a[:, None]) * scale + 50
        step = clip(step // 100, 1, 255)[None, :, :]
        x = tl.load(source + at, mask=inside, other=0).to(tl.int32)
        x = tl.sum(x[:, :, None, :] * dct, 3)
        centre = tl.where(a == 0, 128 * 8 * 8192, 0)[None, None, :]
        x = (x + (1 << 10) - centre) >> 11
        x = tl.sum(tl.trans(x, 0, 2, 1)[:, :, None, :] * dct, 3)
        x = (x + (1 << 14)) >> 15
        # Halves away from zero, by the transform's factor of 8 as well.
        size = (tl.abs(x) + step * 4) // (step * 8)
        x = tl.where(x < 0, -size, size) * step
        x = tl.sum(x[:, :, :, None] * dct, 2)
        x = tl.trans((x + (1 << 10)) >> 11, 0, 2, 1)
        x = tl.sum(x[:, :, :, None] * dct, 2)
        x = ((x + (1 << 17)) >> 18) + 128
        tl.store(source + at, clip(x, 0, 255).to(tl.uint8), mask=inside)


@triton.jit
def unit(x):
    return tl.div_rn(clip(x, 0, 255).to(tl.float32), 255.0)


@triton.jit(do_not_specialize=["first"])
def rebuild(words, pixels, first, GREY: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A tile of pixels."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there:
        v = tl.load(record + 7)
        h = tl.load(record + 8)
        stride = up_to(width, 8 * h)
        i = top + tl.arange(0, ROWS)[:, None]
        j = left + tl.arange(0, COLUMNS)[None, :]
        inside = (i < height) & (j < width)
        plane = slot(pixels, record, SOURCE).to(BYTES, bitcast=True)
        y = tl.load(plane + i * stride + j, mask=inside, other=0).to(tl.int32)
        out = slot(pixels, record, OUT) + i * width + j
        if GREY:
            tl.store(out, unit(y), mask=inside)
        else:
            # Two chroma samples or fewer are repeated, not interpolated (jdsample.c).
            smooth = (h == 2) & (width > 4)
            both = smooth & (v == 2)
            i0 = i // v
            i1 = clip(i0 + tl.where(i % 2 == 0, -1, 1), 0, tl.cdiv(height, v) - 1)
            j0 = j // h
            j1 = clip(j0 + tl.where(j % 2 == 0, -1, 1), 0, tl.cdiv(width, h) - 1)
            bias = tl.where(both, 8 - j % 2, tl.where(smooth, 1 + j % 2, 0))
            bits = tl.where(both, 4, tl.where(smooth, 2, 0))
            near = tl.where(both, 3, 1)
            far = tl.where(both, 1, 0)
            left_ = tl.where(smooth, 3, 1)
            right = tl.where(smooth, 1, 0)
            size = height * width
            tall = up_to(height, 8 * v)
            wide = stride // h
            plane += tall * stride
            b = chroma(plane, i0, i1, j0, j1, near, far, left_, right, bias, bits, wide, inside)
            plane += (tall // v) * wide
            r = chroma(plane, i0, i1, j0, j1, near, far, left_, right, bias, bits, wide, inside)
            tl.store(out, unit(y + ((91881 * r + 32768) >> 16)), mask=inside)
            g = (-22554 * b - 46802 * r + 32768) >> 16
            tl.store(out + size, unit(y + g), mask=inside)
            tl.store(out + 2 * size, unit(y + ((116130 * b + 32768) >> 16)), mask=inside)


@triton.jit
def chroma(plane, i0, i1, j0, j1, near, far, left, right, bias, bits, stride, inside):
    """Weighted sums of the two nearest rows, then of the two nearest columns, less 128."""
    a = near * _byte(plane + i0 * stride + j0, inside) + far * _byte(
        plane + i1 * stride + j0, inside
    )
    b = near * _byte(plane + i0 * stride + j1, inside) + far * _byte(
        plane + i1 * stride + j1, inside
    )
    return ((left * a + right * b + bias) >> bits) - 128


@triton.jit
def _byte(pointer, inside):
    return tl.load(pointer, mask=inside, other=0).to(tl.int32)
