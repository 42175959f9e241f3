"""Builds the tree of a recipe from YAML, or reports every problem at once, each as ``file:line:
address: message`` with its remedy.

Reading has three passes. *Compose* (:mod:`degrade.loading.positions`) parses a file to plain data
with source positions. *Inherit* (:mod:`degrade.loading.inheritance`) merges it over the recipe it
``extends`` and applies the overrides of ``--set``. *Build*, here, checks the grammar and converts
data to nodes and operators.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

import degrade.ops as ops
from degrade.base import REGISTRY
from degrade.console import printable
from degrade.control import CONTROL, TIMES, OneOf, Repeat, Shuffle
from degrade.errors import Problem, RecipeError, close
from degrade.extent import Extent, SizeError
from degrade.loading.inheritance import RESERVED, copy, inherit, override, read
from degrade.loading.positions import Document, KeyPath
from degrade.nodes import Maybe, Node, Sequence, Step
from degrade.shorthand import parse
from degrade.storage.names import portable

__all__ = ["Spec", "load"]

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
MOST_STEPS = 1000
"""Sequence of a recipe once its repeats are written out."""
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A module's name."""
MOST_DEPTH = 24
"""Limit of keys and indices from the root to a step: about ten nested groups."""


@dataclass(frozen=True)
class Spec:
    """The content of a recipe, built and checked."""

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
    """Reads, merges and builds a recipe.

    Args:
        recipe: A name, a file, or data as :meth:`degrade.Recipe.dump` gives it.
        scale: Overrides the file's scale.
        changes: Values by address, for example ``{"first.jpeg.quality": [60, 95]}``.

    Raises:
        RecipeError: with every problem found.
    """
    if isinstance(recipe, Mapping):
        document = inherit(Document(copy(dict(recipe)), {}), Path())
    else:
        document = read(recipe)
    overrides = {} if scale is None else {"scale": scale}
    for address, value in {**overrides, **(changes or {})}.items():
        try:
            override(document, address.split("."), value, ("", 0))
        except ValueError as error:
            document.problems.append(Problem("", 0, address, str(error)))
    spec = Builder(document).spec()
    if document.problems or spec is None:
        raise RecipeError(document.problems)
    return spec


