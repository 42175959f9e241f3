"""Inheritance: merges the data of a recipe over the recipe that it extends, and overrides single
values by address (the command line's ``--set``).
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from degrade.control import CONTROL
from degrade.errors import Problem, RecipeError, close
from degrade.loading.positions import Document, KeyPath, Position, compose
from degrade.loading.search_path import locate

__all__ = ["RESERVED", "inherit", "override", "read"]

RESERVED = ("name", "scale", "description", "import", "define", "extends", "hr")
"""Keys of a recipe that are not stages of the LR image."""
REPLACED = ("name", "scale", "description", "import", "define")
"""Keys whose value always replaces that of the base recipe."""


def read(recipe: str | Path, seen: tuple[Path, ...] = ()) -> Document:
    """Reads a recipe file, merged over the recipes that it extends.

    Args:
        recipe: A name or a path.
        seen: The files that extend this one.

    Raises:
        RecipeError: it cannot be read, or extends itself.
    """
    path = locate(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(str(path), 1, "", f"cannot be read: {error}")]) from None
    document = compose(text, str(path))
    if not isinstance(document.data, dict):
        message = "a recipe is a mapping with name, scale and stages"
        raise RecipeError([Problem(str(path), 1, "", message)])
    if "extends" in document.data and path.resolve() in seen:
        position = document.position(("extends",))
        raise RecipeError([Problem(*position, "extends", "the recipe extends itself")])
    return inherit(document, path.parent, (*seen, path.resolve()))


def inherit(document: Document, folder: Path, seen: tuple[Path, ...] = ()) -> Document:
    """Merges a document over the recipe that it ``extends``, if any.

    Args:
        document: The recipe.
        folder: What a file name after ``extends`` is relative to.
        seen: The files read so far, which it may not extend.
    """
    name = document.data.get("extends")
    if name is None:
        return document
    is_file = str(name).endswith((".yaml", ".yml"))
    try:
        base = read(folder / name if is_file else str(name), seen)
    except RecipeError as error:
        if error.problems[0].file:
            raise
        position = document.position(("extends",))
        raise RecipeError([Problem(*position, "extends", str(error))]) from None
    return merge(base, document)


def merge(base: Document, document: Document) -> Document:
    """Merges a document over ``base``: a stage that is a list replaces the stage, one that is a
    mapping overrides steps by their label.
    """
    merged = Document(dict(base.data), dict(base.positions), base.problems)
    merged.data.pop("extends", None)
    for key, value in document.data.items():
        if key == "extends":
            continue
        if isinstance(value, dict) and key not in REPLACED:
            _override_stage(merged, document, key, value)
        else:
            _replace(merged, document, key)
    return merged


def _override_stage(merged: Document, document: Document, stage: str, steps: Any) -> None:
    """Overrides fields of steps, given as ``{label: {field: value}}``, and collects errors."""
    for label, fields in steps.items():
        if isinstance(fields, dict):
            values = {(stage, label, field): value for field, value in fields.items()}
        else:
            values = {(stage, label): fields}
        for path, value in values.items():
            address = [str(part) for part in path]
            position = document.position(path)
            try:
                override(merged, address, value, position)
            except ValueError as error:
                merged.problems.append(Problem(*position, ".".join(address), str(error)))


def _replace(merged: Document, document: Document, key: str) -> None:
    """Replaces the value of a top-level key, with its positions; null removes the key."""
    merged.forget((key,))
    inside = {path: at for path, at in document.positions.items() if path[:1] == (key,)}
    merged.positions.update(inside)
    merged.data[key] = document.data[key]
    if merged.data[key] is None:
        del merged.data[key]


def override(document: Document, address: list[str], value: Any, position: Position) -> None:
    """Sets the value at an address: ``scale``, ``stage.label.field`` or ``stage.label.p``. None
    removes a key, or the steps of a label.

    Args:
        document: Changed, but its data is copied before.
        address: The parts of the address.
        value: The new value.
        position: Where the new value was written.

    Raises:
        ValueError: no such stage, step or field.
    """
    if len(address) == 1:
        [key] = address
        document.data = {**document.data, key: value}
        document.positions[(key,)] = position
        if value is None:
            del document.data[key]
        return
    stage, label, *field = address
    known = [str(key) for key in document.data if key not in RESERVED or key == "hr"]
    if stage not in document.data or (stage in RESERVED and stage != "hr"):
        raise ValueError(f"there is no stage {stage!r}{close(stage, known)}")
    document.data = _copy(document.data)
    steps = list(_steps(document.data[stage], (stage,)))
    chosen = [step for step in steps if step.label == label]
    if not chosen:
        labels = sorted({step.label for step in steps})
        raise ValueError(f"stage {stage!r} has no step {label!r}{close(label, labels)}")
    # Backwards: removing a step moves only those behind it, which are done.
    for step in reversed(chosen):
        _override_step(document, step, field, value, position)


@dataclass(frozen=True)
class _Step:
    """A step in the data of a recipe.

    Args:
        label: Its label.
        path: Its place in the document.
        data: Its mapping, ``{as: label, p: 0.5, kind: body}``.
        kind: The key of its body.
    """

    label: str
    path: KeyPath
    data: dict[str, Any]
    kind: str


def _override_step(
    document: Document, step: _Step, field: list[str], value: Any, position: Position
) -> None:
    """Removes a step, or sets its probability or one of its fields. Raises ValueError."""
    if not field:
        if value is not None:
            raise ValueError(
                f"{step.label} should be a mapping of its fields, or null to remove the step"
            )
        siblings = document.data
        for key in step.path[:-1]:
            siblings = siblings[key]
        del siblings[cast("int", step.path[-1])]
    elif field == ["p"]:
        step.data["p"] = value
        document.positions[(*step.path, "p")] = position
    elif len(field) == 1 and step.kind not in ("one_of", "shuffle", "steps"):
        body = step.data[step.kind]
        if not isinstance(body, dict | None):
            raise ValueError(
                f"{step.label} is {body!r}; it should be a mapping of fields to values"
            )
        step.data[step.kind] = {**(body or {}), field[0]: value}
        path = (*step.path, step.kind, field[0])
        document.forget(path)
        document.positions[path] = position
    else:
        raise ValueError(f"{'.'.join(field)!r} is not a field of {step.kind}")


def _copy(data: Any) -> Any:
    """A deep copy; YAML aliases become independent copies."""
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(value) for value in data] if isinstance(data, list) else data


def _steps(nodes: Any, path: KeyPath) -> Iterator[_Step]:
    """All steps of a stage, at any depth. A bare name becomes a mapping in place."""
    for i, data in enumerate(nodes if isinstance(nodes, list) else []):
        if isinstance(data, str):
            data = nodes[i] = {data: None}
        if not isinstance(data, dict):
            continue
        kinds = [key for key in data if key not in ("p", "as")]
        if len(kinds) != 1:
            continue
        [kind] = kinds
        yield _Step(str(data.get("as", kind)), (*path, i), data, kind)
        body = data[kind]
        if kind in CONTROL:
            yield from _steps(body, (*path, i, kind))
            if isinstance(body, dict):
                yield from _steps(body.get("steps"), (*path, i, kind, "steps"))
