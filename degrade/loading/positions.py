"""YAML with source positions: every part of a document keeps its file and line, so that problems
can name them.

The one reader of YAML: of recipes, of the options of other projects, of the settings of ``sr``, of
``--set``. Only the safe subset is read, so that a file cannot name code; its size, depth and
number of values are bounded before they are parsed; and what means one thing to a reader and
another to YAML 1.1 is an error: equal keys, numbers to base 60 and 8.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, cast

import yaml

from degrade.errors import Problem, RecipeError, UserError
from degrade.storage.files import read_regular

__all__ = ["Document", "KeyPath", "Position", "compose", "read_text"]

KeyPath = tuple[str | int | float, ...]
"""The keys and indices that lead from the root of a document to a part of it."""
Position = tuple[str, int]
"""A file and a line."""
MOST_BYTES = 2**18
"""Limit of the size of a document; a recipe has a few thousand."""
MOST_NODES = 10_000
"""Limit of nodes of a document, aliases expanded."""
MOST_DEPTH = 64
"""Limit of mappings and lists inside each other."""
TAG = "tag:yaml.org,2002:"


class Document:
    """Plain data and its source positions.

    Args:
        data: Mappings, lists and scalars.
        positions: The position of each part.
        problems: Problems found so far.
    """

    def __init__(
        self, data: Any, positions: dict[KeyPath, Position], problems: Sequence[Problem] = ()
    ) -> None:
        self.data = data
        self.positions = positions
        self.problems = list(problems)

    def position(self, path: KeyPath) -> Position:
        """The position of a part, or of the nearest part around it that has one."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, ("", 0))

    def forget(self, path: KeyPath) -> None:
        """Removes the positions of a part and of all that is inside it."""
        if path not in self.positions:
            return
        for known in [known for known in self.positions if known[: len(path)] == path]:
            del self.positions[known]


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """Reads a text file of at most :data:`MOST_BYTES`.

    Raises:
        RecipeError: it cannot be read, is not a regular file, is too large or not UTF-8.
    """
    try:
        return read_regular(path, MOST_BYTES).decode(encoding)
    except (OSError, UnicodeDecodeError, UserError) as error:
        problem = Problem(os.fspath(path), 1, "", f"cannot be read: {error}")
        raise RecipeError([problem]) from None


def compose(text: str, file: str) -> Document:
    """Reads YAML.

    Raises:
        RecipeError: bad syntax, a duplicate key, a tag that is not plain data, a recursive alias,
            a number that YAML 1.1 reads to base 60 or 8, or more than :data:`MOST_BYTES`,
            :data:`MOST_NODES` or :data:`MOST_DEPTH`.
    """
    if len(text) > MOST_BYTES:
        raise RecipeError([Problem(file, 1, "", f"is larger than {MOST_BYTES} characters")])
    try:
        loader = _Loader(text)
        try:
            try:
                root = loader.get_single_node()
            except (ValueError, OverflowError) as error:
                # Of PyYAML's own int() and chr(), as for "\\U00110000".
                raise yaml.MarkedYAMLError(
                    problem=f"not YAML ({error})",
                    problem_mark=cast("yaml.Mark", loader.get_mark()),
                ) from None
            if root is None:
                raise RecipeError([Problem(file, 1, "", "the file is empty")])
            composer = Composer(loader, file)
            return Document(composer.build(root, (), ()), composer.positions)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            [Problem(file, line, "", f"a character that YAML does not allow ({error.reason})")]
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            [Problem(file, mark.line + 1 if mark else 1, "", f"{error.problem or error}")]
        ) from None


class _Loader(yaml.SafeLoader):
    """Counts nodes and depth while it parses."""

    count, depth = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.count += 1
        self.depth += 1
        if self.count > MOST_NODES or self.depth > MOST_DEPTH:
            mark = cast("yaml.Mark", self.peek_event().start_mark)
            problem = f"more than {MOST_NODES} values"
            if self.depth > MOST_DEPTH:
                problem = f"nested too deeply, more than {MOST_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class Composer:
    """Converts YAML nodes to plain data and records the position of each.

    Args:
        loader: Resolves plain scalars.
        file: The file's name.
    """

    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self.loader, self.file = loader, file
        self.positions: dict[KeyPath, Position] = {}
        self.count = 0

    def fail(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError([Problem(self.file, node.start_mark.line + 1, "", message)])

    def build(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        """The data of ``node``, which is at ``path``, inside the nodes ``above``."""
        if node in above:
            raise self.fail(node, "an alias contains itself; write its content out")
        self.count += 1
        if self.count > MOST_NODES:
            raise self.fail(node, f"more than {MOST_NODES} nodes; use fewer aliases")
        self.positions[path] = (self.file, node.start_mark.line + 1)
        above = (*above, node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node.tag not in (f"{TAG}map", f"{TAG}seq"):
            tag = node.tag.removeprefix(TAG)
            raise self.fail(node, f"the tag {tag} is not allowed; a recipe is plain data")
        if isinstance(node, yaml.SequenceNode):
            children = cast("list[yaml.Node]", node.value)
            return [self.build(child, (*path, i), above) for i, child in enumerate(children)]
        return self.mapping(node, path, above)

    def mapping(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        """A mapping, its own keys before those merged by ``<<``, of which the first come first."""
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        merges = [child for key, child in pairs if key.tag == f"{TAG}merge"]
        bases = [base for child in merges for base in _bases(child)]
        merged: dict[Any, Any] = {}
        for base in reversed(bases):
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
                raise self.fail(key, f"duplicate key {name!r}; remove one")
            own[name] = self.build(child, (*path, name), above)
            self.positions[(*path, name)] = (self.file, key.start_mark.line + 1)
        return merged | own

    def scalar(self, node: yaml.ScalarNode) -> str | int | float | None:
        """A string, number, Boolean or null. A date is read as a string."""
        kind, text = node.tag.removeprefix(TAG), str(node.value)
        if re.search("[\ud800-\udfff]", text):
            raise self.fail(
                node, f"{_shown(text)!r} is not Unicode: it has half of a surrogate pair"
            )
        if kind in ("str", "timestamp", "value"):
            return text
        if kind not in ("int", "float", "bool", "null"):
            raise self.fail(node, f"the tag {kind} is not allowed; a recipe is plain data")
        if kind in ("int", "float") and (":" in text or re.fullmatch("[-+]?0[0-7_]+", text)):
            base = 60 if ":" in text else 8
            raise self.fail(
                node,
                f"{_shown(text)} is to base {base} in YAML; write a plain number, or quote it",
            )
        try:
            value = self.loader.construct_object(node)
        except (ValueError, LookupError):
            raise self.fail(node, f"{_shown(text)!r} is not of type {kind}") from None
        if isinstance(value, int) and value.bit_length() > 1023:
            raise self.fail(node, "the number is too large")
        return value


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bases(node: yaml.Node) -> list[yaml.Node]:
    """The mappings that a merge key ``<<`` names."""
    return cast("list[yaml.Node]", node.value) if isinstance(node, yaml.SequenceNode) else [node]
