"""Boxes that reach beyond an image, which is mirrored there, the edge pixel not repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from degrade.canvas import mirror
from degrade.images.image import Image
from degrade.images.regions import Box, OpenImage

__all__ = ["mirrored_window", "read_mirrored"]

Places = NDArray[np.int64]


def mirrored_window(size: tuple[int, ...], box: Box, margin: int = 0) -> tuple[Places, Places]:
    """Return the rows and the columns of an image that a box and a margin around it show.

    >>> rows, columns = mirrored_window((4, 9), (0, 3, 2, 2), margin=2)
    >>> rows.tolist(), columns.tolist()
    ([2, 1, 0, 1, 2, 3], [1, 2, 3, 4, 5, 6])

    Args:
        size: Height and width of the image.
        box: Top, left, height and width.
        margin: Pixels around the box.
    """
    rows, columns = (
        mirror(np.arange(at - margin, at + length + margin), np.array(full))
        for at, length, full in zip(box[:2], box[2:], size, strict=True)
    )
    return rows, columns


def read_mirrored(image: OpenImage, boxes: Sequence[Box], margin: int = 0) -> list[Image]:
    """Read boxes, with a margin around each; only the parts that they show are decoded.

    Raises:
        ImageError: the image cannot be read.
    """
    windows = [mirrored_window(image.size, box, margin) for box in boxes]
    places = [tuple((int(n.min()), int(n.max()) + 1) for n in window) for window in windows]
    parts = image.read_regions([(y, x, y1 - y, x1 - x) for (y, y1), (x, x1) in places])
    return [
        _take(part, rows - y, columns - x)
        for part, (rows, columns), ((y, _), (x, _)) in zip(parts, windows, places, strict=True)
    ]


def _take(image: Image, rows: Places, columns: Places) -> Image:
    if image.pixels.shape[:2] == (len(rows), len(columns)):  # where nothing is mirrored
        return image
    alpha = None if image.alpha is None else image.alpha[rows[:, None], columns]
    return Image(image.pixels[rows[:, None], columns], alpha, image.notes)
