"""Upscaling of images of any size in tiles; alpha and 16-bit depth are kept.

A tile is upscaled together with ``model.reach`` LR pixels on each side, the receptive field, so
the result equals that of the whole image up to float rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degrade.images.alpha import fill_transparent
from degrade.images.files import Image, Pixels, read_image
from degrade.images.pixels import encode_png, to_float
from degrade.storage.files import write_atomic
from sr.models import Model
from sr.models.interpolation import enlarge

__all__ = ["enlarge_tiled", "upscale_file", "upscale_image"]


@torch.no_grad()
def enlarge_tiled(model: Model, image: Tensor, tile: int = 0) -> Tensor:
    """Upscale (B, 3, h, w) to (B, 3, h scale, w scale) with a model in eval mode.

    Args:
        model: If its receptive field is the whole image (``reach`` is None) there is one tile.
        image: RGB in [0, 1].
        tile: Side of a tile in LR pixels, without its overlap; 0: one tile.
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
            low, far = _end(bottom, height, model), _end(right, width, model)
            part = model(image[..., top:low, left:far])
            rows = slice((y - top) * scale, (bottom - top) * scale)
            columns = slice((x - left) * scale, (right - left) * scale)
            inside = part[..., rows, columns]
            out[..., y * scale : bottom * scale, x * scale : right * scale] = inside
    return out


def _end(edge: int, size: int, model: Model) -> int:
    """End of a tile's overlap: on a multiple of ``model.multiple``, or at the image's edge."""
    assert model.reach is not None
    return min(size, -(-(edge + model.reach) // model.multiple) * model.multiple)


def upscale_image(model: Model, image: Image, tile: int = 0) -> Pixels:
    """Return (h scale, w scale, C) pixels of the image's bit depth.

    C is 1 or 3, and 1 more for alpha, which is upscaled bicubically; colour is first extended
    under transparent pixels. Grey is upscaled as RGB and averaged.
    """
    colour = image.pixels
    if image.alpha is not None:
        colour = fill_transparent(colour, image.alpha)
    pixels = torch.as_tensor(to_float(colour)).permute(2, 0, 1)[None].to(model.device)
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
    """Upscale an image file to a PNG file. Return height and width. Raises ImageError."""
    image = read_image(source)
    pixels = upscale_image(model, image, tile)
    if pixels.shape[-1] == 2:  # our PNG encoder has no grey with alpha
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], -1)
    write_atomic(target, encode_png(pixels))
    return pixels.shape[0], pixels.shape[1]
