"""Rows of a manifest as JSON: numbers as numbers, empty cells left out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

__all__ = ["to_json"]

_TEXT = frozenset({"name", "source", "notes", "hr_sha256", "lr_sha256", "hr_raw_sha256", "key"})
"""Columns that stay text; a key has 64 bits, more than JSON readers keep of a number."""


def to_json(row: Mapping[str, str]) -> str:
    """Return one line of JSON.

    >>> to_json({"index": "3", "name": "007", "noise.sigma": "1.5", "jpeg.quality": ""})
    '{"index": 3, "name": "007", "noise.sigma": 1.5}'
    """
    values = {name: cell if name in _TEXT else _value(cell) for name, cell in row.items() if cell}
    return json.dumps(values, ensure_ascii=False)


def _value(cell: str) -> str | int | float:
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        return number if math.isfinite(number) else cell
    return cell
