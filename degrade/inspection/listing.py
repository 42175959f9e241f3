"""The catalogue: recipes and operators in words, for ``degrade list``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table

import degrade.ops as ops
from degrade.base import REGISTRY, Operator
from degrade.distributions import Dist
from degrade.errors import UserError, close
from degrade.loading.positions import compose
from degrade.loading.search_path import locate, names
from degrade.shorthand import dump

__all__ = ["fields", "print_catalogue"]


def print_catalogue(console: Console, what: str | None = None) -> None:
    """Prints all recipes and operators, or one of them whole. Raises UserError for an unknown
    name.
    """
    ops.discover()
    if what is None:
        console.print(_recipes())
        console.print(_operators(list(REGISTRY)))
    elif what in REGISTRY:
        console.print(f"[b]{what}[/b]\n{inspect.getdoc(REGISTRY[what])}\n", soft_wrap=True)
        console.print(_operators([what]))
    elif what in names():
        console.print(locate(what).read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    else:
        raise UserError(f"{what}: no such recipe or operator{close(what, [*names(), *REGISTRY])}")


def fields(operator: type[Operator]) -> Iterator[tuple[str, str, str]]:
    """Name, admitted values and default of each field."""
    variables = operator.variables()
    for name, field in operator.model_fields.items():
        default = field.default
        if isinstance(default, Dist):
            shown = (
                yaml.safe_dump(dump(default), default_flow_style=True)
                .strip()
                .removesuffix("...")
                .strip()
            )
        else:
            shown = "required" if default is PydanticUndefined else str(default).lower()
        yield name, variables[name].describe() if name in variables else _setting(field), shown


def _setting(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if (
        get_origin(kind) is not None
        and get_args(kind)
        and all(isinstance(a, str) for a in get_args(kind))
    ):
        return "one of " + ", ".join(get_args(kind)) + " (fixed)"
    bounds = {
        type(m).__name__.lower(): next(iter(vars(m).values()), None)
        if hasattr(m, "__dict__")
        else None
        for m in field.metadata
    }
    low, high = (
        getattr(next((m for m in field.metadata if hasattr(m, k)), None), k, None)
        for k in ("ge", "le")
    )
    kind_name = getattr(kind, "__name__", str(kind))
    return (
        f"{kind_name} in [{low}, {high}] (fixed)"
        if bounds and low is not None
        else f"{kind_name} (fixed)"
    )


def _recipes() -> Table:
    table = Table(
        title="Recipes", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for heading in ("name", "scale", "what"):
        table.add_column(heading, no_wrap=heading != "what")
    for name in names():
        data = compose(locate(name).read_text(encoding="utf-8"), name).data
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
        rows = list(fields(REGISTRY[name])) or [("", REGISTRY[name].summary(), "")]
        for i, row in enumerate(rows):
            table.add_row(f"[b]{name}[/b]" if i == 0 else "", *row)
    return table
