"""Parts: a way to read windows of a file, and what all ways share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from math import inf
from typing import Any, BinaryIO, Protocol, TypeAlias

from PIL.ImageFile import ImageFile

from degrade.images.decode import (
    NOTES,
    ORIENTATION,
    Image,
    Pixels,
    decode,
    frozen,
    header,
    is_plain,
    orientation,
    plain,
    remarks,
    upright,
)

__all__ = ["Box", "Parts", "WholeParts", "inner", "read_file", "stored", "turned"]

Box: TypeAlias = "tuple[int, int, int, int]"
"""Top, left, height and width."""


class Parts(Protocol):
    """A way to read windows."""

    held: int

    @property
    def size(self) -> tuple[int, int]: ...

    def read(self, boxes: Sequence[Box]) -> list[Image]: ...


def stored(box: Box, size: tuple[int, int], turn: int) -> Box:
    """Where a box of an upright image of some size lies in the file, before the EXIF
    orientation is undone.
    """
    top, left, height, width = box
    if turn in (3, 4, 7, 8):
        top = size[0] - top - height
    if turn in (2, 3, 6, 7):
        left = size[1] - left - width
    return (left, top, width, height) if turn >= 5 else (top, left, height, width)


def turned(image: Image, turn: int, notes: Sequence[str]) -> Image:
    """A window as stored, made upright, and what is to be said of the whole."""
    alpha = None if image.alpha is None else frozen(upright(image.alpha, turn))
    return Image(frozen(upright(image.pixels, turn)), alpha, (*image.notes, *notes))


def inner(image: Image, box: Box) -> Image:
    """A part of an image, which does not keep the whole in memory."""
    top, left, height, width = box

    def cut(array: Pixels) -> Pixels:
        part = array[top : top + height, left : left + width]
        return frozen(part if part.shape == array.shape else part.copy())

    return Image(cut(image.pixels), None if image.alpha is None else cut(image.alpha), image.notes)


def read_file(data: bytes, name: str) -> Image:
    """Decodes a file made of parts of the one called ``name``."""
    return decode(header(BytesIO(data), name, inf), BytesIO(data), name)


class WholeParts:
    """Decodes all, once. Of 8-bit images that are not small only windows become arrays, of
    others windows are cut.
    """

    def __init__(self, picture: ImageFile, file: BinaryIO, name: str, small: bool) -> None:
        self._picture, self._file, self._name = picture, file, name
        self._plain = is_plain(picture)
        self._mode = picture.mode
        self._tags: Mapping[int, Any] = dict(getattr(picture, "tag_v2", {}))
        # Pillow's picture; or that, OpenCV's, and what it takes to hold the two against each
        # other.
        one = {"L": 1, "P": 1, "1": 1}.get(picture.mode, 4) if self._plain else 32
        self.held = picture.width * picture.height * one
        self._entire = small or not self._plain

    @cached_property
    def _image(self) -> Image:
        return decode(self._picture, self._file, self._name)

    @cached_property
    def _turn(self) -> int:
        self._picture.load()
        return int(self._tags.get(ORIENTATION, 1)) if self._tags else orientation(self._picture)

    @property
    def size(self) -> tuple[int, int]:
        if self._entire:
            height, width = self._image.pixels.shape[:2]
            return height, width
        width, height = self._picture.size  # of a TIFF, Pillow turned it
        return (width, height) if self._turn >= 5 and not self._tags else (height, width)

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        if self._entire:
            return [inner(self._image, box) for box in boxes]
        size, said = self.size, remarks(self._picture, self._turn)
        notes = [NOTES[self._mode]] if self._mode in NOTES else []
        turn = 1 if self._tags else self._turn
        found: list[Image] = []
        for box in boxes:
            top, left, height, width = stored(box, size, turn)
            part = self._picture.crop((left, top, left + width, top + height))
            found.append(turned(Image(*plain(part, self._name), tuple(notes)), turn, said))
        return found
