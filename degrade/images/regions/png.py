"""PNG: one pass over the rows, of which a band is held at a time.

Filters are undone by handing a band to a decoder as a small PNG, after the row above it, which has
none any more.
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
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from degrade.images.decode import Image, header, orientation, remarks
from degrade.images.regions.base import Box, inner, read_file, stored, turned

__all__ = ["PngParts"]

BAND = 2**20
"""Bytes of rows that are held at a time."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel, by colour type."""
# Bytes a pixel -> colour type and depth of a picture with as many, whose bytes Pillow or OpenCV
# gives as they are.
_ALIKE = {1: (0, 8), 2: (4, 8), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}


class PngParts:
    """A PNG's rows from the top; filters are undone by handing a band of rows to a decoder as a
    small PNG.
    """

    held = 8 * BAND

    def __init__(self, file: BinaryIO, name: str, chunks: list[tuple[bytes, int, int]]) -> None:
        self._file, self._name = file, name
        kinds = [kind for kind, _, _ in chunks]
        first = kinds.index(b"IDAT")
        self._data = [
            chunk for chunk in itertools.takewhile(lambda c: c[0] == b"IDAT", chunks[first:])
        ]
        head = self._body(chunks[0])
        self._width, self._height, self._depth, self._colour = struct.unpack(">IIBB", head[:10])
        bits = self._depth * SAMPLES[self._colour]
        self._stride, self._pixel = (self._width * bits + 7) // 8, max(bits // 8, 1)
        self._bits = bits
        self._palette = [
            (kind, self._body(c)) for c in chunks[1:first] if (kind := c[0]) in (b"PLTE", b"tRNS")
        ]
        # One pixel with all that is said beside the pixels: EXIF may come after them.
        others = [
            (kind, self._body(chunk))
            for chunk in chunks[1:]
            if (kind := chunk[0]) not in (b"IDAT", b"IEND")
        ]
        place = sum(kind != b"IDAT" for kind in kinds[1:first])
        dot = bytes(1 + (bits + 7) // 8)
        picture = header(BytesIO(self._png(1, 1, dot, others[:place], others[place:])), name, inf)
        self._turn = orientation(picture)
        self._remarks = remarks(picture, self._turn)
        high, wide = self._height, self._width
        self.size = (wide, high) if self._turn >= 5 else (high, wide)

    @classmethod
    def of(cls, picture: ImageFile, file: BinaryIO, name: str) -> PngParts | None:
        """None for what must be decoded whole."""
        if (
            picture.format != "PNG"
            or int(getattr(picture, "n_frames", 1)) > 1
            or picture.info.get("interlace")
        ):
            return None
        return cls(file, name, list(_chunks(file)))

    def _body(self, chunk: tuple[bytes, int, int]) -> bytes:
        self._file.seek(chunk[1])
        return self._file.read(chunk[2])

    def _png(
        self,
        width: int,
        height: int,
        rows: bytes,
        before: Sequence[tuple[bytes, bytes]],
        after: Sequence[tuple[bytes, bytes]] = (),
        kind: tuple[int, int] | None = None,
    ) -> bytes:
        """A PNG of rows, each after its filter's byte, of this file's colour type and depth or
        of those given.
        """
        colour, depth = kind or (self._colour, self._depth)
        head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        chunks = [
            (b"IHDR", head),
            *before,
            (b"IDAT", zlib.compress(rows, 0)),
            *after,
            (b"IEND", b""),
        ]
        return SIGNATURE + b"".join(
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
            for kind, data in chunks
        )

    def read(self, boxes: Sequence[Box]) -> list[Image]:
        places = [stored(box, self.size, self._turn) for box in boxes]
        # Columns in whole bytes, which eight pixels always are.
        edges = [
            (left // 8 * 8, min(-(-(left + width) // 8) * 8, self._width))
            for _, left, _, width in places
        ]
        kept: list[list[NDArray[np.uint8]]] = [[] for _ in boxes]
        last = max(top + height for top, _, height, _ in places)
        stream = Inflated(self._pieces())
        above = bytes(1 + self._stride)
        most = max(BAND // (1 + self._stride), 1)
        for start in range(0, self._height, most):
            count = min(most, self._height - start)
            data = stream.read(count * (1 + self._stride))
            if start >= last:
                continue  # only to see that it is whole
            band = self._unfiltered(above + data, count + 1)[1:]
            above = b"\0" + band[-1].tobytes()
            for rows, (top, _, height, _), (left, right) in zip(kept, places, edges, strict=True):
                part = slice(max(top - start, 0), max(min(top + height, start + count) - start, 0))
                rows.append(
                    band[part, left * self._bits // 8 : (right * self._bits + 7) // 8].copy()
                )
        stream.end()
        return [self._window(*each) for each in zip(kept, places, edges, strict=True)]

    def _window(self, parts: list[NDArray[np.uint8]], place: Box, edges: tuple[int, int]) -> Image:
        rows = np.concatenate(parts)
        data = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], axis=1).tobytes()
        image = read_file(
            self._png(edges[1] - edges[0], len(rows), data, self._palette), self._name
        )
        _, left, height, width = place
        return turned(inner(image, (0, left - edges[0], height, width)), self._turn, self._remarks)

    def _pieces(self) -> Iterator[bytes]:
        for _, start, length in self._data:
            for done in range(0, length, BAND):
                self._file.seek(start + done)
                yield self._file.read(min(BAND, length - done))

    def _unfiltered(self, data: bytes, count: int) -> NDArray[np.uint8]:
        """(count, stride) bytes; those of the decoded picture are those of the file."""
        file = self._png(self._stride // self._pixel, count, data, (), kind=_ALIKE[self._pixel])
        if self._pixel <= 4:
            return np.asarray(PngImageFile(BytesIO(file))).reshape(count, self._stride)
        import cv2

        array = np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED))
        array = array[..., [2, 1, 0, 3][: array.shape[-1]]]
        return np.ascontiguousarray(array, ">u2").view(np.uint8).reshape(count, self._stride)


class Inflated:
    """A zlib stream that comes in pieces, read in pieces of other sizes. Raises EOFError or
    zlib.error.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._decoder = pieces, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        found = bytearray()
        while len(found) < count:
            found += self._more(count - len(found))
        return bytes(found)

    def end(self) -> None:
        """Sees to it that the stream ends with its checksum, unless more is in it than was
        asked for.
        """
        while not self._decoder.eof and not self._more(1):
            pass

    def _more(self, most: int) -> bytes:
        data = self._decoder.unconsumed_tail or next(self._pieces, b"")
        if not data:
            raise EOFError("ends early")
        return self._decoder.decompress(data, most)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of each chunk, up to where a file ends."""
    place = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, length
        place += 12 + length
