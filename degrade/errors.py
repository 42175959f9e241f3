"""Errors that a user can mend, as opposed to those that we must. The command line prints their
message alone.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

__all__ = ["Problem", "RecipeError", "SynthError", "UserError", "close"]


class UserError(ValueError):
    """Something asked for cannot be had; the message names the place, the value and the remedy."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe."""

    file: str
    line: int
    address: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return (
            f"{place}{self.address}: {self.message}" if self.address else f"{place}{self.message}"
        )


class RecipeError(UserError):
    """All that is wrong with a recipe.

    Args:
        problems: Each with file, line, address and message.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[Problem]]]:
        return RecipeError, (self.problems,)


def close(word: str, known: list[str]) -> str:
    """A suggestion: what was probably meant, or else everything there is."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"


class SynthError(UserError):
    """A run that cannot begin or go on, with the reason and the remedy."""
