"""Read regions of interest of an image file, decoding no more of it than its format requires.

==================  ============================================================================
TIFF                the tiles or strips that a region touches; its rows, if not compressed
PNG                 one pass over all rows, about a megabyte at a time; not if interlaced
others              a full decode, once for all regions, by Pillow: 4 bytes a pixel, or 1 if grey
==================  ============================================================================

Some tiles of a TIFF are themselves a TIFF, and some rows of a PNG, unfiltered, are a PNG. So
regions are decoded by :mod:`degrade.images.decode` too, and one law holds: a region equals the
slice of :func:`degrade.images.decode.read_image`.

A truncated file is refused wherever the region lies. Damage in tiles that were not read is not
detected.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import BinaryIO

from PIL.ImageFile import ImageFile

from degrade.images.decode import ImageSource, open_header, open_source
from degrade.images.errors import decoder_errors
from degrade.images.image import Image
from degrade.images.regions.base import Box, FullDecode, RegionReader
from degrade.images.regions.png import PngRegions
from degrade.images.regions.tiff import TiffRegions

__all__ = [
    "FULL_DECODE_PIXELS",
    "Box",
    "FullDecode",
    "OpenImage",
    "PngRegions",
    "TiffRegions",
    "open_image",
]

FULL_DECODE_PIXELS = 2**22
"""Images of no more pixels are decoded fully: that is faster, and takes little memory."""


@contextmanager
def open_image(source: ImageSource, *, limit: int | None = None) -> Generator[OpenImage]:
    """Open an image to read regions of; only its header is read yet.

    Args:
        source: As for :func:`degrade.images.decode.read_image`.
        limit: Most pixels to accept, by default :func:`degrade.limits.max_pixels`.

    Raises:
        ImageError: As far as the header shows it.

    >>> with open_image(b"P5 2 1 255 " + bytes([7, 9])) as image:
    ...     [region] = image.read_regions([(0, 1, 1, 1)])
    >>> image.size, region.pixels.tolist()
    ((1, 2), [[[9]]])
    """
    with open_source(source) as (file, name):
        yield OpenImage(open_header(file, name, limit), file, name)


class OpenImage:
    """An open image file, upright. All its methods raise ImageError.

    Args:
        picture: Its header.
        file: The file.
        name: What errors call it.
    """

    def __init__(self, picture: ImageFile, file: BinaryIO, name: str) -> None:
        self.name, self._picture, self._file = name, picture, file
        self.area = picture.width * picture.height
        with self._decoder_errors():
            self._reader: RegionReader = self._choose_reader()

    def _decoder_errors(self) -> AbstractContextManager[None]:
        return decoder_errors(self.name, f"truncated or corrupt {self._picture.format}")

    def _choose_reader(self) -> RegionReader:
        if self.area > FULL_DECODE_PIXELS:
            for kind in (PngRegions, TiffRegions):
                reader = kind.of(self._picture, self._file, self.name)
                if reader is not None:
                    return reader
        small = self.area <= FULL_DECODE_PIXELS
        return FullDecode(self._picture, self.name, small)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        with self._decoder_errors():
            return self._reader.size

    @property
    def memory_estimate(self) -> int:
        """Bytes allocated while regions are read, without the regions themselves."""
        return self._reader.memory_estimate

    def read_regions(self, boxes: Sequence[Box]) -> list[Image]:
        """Decode regions; each equals the slice of :func:`degrade.images.decode.read_image`.

        Args:
            boxes: Top, left, height and width of each, within the image.
        """
        reader = self._reader
        # Of more than half of the image, reading piece by piece saves nothing.
        if 2 * sum(height * width for _, _, height, width in boxes) > self.area:
            # Opened again: reading through the first reader has changed its header's state.
            picture = open_header(self._file, self.name, self.area)
            reader = FullDecode(picture, self.name, small=True)
        with self._decoder_errors():
            return reader.read(boxes)
