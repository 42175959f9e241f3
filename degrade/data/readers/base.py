"""The interface of readers of paired datasets, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias

__all__ = ["SIDES", "EncodedImage", "PairReader", "Sides", "name_order", "shortened"]

Sides: TypeAlias = tuple[str, str]
"""The names of an LR and of an HR side."""
SIDES: tuple[Sides, ...] = (("lr", "hr"), ("lq", "gt"), ("lq", "hq"))
"""Ours, BasicSR's, and a third that is common."""

EncodedImage: TypeAlias = "Path | str | bytes"
"""An image file: its path, its URL, or its bytes."""


class PairReader(Protocol):
    """A paired dataset, in the order of its names; can be pickled."""

    names: list[str]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        """Return the LR and the HR file of pair ``i``."""
        ...

    def label(self, i: int) -> str:
        """Return where the HR image of pair ``i`` is stored, for error messages."""
        ...

    def stored(self) -> list[Path | str]:
        """Return the files, or the URLs of files, that hold the pairs."""
        ...


def name_order(names: Sequence[str]) -> list[int]:
    """Return the indices that sort names, part by part, as every reader does.

    >>> name_order(["b", "a-1", "a/1"])
    [2, 1, 0]
    """
    return sorted(range(len(names)), key=lambda i: PurePosixPath(names[i]))


def shortened(names: Iterable[str], most: int = 3) -> str:
    """Return the first names, and how many more there are.

    >>> shortened(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
