"""Ablation: the recipes that are left when one operator is taken out of a recipe.

A step that is taken out of a choice or a shuffled group leaves an empty place there, so weights,
orders and addresses stay, and with them every other draw: under the same keys the recipe and its
ablations differ in that step alone.
"""

# Data of recipes narrow to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from degrade.control import CONTROL
from degrade.errors import RecipeError
from degrade.nodes import Node, Step
from degrade.recipe import Recipe

__all__ = ["Ablation", "ablations"]

By = Literal["operator", "step"]
LONGEST = 64
"""Characters of a name."""


@dataclass(frozen=True)
class Ablation:
    """A recipe without a part.

    Args:
        left_out: The operator, or the step's address.
        recipe: What is left; None if that is no recipe.
        problem: Why it is none.
    """

    left_out: str
    recipe: Recipe | None
    problem: str = ""


def ablations(recipe: Recipe, by: By = "operator") -> list[Ablation]:
    """Return a recipe without each of its operators, or without each of its steps.

    >>> [one.left_out for one in ablations(Recipe.load("bd"))]
    ['blur', 'quantize', 'decimate']
    """
    steps = [
        (f"{stage.label}.{step.label}", step.kind)
        for stage in (recipe.hr, *recipe.stages)
        for step in _steps(stage)
    ]
    if by == "operator":
        return [
            _without(recipe, name, lambda _address, kind, name=name: kind == name)
            for name in dict.fromkeys(kind for _, kind in steps)
        ]
    return [
        _without(recipe, name, lambda address, _kind, name=name: address == name)
        for name in dict.fromkeys(address for address, _ in steps)
    ]


def _steps(node: Node) -> Iterator[Step]:
    if isinstance(node, Step):
        yield node
    for child in node.children:
        yield from _steps(child)


def _without(recipe: Recipe, name: str, left_out: Callable[[str, str], bool]) -> Ablation:
    data = recipe.dump()
    for stage in (recipe.hr, *recipe.stages):
        if stage.label in data:
            data[stage.label] = _list(data[stage.label], stage.label, left_out)
            if not data[stage.label]:
                del data[stage.label]
    data["name"] = f"{recipe.name}_no_{name.replace('.', '_')}"[:LONGEST]
    data["description"] = f"{recipe.name} without {name}"
    try:
        return Ablation(name, Recipe.load(data))
    except RecipeError as error:
        return Ablation(name, None, "; ".join(str(problem) for problem in error.problems))


def _list(
    steps: Sequence[Any], scope: str, left_out: Callable[[str, str], bool], keep: bool = False
) -> list[Any]:
    """Steps without those left out; with ``keep`` these leave empty places."""
    found: list[Any] = []
    for step in steps:
        label, kind = _label_and_kind(step)
        if kind in CONTROL:
            found.append({**step, kind: _body(step[kind], kind, scope, left_out)})
        elif not left_out(f"{scope}.{label}", kind):
            found.append(step)
        elif keep:
            weight = {"p": step["p"]} if "p" in step else {}
            found.append({"as": label, **weight, "steps": []})
    return found


def _body(body: Any, kind: str, scope: str, left_out: Callable[[str, str], bool]) -> Any:
    keep = kind in ("one_of", "shuffle")
    if isinstance(body, dict):
        return {**body, "steps": _list(body["steps"], scope, left_out, keep)}
    return _list(body, scope, left_out, keep)


def _label_and_kind(step: dict[str, Any]) -> tuple[str, str]:
    kind = next(key for key in step if key not in ("p", "as"))
    return step.get("as", kind), kind
