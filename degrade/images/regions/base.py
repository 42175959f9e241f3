"""The region reader's protocol, the full decode that works for every format, and what all readers
share: boxes under an EXIF orientation, cropping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from math import inf
from typing import Any, Protocol, TypeAlias

from PIL.ImageFile import ImageFile

from degrade.images.decode import decode, is_8bit, metadata_notes, open_header, read_only
from degrade.images.image import Image, Pixels
from degrade.images.modes import MODE_NOTES, convert
from degrade.images.orientation import exif_orientation, exif_transpose, tag_orientation

__all__ = [
    "Box",
    "FullDecode",
    "RegionReader",
    "box_as_stored",
    "crop_image",
    "decode_bytes",
    "transpose_image",
]

Box: TypeAlias = "tuple[int, int, int, int]"
"""Top, left, height and width."""


class RegionReader(Protocol):
    """A way to read regions of one file."""

    memory_estimate: int
    """Bytes allocated while regions are read, without the regions themselves."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        ...

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        """Decode the regions of the upright image."""
        ...


def box_as_stored(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Map a box of an upright image of a (height, width) to the image as stored, before the EXIF
    orientation is undone.

    >>> box_as_stored((0, 0, 2, 1), (4, 3), 3)
    (2, 2, 2, 1)
    """
    top, left, height, width = box
    if orientation in (3, 4, 7, 8):
        top = size[0] - top - height
    if orientation in (2, 3, 6, 7):
        left = size[1] - left - width
    return (left, top, width, height) if orientation >= 5 else (top, left, height, width)


def transpose_image(image: Image, orientation: int, notes: Sequence[str]) -> Image:
    """Return a region as stored upright, with further notes."""
    pixels = read_only(exif_transpose(image.pixels, orientation))
    alpha = None if image.alpha is None else read_only(exif_transpose(image.alpha, orientation))
    return Image(pixels, alpha, (*image.notes, *notes))


def crop_image(image: Image, box: Box) -> Image:
    """Crop an image; the result does not keep the full image in memory.

    >>> import numpy as np
    >>> crop_image(Image(np.zeros((4, 5, 3), np.uint8)), (1, 1, 2, 3)).pixels.shape
    (2, 3, 3)
    """
    top, left, height, width = box

    def crop(array: Pixels) -> Pixels:
        part = array[top : top + height, left : left + width]
        return read_only(part if part.shape == array.shape else part.copy())

    alpha = None if image.alpha is None else crop(image.alpha)
    return Image(crop(image.pixels), alpha, image.notes)


def decode_bytes(data: bytes, name: str) -> Image:
    """Decode a file made of parts of the one called ``name``."""
    return decode(open_header(BytesIO(data), name, inf), name)


class FullDecode:
    """Decodes the full image, once.

    Of 8-bit images that are not small, Pillow's picture is kept and only regions become arrays;
    other images become an array, of which regions are copied.
    """

    def __init__(self, picture: ImageFile, name: str, small: bool) -> None:
        self._picture, self._name = picture, name
        self._mode = picture.mode
        self._tags: Mapping[int, Any] = dict(getattr(picture, "tag_v2", {}))
        narrow = is_8bit(picture)
        self._as_array = small or not narrow
        # Bytes a pixel: Pillow's picture; for 16 bits, both decoders' and the comparison of them.
        bytes_per_pixel = (1 if picture.mode in ("L", "P", "1") else 4) if narrow else 32
        self.memory_estimate = picture.width * picture.height * bytes_per_pixel

    @cached_property
    def _image(self) -> Image:
        return decode(self._picture, self._name)

    @cached_property
    def _orientation(self) -> int:
        self._picture.load()
        if self._tags:
            return tag_orientation(self._tags)
        return exif_orientation(self._picture)

    @property
    def size(self) -> tuple[int, int]:
        if self._as_array:
            height, width = self._image.pixels.shape[:2]
            return height, width
        # Pillow has already swapped the sides of a TIFF that is stored transposed.
        width, height = self._picture.size
        turned = self._orientation >= 5 and not self._tags
        return (width, height) if turned else (height, width)

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        if self._as_array:
            return [crop_image(self._image, box) for box in boxes]
        size = self.size
        notes = (MODE_NOTES[self._mode],) if self._mode in MODE_NOTES else ()
        more = metadata_notes(self._picture, self._orientation)
        orientation = 1 if self._tags else self._orientation
        regions: list[Image] = []
        for box in boxes:
            top, left, height, width = box_as_stored(box, size, orientation)
            part = self._picture.crop((left, top, left + width, top + height))
            pixels, alpha = convert(part, self._name)
            regions.append(transpose_image(Image(pixels, alpha, notes), orientation, more))
        return regions
