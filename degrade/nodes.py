"""The tree of a recipe: operators, and the control that arranges them.

A node has two lives. :meth:`Node.draw` fills a plan: it decides, per sample, whether and in what
order things happen. :meth:`Node.run` works the pixels and only looks up what was decided. Rows
that go different ways are taken from the canvas by host-made indices and put back; nothing is
computed to be thrown away.

Addresses: a step's random variables are called ``stage.label.field``, whatever groups stand in
between, and its gate ``stage.label.p``. Labels are unique within a stage, except across the
branches of a ``one_of``, of which a sample sees one.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from degrade.base import Draw, Operator, Size
from degrade.canvas import Canvas
from degrade.distributions import Bernoulli, Choice, Const, Dist, Integers
from degrade.fields import Chance, OneOf, Range, Variable
from degrade.limits import PATCH, VARIABLE, max_pixels
from degrade.plan import Column, Plan, Sheet
from degrade.program import Program

__all__ = ["Node", "Pick", "Repeat", "Shuffle", "SizeError", "Sizes", "Step", "Steps", "Watch"]

Active = NDArray[np.bool_]
Rows = NDArray[np.intp]
Watch = Callable[[str, Canvas], None]
"""Called with a step's address and the canvas it left; for previews and benchmarks."""

Sizes = frozenset[Size]
"""The sizes that the images at some point of a recipe may have."""
CONTROL = ("steps", "one_of", "shuffle", "repeat")
"""The YAML keys of nodes that are no operators."""
TIMES = Range(0, 20, whole=True)
"""How often a ``repeat`` may go round."""


class SizeError(ValueError):
    """An operator that meets, or may meet, a size that it cannot work on.

    Args:
        label: Its label.
        message: What is wrong, and the remedy.
    """

    def __init__(self, label: str, message: str) -> None:
        super().__init__(f"{label}: {message}")
        self.label, self.message = label, message


@dataclass(frozen=True)
class Gate(Chance):
    """Whether a step runs. The more severe the plan, the more steps run."""

    def level(self, dist: Dist, severity: float) -> float:
        return math.nextafter(1 - severity, 0)


@dataclass(frozen=True)
class Order(Variable):
    """A permutation of ``count`` steps, by its rank among all of them."""

    count: int

    def check(self, data: Any) -> Dist:
        raise NotImplementedError("an order is no operator's field")

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        raise NotImplementedError("an order is no operator's field")

    def describe(self) -> str:
        return f"an order of {self.count} steps"

    def label(self, value: float) -> str:
        return "-".join(str(place + 1) for place in permutation(int(value), self.count))

    def write(self, value: float) -> str:
        return str(int(value))

    def read(self, text: str) -> float:
        rank = int(text)
        if not 0 <= rank < math.factorial(self.count):
            raise ValueError(text)
        return float(rank)

    def level(self, dist: Dist, severity: float) -> float:
        return 0.0


