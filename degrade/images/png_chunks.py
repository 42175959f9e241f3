"""The chunks of PNG files, and files without chunks that no decoder of pixels needs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

__all__ = ["SIGNATURE", "Chunk", "chunk_bytes", "chunk_data", "find_chunks", "without_metadata"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
METADATA_BYTES = 2**20
"""Pillow refuses files with longer text or a longer colour profile, inflated."""
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PROFILE = b"iCCP"


class Chunk(NamedTuple):
    """A chunk in the file: its type, the offset of its data, and their length."""

    kind: bytes
    start: int
    length: int


def find_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Find the chunks, up to where the file ends."""
    place = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield Chunk(kind, place + 8, length)
        place += 12 + length


def chunk_data(file: BinaryIO, chunk: Chunk) -> bytes:
    """Read the data of a chunk, as far as the file goes."""
    file.seek(chunk.start)
    return file.read(chunk.length)


def chunk_bytes(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def without_metadata(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """Leave out text and profiles that inflate to ``METADATA_BYTES`` and more. What fits is kept,
    since text may hold the orientation.

    Returns:
        The file, or a copy in memory without those chunks; and whether a profile was left out.
    """
    chunks = [*find_chunks(file)]
    room = METADATA_BYTES
    dropped: list[Chunk] = []
    for chunk in chunks:
        if chunk.kind in (*_TEXT, _PROFILE):
            most = METADATA_BYTES if chunk.kind == _PROFILE else room
            size = _inflated_size(file, chunk, most)
            if size >= most:
                dropped.append(chunk)
            elif chunk.kind != _PROFILE:
                room -= size
    if not dropped:
        return file, False
    parts: list[bytes] = []
    start = 0
    for chunk in dropped:
        file.seek(start)
        parts.append(file.read(chunk.start - 8 - start))
        start = chunk.start + chunk.length + 4
    file.seek(start)
    rest = BytesIO(b"".join([*parts, file.read()]))
    return rest, any(chunk.kind == _PROFILE for chunk in dropped)


def _inflated_size(file: BinaryIO, chunk: Chunk, most: int) -> int:
    """Return the size of a chunk's text or profile, as far as ``most``."""
    if chunk.kind == b"tEXt" or chunk.length >= most:
        return chunk.length
    data = chunk_data(file, chunk)
    _, _, rest = data.partition(b"\0")
    if chunk.kind != b"iTXt":
        stream = rest[1:]  # after the method
    elif rest[:1] == b"\0":
        return len(data)
    else:  # after flag, method, language and translated keyword
        stream = rest[2:].split(b"\0", 2)[-1]
    try:
        return len(zlib.decompressobj().decompress(stream, most))
    except zlib.error:
        return len(data)
