"""Overlays: what ``extends`` and the command line's ``--set`` change in a recipe's data, by
address.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from degrade.errors import Problem, RecipeError, close
from degrade.loading.positions import Marked, Place, compose
from degrade.loading.search_path import locate
from degrade.nodes import CONTROL

__all__ = ["RESERVED", "change", "extend", "read"]

RESERVED = ("name", "scale", "description", "define", "extends", "hr")
"""Keys of a recipe that are no stages of the LR image."""


def read(recipe: str | Path, seen: tuple[Path, ...] = ()) -> Marked:
    """A file's data with what it extends underneath."""
    path = locate(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(str(path), 1, "", f"cannot be read: {error}")]) from None
    top = compose(text, str(path))
    if not isinstance(top.data, dict):
        raise RecipeError(
            [Problem(str(path), 1, "", "a recipe is a mapping with name, scale and stages")]
        )
    if "extends" in top.data and path.resolve() in seen:
        raise RecipeError(
            [Problem(*top.mark(("extends",)), "extends", "the recipe extends itself")]
        )
    return extend(top, path.parent, (*seen, path.resolve()))


def extend(top: Marked, folder: Path, seen: tuple[Path, ...] = ()) -> Marked:
    """``top`` over what it extends, if anything: a recipe's name, or a file relative to
    ``folder``.
    """
    base = top.data.get("extends")
    if base is None:
        return top
    try:
        below = read(folder / base if str(base).endswith((".yaml", ".yml")) else str(base), seen)
    except RecipeError as error:
        if error.problems[0].file:
            raise
        raise RecipeError([Problem(*top.mark(("extends",)), "extends", str(error))]) from None
    return overlay(below, top)


def overlay(below: Marked, top: Marked) -> Marked:
    """``top`` over ``below``: a stage that is a list replaces, one that is a mapping changes
    steps by their label.
    """
    merged = Marked(dict(below.data), dict(below.marks), below.problems)
    merged.data.pop("extends", None)
    for key, value in top.data.items():
        if key == "extends":
            continue
        if key in ("name", "scale", "description", "define") or not isinstance(value, dict):
            _graft(merged, (key,), top, (key,))
            if value is None:
                merged.data.pop(key)
            continue
        for label, changes in value.items():
            fields = changes if isinstance(changes, dict) else {None: changes}
            for field in fields:
                parts = (key, label) if field is None else (key, label, field)
                message = change(merged, [str(p) for p in parts], fields[field], top.mark(parts))
                if message:
                    merged.problems.append(
                        Problem(*top.mark(parts), ".".join(map(str, parts)), message)
                    )
    return merged


def change(recipe: Marked, address: list[str], value: Any, mark: tuple[str, int]) -> str | None:
    """Sets what stands at an address: ``scale``, ``stage.label.field``, ``stage.label.p``; null
    removes.

    Returns:
        What is wrong, or None.
    """
    if len(address) == 1:
        recipe.data = {**recipe.data, address[0]: value}
        recipe.marks[(address[0],)] = mark
        if value is None:
            del recipe.data[address[0]]
        return None
    stage, label, *rest = address
    if stage not in recipe.data or (stage in RESERVED and stage != "hr"):
        stages = [str(key) for key in recipe.data if key not in RESERVED or key == "hr"]
        return f"there is no stage {stage!r}{close(stage, stages)}"
    recipe.data = _copy(recipe.data)
    found = list(_find(recipe.data[stage], label, (stage,)))
    if not found:
        labels = sorted({name for name, *_ in _labelled(recipe.data[stage], (stage,))})
        return f"stage {stage!r} has no step {label!r}{close(label, labels)}"
    # Backwards, so that removing a step moves none that is still to come.
    for path, step, kind in reversed(found):
        if not rest:
            if value is not None:
                return f"{label} should be a mapping of its fields, or null to remove the step"
            del _parent(recipe.data, path)[cast("int", path[-1])]
        elif rest == ["p"]:
            step["p"] = value
            recipe.marks[(*path, "p")] = mark
        elif len(rest) == 1 and kind not in ("one_of", "shuffle", "steps"):
            if not isinstance(step[kind], dict | None):
                return f"{label} is {step[kind]!r}; it should be a mapping of fields to values"
            step[kind] = {**(step[kind] or {}), rest[0]: value}
            recipe.marks[(*path, kind, rest[0])] = mark
            for inner in [p for p in recipe.marks if p[: len(path) + 2] == (*path, kind, rest[0])]:
                recipe.marks[inner] = mark
        else:
            return f"{'.'.join(rest)!r} is no field of {kind}"
    return None


def _graft(onto: Marked, at: Place, source: Marked, path: Place) -> None:
    onto.data[at[0]] = source.data[path[0]]
    for known in [known for known in onto.marks if known[: len(at)] == at]:
        del onto.marks[known]
    onto.marks.update(
        {
            (*at, *p[len(path) :]): mark
            for p, mark in source.marks.items()
            if p[: len(path)] == path
        }
    )


def _copy(data: Any) -> Any:
    """A deep copy in which aliases no longer share."""
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(value) for value in data] if isinstance(data, list) else data


def _labelled(nodes: Any, path: Place) -> Iterator[tuple[str, Place, dict[str, Any], str]]:
    """Every step of a stage, however deep: its label, path, data and kind. A bare name becomes
    a mapping.
    """
    for i, step in enumerate(nodes if isinstance(nodes, list) else []):
        if isinstance(step, str):
            step = nodes[i] = {step: None}
        if not isinstance(step, dict):
            continue
        kinds = [key for key in step if key not in ("p", "as")]
        if len(kinds) != 1:
            continue
        [kind] = kinds
        yield str(step.get("as", kind)), (*path, i), step, kind
        inside = step[kind]
        if kind in CONTROL:
            yield from _labelled(inside, (*path, i, kind))
            if isinstance(inside, dict):
                yield from _labelled(inside.get("steps"), (*path, i, kind, "steps"))


def _find(nodes: Any, label: str, path: Place) -> Iterator[tuple[Place, dict[str, Any], str]]:
    return (
        (p, step, kind) for name, p, step, kind in list(_labelled(nodes, path)) if name == label
    )


def _parent(data: Any, path: Place) -> list[Any]:
    for part in path[:-1]:
        data = data[part]
    return data
