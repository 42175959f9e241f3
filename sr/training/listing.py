"""Settings in words: values, default and meaning of each, for ``sr settings``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, cast, get_args, get_origin

import annotated_types
import yaml
from pydantic.fields import FieldInfo

from sr.models import DISCRIMINATORS, MODELS
from sr.training.config import configure
from sr.training.reading import Settings

__all__ = ["Setting", "list_settings", "values"]


class Setting(NamedTuple):
    """A setting.

    Args:
        name: As ``--set`` takes it.
        values: Type and range.
        default: The method's, as YAML.
        meaning: A sentence or more; empty for those of a model, which its documentation has.
    """

    name: str
    values: str
    default: str
    meaning: str


def list_settings(method: str) -> Iterator[Setting]:
    """Yield all settings of ``sr train METHOD``, those of its model and its discriminator last.

    Raises:
        UserError: There is no such method.
    """
    config = configure(method, {})
    gan = config.trainer == "gan"
    for setting in _fields(config, ""):
        if gan or not setting.name.startswith("gan."):
            yield setting
    yield from _arguments(MODELS.find(config.architecture), "model.", config.model)
    if gan:
        build = DISCRIMINATORS.find(config.gan.architecture)
        yield from _arguments(build, "gan.discriminator.", config.gan.discriminator)


def values(field: FieldInfo) -> str:
    """Return the type and range of a field.

    >>> from sr.training.settings import Config
    >>> values(Config.model_fields["rate"]), values(Config.model_fields["ema"])
    ('float > 0', 'float >= 0, < 1')
    >>> values(Config.model_fields["milestones"])
    'list of (float >= 0, <= 1)'
    """
    return _values(field.annotation, field.metadata)


def _fields(settings: Settings, prefix: str) -> Iterator[Setting]:
    meanings = _meanings(type(settings))
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from _fields(value, f"{prefix}{name}.")
        elif name not in ("method", "model", "discriminator"):
            yield Setting(f"{prefix}{name}", values(field), _yaml(value), meanings.get(name, ""))


def _arguments(
    constructor: Callable[..., Any], prefix: str, given: Mapping[str, Any]
) -> Iterator[Setting]:
    """The settings of a constructor, but for the scale, which the run has."""
    meanings = _meanings(constructor)
    try:
        found = inspect.signature(constructor, eval_str=True)
    except NameError:  # a type that is only there for the type checker
        found = inspect.signature(constructor)
    for name, one in found.parameters.items():
        default = given.get(name, one.default)
        if name != "scale" and default is not one.empty:
            words = _values(one.annotation, [])
            yield Setting(f"{prefix}{name}", words, _yaml(default), meanings.get(name, ""))


def _meanings(kind: Any) -> dict[str, str]:
    """What the docstring says of each argument."""
    found = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.getdoc(kind) or "", re.M)
    items = re.split(r"^    (?=\w+: )", found[1], flags=re.M) if found else []
    pairs = (item.partition(": ") for item in items if item)
    return {name: " ".join(text.replace("``", "").split()) for name, _, text in pairs}


def _values(kind: Any, constraints: list[Any]) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _values(parts[0], [*_flat(parts[1:])])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, UnionType):
        words = [_values(part, []) for part in parts if part is not NoneType]
        return " | ".join([*words, *["null"] * (NoneType in parts)])
    if origin in (tuple, Sequence):
        return f"list of {_grouped(_values(parts[0], []))}"
    if origin is dict:
        return f"mapping of names to {_grouped(_values(parts[1], []))}"
    if kind is Any or not isinstance(kind, type) or kind is inspect.Parameter.empty:
        return "any value"
    words = [f"{sign} {bound}" for sign, bound in _bounds(constraints)]
    return f"{kind.__name__} {', '.join(words)}".strip()


def _grouped(words: str) -> str:
    return f"({words})" if " " in words else words


def _bounds(constraints: list[Any]) -> Iterator[tuple[str, Any]]:
    for constraint in constraints:
        match constraint:
            case annotated_types.Ge(bound):
                yield ">=", bound
            case annotated_types.Gt(bound):
                yield ">", bound
            case annotated_types.Le(bound):
                yield "<=", bound
            case annotated_types.Lt(bound):
                yield "<", bound
            case _:
                pass


def _flat(constraints: tuple[Any, ...]) -> Iterator[Any]:
    """Constraints, those of a ``Field`` one by one."""
    for constraint in constraints:
        yield from constraint.metadata if isinstance(constraint, FieldInfo) else [constraint]


def _yaml(value: Any) -> str:
    plain = [*cast(tuple[Any, ...], value)] if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6)
    return text.strip().removesuffix("...").strip()
