"""YAML -> the tree of a recipe, or every problem at once, each as ``file:line: address: message``
with its remedy.

Reading has three passes. *Compose* (:mod:`degrade.loading.positions`): the file becomes plain
data, every node remembering its line. *Overlay* (:mod:`degrade.loading.inheritance`): ``extends``
and the command line's ``--set`` change that data by address. *Build*, here: the data becomes nodes
and operators, problems being collected rather than raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

import degrade.ops as ops
from degrade.base import REGISTRY
from degrade.errors import Problem, RecipeError, close
from degrade.extent import Extent, SizeError
from degrade.loading.inheritance import RESERVED, change, extend, read
from degrade.loading.positions import Marked, Place
from degrade.nodes import (
    CONTROL,
    TIMES,
    Maybe,
    Node,
    OneOf,
    Repeat,
    Sequence,
    Shuffle,
    Step,
)
from degrade.shorthand import parse

__all__ = ["Spec", "load"]

MOST_STEPS = 1000
"""Sequence of a recipe once its repeats are written out."""
MOST_DEPTH = 24
"""Keys and indices from a recipe's root to a step: about ten groups within each other."""


@dataclass(frozen=True)
class Spec:
    """What a recipe file says, built and checked."""

    name: str
    scale: int
    hr: Sequence
    stages: tuple[Sequence, ...]
    description: str


