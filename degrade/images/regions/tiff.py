"""TIFF: only the tiles or strips that a window touches, as a TIFF of their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from degrade.images.decode import ORIENTATION, Image, remarks
from degrade.images.regions.base import Box, inner, read_file, stored, turned

__all__ = ["TiffParts"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_COUNTS = 322, 323, 324, 325
# Those that say how samples are coded: fill order, predictor, palette, inks, extra samples,
# format, JPEG tables, YCbCr.
_CODING = (
    _BITS,
    _COMPRESSION,
    _PHOTOMETRIC,
    _SAMPLES,
    _PLANAR,
    266,
    317,
    320,
    332,
    334,
    338,
    339,
    347,
    529,
    530,
    531,
    532,
)
_RAW = 1
# Each tile by itself: raw, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard, WebP.
_COMPRESSIONS = (_RAW, 5, 7, 8, 32946, 32773, 34925, 50000, 50001)
_LONG = 4


class TiffParts:
    """A TIFF's tiles; strips are tiles as wide as the image, and rows that are not compressed
    strips of one row.
    """

    def __init__(
        self, picture: ImageFile, file: BinaryIO, name: str, tags: dict[int, Any]
    ) -> None:
        self._file, self._name = file, name
        self._order: bytes = getattr(picture, "tag_v2").prefix  # noqa: B009
        self._types: dict[int, int] = getattr(picture, "tag_v2").tagtype  # noqa: B009
        self._tags = {tag: tags[tag] for tag in _CODING if tag in tags}
        self._turn = int(tags.get(ORIENTATION, 1))
        self._remarks = remarks(picture, self._turn)
        self._width, self._height = int(tags[_WIDTH]), int(tags[_HEIGHT])
        high, wide = self._height, self._width
        self.size = (wide, high) if self._turn >= 5 else (high, wide)
        self._planes = int(tags.get(_SAMPLES, 1)) if tags.get(_PLANAR, 1) == 2 else 1
        self._tiled = _TILES in tags
        names = (_TILES, _TILE_COUNTS) if self._tiled else (_STRIPS, _COUNTS)
        self._starts, self._counts = (
            np.atleast_1d(np.asarray(tags[tag], np.int64)) for tag in names
        )
        if self._tiled:
            self._side = int(tags[_TILE_HEIGHT]), int(tags[_TILE_WIDTH])
        else:
            self._side = min(int(tags.get(_ROWS, self._height)), self._height), self._width
        if tags.get(_COMPRESSION, _RAW) == _RAW and not self._tiled:
            self._split()
        self._grid = -(-self._height // self._side[0]), -(-self._width // self._side[1])
        self.held = 8 * self._side[0] * self._side[1] * self._planes

    def _split(self) -> None:
        """Strips that are not compressed, row by row."""
        bits = np.atleast_1d(self._tags.get(_BITS, 1))
        row = -(-self._width * int(bits[0] if self._planes > 1 else bits.sum()) // 8)
        tall = self._side[0]
        if len(self._starts) != self._planes * -(-self._height // tall):
            raise ValueError("more strips than rows, or fewer")
        rows = np.arange(self._height)
        starts = self._starts.reshape(self._planes, -1)[:, rows // tall] + rows % tall * row
        self._starts, self._counts = starts.ravel(), np.full(starts.size, row)
        self._side = 1, self._width

    @property
    def _sound(self) -> bool:
        """Whether the tiles are all there, as many as there should be."""
        many = self._planes * self._grid[0] * self._grid[1]
        if not len(self._starts) == len(self._counts) == many or self._counts.min() < 1:
            return False
        return bool((self._starts + self._counts).max() <= self._file.seek(0, 2))

    @classmethod
    def of(cls, picture: ImageFile, file: BinaryIO, name: str) -> TiffParts | None:
        """None for what must be decoded whole, or may be damaged."""
        tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
        if picture.format != "TIFF" or tags.get(_COMPRESSION, _RAW) not in _COMPRESSIONS:
            return None
        if tags.get(_COMPRESSION, _RAW) == _RAW and tags.get(_PHOTOMETRIC) == 6:
            return None  # subsampled, so that rows come in pairs
        if not (
            {_TILES, _TILE_COUNTS, _TILE_WIDTH, _TILE_HEIGHT} <= tags.keys()
            or {_STRIPS, _COUNTS} <= tags.keys()
        ):
            return None
        try:
            parts = cls(picture, file, name, tags)
        except (ValueError, IndexError, ZeroDivisionError):
            return None
        return parts if parts._sound and parts._grid != (1, 1) else None

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        return [self._window(stored(box, self.size, self._turn)) for box in boxes]

    def _window(self, place: Box) -> Image:
        (tall, wide), (down, across) = self._side, self._grid
        top, left, height, width = place
        rows = np.arange(top // tall, -(-(top + height) // tall))
        columns = np.arange(left // wide, -(-(left + width) // wide))
        planes = np.arange(self._planes) * down * across
        tiles = (planes[:, None, None] + rows[:, None] * across + columns).ravel()
        y, x = int(rows[0]) * tall, int(columns[0]) * wide
        size = min(len(rows) * tall, self._height - y), min(len(columns) * wide, self._width - x)
        image = read_file(self._tiff(size, tiles), self._name)
        return turned(inner(image, (top - y, left - x, height, width)), self._turn, self._remarks)

    def _tiff(self, size: tuple[int, int], tiles: NDArray[np.int64]) -> bytes:
        """A TIFF of some of the tiles."""
        data: list[bytes] = []
        for tile in tiles:
            self._file.seek(int(self._starts[tile]))
            data.append(self._file.read(int(self._counts[tile])))
        lengths = [len(each) for each in data]
        places = [0, *itertools.accumulate(lengths)][:-1]
        names = (_TILES, _TILE_COUNTS) if self._tiled else (_STRIPS, _COUNTS)
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
            put(_TILE_HEIGHT, self._side[0])
            put(_TILE_WIDTH, self._side[1])
        else:
            put(_ROWS, self._side[0])
        put(names[1], tuple(lengths))
        put(names[0], tuple(places))
        length = len(table.tobytes(len(head)))
        if self._tiled:  # Pillow's writer moves strips by itself
            put(names[0], tuple(len(head) + length + place for place in places))
        return head + table.tobytes(len(head)) + b"".join(data)
