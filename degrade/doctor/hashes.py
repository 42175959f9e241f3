"""Perceptual hashes: 64 bits that stay nearly the same when an image is resized or compressed.

References:
    | Implementation and benchmarking of perceptual image hash functions (Zauner, 2010)
      | https://www.phash.org
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dhash", "phash"]

Plane = NDArray[np.float32]
"""(h, w) luma in [0, 255]."""


def dhash(y: Plane) -> int:
    """Return the difference hash, 64 bits: whether each of 8 x 8 areas is darker than its right
    neighbour.

    >>> dhash(np.tile(np.arange(64, dtype=np.float32), (64, 1))) == 2**64 - 1
    True
    """
    small = _area_resize(y, 9, 8)
    return _pack_bits(small[:, 1:] > small[:, :-1])


def phash(y: Plane) -> int:
    """Return the DCT hash, 64 bits: which low frequencies of a 32 x 32 thumbnail exceed their
    median, the mean excluded.
    """
    import cv2

    low = cv2.dct(_area_resize(y, 32, 32))[:9, :9].ravel()[1:65]
    return _pack_bits(low > np.median(low))


def _area_resize(y: Plane, width: int, height: int) -> Plane:
    import cv2

    return np.asarray(cv2.resize(y, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _pack_bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags.ravel()).tobytes(), "big")
