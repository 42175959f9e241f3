"""Pillow's pixel modes as 8 or 16-bit grey or RGB, with alpha apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

from degrade.images.image import ImageError, Pixels

__all__ = ["MODE_NOTES", "convert", "is_8bit_mode", "is_signed"]

# Mode in Pillow -> the mode of 8-bit grey or RGB, with or without alpha, that loses nothing.
_8BIT_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
MODE_NOTES = {
    "1": "1-bit expanded",
    "P": "palette expanded",
    "PA": "palette expanded",
    "CMYK": "CMYK converted to RGB",
    "YCbCr": "YCbCr converted to RGB",
}
"""What :func:`convert` does to pixels of a mode."""
# TIFF tags.
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339


def is_8bit_mode(mode: str) -> bool:
    """Return whether a mode has at most 8 bits a channel."""
    return mode in _8BIT_MODES


def is_signed(tags: Mapping[int, Any]) -> bool:
    """Return whether the samples of a TIFF are anything but unsigned integers."""
    unsigned, undefined = 1, 4
    return not {*tags.get(_SAMPLE_FORMAT, ())} <= {unsigned, undefined}


def convert(picture: PIL.Image.Image, name: str) -> tuple[Pixels, Pixels | None]:
    """Return the (h, w, C) pixels and the (h, w) alpha of a Pillow image, as it is stored.

    Modes of 16 bits (I;16 in any byte order, and I, which is what Pillow makes of 16-bit PGM)
    give uint16; the others uint8.

    Raises:
        ImageError: A mode of another kind, or 32-bit values whose range is not that of 16 bits.
    """
    if picture.mode.startswith("I"):
        return _convert_gray16(picture, name)
    if picture.mode not in _8BIT_MODES:
        raise ImageError(name, f"pixel mode {picture.mode} is not supported; save it as RGB")
    mode = _8BIT_MODES[picture.mode]
    if "transparency" in picture.info and picture.mode in ("1", "L", "P", "RGB"):
        mode += "A"
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    array = array[:, :, None] if array.ndim == 2 else array
    return (array[..., :-1], array[..., -1]) if mode.endswith("A") else (array, None)


def _convert_gray16(picture: PIL.Image.Image, name: str) -> tuple[Pixels, Pixels | None]:
    levels = np.asarray(picture)
    if levels.size and (levels.min() < 0 or levels.max() > 65535):
        raise ImageError(
            name,
            f"32-bit levels from {levels.min()} to {levels.max()}, of no known range; "
            "scale them to 16 bits, 0 to 65535",
        )
    pixels = levels.astype(np.uint16)[:, :, None]
    clear = picture.info.get("transparency")
    alpha = None
    if clear is not None:
        alpha = np.where(pixels[..., 0] == clear, 0, 65535).astype(np.uint16)
    # 0: white is 0. Pillow inverts such samples only if they have 8 bits.
    inverted = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    return (65535 - pixels if inverted else pixels), alpha
