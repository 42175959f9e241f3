"""Control flow of a recipe: choice of one branch, random order, repetition."""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import or_
from typing import Any, ClassVar

import numpy as np

from degrade.base import Size
from degrade.distributions import Choice, Dist, Integers, is_constant
from degrade.extent import Extent, SizeError
from degrade.fields import Categorical, Range
from degrade.lowering import Code
from degrade.nodes import Node, Rows, Sequence, sequence_extent
from degrade.order import Order, permutation
from degrade.plan import Column, Condition, Plan
from degrade.program import Program

__all__ = ["CONTROL", "TIMES", "OneOf", "Repeat", "Shuffle"]

CONTROL = ("steps", "one_of", "shuffle", "repeat")
"""The YAML keys of nodes that are not operators."""
TIMES = Range(0, 20, whole=True)
"""How often a ``repeat`` may run its steps."""


@dataclass(frozen=True)
class OneOf(Node):
    """Runs exactly one branch, drawn with these weights (they sum to 1)."""

    branches: tuple[Node, ...]
    weights: tuple[float, ...]

    keyword: ClassVar[str] = "one_of"

    @property
    def children(self) -> tuple[Node, ...]:
        return self.branches

    @property
    def _variable(self) -> Categorical:
        names: list[str] = []
        for branch in self.branches:
            again = sum(name.split(" ")[0] == branch.label for name in names)
            names.append(f"{branch.label} {again + 1}" if again else branch.label)
        return Categorical(tuple(names))

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        variable = self._variable
        dist = Choice(variable.options, self.weights)
        chosen = Column(f"{scope}.{self.label}", dist, variable, when=when)
        yield chosen
        for j, branch in enumerate(self.branches):
            yield from branch.columns(scope, Condition(chosen, j, j + 1))

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        chosen = plan[f"{scope}.{self.label}"][rows]
        for j in sorted(set(chosen.tolist())):
            self.branches[int(j)].lower(program, plan, scope, rows[chosen == j])

    def encode(self, code: Code, scope: str) -> None:
        for j, branch in enumerate(self.branches):
            with code.guard(f"{scope}.{self.label}", j, j + 1):
                branch.encode(code, scope)

    def extent(self, before: Extent, scale: int) -> Extent:
        after = (branch.extent(before, scale) for branch in self.branches)
        return functools.reduce(or_, after)

    def body(self) -> Any:
        weighted = zip(self.weights, self.branches, strict=True)
        return [{"p": weight, **branch.dump()} for weight, branch in weighted]


@dataclass(frozen=True)
class Shuffle(Node):
    """Runs all nodes in an order drawn per sample; those labelled in ``ordered`` keep their
    relative order.

    Sorting, in a uniform permutation, the places that the ordered nodes hold leaves every allowed
    order equally likely.
    """

    nodes: tuple[Node, ...]
    ordered: tuple[str, ...] = ()

    keyword: ClassVar[str] = "shuffle"

    @property
    def children(self) -> tuple[Node, ...]:
        return self.nodes

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        count = len(self.nodes)
        ranks = Integers(0, math.factorial(count) - 1)
        yield Column(f"{scope}.{self.label}", ranks, Order(count), when=when)
        for node in self.nodes:
            yield from node.columns(scope, when)

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        orders = [self.order(int(rank)) for rank in plan[f"{scope}.{self.label}"][rows]]
        for place in zip(*orders, strict=True):
            for j in sorted(set(place)):
                self.nodes[j].lower(program, plan, scope, rows[np.array(place) == j])

    def encode(self, code: Code, scope: str) -> None:
        kept = [node.label in self.ordered for node in self.nodes]
        bodies = [functools.partial(node.encode, code, scope) for node in self.nodes]
        code.shuffle(f"{scope}.{self.label}", kept, bodies)

    def order(self, rank: int) -> list[int]:
        """The indices of the nodes in the order of this rank."""
        order = permutation(rank, len(self.nodes))
        kept = {j for j, node in enumerate(self.nodes) if node.label in self.ordered}
        ascending = iter(sorted(kept))
        return [next(ascending) if j in kept else j for j in order]

    def resizing_orders(self, scale: int) -> Iterator[tuple[Node, ...]]:
        """The allowed orders of the nodes that change sizes."""
        resizing = [node for node in self.nodes if changes_size(node, scale)]
        kept = [node for node in resizing if node.label in self.ordered]
        for order in itertools.permutations(resizing):
            if [node for node in order if node in kept] == kept:
                yield order

    def extent(self, before: Extent, scale: int) -> Extent:
        """The union over the allowed orders of the nodes that change sizes."""
        if count_resizing(self, scale) > 6:
            raise SizeError(self.label, "more than 6 of its steps change the size; take some out")
        orders = self.resizing_orders(scale)
        after = (sequence_extent(order, before, scale) for order in orders)
        return functools.reduce(or_, after)

    def body(self) -> Any:
        nodes = [node.dump() for node in self.nodes]
        return {"steps": nodes, "ordered": list(self.ordered)} if self.ordered else nodes


@dataclass(frozen=True)
class Repeat(Node):
    """Runs the steps a number of times drawn per sample, each round with draws of its own."""

    times: Dist
    steps: Sequence

    keyword: ClassVar[str] = "repeat"

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.steps,)

    @property
    def most(self) -> int:
        """The greatest number of rounds."""
        return int(self.times.support[1])

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        constant = is_constant(self.times)
        address = f"{scope}.{self.label}.times"
        times = Column(address, self.times, TIMES, when=when, constant=constant)
        yield times
        for i in range(self.most):
            again = when if constant else Condition(times, i + 1)
            yield from self.steps.columns(f"{scope}.{self.label}[{i}]", again)

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        address = f"{scope}.{self.label}.times"
        times = plan[address][rows] if address in plan else np.full(len(rows), self.most)
        for i in range(self.most):
            here = f"{scope}.{self.label}[{i}]"
            self.steps.lower(program, plan, here, rows[times > i])

    def encode(self, code: Code, scope: str) -> None:
        address = f"{scope}.{self.label}.times"
        for i in range(self.most):
            here = f"{scope}.{self.label}[{i}]"
            with code.guard(address, i + 1) if address in code else contextlib.nullcontext():
                self.steps.encode(code, here)

    def extent(self, before: Extent, scale: int) -> Extent:
        least = int(self.times.support[0])
        for i in range(self.most):
            after = self.steps.extent(before, scale)
            before = after if i < least else before | after
        return before

    def body(self) -> Any:
        return {"times": self.times.dump(), "steps": self.steps.body()}


def changes_size(node: Node, scale: int) -> bool:
    """Whether a node changes the size of some image."""
    known: tuple[Size, ...] = (1, scale, None)
    extents = (Extent(frozenset({size}), 1) for size in known)
    try:
        return any(node.extent(before, scale).sizes != before.sizes for before in extents)
    except SizeError:
        return True


def count_resizing(node: Node, scale: int) -> int:
    """How many steps that change sizes are shuffled together, in a shuffle and those inside it."""
    if not node.children:
        return int(changes_size(node, scale))
    counts = [count_resizing(child, scale) for child in node.children]
    return sum(counts) if isinstance(node, Shuffle) else max(counts)
