"""Pairs in tar shards of WebDataset's layout: ``KEY.hr.png``, ``KEY.lr.png``, ``KEY.json``."""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from degrade.data.readers.base import EncodedImage, name_order
from degrade.errors import UserError

__all__ = ["IndexedTar", "WebDatasetReader"]

_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<side>hr|lr|gt|lq)\.\w+")


class IndexedTar:
    """A tar file whose members can be read in any order.

    Raises:
        UserError: the file is damaged, or not a tar archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self.extents = {m.name: (m.offset_data, m.size) for m in tar if m.isfile()}
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"{path}: is not a complete tar archive ({error})") from None

    def __contains__(self, name: str) -> bool:
        return name in self.extents

    def read(self, name: str) -> bytes:
        """Return a member's contents. Raises UserError if the file ends within it."""
        start, size = self.extents[name]
        with open(
            self.path, "rb"
        ) as file:  # not kept open: threads and processes share the reader
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise UserError(f"{self.path}: ends within {name}; it was cut short")
        return data


class WebDatasetReader:
    """The pairs in some shards. A pair's name is the one in its JSON member, or its key.

    Args:
        shards: The tar files.

    Raises:
        ValueError: a member without its partner, or no pairs at all.
        UserError: a damaged shard.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._tars = [IndexedTar(path) for path in shards]
        found: list[tuple[str, int, str, str]] = []
        for number, tar in enumerate(self._tars):
            for key, sides in _members_by_key(tar).items():
                if len(sides) != 2:
                    raise ValueError(f"{tar.path}: {key} has only {', '.join(sides)}")
                found.append((_name(tar, key), number, sides["lr"], sides["hr"]))
        if not found:
            raise ValueError(
                f"{shards[0].parent}: its tar files hold no members KEY.hr.png and KEY.lr.png"
            )
        order = name_order([name for name, *_ in found])
        self.names = [found[i][0] for i in order]
        self._members = [found[i][1:] for i in order]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        number, low, high = self._members[i]
        return self._tars[number].read(low), self._tars[number].read(high)

    def label(self, i: int) -> str:
        number, _, high = self._members[i]
        return f"{self._tars[number].path}/{high}"


def _members_by_key(tar: IndexedTar) -> dict[str, dict[str, str]]:
    """Return the image members of each key, by side: ``lr`` or ``hr``."""
    members: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in tar.extents:
        parts = _MEMBER.fullmatch(name)
        if parts is not None:
            side = {"lq": "lr", "gt": "hr"}.get(parts["side"], parts["side"])
            members[parts["key"]][side] = name
    return members


def _name(tar: IndexedTar, key: str) -> str:
    """Return the pair's name in its JSON member, or its key."""
    if f"{key}.json" not in tar:
        return key
    try:
        row: Any = json.loads(tar.read(f"{key}.json"))
    except ValueError:
        return key
    name = row.get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else key