class Builder:
    """Converts data to nodes and collects problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = document.problems
        self.rounds, self.count = 1, 0
        self.modules: list[str] = []
        ops.discover()

    def wrong(self, path: KeyPath, address: str, message: str) -> None:
        """Records a problem with the part at ``path``."""
        self.problems.append(Problem(*self.document.position(path), address, message))

    def spec(self) -> Spec | None:
        data = self.document.data
        name, scale = data.get("name"), data.get("scale")
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or not portable(name):
            self.wrong(
                ("name",),
                "name",
                f"{printable(repr(name))[:80]} should be a name of letters, digits, . _ and -,"
                " at most 64, and no device of Windows; it names files",
            )
        if not isinstance(scale, int) or isinstance(scale, bool) or not 1 <= scale <= 16:
            self.wrong(("scale",), "scale", f"{scale!r} should be a whole number from 1 to 16")
        description = data.get("description", "")
        if not isinstance(description, str):
            self.wrong(("description",), "description", "should be text")
        self.modules = self.imports(data.get("import", []))
        stages = [key for key in data if key not in RESERVED]
        if not stages:
            self.wrong(
                (),
                "",
                "the recipe has no stage; add one, such as  first: [ {blur: {sigma: [0.2, 3]}} ]",
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

    def imports(self, given: Any) -> list[str]:
        """Returns the modules that the recipe says it needs. They are not imported: code runs
        where the user names it, never because a file does.
        """
        modules: list[Any] = given if isinstance(given, list) else [given]
        if not all(isinstance(name, str) and MODULE.fullmatch(name) for name in modules):
            self.wrong(
                ("import",),
                "import",
                f"{given!r} should be the name of a module, such as my_module, or a list of names",
            )
            return []
        return modules

    def sizes(self, spec: Spec) -> None:
        """Rejects a recipe whose LR image may not have the size HR / scale, or that may exceed the
        limit of pixels.
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
            message = f"the LR image may not have the target size (HR / {spec.scale}); {remedy}"
            self.wrong((stage.label,), stage.label, message)

    def stage(self, name: Any) -> Sequence:
        body = self.document.data[name]
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

    def nodes(
        self, body: Any, path: KeyPath, scope: str, seen: dict[str, str]
    ) -> tuple[Node, ...]:
        if not isinstance(body, list):
            self.wrong(path, scope, "should be a list of steps")
            return ()
        built = [self.node(step, (*path, i), scope, seen) for i, step in enumerate(body)]
        return tuple(node for node in built if node is not None)

    def node(
        self, step: Any, path: KeyPath, scope: str, seen: dict[str, str], weighted: bool = False
    ) -> Node | None:
        """Builds one step. ``seen`` maps the labels of the stage so far to their kinds."""
        if len(path) > MOST_DEPTH:
            self.wrong(path, scope, "groups are nested too deeply; flatten some")
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

    def probability(self, value: Any, path: KeyPath, address: str) -> float:
        try:
            low, high = parse(value).support
        except ValueError as error:
            self.wrong(path, address, str(error))
            return 1.0
        if low != high or not 0 <= low <= 1:
            self.wrong(path, address, f"{value!r} should be a probability in [0, 1]")
            return 1.0
        return low

    def operator(self, kind: str, body: Any, path: KeyPath, here: str, label: str) -> Node | None:
        if self.count <= MOST_STEPS < self.count + self.rounds:
            self.wrong(
                path, here, f"exceeds the limit of {MOST_STEPS} steps in a recipe; repeat less"
            )
        self.count += self.rounds
        if kind not in REGISTRY:
            self.wrong(path, here, self.unknown(kind))
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

    def unknown(self, kind: str) -> str:
        """Returns why there is no such operator: a module that is not imported, or a typing
        error.
        """
        if self.modules:
            names, flags = ", ".join(self.modules), " ".join(f"--import {m}" for m in self.modules)
            return (
                f"no such operator; the recipe says it needs {names}. If you trust that code, add"
                f" {flags}, or import it first in Python"
            )
        meant = close(kind, [*REGISTRY, *CONTROL])
        own = "" if "?" in meant else "; one of your own needs --import MODULE"
        return f"no such operator{meant}{own}"

    def steps(
        self, body: Any, path: KeyPath, scope: str, label: str, seen: dict[str, str]
    ) -> Node:
        return Sequence(label, self.nodes(body, path, scope, seen))

    def one_of(
        self, body: Any, path: KeyPath, scope: str, label: str, seen: dict[str, str]
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

    def weight(self, value: Any, path: KeyPath, address: str) -> float:
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
        self, body: Any, path: KeyPath, scope: str, label: str, seen: dict[str, str]
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
        kept = self.ordered(ordered, [node.label for node in nodes], path, f"{scope}.{label}")
        return Shuffle(label, nodes, kept)

    def ordered(
        self, ordered: Any, labels: list[str], path: KeyPath, here: str
    ) -> tuple[str, ...]:
        """The labels in a shuffle's ``ordered``, which must be in the order of the steps."""
        address = f"{here}.ordered"
        if not isinstance(ordered, list):
            message = f"{ordered!r} is not one of its steps{close(str(ordered), labels)}"
            self.wrong(path, address, message)
            return ()
        names = cast("list[Any]", ordered)
        for name in names:
            if name not in labels:
                message = f"{name!r} is not one of its steps{close(str(name), labels)}"
                self.wrong(path, address, message)
        kept = [label for label in labels if label in names]
        if kept != names and sorted(kept) == sorted(map(str, names)):
            self.wrong(path, address, f"list them in the order of the steps: {', '.join(kept)}")
        return tuple(kept)

    def repeat(
        self, body: Any, path: KeyPath, scope: str, label: str, seen: dict[str, str]
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
