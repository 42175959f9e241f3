"""YAML -> the tree of a recipe, or every problem at once, each as ``file:line: address: message`` with its remedy.

Reading has three passes. *Compose*: the file becomes plain data, every node remembering its line. *Overlay*:
``extends`` and the command line's ``--set`` change that data by address. *Build*: the data becomes nodes and
operators, problems being collected rather than raised. Only YAML's safe subset is read, and nothing in a file can name
code.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

import degrade.ops as ops
from degrade.base import REGISTRY
from degrade.dist import parse
from degrade.errors import UserError
from degrade.steps import TIMES, Node, Pick, Repeat, Shuffle, SizeError, Sizes, Step, Steps

__all__ = ["Problem", "RecipeError", "Spec", "load", "locate", "names"]

Path_ = tuple[str | int | float, ...]
CONTROL = ("steps", "one_of", "shuffle", "repeat")
RESERVED = ("name", "scale", "description", "define", "extends", "hr")
MOST_NODES = 100_000
TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe."""

    file: str
    line: int
    address: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return f"{place}{self.address}: {self.message}" if self.address else f"{place}{self.message}"


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


@dataclass(frozen=True)
class Spec:
    """What a recipe file says, built and checked."""

    name: str
    scale: int
    hr: Steps
    stages: tuple[Steps, ...]
    description: str


# --- finding ---------------------------------------------------------------------------------------------------------


def folders() -> list[Path]:
    """Where named recipes are looked for: ``$DEGRADE_RECIPES``, then the packaged ones, then those of plug-ins."""
    found = [Path(part) for part in os.environ.get("DEGRADE_RECIPES", "").split(os.pathsep) if part]
    # A wheel holds the recipes inside the package; a checkout, installed for editing, beside it.
    package = Path(__file__).parent
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
    raise RecipeError([Problem("", 0, str(recipe), f"no such recipe{close(str(recipe), names())}")])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


# --- composing -------------------------------------------------------------------------------------------------------


