"""JPEG as libjpeg makes it: the pixels that encoding and decoding leave, without the bit stream in
between.

Entropy coding loses nothing and is left out. What remains of baseline JPEG in libjpeg-turbo (hence
in Pillow and OpenCV) is integer arithmetic: linear maps with integer coefficients, each followed
by a shift,

.. math:: y = \\lfloor M x + b \\rfloor

where x is an RGB value, then a row of a block, its column, and back. In float64 all of it is exact
(sums stay far below 2^53), so that this *equals* the codec. Hence everything between the 8-bit
input and the 8-bit output is float64, which neither autocast nor TF32 touches.

References:
    | ITU-T T.81 (1992), JPEG; tables K.1 and K.2 | https://www.w3.org/Graphics/JPEG/itu-t81.pdf
    | Practical fast 1-D DCT algorithms with 11 multiplications (Loeffler et al., 1989)
    | libjpeg-turbo 3 | https://github.com/libjpeg-turbo/libjpeg-turbo: jccolor.c, jcprepct.c,
      jcsample.c, jfdctint.c, jcdctmgr.c, jcparam.c, jidctint.c, jdsample.c, jdcolor.c
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from degrade.canvas import Canvas, Sizes
from degrade.kernels.base import Call, Data, Kernel, Records, Samples
from degrade.kernels.codec import check

__all__ = ["CHROMA", "DCT", "JPEG", "compress", "jpeg", "quantization_table"]

CHROMA = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
"""Chroma subsampling: how many pixels a chroma sample spans, vertically and horizontally."""

_SPANS = np.array(list(CHROMA.values()))
_LONGEST = 65500  # the longest side that libjpeg takes
_CHUNK = 1 << 16  # pixels worked at a time on a CPU: the intermediates then stay in cache


def jpeg(
    canvas: Canvas, quality: ArrayLike, chroma: Sequence[str], differentiable: bool = False
) -> Canvas:
    """Each row encoded to baseline JPEG and decoded again, bit for bit as libjpeg-turbo's defaults
    do it.

    Pixels are first clamped to [0, 1] and rounded to 8 bits, half to even; the result is on the
    same grid, k / 255.

    With ``differentiable`` the values are the same and the gradient is that of the pipeline
    without its roundings, the quantiser's included (straight through): colour transform, chroma
    average, chroma interpolation and back. It is linear but for the clamps, whose gradient is zero
    outside. It is the same at every quality, hence finite at all, and at 4:4:4 nearly the
    identity. Without ``differentiable`` gradients stop here.

    Args:
        canvas: (B, C, H, W) in [0, 1]; C is 3 (RGB) or 1 (grey).
        quality: (B,) whole numbers in [1, 100], on the host.
        chroma: B keys of :data:`CHROMA`; without effect on grey images.

    Raises:
        ValueError: if a quality, a chroma, the number of channels or a side is out of range.
    """
    quality = _check(canvas.sizes, canvas.pixels.shape[1], quality, chroma)
    if not differentiable:
        canvas = canvas.with_pixels(canvas.pixels.detach())
    return _jpeg(canvas, quality, [CHROMA[name] for name in chroma])


def _check(sizes: Sizes, channels: int, quality: ArrayLike, chroma: Sequence[str]) -> NDArray[Any]:
    unknown = sorted(set(chroma) - set(CHROMA))
    if unknown:
        raise ValueError(f"jpeg: chroma {unknown[0]!r}; it must be one of {', '.join(CHROMA)}")
    return check("jpeg", sizes, channels, quality, _LONGEST)


def compress(
    samples: Samples, quality: NDArray[Any], chroma: NDArray[Any], differentiable: bool = False
) -> Call:
    """The call of :func:`jpeg`.

    Args:
        samples: What it works on.
        quality: (n,) whole numbers in [1, 100].
        chroma: (n,) positions in :data:`CHROMA`.
        differentiable: As for :func:`jpeg`.

    Raises:
        ValueError: A quality, the number of channels or a side is out of range.
    """
    check("jpeg", samples.sizes, samples.channels, quality, _LONGEST)
    spans = _SPANS[chroma.astype(np.intp)]
    return JPEG.call(
        samples,
        quality=quality,
        chroma_rows=spans[:, 0],
        chroma_columns=spans[:, 1],
        differentiable=differentiable,
    )


def _jpeg_records(canvas: Canvas, records: Records, data: Data) -> Canvas:
    spans = zip(records["chroma_rows"].tolist(), records["chroma_columns"].tolist(), strict=True)
    if not records["differentiable"].all():
        canvas = canvas.with_pixels(canvas.pixels.detach())
    return _jpeg(canvas, records["quality"], list(spans))


JPEG = Kernel(
    "jpeg",
    10,
    {"quality": "i4", "chroma_rows": "i4", "chroma_columns": "i4", "differentiable": "i4"},
    _jpeg_records,
    on_cpu_for=("mps",),  # has no float64
)


def quantization_table(quality: ArrayLike, chroma: bool) -> NDArray[np.float64]:
    """(..., 8, 8) quantisation steps at ``quality`` (...): tables K.1 or K.2 scaled as
    ``jpeg_set_quality`` does.

    >>> quantization_table(50, chroma=False)[0, :3]
    array([16., 11., 10.])
    """
    quality = np.asarray(quality, np.int64)[..., None, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = (_CHROMA if chroma else _LUMA) * scale + 50
    return np.clip(table // 100, 1, 255).astype(np.float64)


# --- torch ---------------------------------------------------------------------------------------


def _jpeg(canvas: Canvas, quality: NDArray[Any], spans: list[tuple[int, int]]) -> Canvas:
    out = torch.zeros_like(canvas.pixels)
    for rows, span, smooth in _groups(canvas, spans):
        part = canvas if len(rows) == len(canvas) else canvas.take(rows)
        x = _bytes(part.pixels)
        x = (
            _grey(part, x, quality[rows])
            if x.shape[1] == 1
            else _colour(part, x, quality[rows], span, smooth)
        )
        h, w = part.pixels.shape[-2:]
        # A product in float64, because a division by 255 in float32 is not rounded the same on
        # every device.
        x = x[:, :, :h, :w].clamp(0, 255).mul_(1 / 255).to(out.dtype)
        out[:, :, :h, :w].index_copy_(
            0, torch.from_numpy(rows).to(out.device, non_blocking=True), x
        )
    return canvas.with_pixels(out)


def _groups(
    canvas: Canvas, spans: list[tuple[int, int]]
) -> list[tuple[NDArray[np.intp], tuple[int, int], bool]]:
    """Rows to be worked together, their chroma spans, and whether their chroma is interpolated
    rather than repeated.
    """
    if canvas.pixels.shape[1] == 1:
        kinds = [((1, 1), False)] * len(canvas)
    else:
        # Lines of two chroma samples or fewer are not interpolated (jdsample.c, jinit_upsampler).
        kinds = [
            (span, span[1] == 2 and w > 4)
            for span, w in zip(spans, canvas.sizes[:, 1].tolist(), strict=True)
        ]
    count = len(canvas)
    if canvas.pixels.device.type == "cpu":
        count = max(1, _CHUNK // canvas.pixels[0, 0].numel())
    groups: list[tuple[NDArray[np.intp], tuple[int, int], bool]] = []
    for kind in sorted(set(kinds)):
        rows = np.array([i for i, other in enumerate(kinds) if other == kind], np.intp)
        groups += [(rows[i : i + count], *kind) for i in range(0, len(rows), count)]
    return groups


def _grey(canvas: Canvas, x: Tensor, quality: NDArray[Any]) -> Tensor:
    return _code(_replicate(canvas, x, canvas.sizes, 8, 8), quality, chroma=False)


def _colour(
    canvas: Canvas, x: Tensor, quality: NDArray[Any], spans: tuple[int, int], smooth: bool
) -> Tensor:
    """Whole RGB values in [0, 255] -> the same, a little outside, padded at the bottom and the
    right.
    """
    v, h = spans
    x = _replicate(canvas, x, canvas.sizes, 8 * v, 8 * h)
    b, _, height, width = x.shape
    x = x.flatten(2)
    to_ycc, from_ycc = (_like(x, table) / 2**16 for table in (_TO_YCC, _FROM_YCC))
    luma = _floor(to_ycc[:1, :3] @ x, to_ycc[:1, 3:]).view(b, 1, height, width)
    chroma = _floor(to_ycc[1:, :3] @ x, to_ycc[1:, 3:]).view(b, 2, height, width)
    if spans == (1, 1):
        chroma = _code(chroma, quality, chroma=True)
    else:
        size = -(-canvas.sizes // spans)
        chroma = _floor(
            functional.avg_pool2d(chroma, spans), _like(x, _DOWN[spans]).repeat(width // h // 2)
        )
        # To the right it was pixels that were repeated, at the bottom it is averages of pixels.
        chroma = _replicate(
            canvas, chroma, np.stack([size[:, 0], np.full(b, width // h)], 1), 8, 8
        )
        chroma = _code(chroma, quality, chroma=True)
        scale = (float(v), float(h))
        if smooth:
            chroma = _replicate(canvas, chroma, size, 8, 8)
            chroma = functional.interpolate(chroma, scale_factor=scale, mode="bilinear")
            chroma = _floor(chroma, _like(x, _UP[spans]).repeat(width // 2))
        else:
            chroma = functional.interpolate(chroma, scale_factor=scale)
    luma = _code(luma, quality, chroma=False)
    x = _floor(from_ycc[:, :2] @ chroma.flatten(2), from_ycc[:, 2:]).add_(luma.flatten(2))
    return x.view(b, 3, height, width)


def _code(x: Tensor, quality: NDArray[Any], chroma: bool) -> Tensor:
    """Whole samples in [0, 255] -> the same after DCT, quantisation and back: (B, P, H, W),
    sides multiples of 8.
    """
    b, p, h, w = x.shape
    dct = _like(x, DCT)
    steps = _like(x, quantization_table(quality, chroma)).view(b, 1, 1, 8, 1, 8)
    x = _floor(x.reshape(-1, 8) @ dct.T.div(2**11), _like(x, _CENTRE))
    x = _floor(dct.div(2**15) @ x.view(-1, 8, w), 0.5)
    # The first factor is larger by 2^-16 to round halves away from zero: it moves no other value
    # as far as a half.
    x = _floor(x.view(b, p, h // 8, 8, w // 8, 8) * ((1 + 2**-16) / 8 / steps), 0.5).mul_(steps)
    x = _floor(dct.T.div(2**11) @ x.view(-1, 8, w), 0.5)
    x = _floor(x.view(-1, 8) @ dct.div(2**18), 128.5)
    return x.clamp(0, 255).view(b, p, h, w)


def _like(x: Tensor, table: ArrayLike) -> Tensor:
    """A host table on x's device. (``x.new_tensor`` would wait for the device.)"""
    return torch.from_numpy(np.array(table, np.float64)).to(x.device, non_blocking=True)


