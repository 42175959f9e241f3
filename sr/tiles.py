"""Upscaling in tiles, which bounds memory.

A tile is upscaled together with some LR pixels on each side. With ``model.reach`` of them, the
receptive field's radius, the result equals that of the whole image up to float rounding; deep
networks have a reach of hundreds of pixels, of which the outer ones hardly count, so by default
there are at most 32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from degrade.errors import UserError
from sr.models import Model

__all__ = ["OVERLAP", "enlarge_parts", "enlarge_tiled", "overlap_of", "tiling"]

OVERLAP = 32
"""Most LR pixels that a tile shares on each side by default."""


def overlap_of(model: Model, overlap: int | None = None) -> int | None:
    """Return the LR pixels that a tile has more on each side; None if the model is not tiled.

    >>> from sr.models import build
    >>> overlap_of(build("rrdb", blocks=1)), overlap_of(build("rrdb", blocks=1), 8)
    (19, 8)

    Args:
        model: If its reach is unknown it is tiled only if an overlap is given.
        overlap: By default the model's reach, at most 32.
    """
    if overlap is None:
        return None if model.reach is None else min(model.reach, OVERLAP)
    return overlap if model.reach is None else min(overlap, model.reach)


@torch.no_grad()
def enlarge_tiled(
    model: Model, image: Tensor, tile: int = 0, overlap: int | None = None
) -> Tensor:
    """Upscale (B, 3, h, w) to (B, 3, h scale, w scale) with a model in eval mode.

    Args:
        model: If its receptive field is the whole image (``reach`` is None) there is one tile,
            unless ``overlap`` is given.
        image: RGB in [0, 1].
        tile: Side of a tile in LR pixels, without its overlap; 0: one tile.
        overlap: LR pixels that a tile has more on each side; by default ``model.reach``, at most
            32.
    """
    height, width = (size * model.scale for size in image.shape[-2:])
    out: Tensor | None = None
    for y, x, part in enlarge_parts(model, image, tile, overlap):
        if part.shape[-2:] == (height, width):
            return part
        if out is None:
            out = part.new_empty((*part.shape[:2], height, width))
        out[..., y : y + part.shape[-2], x : x + part.shape[-1]] = part
    assert out is not None
    return out


def tiling(model: Model, size: int, tile: int = 0, overlap: int | None = None) -> int | None:
    """Return the overlap with which an image of a longer side of ``size`` is upscaled; None if it
    is upscaled as a whole.
    """
    return overlap_of(model, overlap) if tile and size > tile else None


@torch.no_grad()
def enlarge_parts(
    model: Model, image: Tensor, tile: int = 0, overlap: int | None = None
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the result of :func:`enlarge_tiled` in tiles, row by row: top, left and pixels.

    Raises:
        UserError: The model returned NaN or infinite pixels.
    """
    height, width = image.shape[-2:]
    shared = tiling(model, max(height, width), tile, overlap)
    if shared is None:
        yield 0, 0, _finite(model, model(image))
        return
    scale, multiple = model.scale, model.multiple
    side = -(-tile // multiple) * multiple

    def begin(edge: int) -> int:
        return max(0, (edge - shared) // multiple * multiple)

    def end(edge: int, size: int) -> int:
        return min(size, -(-(edge + shared) // multiple) * multiple)

    for y in range(0, height, side):
        for x in range(0, width, side):
            bottom, right = min(height, y + side), min(width, x + side)
            top, left = begin(y), begin(x)
            part = model(image[..., top : end(bottom, height), left : end(right, width)])
            _finite(model, part)
            rows = slice((y - top) * scale, (bottom - top) * scale)
            columns = slice((x - left) * scale, (right - left) * scale)
            yield y * scale, x * scale, part[..., rows, columns]


def _finite(model: Model, part: Tensor) -> Tensor:
    if not bool(part.isfinite().all()):
        name = getattr(model, "name", type(model).__name__)  # external models have one
        raise UserError(
            f"{name}: returned NaN or infinite pixels; its weights are damaged, or float16 "
            "overflowed"
        )
    return part
