"""EXIF orientation: which of eight ways an image is stored, and how to turn it upright."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import PIL.Image

from degrade.images.errors import DECODER_ERRORS
from degrade.images.image import Pixels

__all__ = ["ORIENTATION", "exif_orientation", "exif_transpose", "tag_orientation"]

ORIENTATION = 274
"""The tag's number, in EXIF and in TIFF."""


def exif_orientation(picture: PIL.Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or it cannot be read."""
    # Damaged metadata is no reason to refuse an image.
    with contextlib.suppress(*DECODER_ERRORS):
        return tag_orientation(picture.getexif())
    return 1


def tag_orientation(tags: Mapping[int, Any]) -> int:
    """Return the orientation among tags, 1 to 8. Other values mean nothing: 1, as stored.

    >>> tag_orientation({274: 6}), tag_orientation({274: 9}), tag_orientation({})
    (6, 1, 1)
    """
    value: Any = tags.get(ORIENTATION)
    return int(value) if value in range(1, 9) else 1


def exif_transpose(array: Pixels, orientation: int) -> Pixels:
    """Return an upright view of an (h, w, ...) array stored with an EXIF orientation of 1 to 8.

    >>> import numpy as np
    >>> exif_transpose(np.array([[1, 2, 3]], np.uint8), 6).tolist()
    [[1], [2], [3]]
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]
