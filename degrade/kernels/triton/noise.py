"""Noise over pixels: the hashed fields of :mod:`degrade.rng`, and what
:mod:`degrade.kernels.noise` makes of them, in place.

Where one plane of noise serves all channels, the instance of plane 0 works them all.
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

from degrade.kernels.triton.pixel import EXTRA, ROUND, SOURCE, WORDS, clip, real, slot, tile

__all__ = ["find_levels", "normal", "poisson", "salt_pepper"]

# The largest 32-bit word rounds to 2^31 in float32: the factor keeps it below 1.
UNIT_NORMAL = tl.constexpr((1 - 2.0**-24) * 2.0**-31)
UNIT_UNIFORM = tl.constexpr(2.0**-32)
SMALLEST, LARGEST = tl.constexpr(2.0**-25), tl.constexpr(1 - 2.0**-24)
ROOT_2 = tl.constexpr(1.4142135623730951)
DARK = tl.constexpr(8.0)
"""Poisson means below this are inverted term by term."""
TERMS = tl.constexpr(28)


@triton.jit
def mix(word):
    """lowbias32; shifts are masked because those of int32 are arithmetic."""
    word = (word ^ ((word >> 16) & 0xFFFF)) * 0x7FEB352D
    word = (word ^ ((word >> 15) & 0x1FFFF)) * -0x7B935975
    return word ^ ((word >> 16) & 0xFFFF)


@triton.jit
def field(record, plane, y, x):
    """The words of pixels, int32, from the sample's key in words 6 and 7."""
    high = tl.load(record + 7)
    line = (plane * 0x01000193 + y) * 0x61C88647
    first = mix(mix(line + tl.load(record + 6)) ^ high)
    word = x * 0x3C6EF35F + first
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = word ^ mix(first + high)
    return (word ^ (word >> 15)) * -0x7B935975


@triton.jit
def uniform(word):
    return clip(word.to(tl.float32) * UNIT_UNIFORM + 0.5, SMALLEST, LARGEST)


@triton.jit
def quantile(x):
    """sqrt 2 erf^-1 x: M. Giles, Approximating the erfinv function (2010), table 5, to 3e-7."""
    w = -tl.log((1.0 - x) * (1.0 + x))
    v = w - 2.5
    p = 2.81022636e-08 * v + 3.43273939e-07
    p = p * v - 3.5233877e-06
    p = p * v - 4.39150654e-06
    p = p * v + 0.00021858087
    p = p * v - 0.00125372503
    p = p * v - 0.00417768164
    p = p * v + 0.246640727
    p = p * v + 1.50140941
    v = tl.sqrt(w) - 3.0
    q = -0.000200214257 * v + 0.000100950558
    q = q * v + 0.00134934322
    q = q * v - 0.00367342844
    q = q * v + 0.00573950773
    q = q * v - 0.0076224613
    q = q * v + 0.00943887047
    q = q * v + 1.00167406
    q = q * v + 2.83297682
    return tl.where(w < 5.0, p, q) * x * ROOT_2


@triton.jit
def gaussian(record, plane, y, x):
    return quantile(field(record, plane, y, x).to(tl.float32) * UNIT_NORMAL)


@triton.jit(do_not_specialize=["first"])
def normal(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = clip(x + sigma M z), or clip(x + x sigma M z)."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    plane = tl.program_id(1)
    planes = tl.load(record + 9)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there & (plane < planes):
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < width)
        if tl.load(record + 11) != 0:
            z = gaussian(record, 0, y, x) * real(record, 12 + 3 * plane)
            z += gaussian(record, 1, y, x) * real(record, 13 + 3 * plane)
            z += gaussian(record, 2, y, x) * real(record, 14 + 3 * plane)
        else:
            z = gaussian(record, plane, y, x)
        z *= real(record, 8)
        times = tl.load(record + 10) != 0
        last = tl.where(planes == 1, tl.num_programs(1), plane + 1)
        for c in range(plane, last):
            at = slot(pixels, record, SOURCE) + c * height * width + y * width + x
            value = tl.load(at, mask=inside, other=0.0)
            value += tl.where(times, value * z, z)
            tl.store(at, clip(value, 0.0, 1.0), mask=inside)


