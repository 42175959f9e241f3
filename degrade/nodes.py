"""The tree of a recipe: operators, and the control flow that arranges them.

A node declares its random variables (:meth:`Node.columns`), lowers a plan to the calls of a program
(:meth:`Node.lower`) and knows in advance which image sizes it may leave (:meth:`Node.extent`).
Samples that take different branches get different calls; no branch is computed and masked.

Addresses: a step's random variables are called ``stage.label.field``, whatever groups surround it,
and its probability ``stage.label.p``. Labels are unique within a stage, except across the branches
of a ``one_of``, of which a sample takes one.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from operator import or_
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from degrade.base import Draw, Operator, Size, constants
from degrade.distributions import Bernoulli, Choice, Dist, Integers, is_constant
from degrade.extent import Extent, SizeError
from degrade.fields import Categorical, Probability, Range
from degrade.order import Order, permutation
from degrade.plan import Column, Condition, Plan
from degrade.program import Program

__all__ = ["Maybe", "Node", "OneOf", "Repeat", "Sequence", "Shuffle", "Step"]

Rows = NDArray[np.intp]

CONTROL = ("steps", "one_of", "shuffle", "repeat")
"""The YAML keys of nodes that are not operators."""
TIMES = Range(0, 20, whole=True)
"""How often a ``repeat`` may run its steps."""


@dataclass(frozen=True)
class StepProbability(Probability):
    """Whether a step runs. The more severe the plan, the more steps run."""

    def level(self, dist: Dist, severity: float) -> float:
        return math.nextafter(1 - severity, 0)


@dataclass(frozen=True)
class Node(ABC):
    """A part of a recipe.

    Args:
        label: Its name within the stage.
    """

    keyword: ClassVar[str] = ""
    label: str

    @property
    def kind(self) -> str:
        """The YAML key: an operator's name, or ``steps``, ``one_of``, ``shuffle``, ``repeat``."""
        return self.keyword

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly inside."""
        return ()

    @abstractmethod
    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        """The random variables inside, for the samples that meet ``when``."""

    @abstractmethod
    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        """Add the calls of the samples ``rows`` to a program, according to their plan."""

    @abstractmethod
    def extent(self, before: Extent, scale: int) -> Extent:
        """The extent of images that it may leave, given the one that it may meet.

        Raises:
            SizeError: an operator cannot process a size, or exceeds the limit of pixels.
        """

    @abstractmethod
    def body(self) -> Any:
        """The YAML data under :attr:`kind`."""

    def dump(self) -> dict[str, Any]:
        """The YAML data of a step: ``{as: label, kind: body}``."""
        name = {} if self.label == self.kind else {"as": self.label}
        return {**name, self.kind: self.body()}


@dataclass(frozen=True)
class _Fields:
    """Where the drawn fields of a step stand in a plan.

    Args:
        address: The step's own, ``stage.label``.
        own: (k,) which of the operator's fields are drawn.
        places: (k,) their columns.
        columns: The plan's.
    """

    address: str
    own: NDArray[np.intp]
    places: NDArray[np.intp]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Step(Node):
    """Applies one operator."""

    operator: Operator

    @property
    def kind(self) -> str:
        return self.operator.name

    @functools.cached_property
    def _constants(self) -> NDArray[np.float64]:
        return constants(self.operator)

    @functools.cached_property
    def _known(self) -> dict[tuple[str, int], _Fields]:
        return {}

    def _fields(self, scope: str, plan: Plan) -> _Fields:
        """Where its drawn fields stand. Cached: it is needed for every image."""
        key = (scope, id(plan.columns))
        if key not in self._known:
            here = f"{scope}.{self.label}"
            addresses = [f"{here}.{name}" for name in self.operator.variables()]
            own = [j for j, address in enumerate(addresses) if address in plan]
            places = [plan.place(addresses[j]) for j in own]
            # The columns are kept, so that their id stays theirs.
            self._known[key] = _Fields(here, np.array(own), np.array(places), plan.columns)
        return self._known[key]

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        for name, variable in self.operator.variables().items():
            dist: Dist = getattr(self.operator, name)
            address = f"{scope}.{self.label}.{name}"
            yield Column(address, dist, variable, when=when, constant=is_constant(dist))

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        if not len(rows):
            return
        fields = self._fields(scope, plan)
        table = self._constants[None].repeat(len(rows), 0)
        if len(fields.own):
            table[:, fields.own] = plan.values[rows[:, None], fields.places]
        draw = Draw(self.operator, table, plan.key[rows], address=fields.address)
        calls = self.operator.lower(draw, program.samples(rows))
        program.add(fields.address, rows, calls)

    def extent(self, before: Extent, scale: int) -> Extent:
        return before.after(self.operator, self.label, scale)

    def body(self) -> Any:
        return self.operator.model_dump(exclude_defaults=True) or None


@dataclass(frozen=True)
class Maybe(Node):
    """Runs a node with probability ``p``.

    Args:
        node: Gives its label, kind and body.
        p: A probability below 1.
    """

    node: Node
    p: float

    @property
    def kind(self) -> str:
        return self.node.kind

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.node,)

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        address = f"{scope}.{self.label}.p"
        runs = Column(address, Bernoulli(self.p), StepProbability(), when=when)
        yield runs
        yield from self.node.columns(scope, Condition(runs, 1))

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        runs = plan[f"{scope}.{self.label}.p"][rows] == 1
        self.node.lower(program, plan, scope, rows[runs])

    def extent(self, before: Extent, scale: int) -> Extent:
        return before | self.node.extent(before, scale)

    def body(self) -> Any:
        return self.node.body()

    def dump(self) -> dict[str, Any]:
        data = self.node.dump()
        body = data.pop(self.kind)
        return {**data, "p": self.p, self.kind: body}


@dataclass(frozen=True)
class Sequence(Node):
    """Runs several nodes, one after the other."""

    nodes: tuple[Node, ...]

    keyword: ClassVar[str] = "steps"

    @property
    def children(self) -> tuple[Node, ...]:
        return self.nodes

    def columns(self, scope: str, when: Condition | None = None) -> Iterator[Column]:
        for node in self.nodes:
            yield from node.columns(scope, when)

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        for node in self.nodes:
            node.lower(program, plan, scope, rows)

    def extent(self, before: Extent, scale: int) -> Extent:
        return sequence_extent(self.nodes, before, scale)

    def body(self) -> Any:
        return [node.dump() for node in self.nodes]


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

    def extent(self, before: Extent, scale: int) -> Extent:
        least = int(self.times.support[0])
        for i in range(self.most):
            after = self.steps.extent(before, scale)
            before = after if i < least else before | after
        return before

    def body(self) -> Any:
        return {"times": self.times.dump(), "steps": self.steps.body()}


def sequence_extent(nodes: tuple[Node, ...], before: Extent, scale: int) -> Extent:
    """The extent after several nodes in this order."""
    for node in nodes:
        before = node.extent(before, scale)
    return before


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