class Marked:
    """Plain data, and where each part of it stands.

    Args:
        data: What the file says.
        marks: (file, line) by path.
        problems: What was found wrong so far.
    """

    def __init__(self, data: Any, marks: dict[Path_, tuple[str, int]], problems: Sequence[Problem] = ()) -> None:
        self.data = data
        self.marks = marks
        self.problems = list(problems)

    def mark(self, path: Path_) -> tuple[str, int]:
        """The place of ``path``, or of the nearest part around it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, ("", 0))


def compose(text: str, file: str) -> Marked:
    """Reads YAML. Raises RecipeError on bad syntax, repeated keys, tags, and documents that grow without bound."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                raise RecipeError([Problem(file, 1, "", "the file is empty")])
            composer = Composer(loader, file)
            return Marked(composer.build(root, (), ()), composer.marks)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError([Problem(file, line, "", f"a character that YAML does not allow ({error.reason})")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError([Problem(file, mark.line + 1 if mark else 1, "", f"{error.problem or error}")]) from None
    except RecursionError:
        raise RecipeError([Problem(file, 1, "", "nested too deeply")]) from None


class Composer:
    """Turns YAML's nodes into plain data and remembers where each part stands.

    Args:
        loader: Resolves plain scalars.
        file: The file's name.
    """

    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self.loader, self.file = loader, file
        self.marks: dict[Path_, tuple[str, int]] = {}
        self.count = 0

    def fail(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError([Problem(self.file, node.start_mark.line + 1, "", message)])

    def build(self, node: yaml.Node, path: Path_, above: tuple[yaml.Node, ...]) -> Any:
        """The data of ``node``, which stands at ``path``, inside the nodes ``above``."""
        if node in above:
            raise self.fail(node, "an alias that contains itself; write the part out")
        self.count += 1
        if self.count > MOST_NODES:
            raise self.fail(node, f"more than {MOST_NODES} parts; is an alias repeated too often?")
        self.marks[path] = (self.file, node.start_mark.line + 1)
        above = (*above, node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node.tag not in (f"{TAG}map", f"{TAG}seq"):
            raise self.fail(node, f"the tag {node.tag.removeprefix(TAG)} has no place here; a recipe is plain data")
        if isinstance(node, yaml.SequenceNode):
            children = cast("list[yaml.Node]", node.value)
            return [self.build(child, (*path, i), above) for i, child in enumerate(children)]
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        merged: dict[Any, Any] = {}
        for base in reversed([base for key, child in pairs if key.tag == f"{TAG}merge" for base in _bases(child)]):
            if not isinstance(base, yaml.MappingNode):
                raise self.fail(base, "<<: should name a mapping, or a list of them")
            merged |= self.build(base, path, above)
        own: dict[Any, Any] = {}
        for key, child in pairs:
            if key.tag == f"{TAG}merge":
                continue
            name = self.scalar(key) if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                raise self.fail(key, "a key should be a word or a number")
            if name in own:
                raise self.fail(key, f"{name!r} is said twice; remove one")
            own[name] = self.build(child, (*path, name), above)
            self.marks[(*path, name)] = (self.file, key.start_mark.line + 1)
        return merged | own

    def scalar(self, node: yaml.ScalarNode) -> str | int | float | None:
        """A word, number, truth value or nothing. What looks like a date is a word."""
        kind = node.tag.removeprefix(TAG)
        if kind in ("str", "timestamp", "value"):
            return str(node.value)
        if kind not in ("int", "float", "bool", "null"):
            raise self.fail(node, f"the tag {kind} has no place here; a recipe is plain data")
        try:
            value = self.loader.construct_object(node)
        except (ValueError, LookupError):
            raise self.fail(node, f"{node.value!r} is no {kind}") from None
        if isinstance(value, int) and value.bit_length() > 1023:
            raise self.fail(node, "a number too large to work with")
        return value


def _bases(node: yaml.Node) -> list[yaml.Node]:
    """What ``<<`` names."""
    return cast("list[yaml.Node]", node.value) if isinstance(node, yaml.SequenceNode) else [node]


# --- overlaying ------------------------------------------------------------------------------------------------------


def read(recipe: str | Path, seen: tuple[Path, ...] = ()) -> Marked:
    """A file's data with what it extends underneath."""
    path = locate(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(str(path), 1, "", f"cannot be read: {error}")]) from None
    top = compose(text, str(path))
    if not isinstance(top.data, dict):
        raise RecipeError([Problem(str(path), 1, "", "a recipe is a mapping with name, scale and stages")])
    if "extends" in top.data and path.resolve() in seen:
        raise RecipeError([Problem(*top.mark(("extends",)), "extends", "the recipe extends itself")])
    return extend(top, path.parent, (*seen, path.resolve()))


def extend(top: Marked, folder: Path, seen: tuple[Path, ...] = ()) -> Marked:
    """``top`` over what it extends, if anything: a recipe's name, or a file relative to ``folder``."""
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
    """``top`` over ``below``: a stage that is a list replaces, one that is a mapping changes steps by their label."""
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
                    merged.problems.append(Problem(*top.mark(parts), ".".join(map(str, parts)), message))
    return merged


def change(recipe: Marked, address: list[str], value: Any, mark: tuple[str, int]) -> str | None:
    """Sets what stands at an address: ``scale``, ``stage.label.field``, ``stage.label.p``; null removes.

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


def _graft(onto: Marked, at: Path_, source: Marked, path: Path_) -> None:
    onto.data[at[0]] = source.data[path[0]]
    for known in [known for known in onto.marks if known[: len(at)] == at]:
        del onto.marks[known]
    onto.marks.update({(*at, *p[len(path) :]): mark for p, mark in source.marks.items() if p[: len(path)] == path})


def _copy(data: Any) -> Any:
    """A deep copy in which aliases no longer share."""
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(value) for value in data] if isinstance(data, list) else data


def _labelled(nodes: Any, path: Path_) -> Iterator[tuple[str, Path_, dict[str, Any], str]]:
    """Every step of a stage, however deep: its label, path, data and kind. A bare name becomes a mapping."""
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


def _find(nodes: Any, label: str, path: Path_) -> Iterator[tuple[Path_, dict[str, Any], str]]:
    return ((p, step, kind) for name, p, step, kind in list(_labelled(nodes, path)) if name == label)


def _parent(data: Any, path: Path_) -> list[Any]:
    for part in path[:-1]:
        data = data[part]
    return data


# --- building --------------------------------------------------------------------------------------------------------


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
    marked = extend(Marked(dict(recipe), {}), Path()) if isinstance(recipe, Mapping) else read(recipe)
    problems = marked.problems
    for address, value in {**({} if scale is None else {"scale": scale}), **(changes or {})}.items():
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
        ops.discover()

    def wrong(self, path: Path_, address: str, message: str) -> None:
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
            self.wrong((), "", "there is no stage; add one, for example  first: [ {blur: {sigma: [0.2, 3]}} ]")
        built = {str(stage): self.stage(stage) for stage in ("hr", *stages) if stage in data}
        if self.problems:
            return None
        hr = built.pop("hr", Steps("hr", ()))
        spec = Spec(str(name), int(cast("int", scale)), hr, tuple(built.values()), str(description).strip())
        self.sizes(spec)
        return spec

    def sizes(self, spec: Spec) -> None:
        """Rejects a recipe whose LR image may not be exactly HR / scale."""
        whole, fitting = frozenset({spec.scale}), frozenset({1})
        stage = spec.hr
        try:
            if spec.hr.size(whole, spec.scale) != whole:
                self.wrong(("hr",), "hr", "changes the size of the HR image; resize in a later stage instead")
            sizes: Sizes = whole
            for stage in spec.stages:
                sizes = stage.size(sizes, spec.scale)
        except SizeError as error:
            self.wrong((stage.label,), f"{stage.label}.{error.label}", error.message)
            return
        if sizes != fitting:
            remedy = "end with a step  resize: {of: target}  that always runs"
            message = f"the LR image may end off the target size (HR / {spec.scale}); {remedy}"
            self.wrong((stage.label,), stage.label, message)

    def stage(self, name: Any) -> Steps:
        body = self.marked.data[name]
        if not isinstance(name, str) or not name.isidentifier():
            self.wrong((name,), str(name), "a stage is named by a word of letters, digits and underscores")
            return Steps(str(name), ())
        if not isinstance(body, list):
            meant = close(name, [known for known in RESERVED if known != name])
            self.wrong((name,), name, f"a stage should be a list of steps{meant if '?' in meant else ''}")
            return Steps(name, ())
        seen: dict[str, str] = {}
        return Steps(name, self.nodes(body, (name,), name, seen))

    def nodes(self, body: Any, path: Path_, scope: str, seen: dict[str, str]) -> tuple[Node, ...]:
        if not isinstance(body, list):
            self.wrong(path, scope, "should be a list of steps")
            return ()
        built = [self.node(step, (*path, i), scope, seen) for i, step in enumerate(body)]
        return tuple(node for node in built if node is not None)

    def node(self, step: Any, path: Path_, scope: str, seen: dict[str, str], weighted: bool = False) -> Node | None:
        """One step. ``seen`` maps the labels already taken in the stage to their kinds."""
        if isinstance(step, str):
            step = {step: None}
        if not isinstance(step, dict):
            self.wrong(path, scope, f"{step!r} should be a step such as  jpeg: {{quality: [30, 95]}}")
            return None
        kinds = [key for key in step if key not in ("p", "as")]
        if len(kinds) != 1:
            said = f"names {', '.join(map(str, kinds))}" if kinds else "names no operator"
            self.wrong(path, scope, f"a step {said}; it should name exactly one (optionally with p and as)")
            return None
        [kind] = kinds
        if not isinstance(kind, str):
            self.wrong(path, scope, f"a step names {kind!r}; it should name an operator")
            return None
        label = step.get("as", kind)
        here = f"{scope}.{label}"
        if not isinstance(label, str) or not label.isidentifier():
            self.wrong((*path, "as"), here, "as: should be a word of letters, digits and underscores")
            return None
        if label == "p" or label in seen:
            self.wrong(path, here, f"there are two steps called {label}; give this one a name with  as: another_name")
        seen[label] = kind
        p = 1.0 if weighted else self.probability(step.get("p", 1), (*path, "p"), f"{here}.p")
        inside = (*path, kind)
        if kind in CONTROL:
            return getattr(self, kind)(step[kind], inside, scope, label, p, seen)
        return self.operator(kind, step[kind], inside, here, label, p)

    def probability(self, value: Any, path: Path_, address: str) -> float:
        try:
            low, high = parse(value).support
        except ValueError as error:
            self.wrong(path, address, str(error))
            return 1.0
        if low != high or not 0 <= low <= 1:
            self.wrong(path, address, f"{value!r} should be a probability in [0, 1]")
            return 1.0
        return low

    def operator(self, kind: str, body: Any, path: Path_, here: str, label: str, p: float) -> Node | None:
        if kind not in REGISTRY:
            self.wrong(path, here, f"no such operator{close(kind, [*REGISTRY, *CONTROL])}")
            return None
        if body is None:
            body = {}
        if not isinstance(body, dict):
            self.wrong(path, here, f"{body!r} should be a mapping of fields to values")
            return None
        try:
            return Step(label, REGISTRY[kind].model_validate(body), p=p)
        except ValidationError as error:
            for detail in error.errors():
                at = detail["loc"]
                message = str(detail["msg"]).removeprefix("Value error, ")
                if detail["type"] == "extra_forbidden":
                    message = f"no such field{close(str(at[-1]), list(REGISTRY[kind].model_fields))}"
                self.wrong((*path, *at), ".".join([here, *map(str, at)]), message)
            return None

    def steps(self, body: Any, path: Path_, scope: str, label: str, p: float, seen: dict[str, str]) -> Node:
        return Steps(label, self.nodes(body, path, scope, seen), p=p)

    def one_of(self, body: Any, path: Path_, scope: str, label: str, p: float, seen: dict[str, str]) -> Node | None:
        if not isinstance(body, list) or not body:
            self.wrong(path, f"{scope}.{label}", "should be a list of steps, each with its weight p")
            return None
        before, after = dict(seen), dict(seen)
        branches: list[Node] = []
        weights: list[float] = []
        for i, step in enumerate(body):
            weight = step.get("p", 1) if isinstance(step, dict) else 1
            weights.append(self.weight(weight, (*path, i, "p"), f"{scope}.{label}"))
            # A sample sees one branch only, so branches may share labels, and then also addresses and columns.
            own = dict(before)
            branch = self.node(step, (*path, i), scope, own, weighted=True)
            for name, kind in own.items():
                if after.setdefault(name, kind) != kind:
                    self.wrong((*path, i), f"{scope}.{name}", f"is {after[name]} in another branch; name it with as:")
            if branch is not None:
                branches.append(branch)
        seen.update(after)
        total = sum(weights)
        if total == 0:
            self.wrong(path, f"{scope}.{label}", "no branch has a positive weight")
            return None
        exact = abs(total - 1) < 1e-12
        normal = tuple(weights) if exact else tuple(weight / total for weight in weights)
        return Pick(label, tuple(branches), normal, p=p) if len(branches) == len(body) else None

    def weight(self, value: Any, path: Path_, address: str) -> float:
        try:
            low, high = parse(value).support
        except ValueError as error:
            self.wrong(path, address, str(error))
            return 1.0
        if low != high or not 0 <= low <= 1e9:
            self.wrong(path, address, f"p: {value!r} should be a weight from 0 to 1e9")
            return 1.0
        return low

    def shuffle(self, body: Any, path: Path_, scope: str, label: str, p: float, seen: dict[str, str]) -> Node | None:
        ordered: Any = []
        if isinstance(body, dict):
            for key in set(body) - {"steps", "ordered"}:
                self.wrong((*path, key), f"{scope}.{label}.{key}", "no such field; shuffle has steps and ordered")
            ordered = body.get("ordered", [])
            body, path = body.get("steps"), (*path, "steps")
        nodes = self.nodes(body, path, scope, seen)
        if isinstance(body, list) and not 2 <= len(body) <= 15:
            self.wrong(path, f"{scope}.{label}", "should be a list of 2 to 15 steps")
            return None
        labels = [node.label for node in nodes]
        for name in cast("list[Any]", ordered if isinstance(ordered, list) else [ordered]):
            if name not in labels or not isinstance(ordered, list):
                self.wrong(path, f"{scope}.{label}.ordered", f"{name!r} is none of its steps{close(str(name), labels)}")
        return Shuffle(label, nodes, tuple(map(str, ordered)), p=p) if isinstance(ordered, list) else None

    def repeat(self, body: Any, path: Path_, scope: str, label: str, p: float, seen: dict[str, str]) -> Node | None:
        here = f"{scope}.{label}"
        if not isinstance(body, dict) or set(body) != {"times", "steps"}:
            self.wrong(path, here, "should have exactly times and steps")
            return None
        try:
            times = TIMES.check(body["times"])
        except ValueError as error:
            self.wrong((*path, "times"), f"{here}.times", str(error))
            return None
        steps = Steps("steps", self.nodes(body["steps"], (*path, "steps"), here, {}))
        return Repeat(label, times, (steps,) * int(times.support[1]), p=p)


def close(word: str, known: list[str]) -> str:
    """A suggestion: what was probably meant, or else everything there is."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