def _replicate(canvas: Canvas, x: Tensor, sizes: Sizes, v: int, h: int) -> Tensor:
    """x grown to sides that are multiples of (v, h), the last row and column within ``sizes``
    repeated outward.
    """
    height, width = -(-x.shape[2] // v) * v, -(-x.shape[3] // h) * h
    if (sizes == (height, width)).all():
        return x
    return canvas.resized(x, sizes).replicate(height, width)


def _bytes(pixels: Tensor) -> Tensor:
    """Pixels as whole numbers in [0, 255]."""
    return _through(pixels.clamp(0, 1).mul_(255), torch.round).double()


def _floor(x: Tensor, bias: Tensor | float) -> Tensor:
    """floor(x + bias), in x's memory where no gradient is wanted."""
    x = x.add_(bias)
    return _through(x, torch.floor) if x.requires_grad else x.floor_()


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
        return rounding(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, None]:
        return grad_outputs[0], None


def _through(x: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """A rounding whose gradient is the identity."""
    return cast(Tensor, _Through.apply(x, rounding))  # pyright: ignore[reportUnknownMemberType]  # torch leaves it untyped


# --- tables --------------------------------------------------------------------------------------

_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)

_CHROMA = np.full((8, 8), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# jfdctint's butterflies, multiplied out: sqrt(8) times the orthonormal DCT in 13-bit fixed point.
# Rows are frequencies; the right half mirrors the left one with alternating sign. Sums of rounded
# constants (10703 here, 10704 there), they are not the rounded cosines. jidctint's matrix is the
# transpose.
_HALF = np.array(
    [
        [8192, 8192, 8192, 8192],
        [11363, 9633, 6437, 2260],
        [10703, 4433, -4433, -10703],
        [9633, -2259, -11362, -6436],
        [8192, -8192, -8192, 8192],
        [6437, -11362, 2261, 9633],
        [4433, -10704, 10704, -4433],
        [2260, -6436, 9633, -11363],
    ]
)
DCT = np.concatenate([_HALF, _HALF[:, ::-1] * np.tile([[1], [-1]], (4, 1))], 1)

# 16-bit fixed point; the last column is the constant, with the rounding's half.
_TO_YCC = [
    [19595, 38470, 7471, 1 << 15],
    [-11059, -21709, 32768, (128 << 16) + (1 << 15) - 1],
    [32768, -27439, -5329, (128 << 16) + (1 << 15) - 1],
]
_FROM_YCC = [
    [0, 91881, (1 << 15) - 128 * 91881],
    [-22554, -46802, (1 << 15) + 128 * (22554 + 46802)],
    [116130, 0, (1 << 15) - 128 * 116130],
]

# What is added before a floor, by column parity.
_DOWN = {(2, 2): [1 / 4, 2 / 4], (1, 2): [0, 1 / 2]}
_UP = {(2, 2): [8 / 16, 7 / 16], (1, 2): [1 / 4, 2 / 4]}

# The rounding's half, and for the mean of each row of a block the shift of samples from [0, 255]
# to [-128, 127].
_CENTRE = [0.5 - 128 * 32] + [0.5] * 7
