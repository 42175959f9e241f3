"""A decoded image: its pixels, its alpha, and what was done to the file's own pixels.

The types stand apart from the decoders, so that whatever works on images can name them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from degrade.errors import UserError
from degrade.storage.names import escape

__all__ = ["Image", "ImageError", "Pixels", "Uint8"]

Pixels: TypeAlias = "NDArray[np.uint8 | np.uint16]"
"""(h, w, C) levels of 8 or 16 bits."""
Uint8: TypeAlias = "NDArray[np.uint8]"
"""(h, w, C) levels of 8 bits."""


class ImageError(UserError):
    """A file that cannot be used as an image.

    Args:
        path: The file, or the full message.
        reason: What is wrong with it, and the remedy where there is one.

    >>> print(ImageError("a.png", "the file is empty"))
    a.png: the file is empty
    """

    def __init__(self, path: str | os.PathLike[str], reason: str = "") -> None:
        super().__init__(os.fspath(path), reason)
        self.path, self.reason = os.fspath(path), reason

    def __str__(self) -> str:
        return f"{escape(self.path)}: {self.reason}" if self.reason else self.path


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image, upright, its arrays read-only.

    Args:
        pixels: (h, w, C) uint8 or uint16; C = 3 is RGB, C = 1 grey.
        alpha: (h, w) of the same depth, 0 transparent, or None. Colour is not premultiplied.
        notes: What was done to the file's own pixels to make these, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    notes: tuple[str, ...] = ()
