"""The tree of a recipe: operators in sequence, each perhaps with a probability.

A node declares its random variables (:meth:`Node.columns`), lowers a plan to the calls of a
program (:meth:`Node.lower`) and knows in advance which image sizes it may leave
(:meth:`Node.extent`). Samples that take different branches (:mod:`degrade.control`) get different
calls; no branch is computed and masked.

Addresses: a step's random variables are called ``stage.label.field``, whatever groups surround it,
and its probability ``stage.label.p``. Labels are unique within a stage, except across the branches
of a ``one_of``, of which a sample takes one.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from degrade.base import Draw, Operator, constants
from degrade.distributions import Bernoulli, Dist, is_constant
from degrade.extent import Extent
from degrade.fields import Probability
from degrade.lowering import Code
from degrade.plan import Column, Condition, Plan
from degrade.program import Program

__all__ = ["Maybe", "Node", "Rows", "Sequence", "Step", "operators", "sequence_extent"]

Rows = NDArray[np.intp]


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
    def encode(self, code: Code, scope: str) -> None:
        """Write the same down for native code."""

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
    def _own(self) -> bool:
        """Whether the operator comes with degrade, whose calls are right by construction."""
        return type(self.operator).__module__.startswith("degrade.ops.")

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
        program.add(fields.address, rows, calls, check=not self._own)

    def encode(self, code: Code, scope: str) -> None:
        code.step(self.operator, f"{scope}.{self.label}", self._own)

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

    def encode(self, code: Code, scope: str) -> None:
        with code.guard(f"{scope}.{self.label}.p", 1):
            self.node.encode(code, scope)

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

    def encode(self, code: Code, scope: str) -> None:
        for node in self.nodes:
            node.encode(code, scope)

    def extent(self, before: Extent, scale: int) -> Extent:
        return sequence_extent(self.nodes, before, scale)

    def body(self) -> Any:
        return [node.dump() for node in self.nodes]


def sequence_extent(nodes: tuple[Node, ...], before: Extent, scale: int) -> Extent:
    """The extent after several nodes in this order."""
    for node in nodes:
        before = node.extent(before, scale)
    return before


def operators(node: Node) -> Iterator[Operator]:
    """Yields the operators of a tree, in the order of the recipe."""
    if isinstance(node, Step):
        yield node.operator
    for child in node.children:
        yield from operators(child)
