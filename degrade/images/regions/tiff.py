"""Regions of TIFF files: only the tiles or strips that a region touches, as their own TIFF."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from degrade.images.decode import metadata_notes
from degrade.images.image import Image
from degrade.images.orientation import tag_orientation
from degrade.images.regions.base import (
    Box,
    box_as_stored,
    crop_image,
    decode_bytes,
    transpose_image,
)

__all__ = ["TiffRegions"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_COUNTS = 322, 323, 324, 325
# Tags that say how samples are coded; the numbers are fill order, predictor, palette, ink set,
# number of inks, extra samples, sample format, JPEG tables, and four of YCbCr.
_CODING = (
    *(_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR),
    *(266, 317, 320, 332, 334, 338, 339, 347, 529, 530, 531, 532),
)
_RAW = 1
_YCBCR_PHOTOMETRIC = 6
# Those that code each tile by itself: raw, LZW, JPEG, deflate (two numbers), PackBits, LZMA,
# Zstandard, WebP.
_COMPRESSIONS = (_RAW, 5, 7, 8, 32946, 32773, 34925, 50000, 50001)
_LONG = 4


class TiffRegions:
    """Reads the tiles of a TIFF. Strips are tiles as wide as the image; if they are not
    compressed, each of their rows is a tile.
    """

    def __init__(
        self, picture: TiffImageFile, file: BinaryIO, name: str, tags: dict[int, Any]
    ) -> None:
        self._file, self._name = file, name
        self._order: bytes = picture.tag_v2.prefix
        self._types: dict[int, int] = picture.tag_v2.tagtype
        self._tags = {tag: tags[tag] for tag in _CODING if tag in tags}
        self._orientation = tag_orientation(tags)
        self._notes = metadata_notes(picture, self._orientation)
        self._width, self._height = int(tags[_WIDTH]), int(tags[_HEIGHT])
        height, width = self._height, self._width
        self.size = (width, height) if self._orientation >= 5 else (height, width)
        self._planes = int(tags.get(_SAMPLES, 1)) if tags.get(_PLANAR, 1) == 2 else 1
        self._tiled = _TILES in tags
        starts, counts = self._place_tags
        self._starts = np.atleast_1d(np.asarray(tags[starts], np.int64))
        self._counts = np.atleast_1d(np.asarray(tags[counts], np.int64))
        if self._tiled:
            self._tile = int(tags[_TILE_HEIGHT]), int(tags[_TILE_WIDTH])
        else:
            self._tile = min(int(tags.get(_ROWS, height)), height), width
        if tags.get(_COMPRESSION, _RAW) == _RAW and not self._tiled:
            self._split_strips()
        self._grid = -(-height // self._tile[0]), -(-width // self._tile[1])
        self.memory_estimate = 8 * self._tile[0] * self._tile[1] * self._planes

    @classmethod
    def of(cls, picture: ImageFile, file: BinaryIO, name: str) -> TiffRegions | None:
        """Return a reader, or None for a file that needs a full decode or may be damaged."""
        if not isinstance(picture, TiffImageFile):
            return None
        tags: dict[int, Any] = dict(picture.tag_v2)
        compression = tags.get(_COMPRESSION, _RAW)
        if compression not in _COMPRESSIONS:
            return None
        if compression == _RAW and tags.get(_PHOTOMETRIC) == _YCBCR_PHOTOMETRIC:
            return None  # chroma is subsampled, so that rows come in pairs
        has_tiles = {_TILES, _TILE_COUNTS, _TILE_WIDTH, _TILE_HEIGHT} <= tags.keys()
        has_strips = {_STRIPS, _COUNTS} <= tags.keys()
        if not (has_tiles or has_strips):
            return None
        try:
            reader = cls(picture, file, name, tags)
        except (ValueError, IndexError, ZeroDivisionError):
            return None
        return reader if reader._is_complete() and reader._grid != (1, 1) else None

    @property
    def _place_tags(self) -> tuple[int, int]:
        """The tags that hold the offsets and the lengths of tiles."""
        return (_TILES, _TILE_COUNTS) if self._tiled else (_STRIPS, _COUNTS)

    def _split_strips(self) -> None:
        """Split strips that are not compressed into rows."""
        bits = np.atleast_1d(self._tags.get(_BITS, 1))
        row_bytes = -(-self._width * int(bits[0] if self._planes > 1 else bits.sum()) // 8)
        tall = self._tile[0]
        if len(self._starts) != self._planes * -(-self._height // tall):
            raise ValueError("more strips than rows, or fewer")
        rows = np.arange(self._height)
        starts = self._starts.reshape(self._planes, -1)[:, rows // tall] + rows % tall * row_bytes
        self._starts, self._counts = starts.ravel(), np.full(starts.size, row_bytes)
        self._tile = 1, self._width

    def _is_complete(self) -> bool:
        """Whether there are as many tiles as there should be, all of them within the file."""
        many = self._planes * self._grid[0] * self._grid[1]
        if not len(self._starts) == len(self._counts) == many or self._counts.min() < 1:
            return False
        return bool((self._starts + self._counts).max() <= self._file.seek(0, 2))

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        return [self._region(box_as_stored(box, self.size, self._orientation)) for box in boxes]

    def _region(self, box: Box) -> Image:
        (tall, wide), (down, across) = self._tile, self._grid
        top, left, height, width = box
        rows = np.arange(top // tall, -(-(top + height) // tall))
        columns = np.arange(left // wide, -(-(left + width) // wide))
        planes = np.arange(self._planes) * down * across
        tiles = (planes[:, None, None] + rows[:, None] * across + columns).ravel()
        y, x = int(rows[0]) * tall, int(columns[0]) * wide
        size = min(len(rows) * tall, self._height - y), min(len(columns) * wide, self._width - x)
        image = decode_bytes(self._tiff(size, tiles), self._name)
        region = crop_image(image, (top - y, left - x, height, width))
        return transpose_image(region, self._orientation, self._notes)

    def _tiff(self, size: tuple[int, int], tiles: NDArray[np.int64]) -> bytes:
        """Write a TIFF of a (height, width) that holds some of the tiles."""
        data = [self._tile_data(tile) for tile in tiles]
        lengths = [len(each) for each in data]
        offsets = [0, *itertools.accumulate(lengths)][:-1]
        head = self._order + (b"*\0\x08\0\0\0" if self._order == b"II" else b"\0*\0\0\0\x08")
        table = ImageFileDirectory_v2(head)

        def put(tag: int, value: Any, kind: int = _LONG) -> None:
            table.tagtype[tag] = kind
            table[tag] = value

        for tag, value in self._tags.items():
            put(tag, value, self._types[tag])
        put(_HEIGHT, size[0])
        put(_WIDTH, size[1])
        if self._tiled:
            put(_TILE_HEIGHT, self._tile[0])
            put(_TILE_WIDTH, self._tile[1])
        else:
            put(_ROWS, self._tile[0])
        starts, counts = self._place_tags
        put(counts, tuple(lengths))
        put(starts, tuple(offsets))
        if self._tiled:  # Pillow's writer shifts the offsets of strips itself
            length = len(head) + len(table.tobytes(len(head)))
            put(starts, tuple(length + offset for offset in offsets))
        return head + table.tobytes(len(head)) + b"".join(data)

    def _tile_data(self, tile: int) -> bytes:
        self._file.seek(int(self._starts[tile]))
        return self._file.read(int(self._counts[tile]))
