"""Regions of PNG files: one pass over the rows, of which one band is in memory at a time.

Filters are undone by handing a band to a decoder as a small PNG of its own, after the row above
it, which is already unfiltered.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from math import inf
from typing import BinaryIO

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from degrade.images.decode import metadata_notes, open_header
from degrade.images.image import Image, Uint8
from degrade.images.orientation import exif_orientation
from degrade.images.png_chunks import SIGNATURE, Chunk, chunk_bytes, chunk_data, find_chunks
from degrade.images.regions.base import (
    Box,
    box_as_stored,
    crop_image,
    decode_bytes,
    transpose_image,
)

__all__ = ["InflateReader", "PngRegions"]

BAND_BYTES = 2**20
"""Bytes of rows in memory at a time."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by colour type."""
# Bytes a pixel -> a colour type and depth of that many, whose decoded bytes are those of the file.
_SAME_BYTES = {1: (0, 8), 2: (4, 8), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}
_IMAGE_DATA = (b"IDAT", b"IEND")

Chunks = Sequence[tuple[bytes, bytes]]
"""Type and data of PNG chunks."""


class PngRegions:
    """Reads a PNG's rows from the top, and keeps those of the regions."""

    memory_estimate = 8 * BAND_BYTES

    def __init__(self, file: BinaryIO, name: str, chunks: Sequence[Chunk]) -> None:
        self._file, self._name = file, name
        kinds = [chunk.kind for chunk in chunks]
        first = kinds.index(b"IDAT")
        self._idat = [*itertools.takewhile(lambda c: c.kind == b"IDAT", chunks[first:])]
        head = struct.unpack(">IIBB", chunk_data(self._file, chunks[0])[:10])
        self._width, self._height, self._depth, self._colour = head
        self._bits = self._depth * CHANNELS[self._colour]
        self._stride = (self._width * self._bits + 7) // 8
        self._palette = [
            (chunk.kind, chunk_data(self._file, chunk))
            for chunk in chunks[1:first]
            if chunk.kind in (b"PLTE", b"tRNS")
        ]
        picture = self._one_pixel(chunks[1:first], chunks[first:])
        self._orientation = exif_orientation(picture)
        self._notes = metadata_notes(picture, self._orientation)
        height, width = self._height, self._width
        self.size = (width, height) if self._orientation >= 5 else (height, width)

    @classmethod
    def of(cls, picture: ImageFile, file: BinaryIO, name: str) -> PngRegions | None:
        """Return a reader, or None for a file that needs a full decode."""
        animated = int(getattr(picture, "n_frames", 1)) > 1
        if picture.format != "PNG" or animated or picture.info.get("interlace"):
            return None
        return cls(file, name, list(find_chunks(file)))

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        stored = [box_as_stored(box, self.size, self._orientation) for box in boxes]
        columns = [self._byte_columns(left, width) for _, left, _, width in stored]
        rows: list[list[Uint8]] = [[] for _ in boxes]
        end = max(top + height for top, _, height, _ in stored)
        stream = InflateReader(self._compressed())
        row_bytes = 1 + self._stride
        above = bytes(row_bytes)
        band_rows = max(BAND_BYTES // row_bytes, 1)
        for start in range(0, self._height, band_rows):
            count = min(band_rows, self._height - start)
            data = stream.read(count * row_bytes)
            if start >= end:
                continue  # read only to find out whether the file is truncated
            band = self._unfilter(above + data, count + 1)[1:]
            above = b"\0" + band[-1].tobytes()
            for kept, (top, _, height, _), (left, right) in zip(
                rows, stored, columns, strict=True
            ):
                low = max(top - start, 0)
                high = max(min(top + height - start, count), 0)
                first, last = left * self._bits // 8, (right * self._bits + 7) // 8
                kept.append(band[low:high, first:last].copy())
        stream.finish()
        return [self._region(*each) for each in zip(rows, stored, columns, strict=True)]

    def _byte_columns(self, left: int, width: int) -> tuple[int, int]:
        """Widen columns to whole bytes, which eight pixels always are."""
        return left // 8 * 8, min(-(-(left + width) // 8) * 8, self._width)

    def _region(self, parts: list[Uint8], box: Box, columns: tuple[int, int]) -> Image:
        """Decode the rows of one region."""
        rows = np.concatenate(parts)
        unfiltered = np.zeros((len(rows), 1), np.uint8)
        data = np.concatenate([unfiltered, rows], axis=1).tobytes()
        left, right = columns
        image = decode_bytes(self._png(right - left, len(rows), data, self._palette), self._name)
        _, start, height, width = box
        region = crop_image(image, (0, start - left, height, width))
        return transpose_image(region, self._orientation, self._notes)

    def _one_pixel(self, before: Sequence[Chunk], after: Sequence[Chunk]) -> ImageFile:
        """Open a picture of one pixel with all of the file's metadata: EXIF may come last."""
        row = bytes(1 + (self._bits + 7) // 8)
        first, last = (
            [(c.kind, chunk_data(self._file, c)) for c in chunks if c.kind not in _IMAGE_DATA]
            for chunks in (before, after)
        )
        return open_header(BytesIO(self._png(1, 1, row, first, last)), self._name, inf)

    def _png(
        self,
        width: int,
        height: int,
        rows: bytes,
        before: Chunks,
        after: Chunks = (),
        kind: tuple[int, int] | None = None,
    ) -> bytes:
        """Write a PNG of rows, each after its filter's byte.

        Args:
            width: In pixels.
            height: In pixels.
            rows: The data, not compressed.
            before: Chunks before the data.
            after: Chunks after the data.
            kind: Colour type and depth; by default this file's.
        """
        colour, depth = kind or (self._colour, self._depth)
        head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        data = zlib.compress(rows, 0)
        chunks = [(b"IHDR", head), *before, (b"IDAT", data), *after, (b"IEND", b"")]
        return SIGNATURE + b"".join(chunk_bytes(kind, data) for kind, data in chunks)

    def _compressed(self) -> Iterator[bytes]:
        """Read the compressed rows, at most ``BAND_BYTES`` at a time."""
        for _, start, length in self._idat:
            for done in range(0, length, BAND_BYTES):
                self._file.seek(start + done)
                yield self._file.read(min(BAND_BYTES, length - done))

    def _unfilter(self, data: bytes, count: int) -> Uint8:
        """Return the (count, stride) bytes of rows without their filters."""
        pixel = max(self._bits // 8, 1)
        file = self._png(self._stride // pixel, count, data, (), kind=_SAME_BYTES[pixel])
        if pixel <= 4:
            return np.asarray(PngImageFile(BytesIO(file))).reshape(count, self._stride)
        import cv2

        array = np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED))
        array = array[..., [2, 1, 0, 3][: array.shape[-1]]]
        return np.ascontiguousarray(array, ">u2").view(np.uint8).reshape(count, self._stride)


class InflateReader:
    """A zlib stream that arrives in pieces of one size and is read in pieces of another.

    Args:
        pieces: The compressed data.

    Raises:
        EOFError: From its methods, if the stream is truncated.
        zlib.error: From its methods, if it is damaged.

    >>> InflateReader(iter([zlib.compress(b"hello")])).read(2)
    b'he'
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._decoder = pieces, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        data = bytearray()
        while len(data) < count:
            data += self._inflate(count - len(data))
        return bytes(data)

    def finish(self) -> None:
        """Read to the end to verify the checksum; stops at data beyond what was asked for."""
        while not self._decoder.eof and not self._inflate(1):
            pass

    def _inflate(self, most: int) -> bytes:
        data = self._decoder.unconsumed_tail or next(self._pieces, b"")
        if not data:
            raise EOFError("ends early")
        return self._decoder.decompress(data, most)
