"""Marked data: what a YAML file says, every part of it with its line, so that problems can say
where they are.

Only YAML's safe subset is read, and nothing in a file can name code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import yaml

from degrade.errors import Problem, RecipeError

__all__ = ["Marked", "Place", "compose"]

Place = tuple[str | int | float, ...]
"""Where a part stands in its file: keys and indices from the root."""
MOST_NODES = 100_000
TAG = "tag:yaml.org,2002:"


class Marked:
    """Plain data, and where each part of it stands.

    Args:
        data: What the file says.
        marks: (file, line) by path.
        problems: What was found wrong so far.
    """

    def __init__(
        self, data: Any, marks: dict[Place, tuple[str, int]], problems: Sequence[Problem] = ()
    ) -> None:
        self.data = data
        self.marks = marks
        self.problems = list(problems)

    def mark(self, path: Place) -> tuple[str, int]:
        """The place of ``path``, or of the nearest part around it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, ("", 0))


def compose(text: str, file: str) -> Marked:
    """Reads YAML. Raises RecipeError on bad syntax, repeated keys, tags, and documents that
    grow without bound.
    """
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
        raise RecipeError(
            [Problem(file, line, "", f"a character that YAML does not allow ({error.reason})")]
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            [Problem(file, mark.line + 1 if mark else 1, "", f"{error.problem or error}")]
        ) from None
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
        self.marks: dict[Place, tuple[str, int]] = {}
        self.count = 0

    def fail(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError([Problem(self.file, node.start_mark.line + 1, "", message)])

    def build(self, node: yaml.Node, path: Place, above: tuple[yaml.Node, ...]) -> Any:
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
            raise self.fail(
                node,
                f"the tag {node.tag.removeprefix(TAG)} has no place here; a recipe is plain data",
            )
        if isinstance(node, yaml.SequenceNode):
            children = cast("list[yaml.Node]", node.value)
            return [self.build(child, (*path, i), above) for i, child in enumerate(children)]
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        merged: dict[Any, Any] = {}
        for base in reversed(
            [base for key, child in pairs if key.tag == f"{TAG}merge" for base in _bases(child)]
        ):
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
