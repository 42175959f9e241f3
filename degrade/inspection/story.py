"""What was drawn for a sample, for people: the values that act, orders by the steps' names."""

from __future__ import annotations

from collections.abc import Iterator

from degrade.control import OneOf, Repeat, Shuffle
from degrade.nodes import Maybe, Node, Step
from degrade.plan import Plan
from degrade.recipe import Recipe

__all__ = ["acting_values", "drawn_values"]


def acting_values(recipe: Recipe, plan: Plan, i: int) -> dict[str, str]:
    """Return the values drawn for row ``i`` by address, without those that another makes
    irrelevant, as the second axis of an isotropic kernel.
    """
    cells = plan.row(i, precise=False)
    for stage in (recipe.hr, *recipe.stages):
        for address, node in _run(stage, stage.label, plan, i):
            if isinstance(node, Shuffle):
                order = node.order(int(plan[address][i]))
                cells[address] = ", ".join(node.nodes[j].label for j in order)
            elif isinstance(node, Step):
                names = node.operator.variables()
                drawn = {
                    name: cells[f"{address}.{name}"]
                    for name in names
                    if f"{address}.{name}" in cells
                }
                for name in node.operator.idle(drawn):
                    cells.pop(f"{address}.{name}", None)
    return cells


def _run(node: Node, scope: str, plan: Plan, i: int) -> Iterator[tuple[str, Node]]:
    """The steps and shuffles that row ``i`` runs, with their addresses."""
    here = f"{scope}.{node.label}"
    if isinstance(node, Maybe):
        if plan[f"{here}.p"][i] == 1:
            yield from _run(node.node, scope, plan, i)
    elif isinstance(node, OneOf):
        yield from _run(node.branches[int(plan[here][i])], scope, plan, i)
    elif isinstance(node, Repeat):
        times = f"{here}.times"
        count = int(plan[times][i]) if times in plan else node.most
        for k in range(count):
            yield from _run(node.steps, f"{here}[{k}]", plan, i)
    else:
        if isinstance(node, Step | Shuffle):
            yield here, node
        for inner in node.children:
            yield from _run(inner, scope, plan, i)


def drawn_values(recipe: Recipe, plan: Plan, i: int) -> tuple[str, ...]:
    """Return the values drawn for row ``i``, a line a step: ``first.jpeg: quality 62``. Steps that
    did not run, and values that do not act, are left out.
    """
    cells = acting_values(recipe, plan, i)
    lines: dict[str, list[str]] = {}
    for address, value in cells.items():
        step, _, field = address.rpartition(".")
        if field == "p":
            continue
        if step in cells or "." not in step:
            step, field = address, ""
        lines.setdefault(step, []).append(f"{field} {value}".strip())
    return tuple(f"{step}: {', '.join(values)}" for step, values in lines.items())
