"""LMDB's file format, read without a memory map.

The library maps ``data.mdb`` and follows its pointers, so a file that was cut or damaged ends the
process (SIGBUS). Here each page is read and checked, and a damaged file is an error. The format is
that of ``mdb.c`` on a 64-bit machine: two meta pages, then a B+ tree of pages; a value that does
not fit in a page lies in overflow pages of its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from degrade.errors import UserError
from degrade.storage.files import open_regular, read_extent

__all__ = ["Database"]

_META = struct.Struct("<16xIIQQ")  # magic, version, address, map size; after the page's header
_TREE = struct.Struct(
    "<IHHQQQQQ"
)  # pad, flags, depth, branch, leaf, overflow pages, entries, root
_PAGE = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
_NODE = struct.Struct("<HHHH")  # low and high half of the size or of the page, flags, key's size
MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW = 0x01, 0x02, 0x04
BIG_VALUE = 0x01
"""Flag of a node whose value lies in overflow pages."""
EMPTY = 2**64 - 1
"""The root of an empty tree."""
MAX_DEPTH = 32


class _DamagedError(Exception):
    """The bytes are not an LMDB database."""


class Database:
    """The values of an LMDB environment's main database; can be pickled.

    Args:
        folder: The folder of ``data.mdb``.

    Raises:
        UserError: it is damaged, cut short, or not such a file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data.mdb"
        try:
            with open_regular(self.path) as file:
                self._extents = dict(_Tree(file).values())
        except (_DamagedError, OSError, struct.error) as error:
            raise UserError(f"{folder}: is not a complete LMDB database ({error})") from None

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._extents

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None. Raises UserError if the file was cut since."""
        if key not in self:
            return None
        return read_extent(self.path, *self._extents[key.encode()], key)


class _Tree:
    """The pages of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        # The second meta page follows the first, whose size its free list's "pad" holds.
        first = self._meta(0)
        self._size = first[0]
        if self._size < 512 or self._size > 65536 or self._size & (self._size - 1):
            raise _DamagedError(f"pages of {self._size} bytes")
        metas = [first, self._meta(self._size)]
        _, self._root, self._last, _ = max(metas, key=lambda meta: meta[3])
        if (self._last + 1) * self._size > self._end:
            raise _DamagedError(f"it has {self._end} of {(self._last + 1) * self._size} bytes")

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def _meta(self, offset: int) -> tuple[int, int, int, int]:
        """Return page size, root page, last page and transaction of a meta page."""
        page = self._read(offset, 152)
        magic, version, *_ = _META.unpack_from(page)
        if magic != MAGIC or version != VERSION:
            raise _DamagedError("no meta page")
        at = _META.size
        free, main = _TREE.unpack_from(page, at), _TREE.unpack_from(page, at + _TREE.size)
        if main[1]:
            raise _DamagedError(f"its database has the flags {main[1]:#x}; none are supported")
        last, transaction = struct.unpack_from("<QQ", page, at + 2 * _TREE.size)
        return free[0], main[7], last, transaction

    def values(self) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Yield each key with the offset and the size of its value."""
        seen: set[int] = set()
        pending = [] if self._root == EMPTY else [(self._root, 0)]
        while pending:
            number, depth = pending.pop()
            if number in seen or depth > MAX_DEPTH:
                raise _DamagedError(f"page {number} is reached twice")
            seen.add(number)
            page, flags, nodes = self._page(number)
            for node in reversed(nodes) if flags & BRANCH else nodes:
                low, high, node_flags, key_size = _NODE.unpack_from(page, node)
                if flags & BRANCH:
                    pending.append((low | high << 16 | node_flags << 32, depth + 1))
                else:
                    yield self._value(number, page, node, low | high << 16, node_flags, key_size)

    def _page(self, number: int) -> tuple[bytes, int, tuple[int, ...]]:
        """Return a page of the tree, its flags, and where its nodes are."""
        if not 2 <= number <= self._last:
            raise _DamagedError(f"there is no page {number}")
        page = self._read(number * self._size, self._size)
        own, _, flags, lower, upper = _PAGE.unpack_from(page)
        if own != number or flags & (BRANCH | LEAF | OVERFLOW) not in (BRANCH, LEAF):
            raise _DamagedError(f"page {number} is damaged")
        if not _PAGE.size <= lower <= upper <= self._size or lower % 2:
            raise _DamagedError(f"page {number} is damaged")
        count = (lower - _PAGE.size) // 2
        return page, flags, struct.unpack_from(f"<{count}H", page, _PAGE.size)

    def _value(
        self, number: int, page: bytes, node: int, size: int, flags: int, key_size: int
    ) -> tuple[bytes, tuple[int, int]]:
        start = node + _NODE.size + key_size
        key = page[start - key_size : start]
        if flags == BIG_VALUE:
            (first,) = struct.unpack_from("<Q", page, start)
            offset = first * self._size + _PAGE.size
        elif flags == 0:
            offset = number * self._size + start
        else:
            raise _DamagedError(f"page {number} has a value of kind {flags:#x}")
        if start > self._size or offset + size > self._end or len(key) != key_size:
            raise _DamagedError(f"page {number} is damaged")
        return key, (offset, size)
