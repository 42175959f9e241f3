"""Errors that a user can mend, as opposed to those that we must. The command line prints their message alone."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """Something asked for cannot be had; the message names the place, the value and the remedy."""
