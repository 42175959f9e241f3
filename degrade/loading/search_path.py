"""The library of recipes: where they lie, what they are called."""

from __future__ import annotations

import os
from importlib import metadata, resources
from pathlib import Path

from degrade.errors import Problem, RecipeError, close

__all__ = ["folders", "locate", "names"]


def folders() -> list[Path]:
    """Where named recipes are looked for: ``$DEGRADE_RECIPES``, then the packaged ones, then
    those of plug-ins.
    """
    found = [
        Path(part) for part in os.environ.get("DEGRADE_RECIPES", "").split(os.pathsep) if part
    ]
    # A wheel holds the recipes inside the package; a checkout, installed for editing, beside it.
    package = Path(__file__).parent.parent
    found.append(next(d for d in (package / "recipes", package.parent / "recipes") if d.is_dir()))
    for entry in metadata.entry_points(group="degrade.recipes"):
        found.append(Path(str(resources.files(entry.value))))
    return found


def names() -> list[str]:
    """The names of all recipes that can be found."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})


def locate(recipe: str | Path) -> Path:
    """The file of a recipe, given by name or by path.

    Raises:
        RecipeError: there is none; the message lists what there is.
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        if _is_file(path):
            return path
        raise RecipeError([Problem("", 0, str(recipe), "no such file")])
    for folder in folders():
        if _is_file(folder / f"{recipe}.yaml"):
            return folder / f"{recipe}.yaml"
    raise RecipeError(
        [Problem("", 0, str(recipe), f"no such recipe{close(str(recipe), names())}")]
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False