def load(
    recipe: str | Path | Mapping[str, Any],
    scale: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Spec:
    """Reads, overlays and builds a recipe.

    Args:
        recipe: A name, a file, or data as :meth:`degrade.Recipe.dump` gives it.
        scale: Instead of the file's.
        changes: Values by address, for example ``{"first.jpeg.quality": [60, 95]}``.

    Raises:
        RecipeError: with every problem found.
    """
    marked = (
        extend(Marked(dict(recipe), {}), Path()) if isinstance(recipe, Mapping) else read(recipe)
    )
    problems = marked.problems
    for address, value in {
        **({} if scale is None else {"scale": scale}),
        **(changes or {}),
    }.items():
        message = change(marked, address.split("."), value, ("", 0))
        if message:
            problems.append(Problem("", 0, address, message))
    spec = Builder(marked).spec()
    if problems or spec is None:
        raise RecipeError(problems)
    return spec


class Builder:
    """Turns data into nodes and collects what is wrong on the way."""

    def __init__(self, marked: Marked) -> None:
        self.marked = marked
        self.problems = marked.problems
        self.rounds, self.count = 1, 0
        ops.discover()

    def wrong(self, path: Place, address: str, message: str) -> None:
        self.problems.append(Problem(*self.marked.mark(path), address, message))

    def spec(self) -> Spec | None:
        data = self.marked.data
        name, scale = data.get("name"), data.get("scale")
        if not isinstance(name, str) or not name:
            self.wrong(("name",), "name", "should be the recipe's name, a word")
        if not isinstance(scale, int) or isinstance(scale, bool) or not 1 <= scale <= 16:
            self.wrong(("scale",), "scale", f"{scale!r} should be a whole number from 1 to 16")
        description = data.get("description", "")
        if not isinstance(description, str):
            self.wrong(("description",), "description", "should be text")
        stages = [key for key in data if key not in RESERVED]
        if not stages:
            self.wrong(
                (),
                "",
                "there is no stage; add one, for example  first: [ {blur: {sigma: [0.2, 3]}} ]",
            )
        built = {str(stage): self.stage(stage) for stage in ("hr", *stages) if stage in data}
        if self.problems:
            return None
        hr = built.pop("hr", Sequence("hr", ()))
        spec = Spec(
            str(name), int(cast("int", scale)), hr, tuple(built.values()), str(description).strip()
        )
        self.sizes(spec)
        return spec

    def sizes(self, spec: Spec) -> None:
        """Rejects a recipe whose LR image may not be exactly HR / scale, or that enlarges
        without bound.
        """
        patch, stage = Extent.of_patch(spec.scale), spec.hr
        try:
            extent = spec.hr.extent(patch, spec.scale)
            if extent.sizes != patch.sizes:
                self.wrong(
                    ("hr",),
                    "hr",
                    "changes the size of the HR image; resize in a later stage instead",
                )
            extent = Extent(patch.sizes, extent.side)
            for stage in spec.stages:
                extent = stage.extent(extent, spec.scale)
        except SizeError as error:
            self.wrong((stage.label,), f"{stage.label}.{error.label}", error.message)
            return
        if extent.sizes != frozenset({1}):
            remedy = "end with a step  resize: {of: target}  that always runs"
            message = f"the LR image may end off the target size (HR / {spec.scale}); {remedy}"
            self.wrong((stage.label,), stage.label, message)

    def stage(self, name: Any) -> Sequence:
        body = self.marked.data[name]
        if not isinstance(name, str) or not name.isidentifier():
            self.wrong(
                (name,), str(name), "a stage is named by a word of letters, digits and underscores"
            )
            return Sequence(str(name), ())
        if not isinstance(body, list):
            meant = close(name, [known for known in RESERVED if known != name])
            self.wrong(
                (name,), name, f"a stage should be a list of steps{meant if '?' in meant else ''}"
            )
            return Sequence(name, ())
        seen: dict[str, str] = {}
        return Sequence(name, self.nodes(body, (name,), name, seen))

    def nodes(self, body: Any, path: Place, scope: str, seen: dict[str, str]) -> tuple[Node, ...]:
        if not isinstance(body, list):
            self.wrong(path, scope, "should be a list of steps")
            return ()
        built = [self.node(step, (*path, i), scope, seen) for i, step in enumerate(body)]
        return tuple(node for node in built if node is not None)

    def node(
        self, step: Any, path: Place, scope: str, seen: dict[str, str], weighted: bool = False
    ) -> Node | None:
        """One step. ``seen`` maps the labels already taken in the stage to their kinds."""
        if len(path) > MOST_DEPTH:
            self.wrong(path, scope, "groups within groups too deeply; take some apart")
            return None
        if isinstance(step, str):
            step = {step: None}
        if not isinstance(step, dict):
            self.wrong(
                path, scope, f"{step!r} should be a step such as  jpeg: {{quality: [30, 95]}}"
            )
            return None
        kinds = [key for key in step if key not in ("p", "as")]
        if len(kinds) != 1:
            said = f"names {', '.join(map(str, kinds))}" if kinds else "names no operator"
            self.wrong(
                path,
                scope,
                f"a step {said}; it should name exactly one (optionally with p and as)",
            )
            return None
        [kind] = kinds
        if not isinstance(kind, str):
            self.wrong(path, scope, f"a step names {kind!r}; it should name an operator")
            return None
        label = step.get("as", kind)
        here = f"{scope}.{label}"
        if not isinstance(label, str) or not label.isidentifier():
            self.wrong(
                (*path, "as"), here, "as: should be a word of letters, digits and underscores"
            )
            return None
        if label == "p" or label in seen:
            self.wrong(
                path,
                here,
                f"there are two steps called {label}; give this one a name with  as: another_name",
            )
        seen[label] = kind
        p = 1.0 if weighted else self.probability(step.get("p", 1), (*path, "p"), f"{here}.p")
        inside = (*path, kind)
        if kind in CONTROL:
            built = getattr(self, kind)(step[kind], inside, scope, label, seen)
        else:
            built = self.operator(kind, step[kind], inside, here, label)
        return Maybe(label, built, p) if built is not None and p < 1 else built

    def probability(self, value: Any, path: Place, address: str) -> float:
        try:
            low, high = parse(value).support
        except ValueError as error:
            self.wrong(path, address, str(error))
            return 1.0
        if low != high or not 0 <= low <= 1:
            self.wrong(path, address, f"{value!r} should be a probability in [0, 1]")
            return 1.0
        return low

    def operator(self, kind: str, body: Any, path: Place, here: str, label: str) -> Node | None:
        if self.count <= MOST_STEPS < self.count + self.rounds:
            self.wrong(
                path, here, f"is beyond the {MOST_STEPS} steps that a recipe may have; repeat less"
            )
        self.count += self.rounds
        if kind not in REGISTRY:
            self.wrong(path, here, f"no such operator{close(kind, [*REGISTRY, *CONTROL])}")
            return None
        if body is None:
            body = {}
        if not isinstance(body, dict):
            self.wrong(path, here, f"{body!r} should be a mapping of fields to values")
            return None
        try:
            return Step(label, REGISTRY[kind].model_validate(body))
        except ValidationError as error:
            for detail in error.errors():
                at = detail["loc"]
                message = str(detail["msg"]).removeprefix("Value error, ")
                if detail["type"] == "extra_forbidden":
                    message = (
                        f"no such field{close(str(at[-1]), list(REGISTRY[kind].model_fields))}"
                    )
                self.wrong((*path, *at), ".".join([here, *map(str, at)]), message)
            return None

    def steps(self, body: Any, path: Place, scope: str, label: str, seen: dict[str, str]) -> Node:
        return Sequence(label, self.nodes(body, path, scope, seen))

    def one_of(
        self, body: Any, path: Place, scope: str, label: str, seen: dict[str, str]
    ) -> Node | None:
        if not isinstance(body, list) or not body:
            self.wrong(
                path, f"{scope}.{label}", "should be a list of steps, each with its weight p"
            )
            return None
        before, after = dict(seen), dict(seen)
        branches: list[Node] = []
        weights: list[float] = []
        for i, step in enumerate(body):
            weight = step.get("p", 1) if isinstance(step, dict) else 1
            weights.append(self.weight(weight, (*path, i, "p"), f"{scope}.{label}"))
            # A sample sees one branch only, so branches may share labels, and then also addresses
            # and columns.
            own = dict(before)
            branch = self.node(step, (*path, i), scope, own, weighted=True)
            for name, kind in own.items():
                if after.setdefault(name, kind) != kind:
                    self.wrong(
                        (*path, i),
                        f"{scope}.{name}",
                        f"is {after[name]} in another branch; name it with as:",
                    )
            if branch is not None:
                branches.append(branch)
        seen.update(after)
        total = sum(weights)
        if total == 0:
            self.wrong(path, f"{scope}.{label}", "no branch has a positive weight")
            return None
        exact = abs(total - 1) < 1e-12
        normal = tuple(weights) if exact else tuple(weight / total for weight in weights)
        return OneOf(label, tuple(branches), normal) if len(branches) == len(body) else None

    def weight(self, value: Any, path: Place, address: str) -> float:
        try:
            low, high = parse(value).support
        except ValueError as error:
            self.wrong(path, address, str(error))
            return 1.0
        if low != high or not 0 <= low <= 1e9:
            self.wrong(path, address, f"p: {value!r} should be a weight from 0 to 1e9")
            return 1.0
        return low

    def shuffle(
        self, body: Any, path: Place, scope: str, label: str, seen: dict[str, str]
    ) -> Node | None:
        ordered: Any = []
        if isinstance(body, dict):
            for key in set(body) - {"steps", "ordered"}:
                self.wrong(
                    (*path, key),
                    f"{scope}.{label}.{key}",
                    "no such field; shuffle has steps and ordered",
                )
            ordered = body.get("ordered", [])
            body, path = body.get("steps"), (*path, "steps")
        nodes = self.nodes(body, path, scope, seen)
        if isinstance(body, list) and not 2 <= len(body) <= 15:
            self.wrong(path, f"{scope}.{label}", "should be a list of 2 to 15 steps")
            return None
        labels = [node.label for node in nodes]
        for name in cast("list[Any]", ordered if isinstance(ordered, list) else [ordered]):
            if name not in labels or not isinstance(ordered, list):
                self.wrong(
                    path,
                    f"{scope}.{label}.ordered",
                    f"{name!r} is none of its steps{close(str(name), labels)}",
                )
        kept = [name for name in labels if isinstance(ordered, list) and name in ordered]
        if (
            isinstance(ordered, list)
            and sorted(kept) == sorted(map(str, ordered))
            and kept != ordered
        ):
            self.wrong(
                path,
                f"{scope}.{label}.ordered",
                f"name them as the steps stand: {', '.join(kept)}",
            )
        return Shuffle(label, nodes, tuple(kept))

    def repeat(
        self, body: Any, path: Place, scope: str, label: str, seen: dict[str, str]
    ) -> Node | None:
        here = f"{scope}.{label}"
        if not isinstance(body, dict) or set(body) != {"times", "steps"}:
            self.wrong(path, here, "should have exactly times and steps")
            return None
        try:
            times = TIMES.check(body["times"])
        except ValueError as error:
            self.wrong((*path, "times"), f"{here}.times", str(error))
            return None
        around = self.rounds
        self.rounds *= int(times.support[1])
        steps = Sequence("steps", self.nodes(body["steps"], (*path, "steps"), here, {}))
        self.rounds = around
        return Repeat(label, times, steps)
