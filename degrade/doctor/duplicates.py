"""Doubles: which images of a folder are the same, by their hashes.

Two images are linked if both perceptual hashes are near, or the files equal; a group is what links
connect. One constraint: every pair is compared, so time is quadratic: 0.9 s for 2000 images and 10
s for 8000, on a busy machine.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from degrade.doctor.checks import Exam

__all__ = ["alike"]


def alike(exams: Sequence[Exam], most: int) -> list[list[int]]:
    """Groups of two and more places in ``exams``: the same file, or at most ``most`` bits of
    each hash differ.
    """
    first = np.array([exam.dhash for exam in exams], np.uint64)
    second = np.array([exam.phash for exam in exams], np.uint64)
    file = np.unique([exam.sha256 for exam in exams], return_inverse=True)[1]
    # The hash of an image without contrast is chance.
    telling = np.array([exam.flat < 0.95 for exam in exams], np.bool_)
    root = list(range(len(exams)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for start in range(0, len(exams), 64):
        rows = slice(start, start + 64)
        near = (_differ(first[rows, None], first) <= most) & (
            _differ(second[rows, None], second) <= most
        )
        near = (near & telling[rows, None] & telling) | (file[rows, None] == file)
        for i, j in zip(*np.nonzero(near), strict=True):
            root[find(start + int(i))] = find(int(j))
    groups: dict[int, list[int]] = {}
    for i in range(len(exams)):
        groups.setdefault(find(i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _differ(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of bits that differ."""
    return _ones()[np.bitwise_xor(a, b)[..., None].view(np.uint16)].sum(-1, dtype=np.uint8)


@functools.cache
def _ones() -> NDArray[np.uint8]:
    """Number of bits set in every 16-bit number."""
    return np.unpackbits(
        np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1
    ).sum(1, np.uint8)
