"""Windows: parts of an image, decoded with no more of the rest than the file's format asks for.

==================  ================================================================================
TIFF                the tiles or strips that a window touches; the rows, where it is not compressed
PNG                 one pass over all rows, about a megabyte of them at a time; not if interlaced
others              all of it, once for all windows, by Pillow: 4 bytes a pixel, or 1 if it is grey
==================  ================================================================================

Some tiles of a TIFF are themselves a TIFF, and some rows of a PNG, their filters undone, a PNG. So
windows are decoded by :mod:`degrade.images.decode` too, and one law holds: they are what
:func:`degrade.images.decode.read_image` has in that place.

A file that ends early is refused wherever the window lies. Damage in tiles that were not read is
not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO

from PIL.ImageFile import ImageFile

from degrade.images.decode import Image, Source, blame, header, opened
from degrade.images.regions.base import Box, Parts, WholeParts
from degrade.images.regions.png import PngParts
from degrade.images.regions.tiff import TiffParts

__all__ = ["SMALL", "Box", "OpenImage", "PngParts", "TiffParts", "WholeParts", "open_image"]

SMALL = 2**22
"""Images of no more pixels are decoded whole: that is faster, and they take little."""


@contextmanager
def open_image(source: Source, *, limit: int | None = None) -> Generator[OpenImage]:
    """An image of which windows are to be read; nothing but its header is yet. Raises
    ImageError.
    """
    with opened(source) as (file, name):
        yield OpenImage(header(file, name, limit), file, name)


class OpenImage:
    """An open image file, upright. What it raises are ImageErrors.

    Args:
        picture: Its header.
        file: The file.
        name: What to call it.
    """

    def __init__(self, picture: ImageFile, file: BinaryIO, name: str) -> None:
        self.name, self._picture, self._file = name, picture, file
        self._blame: Callable[[], Any] = lambda: blame(
            name, f"truncated or corrupt {picture.format}"
        )
        self.area = picture.width * picture.height
        with self._blame():
            self._parts: Parts = self._choose()

    def _choose(self) -> Parts:
        if self.area > SMALL:
            for kind in (PngParts, TiffParts):
                parts = kind.of(self._picture, self._file, self.name)
                if parts is not None:
                    return parts
        return WholeParts(self._picture, self._file, self.name, small=self.area <= SMALL)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        with self._blame():
            return self._parts.size

    @property
    def held(self) -> int:
        """About how many bytes are taken while windows are read, beside the windows."""
        return self._parts.held

    def windows(self, boxes: Sequence[Box]) -> list[Image]:
        """What :func:`degrade.images.decode.read_image` has there. Boxes lie within the image."""
        parts = self._parts
        if (
            2 * sum(height * width for _, _, height, width in boxes) > self.area
        ):  # piece by piece is not less then
            picture = header(
                self._file, self.name, self.area
            )  # anew: to have read of the other changed it
            parts = WholeParts(picture, self._file, self.name, small=True)
        with self._blame():
            return parts.read(boxes)
