"""The index of a tar archive: where each member's bytes are.

Reads ustar, GNU long names and pax headers. Not Python's ``tarfile``: archives may come from
strangers, and it follows negative sizes backwards, recurses once a header, and takes as much
memory as a header asks for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from degrade.errors import UserError
from degrade.storage.files import open_regular, read_extent

__all__ = ["IndexedTar", "Member", "members"]

BLOCK = 512
MAX_HEADER = 2**20
"""Most bytes of a long name or of a pax header."""
MAX_HEADERS = 16
"""Most such headers of one member."""
REGULAR = b"0\0" + b"7"
LINKS_AND_DEVICES = b"123456"
"""Types without data, whatever their size field holds."""
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, SPARSE = b"L", b"K", b"xX", b"g", b"S"


class Member(NamedTuple):
    """A regular file in an archive: its name, the offset of its first byte, its size."""

    name: str
    offset: int
    size: int


class _DamagedError(Exception):
    """The bytes are not a tar archive."""


class IndexedTar:
    """A tar file whose members can be read in any order; of equal names, the last counts.

    Raises:
        UserError: the file is damaged, not a tar archive, or not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open_regular(path) as file:
                self.extents = {name: (offset, size) for name, offset, size in members(file)}
        except (_DamagedError, OSError) as error:
            raise UserError(f"{path}: is not a complete tar archive ({error})") from None

    def __contains__(self, name: str) -> bool:
        return name in self.extents

    def read(self, name: str) -> bytes:
        """Return a member's contents. Raises UserError if the file ends within it."""
        return read_extent(self.path, *self.extents[name], name)


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the regular files of an archive, in order."""
    end = file.seek(0, os.SEEK_END)
    position, extra, headers = 0, dict[str, str](), 0
    while position < end:
        header = _read(file, position, BLOCK, end)
        if not header.strip(b"\0"):  # the archive's end
            return
        kind, size = _checked(header, position)
        start = position + BLOCK
        if kind in LINKS_AND_DEVICES:
            size = 0
        extends = kind in LONG_NAME + LONG_LINK + PAX + PAX_GLOBAL
        if extends:
            headers += 1
            if size > MAX_HEADER or headers > MAX_HEADERS:
                raise _DamagedError(f"the header at byte {position} is too long")
            data = _read(file, start, size, end)
            if kind == LONG_NAME:
                extra["path"] = _text(data)
            elif kind in PAX:
                extra.update(_pax(data, start))
        else:
            size = _number(extra["size"].encode(), 10, start) if "size" in extra else size
            name = extra.get("path", _name(header))
            if kind == SPARSE or any(key.startswith("GNU.sparse.") for key in extra):
                raise _DamagedError(f"{name!r} is a sparse file; pack it again without --sparse")
            if start + size > end:
                raise _DamagedError(f"it ends within {name!r}")
            if kind in REGULAR and not name.endswith("/"):
                yield Member(name, start, size)
            extra, headers = {}, 0
        position = start + -(-size // BLOCK) * BLOCK


def _read(file: BinaryIO, start: int, size: int, end: int) -> bytes:
    if start + size > end:
        raise _DamagedError(f"it ends within the header at byte {start}")
    file.seek(start)
    return file.read(size)


def _checked(header: bytes, position: int) -> tuple[bytes, int]:
    """Return the type and the size of a header whose checksum is right."""
    blank = header[:148] + b" " * 8 + header[156:]
    if _number(header[148:156], 8, position) != sum(blank):
        raise _DamagedError(f"no tar header at byte {position}")
    return header[156:157], _number(header[124:136], 8, position)


def _number(field: bytes, base: int, position: int) -> int:
    """Return a number: digits, or from 8 GiB on a set bit and big-endian bytes."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not re.fullmatch(rb"[0-7]+" if base == 8 else rb"[0-9]{1,18}", digits):
        raise _DamagedError(f"no size in the header at byte {position}")
    return int(digits, base)


def _name(header: bytes) -> str:
    prefix = header[345:500] if header[257:263] == b"ustar\0" else b""
    name = _text(header[:100])
    return f"{_text(prefix)}/{name}" if _text(prefix) else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="surrogateescape")


def _pax(data: bytes, start: int) -> dict[str, str]:
    """Return the records ``LENGTH KEY=VALUE`` of a pax header."""
    records, at = dict[str, str](), 0
    while at < len(data.rstrip(b"\0")):
        parts = re.compile(rb"([1-9][0-9]{0,6}) ([^=]+)=").match(data, at)
        if parts is None:
            raise _DamagedError(f"no pax record at byte {start + at}")
        end = at + int(parts[1])
        if not parts.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise _DamagedError(f"no pax record at byte {start + at}")
        value = data[parts.end() : end - 1]
        records[parts[2].decode(errors="replace")] = value.decode(errors="surrogateescape")
        at = end
    return records
