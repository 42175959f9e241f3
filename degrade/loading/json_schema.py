"""JSON schema of recipes, so that editors complete and check them while they are written."""

from __future__ import annotations

from typing import Any

import degrade.ops as ops
from degrade.base import REGISTRY
from degrade.control import CONTROL
from degrade.fields import Range

__all__ = ["recipe_schema"]

Schema = dict[str, Any]

STEPS: Schema = {"type": "array", "items": {"$ref": "#/$defs/Step"}}
DISTRIBUTION: Schema = {"$ref": "#/$defs/Distribution"}
NUMBER: Schema = {"$ref": "#/$defs/Number"}


def recipe_schema() -> Schema:
    """Returns the JSON schema (draft 2020-12) of a recipe file, from the registered operators."""
    ops.discover()
    changes = "changes to the steps of what this recipe extends"
    stage: Schema = {"anyOf": [STEPS, {"type": "object", "description": changes}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "degrade recipe",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "description": {"type": "string"},
            "scale": {
                "type": "integer",
                "minimum": 1,
                "maximum": 16,
                "description": "HR size / LR size",
            },
            "extends": {"type": "string", "description": "a recipe's name or file"},
            "import": {
                "type": ["string", "array"],
                "items": {"type": "string"},
                "description": "modules of operators that it needs; named in the error if they"
                " were not given with --import, never imported by the recipe",
            },
            "define": {"description": "anchors for use below; otherwise ignored"},
            "hr": {**stage, "description": "makes the target from the HR image"},
        },
        "additionalProperties": stage,
        "$defs": {
            "Distribution": _distribution(),
            "Number": _number(),
            **_operators(),
            "Step": _step([*REGISTRY, *CONTROL]),
            "Steps": STEPS,
            **_control(),
        },
    }


def _operators() -> Schema:
    """The bodies of all operators, and the definitions that they refer to."""
    definitions: Schema = {}
    for name, operator in REGISTRY.items():
        body = operator.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= body.pop("$defs", {})
        for field, variable in operator.variables().items():
            if isinstance(variable, Range):
                # Added here: pydantic resolves references, and knows only its own.
                body["properties"][field] |= DISTRIBUTION
        body["description"] = operator.summary()
        definitions[name] = {"anyOf": [body, {"type": "null"}]}
    return definitions


def _control() -> Schema:
    """The bodies of ``steps``, ``one_of``, ``shuffle`` and ``repeat``."""
    shuffled: Schema = {
        "type": "object",
        "properties": {
            "steps": STEPS,
            "ordered": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["steps"],
        "additionalProperties": False,
    }
    return {
        "steps": STEPS,
        "one_of": {
            **STEPS,
            "minItems": 1,
            "description": "exactly one of these, by their weights p",
        },
        "shuffle": {
            "description": "all of these, in an order drawn per sample",
            "anyOf": [{**STEPS, "minItems": 2}, shuffled],
        },
        "repeat": {
            "type": "object",
            "properties": {"times": DISTRIBUTION, "steps": STEPS},
            "required": ["times", "steps"],
            "additionalProperties": False,
        },
    }


def _step(kinds: list[str]) -> Schema:
    """A step: the name of its kind, or a mapping of the kind to its body."""
    weight = "probability of the step; in one_of, the branch's weight"
    properties: Schema = {
        "p": {**NUMBER, "description": weight},
        "as": {"type": "string", "description": "its name in addresses"},
        **{name: {"$ref": f"#/$defs/{name}"} for name in kinds},
    }
    mapping: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }
    return {"anyOf": [{"enum": kinds}, mapping]}


def _number() -> Schema:
    """A number, or a string that is one: a fraction, ``1e-4``."""
    pattern = r"^[-+0-9.eE]+(/[0-9.]+)?$"
    return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}


def _distribution() -> Schema:
    """The shorthand of :mod:`degrade.shorthand`."""
    interval: Schema = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
    values: Schema = {"type": "array", "items": NUMBER}
    weighted: Schema = {"type": "object", "additionalProperties": NUMBER}
    part: Schema = {
        "type": "object",
        "properties": {"p": NUMBER, "of": DISTRIBUTION},
        "required": ["p", "of"],
    }
    normal: Schema = {
        "type": "object",
        "properties": dict.fromkeys(("mean", "std", "min", "max"), NUMBER),
    }
    kinds: Schema = {
        "any": {"anyOf": [values, weighted]},
        "integers": interval,
        "log_uniform": interval,
        "mix": {"type": "array", "items": part},
        "normal": normal,
        "sqrt": DISTRIBUTION,
        "reciprocal": DISTRIBUTION,
    }
    named: Schema = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {
        "description": "a number, [low, high], or a named distribution",
        "anyOf": [NUMBER, interval, named],
    }
