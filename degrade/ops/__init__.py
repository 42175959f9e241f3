"""The operators, one file a family. Importing this package registers those that come with
degrade.
"""

from __future__ import annotations

import functools
from importlib import metadata

from degrade.ops import adapters, blur, jpeg, lens, noise, pixel, resize, sharpen, webp

__all__ = [
    "adapters",
    "blur",
    "discover",
    "jpeg",
    "lens",
    "noise",
    "pixel",
    "resize",
    "sharpen",
    "webp",
]


@functools.cache
def discover() -> tuple[str, ...]:
    """Loads the operators of plug-ins, entry points in the group ``degrade.operators``; returns
    who brought them.
    """
    found: list[str] = []
    for entry in metadata.entry_points(group="degrade.operators"):
        entry.load()
        found.append(
            f"{entry.name} ({entry.dist.name} {entry.dist.version})" if entry.dist else entry.name
        )
    return tuple(found)
