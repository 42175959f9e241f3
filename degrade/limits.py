"""Limit of pixels of an image that is read from a file or made by a recipe."""

from __future__ import annotations

import os

from degrade.errors import UserError

__all__ = ["LIMIT", "PATCH", "VARIABLE", "max_pixels", "max_side"]

LIMIT = 2**27
"""The default: 134 217 728 pixels, or 16384 x 8192."""
VARIABLE = "DEGRADE_MAX_PIXELS"
"""The environment variable that overrides it."""
PATCH = 256
"""Side of the HR patch for which a recipe must respect the limit, whatever is drawn."""


def max_pixels() -> int:
    """Returns ``$DEGRADE_MAX_PIXELS``, or else :data:`LIMIT`.

    Raises:
        UserError: the variable is not a whole number.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return LIMIT
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise UserError(f"{VARIABLE}={text}: should be a whole number of pixels, such as {LIMIT}")
    return int(text)


def max_side(pixels: float) -> float:
    """Return the longest side of an image under a limit of pixels: a 1024th of it, and at least
    65 536. Each row takes memory and time of its own, however short.

    >>> max_side(LIMIT)
    131072.0
    """
    return max(pixels / 1024, 65536)
