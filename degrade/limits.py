"""Limit: the most pixels that an image may have, be it read from a file or made by a recipe."""

from __future__ import annotations

import os

from degrade.errors import UserError

__all__ = ["LIMIT", "PATCH", "VARIABLE", "max_pixels"]

LIMIT = 2**27
"""Unless the environment says otherwise: 134 217 728, or 16384 x 8192."""
VARIABLE = "DEGRADE_MAX_PIXELS"
"""The environment's name for it."""
PATCH = 256
"""The side of the HR patch that a recipe must keep within it, whatever is drawn."""


def max_pixels() -> int:
    """``$DEGRADE_MAX_PIXELS``, or else :data:`LIMIT`. Raises UserError if that is no whole
    number.
    """
    said = os.environ.get(VARIABLE)
    if said is None:
        return LIMIT
    if not said.isascii() or not said.isdecimal() or len(said) > 18:
        raise UserError(f"{VARIABLE}={said}: should be a whole number of pixels, such as {LIMIT}")
    return int(said)