@triton.jit
def levels_of(source, plane, planes, size, inside):
    """8-bit levels of a plane, or of the luma, as floats."""
    if (planes == 1) & (tl.num_programs(1) == 3):
        value = tl.load(source, mask=inside, other=0.0) * 0.2989
        value += tl.load(source + size, mask=inside, other=0.0) * 0.587
        value += tl.load(source + 2 * size, mask=inside, other=0.0) * 0.114
    else:
        value = tl.load(source + plane * size, mask=inside, other=0.0)
    return clip((value * 255.0 + ROUND) - ROUND, 0.0, 255.0)


@triton.jit(do_not_specialize=["first"])
def find_levels(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Set the flags, at word 27, of the levels that an image has."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    plane = tl.program_id(1)
    planes = tl.load(record + 10)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there & (plane < planes):
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < width)
        source = slot(pixels, record, SOURCE) + y * width + x
        level = levels_of(source, plane, planes, height * width, inside).to(tl.int32)
        flags = words + tl.load(record + EXTRA) + level
        # All write the same: order does not matter. Soon all are set, and nothing is written.
        unset = tl.load(flags, mask=inside, other=1) == 0
        tl.store(flags, tl.full((ROWS, COLUMNS), 1, tl.int32), mask=inside & unset)


@triton.jit
def approximate(mean, u):
    """Poisson counts of means from 8 on: the rounded expansion of Cornish and Fisher."""
    z = quantile(2.0 * u - 1.0)
    square = tl.maximum(mean, DARK) - 1 / 12
    q = tl.div_rn(1.0, tl.sqrt_rn(square))
    count = mean + square * (q * z)
    count += (z * z - 1.0) * ((q * q - q * z) * (1 / 72) + 1 / 6)
    return tl.maximum((count + ROUND) - ROUND, 0.0)


@triton.jit
def invert(mean, u):
    """Poisson counts of means below 8: the number of terms after which P(K <= k) < u."""
    term = tl.exp(-mean)
    total = term * 0.0
    count = term * 0.0
    for k in tl.static_range(1, TERMS + 1):
        total += term
        count += (total < u).to(tl.float32)
        term = term * mean * (1.0 / k)
    return count


@triton.jit(do_not_specialize=["first"])
def poisson(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = clip(x + scale (K / v - r)), K ~ Poisson(v r); v is the peak, or with peak 0 comes from
    the flags that :func:`find_levels` set.
    """
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    plane = tl.program_id(1)
    planes = tl.load(record + 10)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there & (plane < planes):
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < width)
        peak = real(record, 8)
        if peak == 0.0:
            found = tl.sum(tl.load(words + tl.load(record + EXTRA) + tl.arange(0, 256)))
            # 2^ceil(log2 n): one more for each power of two below n
            powers = (1 << tl.arange(0, 8)) < found
            peak = (1 << tl.sum(powers.to(tl.int32))).to(tl.float32)
        source = slot(pixels, record, SOURCE) + y * width + x
        level = tl.div_rn(levels_of(source, plane, planes, height * width, inside), 255.0)
        mean = level * peak
        u = uniform(field(record, plane, y, x))
        count = approximate(mean, u)
        if tl.min(tl.min(mean, 1), 0) < DARK:
            count = tl.where(mean < DARK, invert(mean, u), count)
        noise = (tl.div_rn(count, peak) - level) * real(record, 9)
        last = tl.where(planes == 1, tl.num_programs(1), plane + 1)
        for c in range(plane, last):
            at = source + c * height * width
            value = tl.load(at, mask=inside, other=0.0) + noise
            tl.store(at, clip(value, 0.0, 1.0), mask=inside)


@triton.jit(do_not_specialize=["first"])
def salt_pepper(words, pixels, first, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """u < white: 1; else u > black: 0; else x."""
    record = words + (first + tl.program_id(2)) * WORDS
    height = tl.load(record + 2)
    width = tl.load(record + 3)
    top, left, there = tile(height, width, ROWS, COLUMNS)
    if there:
        y = top + tl.arange(0, ROWS)[:, None]
        x = left + tl.arange(0, COLUMNS)[None, :]
        inside = (y < height) & (x < width)
        at = slot(pixels, record, SOURCE) + tl.program_id(1) * height * width + y * width + x
        value = tl.load(at, mask=inside, other=0.0)
        plane = tl.minimum(tl.program_id(1), tl.load(record + 10) - 1)
        u = uniform(field(record, plane, y, x))
        value = tl.where(u > real(record, 9), 0.0, value)
        tl.store(at, tl.where(u < real(record, 8), 1.0, value), mask=inside)
