"""Search path and names of recipes."""

from __future__ import annotations

import os
from importlib import metadata, resources
from pathlib import Path

from degrade.errors import Problem, RecipeError, close

__all__ = ["folders", "locate", "names"]


def folders() -> list[Path]:
    """The search path of named recipes: ``$DEGRADE_RECIPES``, the packaged ones, then those of
    plug-ins (entry points of the group ``degrade.recipes``).
    """
    own = os.environ.get("DEGRADE_RECIPES", "").split(os.pathsep)
    found = [Path(folder) for folder in own if folder]
    # A wheel holds the recipes inside the package; a checkout, installed for editing, beside it.
    package = Path(__file__).parent.parent
    found.append(next(d for d in (package / "recipes", package.parent / "recipes") if d.is_dir()))
    for entry in metadata.entry_points(group="degrade.recipes"):
        found.append(Path(str(resources.files(entry.value))))
    return found


def names() -> list[str]:
    """The names of all recipes on the search path."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})


def locate(recipe: str | Path) -> Path:
    """The file of a recipe, given by name or by path.

    Raises:
        RecipeError: not found; the message suggests a name or lists them all.
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        if _is_file(path):
            return path
        raise RecipeError([Problem("", 0, str(recipe), "no such file")])
    for folder in folders():
        if _is_file(path := folder / f"{recipe}.yaml"):
            return path
    message = f"no such recipe{close(str(recipe), names())}"
    raise RecipeError([Problem("", 0, str(recipe), message)])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False
