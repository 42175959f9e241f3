"""List recipes and operators, for ``degrade list``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.table import Table
from rich.text import Text

import degrade.ops as ops
from degrade.base import REGISTRY, Operator
from degrade.console import Console
from degrade.distributions import Dist
from degrade.errors import UserError, close
from degrade.loading.positions import compose, read_text
from degrade.loading.search_path import locate, names
from degrade.shorthand import dump

__all__ = ["field_rows", "print_listing"]


def print_listing(console: Console, what: str | None = None) -> None:
    """Print all recipes and operators, or all of one.

    Args:
        console: Where to print.
        what: An operator or a recipe; None lists all.

    Raises:
        UserError: An unknown name.
    """
    ops.discover()
    if what is None:
        console.print(_recipes())
        console.print(_operators(list(REGISTRY)))
    elif what in REGISTRY:
        console.print(what, style="bold")
        console.print(f"{inspect.getdoc(REGISTRY[what])}\n", soft_wrap=True)
        console.print(_operators([what]))
    elif what in names():
        console.print(read_text(locate(what)), soft_wrap=True)
    else:
        raise UserError(f"{what}: no such recipe or operator{close(what, [*names(), *REGISTRY])}")


def field_rows(operator: type[Operator]) -> Iterator[tuple[str, str, str]]:
    """Yield name, allowed values and default of each field of an operator."""
    variables = operator.variables()
    for name, field in operator.model_fields.items():
        values = variables[name].describe() if name in variables else _allowed_values(field)
        yield name, values, _default(field)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if not isinstance(field.default, Dist):
        return str(field.default).lower()
    text = yaml.safe_dump(dump(field.default), default_flow_style=True)
    return text.strip().removesuffix("...").strip()


def _allowed_values(field: FieldInfo) -> str:
    """Describe a field that is not random: its choices, or its type and range.

    >>> _allowed_values(FieldInfo(annotation=int))
    'int (fixed)'
    """
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)} (fixed)"
    kind = getattr(field.annotation, "__name__", str(field.annotation))
    low, high = _bound(field, "ge"), _bound(field, "le")
    return f"{kind} (fixed)" if low is None else f"{kind} in [{low}, {high}] (fixed)"


def _bound(field: FieldInfo, name: str) -> Any:
    """Return the constraint ``ge`` or ``le`` of a field, or None."""
    constraints = (getattr(constraint, name, None) for constraint in field.metadata)
    return next((bound for bound in constraints if bound is not None), None)


def _recipes() -> Table:
    table = Table(
        title="Recipes", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for heading in ("name", "scale", "what"):
        table.add_column(heading, no_wrap=heading != "what")
    for name in names():
        data = compose(read_text(locate(name)), name).data
        scale = data.get("scale", f"as {data.get('extends')}")
        table.add_row(name, str(scale), str(data.get("description", "")))
    return table


def _operators(wanted: list[str]) -> Table:
    table = Table(
        title="\nOperators", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for heading in ("operator", "field", "values", "default"):
        table.add_column(heading, no_wrap=heading in ("operator", "field"), overflow="fold")
    for name in wanted:
        rows = list(field_rows(REGISTRY[name])) or [("", REGISTRY[name].summary(), "")]
        for i, row in enumerate(rows):
            table.add_row(Text(name, "bold") if i == 0 else "", *row)
    return table
