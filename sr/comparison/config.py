"""The settings of a comparison, from a YAML file and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degrade.errors import UserError
from sr.training.config import read_yaml

__all__ = ["BICUBIC", "Comparison", "change", "read_comparison"]

BICUBIC = "bicubic"


Names = tuple[str, ...]


class Comparison(BaseModel):
    """What to compare; also the YAML file of ``sr compare --config``.

    Args:
        models: ``bicubic``, methods of ``sr train``, and checkpoints (files, runs' folders,
            packaged names).
        train: Recipes that the methods are trained on.
        test: Recipes that make the LR images to judge on.
        data: HR images to train on: folders, files or globs.
        val: HR images to judge on; never trained on.
        scale: HR size / LR size.
        steps: Optimiser steps of every run; by default the method's.
        seeds: Runs of every cell, with seeds 0, 1, ..; values are means over them.
        seed: Of the test images' draws.
        out: Where runs and results go.
        device: Of ``sr train``.
        reuse: Checkpoints, runs' folders or folders of such, taken for a cell whose method, recipe
            hash, scale and seed they have, whatever their other settings.
        settings: Of a method's runs: ``{"srcnn": {"batch": 8, "model.kernels": [9, 1, 5]}}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Annotated[Names, Field(min_length=1)] = (BICUBIC, "srcnn", "srresnet")
    train: Names = ("bicubic", "bsrgan", "realesrgan")
    test: Annotated[Names, Field(min_length=1)] = (
        "bicubic",
        "realesrgan_light",
        "bsrgan",
        "realesrgan",
    )
    data: Names = ()
    val: str = ""
    scale: Annotated[int, Field(ge=1, le=8)] = 4
    steps: Annotated[int, Field(ge=1)] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    seed: int = 0
    out: str = "comparison"
    device: str = "auto"
    reuse: Names = ()
    settings: dict[str, dict[str, Any]] = {}


def read_comparison(file: str | Path | None, flags: Mapping[str, Any]) -> Comparison:
    """From a YAML file and flags, which go first; a flag that is None is not given. Raises
    UserError.
    """
    data = read_yaml(file) if file is not None else {}
    data.update({name: value for name, value in flags.items() if value is not None})
    try:
        return Comparison.model_validate(data)
    except ValidationError as error:
        lines = (
            f"{'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r})"
            for e in error.errors()
        )
        raise UserError("\n".join(lines)) from None


def change(comparison: Comparison, changes: Mapping[str, Any]) -> Comparison:
    """With other settings: ``{"srcnn.batch": 8}``. Raises UserError for a change of no model."""
    settings = {model: dict(values) for model, values in comparison.settings.items()}
    for address, value in changes.items():
        model, _, name = address.partition(".")
        if model not in comparison.models or not name:
            raise UserError(
                f"{address}: should begin with one of {', '.join(comparison.models)} and a dot"
            )
        settings.setdefault(model, {})[name] = value
    return comparison.model_copy(update={"settings": settings})
