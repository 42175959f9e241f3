"""JSON schema of recipes, so that editors complete and check them while they are written."""

from __future__ import annotations

from typing import Any

import degrade.ops as ops
from degrade.base import REGISTRY
from degrade.fields import Range
from degrade.nodes import CONTROL

__all__ = ["recipe_schema"]

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """The schema (draft 2020-12) of a recipe file, from the operators that are registered."""
    ops.discover()
    definitions: Schema = {"Distribution": _distribution(), "Number": _NUMBER}
    for name, operator in REGISTRY.items():
        body = operator.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= body.pop("$defs", {})
        for field, variable in operator.variables().items():
            if isinstance(variable, Range):
                # Added here, since pydantic follows references, and knows only its own.
                body["properties"][field]["$ref"] = "#/$defs/Distribution"
        body["description"] = operator.summary()
        definitions[name] = {"anyOf": [body, {"type": "null"}]}
    steps = {"type": "array", "items": {"$ref": "#/$defs/Step"}}
    definitions |= {
        "Step": _step([*REGISTRY, *CONTROL]),
        "Steps": steps,
        "steps": steps,
        "one_of": {
            **steps,
            "minItems": 1,
            "description": "exactly one of these, by their weights p",
        },
        "shuffle": {
            "description": "all of these, in an order drawn per sample",
            "anyOf": [
                {**steps, "minItems": 2},
                {
                    "type": "object",
                    "properties": {
                        "steps": steps,
                        "ordered": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["steps"],
                    "additionalProperties": False,
                },
            ],
        },
        "repeat": {
            "type": "object",
            "properties": {"times": {"$ref": "#/$defs/Distribution"}, "steps": steps},
            "required": ["times", "steps"],
            "additionalProperties": False,
        },
    }
    stage = {
        "anyOf": [
            steps,
            {"type": "object", "description": "changes to the steps of what this recipe extends"},
        ]
    }
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
            "define": {"description": "anchors for use below; otherwise ignored"},
            "hr": {**stage, "description": "makes the target from the HR image"},
        },
        "additionalProperties": stage,
        "$defs": definitions,
    }


def _step(kinds: list[str]) -> Schema:
    common = {
        "p": {
            "$ref": "#/$defs/Number",
            "description": "probability of the step; in one_of, the branch's weight",
        },
        "as": {"type": "string", "description": "its name in addresses"},
    }
    named = {name: {"$ref": f"#/$defs/{name}"} for name in kinds}
    return {
        "anyOf": [
            {"enum": kinds},
            {
                "type": "object",
                "properties": {**common, **named},
                "additionalProperties": False,
                "minProperties": 1,
            },
        ]
    }


_NUMBER: Schema = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-+0-9.eE]+(/[0-9.]+)?$"}]
}


def _distribution() -> Schema:
    this, number = {"$ref": "#/$defs/Distribution"}, {"$ref": "#/$defs/Number"}
    interval = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    part = {"type": "object", "properties": {"p": number, "of": this}, "required": ["p", "of"]}
    normal = {
        "type": "object",
        "properties": {name: number for name in ("mean", "std", "min", "max")},
    }
    kinds: Schema = {
        "any": {
            "anyOf": [
                {"type": "array", "items": number},
                {"type": "object", "additionalProperties": number},
            ]
        },
        "integers": interval,
        "log_uniform": interval,
        "mix": {"type": "array", "items": part},
        "normal": normal,
        "sqrt": this,
        "reciprocal": this,
    }
    one = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {
        "description": "a number, [low, high], or a named distribution",
        "anyOf": [number, interval, one],
    }
