"""Upscaling images of any size, in tiles, with alpha and 16 bits kept.

A tile is enlarged together with ``model.reach`` LR pixels on each side, all that its pixels depend
on, so the result is that of the whole image but for the last bits of float arithmetic. The image's
own border is never moved.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degrade.images.files import Image, Pixels, read_image
from degrade.images.pixels import encode_png, to_float
from degrade.storage.files import write_atomic
from sr.models import Model
from sr.models.interpolation import enlarge

__all__ = ["enlarge_tiled", "upscale_file", "upscale_image"]


@torch.no_grad()
def enlarge_tiled(model: Model, image: Tensor, tile: int = 0) -> Tensor:
    """(B, 3, h, w) -> (B, 3, h scale, w scale) by a model in eval mode.

    Args:
        model: If it sees the whole image (``reach`` is None) there is one tile.
        image: RGB in [0, 1].
        tile: Side of a tile in LR pixels, without its overlap; 0 takes the whole image.
    """
    height, width = image.shape[-2:]
    if not tile or model.reach is None or max(height, width) <= tile:
        return model(image)
    scale, reach = model.scale, model.reach
    side = -(-tile // model.multiple) * model.multiple
    out = image.new_empty((*image.shape[:2], height * scale, width * scale))
    for y in range(0, height, side):
        for x in range(0, width, side):
            top, left = (
                max(0, (start - reach) // model.multiple * model.multiple) for start in (y, x)
            )
            bottom, right = min(height, y + side), min(width, x + side)
            ends = (_end(edge, size, model) for edge, size in ((bottom, height), (right, width)))
            part = model(image[..., top : next(ends), left : next(ends)])
            core = part[
                ...,
                (y - top) * scale : (bottom - top) * scale,
                (x - left) * scale : (right - left) * scale,
            ]
            out[..., y * scale : bottom * scale, x * scale : right * scale] = core
    return out


def _end(edge: int, size: int, model: Model) -> int:
    """Where a tile's overlap ends: on a multiple, or where the image does."""
    assert model.reach is not None
    return min(size, -(-(edge + model.reach) // model.multiple) * model.multiple)


def upscale_image(model: Model, image: Image, tile: int = 0) -> Pixels:
    """(h scale, w scale, C) pixels of the image's own depth.

    C is 1 or 3, and 1 more for alpha, which is enlarged bicubically. Grey goes through the model
    as RGB, its mean out.
    """
    pixels = torch.as_tensor(to_float(image.pixels)).permute(2, 0, 1)[None].to(model.device)
    sr = enlarge_tiled(model, pixels.expand(-1, 3, -1, -1), tile)
    if pixels.shape[1] == 1:
        sr = sr.mean(1, keepdim=True)
    if image.alpha is not None:
        alpha = torch.as_tensor(to_float(image.alpha))[None, None].to(model.device)
        sr = torch.cat([sr, enlarge(alpha, model.scale)], 1)
    top = np.iinfo(image.pixels.dtype).max
    levels = (sr[0].clamp(0, 1).double() * top).round().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(levels.astype(image.pixels.dtype))


def upscale_file(model: Model, source: Path, target: Path, tile: int = 0) -> tuple[int, int]:
    """Enlarges an image file into a PNG file. Returns height and width. Raises ImageError."""
    image = read_image(source)
    pixels = upscale_image(model, image, tile)
    if pixels.shape[-1] == 2:  # PNG has grey with alpha, its writer here has not
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], -1)
    write_atomic(target, encode_png(pixels))
    return pixels.shape[0], pixels.shape[1]