@dataclass(frozen=True)
class Node(ABC):
    """A part of a recipe.

    Args:
        label: Its name within the stage.
        p: The probability that it happens at all.
    """

    key: ClassVar[str] = ""
    label: str
    p: float = field(default=1.0, kw_only=True)

    @abstractmethod
    def columns(self, scope: str) -> Iterator[Column]:
        """The random variables inside, without the gate."""

    @abstractmethod
    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        """Draws the variables inside for the active rows."""

    @abstractmethod
    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        """Degrades all rows as their plan says."""

    @abstractmethod
    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        """Adds the calls."""

    def lower(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        if self.p < 1:
            rows = rows[plan[f"{scope}.{self.label}.p"][rows] == 1]
        if len(rows):
            self.emit(program, plan, scope, rows)

    @abstractmethod
    def resize(self, before: Sizes, scale: int) -> Sizes:
        """The sizes that may come of :meth:`work`. Raises SizeError."""

    @abstractmethod
    def grow(self, before: int, scale: int) -> int:
        """As :meth:`side`, without the gate."""

    @abstractmethod
    def body(self) -> Any:
        """The YAML data under :attr:`kind`."""

    @property
    def kind(self) -> str:
        """The YAML key: an operator's name, or ``steps``, ``one_of``, ``shuffle``, ``repeat``."""
        return self.key

    def variables(self, scope: str) -> Iterator[Column]:
        if self.p < 1:
            yield Column(f"{scope}.{self.label}.p", Bernoulli(self.p), Gate())
        yield from self.columns(scope)

    def draw(self, sheet: Sheet, scope: str, active: Active) -> None:
        if self.p < 1:
            active = active & (
                sheet.draw(f"{scope}.{self.label}.p", Bernoulli(self.p), Gate(), active) == 1
            )
        self.decide(sheet, scope, active)

    def run(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None = None) -> Canvas:
        if self.p == 1:
            return self.work(canvas, plan, scope, watch)
        return on_rows(
            plan[f"{scope}.{self.label}.p"] == 1,
            canvas,
            plan,
            lambda c, q: self.work(c, q, scope, watch),
        )

    def size(self, before: Sizes, scale: int) -> Sizes:
        """The sizes that may be left, at this scale, of images that may have those ``before``.
        Raises SizeError.
        """
        after = self.resize(before, scale)
        return after if self.p == 1 else after | before

    def side(self, before: int, scale: int) -> int:
        """The most pixels that may be left of a side of at most ``before``. Raises SizeError
        beyond the limit.
        """
        after = self.grow(before, scale)
        return after if self.p == 1 else max(after, before)

    def dump(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if self.label != self.kind:
            data["as"] = self.label
        if self.p < 1:
            data["p"] = self.p
        return {**data, self.kind: self.body()}


@dataclass(frozen=True)
class Step(Node):
    """One operator."""

    operator: Operator

    @property
    def kind(self) -> str:
        return self.operator.name

    @functools.cached_property
    def _known(self) -> dict[str, tuple[str, list[tuple[str, str]]]]:
        return {}

    def _addresses(self, scope: str) -> tuple[str, list[tuple[str, str]]]:
        """Its address and its variables', by name; joined once, because they are asked for with
        every image.
        """
        if scope not in self._known:
            here = f"{scope}.{self.label}"
            self._known[scope] = (
                here,
                [(name, f"{here}.{name}") for name in self.operator.variables()],
            )
        return self._known[scope]

    def columns(self, scope: str) -> Iterator[Column]:
        for name, variable in self.operator.variables().items():
            dist: Dist = getattr(self.operator, name)
            if not fixed(dist):
                yield Column(f"{scope}.{self.label}.{name}", dist, variable)

    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        for name, variable in self.operator.variables().items():
            address = f"{scope}.{self.label}.{name}"
            if address in sheet.plan:
                sheet.draw(address, getattr(self.operator, name), variable, active)

    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        here, addresses = self._addresses(scope)
        values = {name: plan[address][rows] for name, address in addresses if address in plan}
        draw = Draw(self.operator, values, plan.key[rows], address=here)
        program.add(here, rows, self.operator.lower(draw, program.samples(rows)))

    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        here, addresses = self._addresses(scope)
        values = {name: plan[address] for name, address in addresses if address in plan}
        canvas = self.operator.apply(canvas, Draw(self.operator, values, plan.key, canvas, here))
        if watch is not None:
            watch(here, canvas)
        return canvas

    def resize(self, before: Sizes, scale: int) -> Sizes:
        try:
            return frozenset(self.operator.size_after(size, scale) for size in before)
        except ValueError as error:
            raise SizeError(self.label, str(error)) from None

    def grow(self, before: int, scale: int) -> int:
        after = self.operator.side_after(before, scale)
        if after > before and after**2 > max_pixels():
            raise SizeError(
                self.label,
                f"may make {after} x {after} pixels of an HR patch of {PATCH} x {PATCH}; the limit is "
                f"{max_pixels():,}; lower its factor, or set {VARIABLE}",
            )
        return after

    def body(self) -> Any:
        return self.operator.model_dump(exclude_defaults=True) or None


@dataclass(frozen=True)
class Steps(Node):
    """Several nodes, one after the other."""

    nodes: tuple[Node, ...]

    key: ClassVar[str] = "steps"

    def columns(self, scope: str) -> Iterator[Column]:
        for node in self.nodes:
            yield from node.variables(scope)

    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        for node in self.nodes:
            node.draw(sheet, scope, active)

    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        for node in self.nodes:
            node.lower(program, plan, scope, rows)

    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        for node in self.nodes:
            canvas = node.run(canvas, plan, scope, watch)
        return canvas

    def resize(self, before: Sizes, scale: int) -> Sizes:
        for node in self.nodes:
            before = node.size(before, scale)
        return before

    def grow(self, before: int, scale: int) -> int:
        return functools.reduce(lambda side, node: node.side(side, scale), self.nodes, before)

    def body(self) -> Any:
        return [node.dump() for node in self.nodes]


@dataclass(frozen=True)
class Pick(Node):
    """``one_of``: exactly one branch, with these weights (they sum to 1)."""

    branches: tuple[Node, ...]
    weights: tuple[float, ...]

    key: ClassVar[str] = "one_of"

    @property
    def _variable(self) -> OneOf:
        names: list[str] = []
        for branch in self.branches:
            again = sum(name.split(" ")[0] == branch.label for name in names)
            names.append(f"{branch.label} {again + 1}" if again else branch.label)
        return OneOf(tuple(names))

    def columns(self, scope: str) -> Iterator[Column]:
        variable = self._variable
        yield Column(f"{scope}.{self.label}", Choice(variable.options, self.weights), variable)
        for branch in self.branches:
            yield from branch.variables(scope)

    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        variable = self._variable
        chosen = sheet.draw(
            f"{scope}.{self.label}", Choice(variable.options, self.weights), variable, active
        )
        for j, branch in enumerate(self.branches):
            branch.draw(sheet, scope, active & (chosen == j))

    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        chosen = plan[f"{scope}.{self.label}"][rows]
        for j in sorted(set(chosen.tolist())):
            self.branches[int(j)].lower(program, plan, scope, rows[chosen == j])

    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        chosen = plan[f"{scope}.{self.label}"]
        for j in sorted(set(chosen.tolist())):
            branch = self.branches[int(j)]
            canvas = on_rows(
                chosen == j, canvas, plan, lambda c, q, b=branch: b.run(c, q, scope, watch)
            )
        return canvas

    def resize(self, before: Sizes, scale: int) -> Sizes:
        return frozenset[Size]().union(*(branch.size(before, scale) for branch in self.branches))

    def grow(self, before: int, scale: int) -> int:
        return max(branch.side(before, scale) for branch in self.branches)

    def body(self) -> Any:
        return [{"p": w, **b.dump()} for w, b in zip(self.weights, self.branches, strict=True)]


@dataclass(frozen=True)
class Shuffle(Node):
    """All nodes, in an order drawn per sample; those labelled in ``ordered`` keep theirs among
    themselves.

    A uniformly drawn permutation is mended by sorting the places that the ordered nodes hold,
    which leaves every allowed order equally likely.
    """

    nodes: tuple[Node, ...]
    ordered: tuple[str, ...] = ()

    key: ClassVar[str] = "shuffle"

    def columns(self, scope: str) -> Iterator[Column]:
        count = len(self.nodes)
        yield Column(f"{scope}.{self.label}", Integers(0, math.factorial(count) - 1), Order(count))
        for node in self.nodes:
            yield from node.variables(scope)

    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        count = len(self.nodes)
        sheet.draw(
            f"{scope}.{self.label}", Integers(0, math.factorial(count) - 1), Order(count), active
        )
        for node in self.nodes:
            node.draw(sheet, scope, active)

    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        orders = [self.order(int(rank)) for rank in plan[f"{scope}.{self.label}"][rows]]
        for place in zip(*orders, strict=True):
            for j in sorted(set(place)):
                self.nodes[j].lower(program, plan, scope, rows[np.array(place) == j])

    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        orders = [self.order(int(rank)) for rank in plan[f"{scope}.{self.label}"]]
        for place in zip(*orders, strict=True):
            for j in sorted(set(place)):
                node = self.nodes[j]
                chosen = np.array(place) == j
                canvas = on_rows(
                    chosen, canvas, plan, lambda c, q, n=node: n.run(c, q, scope, watch)
                )
        return canvas

    def order(self, rank: int) -> list[int]:
        """The nodes' places in the order of this rank."""
        order = permutation(rank, len(self.nodes))
        kept = {j for j, node in enumerate(self.nodes) if node.label in self.ordered}
        ascending = iter(sorted(kept))
        return [next(ascending) if j in kept else j for j in order]

    def orders(self, scale: int) -> Iterator[tuple[Node, ...]]:
        """The allowed orders of the nodes that change sizes."""
        movers = [node for node in self.nodes if moves(node, scale)]
        kept = [node for node in movers if node.label in self.ordered]
        return (
            order
            for order in itertools.permutations(movers)
            if [node for node in order if node in kept] == kept
        )

    def resize(self, before: Sizes, scale: int) -> Sizes:
        """Whatever may come of any allowed order of the nodes that change sizes."""
        if shuffled(self, scale) > 6:
            raise SizeError(self.label, "more than 6 of its steps change the size; take some out")
        after: Sizes = frozenset()
        for order in self.orders(scale):
            after |= functools.reduce(lambda sizes, node: node.size(sizes, scale), order, before)
        return after

    def grow(self, before: int, scale: int) -> int:
        orders = self.orders(scale)
        return max(
            functools.reduce(lambda side, node: node.side(side, scale), order, before)
            for order in orders
        )

    def body(self) -> Any:
        nodes = [node.dump() for node in self.nodes]
        return {"steps": nodes, "ordered": list(self.ordered)} if self.ordered else nodes


@dataclass(frozen=True)
class Repeat(Node):
    """The nodes again and again, a whole number of times drawn per sample, every round with
    draws of its own.
    """

    times: Dist
    steps: Steps

    key: ClassVar[str] = "repeat"

    @property
    def rounds(self) -> tuple[Steps, ...]:
        """As many as there may be."""
        return (self.steps,) * int(self.times.support[1])

    def columns(self, scope: str) -> Iterator[Column]:
        if not fixed(self.times):
            yield Column(f"{scope}.{self.label}.times", self.times, TIMES)
        for i, steps in enumerate(self.rounds):
            yield from steps.variables(f"{scope}.{self.label}[{i}]")

    def decide(self, sheet: Sheet, scope: str, active: Active) -> None:
        address = f"{scope}.{self.label}.times"
        times = sheet.draw(address, self.times, TIMES, active) if address in sheet.plan else None
        for i, steps in enumerate(self.rounds):
            steps.draw(
                sheet,
                f"{scope}.{self.label}[{i}]",
                active if times is None else active & (times > i),
            )

    def emit(self, program: Program, plan: Plan, scope: str, rows: Rows) -> None:
        address = f"{scope}.{self.label}.times"
        times = plan[address][rows] if address in plan else np.full(len(rows), len(self.rounds))
        for i, steps in enumerate(self.rounds):
            steps.lower(program, plan, f"{scope}.{self.label}[{i}]", rows[times > i])

    def work(self, canvas: Canvas, plan: Plan, scope: str, watch: Watch | None) -> Canvas:
        address = f"{scope}.{self.label}.times"
        times = plan[address] if address in plan else np.full(len(plan), len(self.rounds))
        for i, steps in enumerate(self.rounds):
            here = f"{scope}.{self.label}[{i}]"
            canvas = on_rows(
                times > i, canvas, plan, lambda c, q, s=steps, h=here: s.run(c, q, h, watch)
            )
        return canvas

    def resize(self, before: Sizes, scale: int) -> Sizes:
        certain = int(self.times.support[0])
        for i, steps in enumerate(self.rounds):
            after = steps.size(before, scale)
            before = after if i < certain else after | before
        return before

    def grow(self, before: int, scale: int) -> int:
        certain = int(self.times.support[0])
        for i, steps in enumerate(self.rounds):
            after = steps.side(before, scale)
            before = after if i < certain else max(after, before)
        return before

    def body(self) -> Any:
        return {"times": self.times.dump(), "steps": self.steps.body()}


def moves(node: Node, scale: int) -> bool:
    """Whether a node changes the size of some image."""
    known: tuple[Size, ...] = (1, scale, None)
    try:
        return any(node.size(frozenset({size}), scale) != frozenset({size}) for size in known)
    except SizeError:
        return True


def shuffled(node: Node, scale: int) -> int:
    """How many steps that change sizes are put in order together, in a shuffle and those inside
    it.
    """
    match node:
        case Pick():
            parts = node.branches
        case Repeat():
            parts = (node.steps,)
        case Steps() | Shuffle():
            parts = node.nodes
        case _:
            return int(moves(node, scale))
    counts = [shuffled(part, scale) for part in parts]
    return sum(counts) if isinstance(node, Shuffle) else max(counts, default=0)


def fixed(dist: Dist) -> bool:
    """Whether a distribution has one value only, and so draws nothing."""
    return isinstance(dist, Const) or (isinstance(dist, Choice) and len(dist.values) == 1)


def permutation(rank: int, count: int) -> list[int]:
    """The permutation of 0 ... count-1 that is number ``rank`` in lexicographic order (Lehmer
    code).
    """
    left = list(range(count))
    order: list[int] = []
    for place in range(count, 0, -1):
        block = math.factorial(place - 1)
        order.append(left.pop(rank // block % place))
    return order


def on_rows(
    chosen: Active, canvas: Canvas, plan: Plan, work: Callable[[Canvas, Plan], Canvas]
) -> Canvas:
    """Works only the chosen rows and puts them back."""
    count = np.count_nonzero(chosen)
    if count == len(chosen):
        return work(canvas, plan)
    if count == 0:
        return canvas
    rows = np.flatnonzero(chosen)
    return canvas.put(rows, work(canvas.take(rows), plan.take(rows)))
