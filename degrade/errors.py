"""User errors: the command line prints the message without a traceback."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

__all__ = ["Problem", "RecipeError", "SynthError", "UserError", "close"]


class UserError(ValueError):
    """An error that the user can correct; the message names place, value and remedy."""


@dataclass(frozen=True)
class Problem:
    """A problem of a recipe.

    Args:
        file: The file, or nothing.
        line: Its line, from 1.
        address: The address in the recipe, such as ``first.jpeg.quality``.
        message: The value and the remedy.
    """

    file: str
    line: int
    address: str
    message: str

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}: " if self.file else ""
        address = f"{self.address}: " if self.address else ""
        return f"{position}{address}{self.message}"


class RecipeError(UserError):
    """An invalid recipe.

    Args:
        problems: Every problem found.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[Problem]]]:
        return RecipeError, (self.problems,)


def close(word: str, known: list[str]) -> str:
    """The end of an error message: the nearest known word, upper or lower case, or else all.

    >>> close("RealESRGAN", ["realesrgan", "bsrgan"])
    '; did you mean realesrgan?'
    """
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1)
    if near:
        return f"; did you mean {lower[near[0]]}?"
    return f"; there are {', '.join(sorted(known))}"


class SynthError(UserError):
    """A synthesis cannot start or resume; the message gives the reason and the remedy."""
