"""Reading of settings: one strict reader of YAML, finite numbers, all problems at once with their
lines.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from degrade.errors import Problem, RecipeError, close
from degrade.loading.positions import Document, compose, read_text

__all__ = ["Settings", "read_settings", "validate"]


class Settings(BaseModel):
    """Settings from YAML and flags. Numbers are finite, and no word that YAML reads as a Boolean
    is taken for a number: pydantic reads ``steps: yes`` as 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            return value  # checked by itself
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, bool) and kind is not bool:
                raise PydanticCustomError("word", "is a Boolean in YAML; quote it if it is text")
        if not _finite(value):
            raise PydanticCustomError("finite", "should be finite")
        return value


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def read_settings(file: str | Path | None) -> Document:
    """Read a mapping from a YAML file; None is an empty one. Raises RecipeError."""
    if file is None:
        return Document({}, {})
    document = compose(read_text(file), str(file))
    if not isinstance(document.data, dict):
        message = "should be a mapping of settings to values"
        raise RecipeError([Problem(str(file), 1, "", message)])
    return document


AnySettings = TypeVar("AnySettings", bound=Settings)


def validate(kind: type[AnySettings], data: Mapping[str, Any], document: Document) -> AnySettings:
    """Build settings from data. A problem of a value that stands in the document names its line.

    Raises:
        RecipeError: All problems at once.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [_problem(kind, one, document) for one in error.errors()]
        raise RecipeError(sorted(problems, key=lambda problem: problem.line)) from None


def _problem(kind: type[Settings], error: ErrorDetails, document: Document) -> Problem:
    path = tuple(part for part in error["loc"] if part != "[key]")
    *_, last = path or ("",)
    value = error["input"]
    message = f"{error['msg'].removeprefix('Input ')} (is {_shorten(value)})"
    if error["type"] == "value_error":  # ours, which names the value
        message = str(error.get("ctx", {})["error"])
    elif error["type"] == "dict_type":
        message = f"should be a mapping of names to values (is {_shorten(value)})"
    elif error["type"] == "extra_forbidden":
        group = kind.model_fields[str(path[0])].annotation if len(path) > 1 else kind
        known = (
            group.model_fields if isinstance(group, type) and issubclass(group, Settings) else {}
        )
        message = f"no such setting{close(str(last), [*known])}"
    written: Any = document.data
    for part in path:
        inside = isinstance(written, list) or (isinstance(written, dict) and part in written)
        written = cast("Any", written[part]) if inside else None
    # Of a key that is no text, the input is the key.
    is_written = written is value or error["type"] == "invalid_key"
    position = document.position(path) if is_written and path else ("", 0)
    return Problem(*position, ".".join(map(str, path)), message)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
