"""Pairs in tar shards of WebDataset's layout: ``KEY.hr.png``, ``KEY.lr.png``, ``KEY.json``, and
``KEY.hr_raw.png`` where HR is kept as it was.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from degrade.data.readers.base import SIDES, EncodedImage, Sides, name_order, shortened
from degrade.data.readers.tar import IndexedTar

__all__ = ["WebDatasetReader", "has_sides"]

_log = logging.getLogger(__name__)
_MEMBER = re.compile(
    r"(?P<key>(?:.*/)?[^./][^/]*)\.(?P<side>(?:hr|lr|gt|lq|hq)(?:_raw)?)\.\w+",
    re.IGNORECASE | re.DOTALL,
)
"""The side is the last part but one, so that a key may hold dots."""
MAX_JSON = 2**20
"""Most bytes of a JSON member that is read."""


class WebDatasetReader:
    """The pairs in some shards. A pair's name is the one in its JSON member, or its key.

    Args:
        shards: The tar files.
        sides: The names of LR and HR members.

    Members of other kinds are left out, logged, and listed in ``skipped``.

    Raises:
        ValueError: members without their partner, or no pairs at all.
        UserError: a damaged shard.
    """

    def __init__(self, shards: Sequence[Path], sides: Sequence[Sides] = SIDES) -> None:
        self._tars = [IndexedTar(path) for path in shards]
        self.skipped: list[str] = []
        found: list[tuple[str, int, str, str]] = []
        alone: list[str] = []
        for number, tar in enumerate(self._tars):
            by_key, unknown = _members_by_key(tar, sides)
            self.skipped += [f"{tar.path.name}/{name}" for name in unknown]
            for key, pair in by_key.items():
                if len(pair) == 2:
                    found.append((_name(tar, key), number, pair["lr"], pair["hr"]))
                else:
                    alone.append(f"{tar.path.name}/{key} ({', '.join(pair)})")
        folder = shards[0].parent
        if alone:
            raise ValueError(f"{folder}: only one side of {shortened(alone)}")
        if not found:
            some = f"; there are {shortened(self.skipped)}" if self.skipped else ""
            raise ValueError(
                f"{folder}: its tar files hold no members KEY.hr.png and KEY.lr.png{some}"
            )
        if self.skipped:
            _log.warning(
                "%s: left out %d members, not KEY.hr.EXT or KEY.lr.EXT (nor gt, hq, lq): %s",
                folder,
                len(self.skipped),
                shortened(self.skipped),
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

    def stored(self) -> list[Path | str]:
        return [tar.path for tar in self._tars]


def has_sides(shard: Path, sides: Sequence[Sides]) -> bool:
    """Return whether a shard has a member of one of the HR sides. Raises UserError."""
    high = {high for _, high in sides}
    parts = map(_MEMBER.fullmatch, IndexedTar(shard).extents)
    return any(part is not None and part["side"].lower() in high for part in parts)


def _members_by_key(
    tar: IndexedTar, sides: Sequence[Sides]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the image members of each key, by side: ``lr`` or ``hr``; and unknown members."""
    known = {name: side for pair in sides for side, name in zip(("lr", "hr"), pair, strict=True)}
    by_key: defaultdict[str, dict[str, str]] = defaultdict(dict)
    unknown: list[str] = []
    for name in tar.extents:
        parts = _MEMBER.fullmatch(name)
        side = None if parts is None else known.get(parts["side"].lower())
        if parts is None:
            if not name.lower().endswith(".json"):
                unknown.append(name)
        elif side is not None and side in by_key[parts["key"]]:
            unknown.append(name)
        elif side is not None:
            by_key[parts["key"]][side] = name
    return by_key, unknown


def _name(tar: IndexedTar, key: str) -> str:
    """Return the pair's name in its JSON member, or its key."""
    described = f"{key}.json"
    if described not in tar or tar.extents[described][1] > MAX_JSON:
        return key
    try:
        row: Any = json.loads(tar.read(described))
    except (ValueError, RecursionError):
        return key
    name = row.get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else key
