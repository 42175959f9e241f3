"""How a run differs from the one that a folder holds, in words."""

# Data from JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from degrade.errors import SynthError, UserError
from degrade.recipe import Recipe
from degrade.storage.destination import RECORDS, read_record
from degrade.synthesis.settings import LATER

__all__ = ["differences"]

DEFAULTS = {"format": "folder", **LATER}
"""What a ``synth.json`` leaves out."""
SHOWN = 3
"""Most differences of a recipe that are named."""


def differences(
    folder: Path, recipe: Recipe, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> list[str]:
    """Return what differs from the run that a ``synth.json`` records: ``scale 2, now 4``.

    Raises:
        SynthError: the file is damaged.
    """
    path = folder / RECORDS[0]
    try:
        before = json.loads(read_record(path))
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, dict) or not isinstance(before.get("versions", {}), dict):
        raise SynthError(f"{path}: is not what degrade synth writes; choose another --output")
    made_by = {**before.pop("versions", {})}
    if "native code" in made_by:  # what versions before 0.2 wrote
        made_by["backend"] = "native" if made_by["native code"] == "yes" else "opencv"
    names = [name for name in {**settings, **before} if name != "shard" or name in settings]
    found = list[str]()
    for name in names:
        # A missing setting is not None (it may be a corrupted name).
        old, new = (one.get(name, DEFAULTS.get(name, "missing")) for one in (before, settings))
        if old == new and (name in DEFAULTS or (name in before) == (name in settings)):
            continue
        if name == "recipe_hash":
            found += _recipes(folder / RECORDS[1], recipe)
        elif name == "sources":
            found.append("the names of the sources")
        else:
            found.append(f"{name} {old}, now {new}")
    return found + [
        f"{name} {made_by.get(name)}, now {version}"
        for name, version in versions.items()
        if made_by.get(name) != version
    ]


def _recipes(path: Path, recipe: Recipe) -> list[str]:
    """Return the values in which a recipe file differs from a recipe."""
    try:
        old = dict(_values(Recipe.load(path).dump()))
    except UserError:
        return ["the recipe"]
    new = dict(_values(recipe.dump()))
    changed = [
        f"{name} {old.get(name, 'missing')}, now {new.get(name, 'missing')}"
        for name in {**new, **old}
        if old.get(name) != new.get(name) and name not in ("name", "description")
    ]
    more = len(changed) - SHOWN
    return changed[:SHOWN] + ([f"{more} more values of the recipe"] if more > 0 else [])


def _values(data: Any, address: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested data with its address."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _values(value, f"{address}.{key}" if address else str(key))
    elif isinstance(data, list) and any(isinstance(one, dict | list) for one in data):
        for i, value in enumerate(data):
            yield from _values(value, f"{address}[{i}]")
    else:
        yield address, data
