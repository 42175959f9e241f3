"""Config of a training run: everything that its result depends on, as one YAML file.

.. math:: \\text{config} =
          \\text{the method's defaults} < \\text{file} < \\text{flags} < \\text{--set}

A method names a trainer and a model: ``srgan`` is the trainer ``gan`` of ``srresnet``,
``srresnet`` the trainer ``pixel`` of it. A trainer or a model alone is a method too.

Two runs of equal configs on equal data give the same weights, bit for bit on a CPU. Unknown names
and values out of range are errors before anything starts, all of them at once.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degrade.data.paired_folder import PairedFolder
from degrade.errors import UserError, close
from degrade.recipe import Recipe
from sr.examples import PAIRS
from sr.models import MODELS
from sr.training.presets import DEFAULTS
from sr.training.reading import Settings, read_settings, validate
from sr.training.settings import Config, Gan
from sr.training.trainers import BUILT_IN, TRAINERS

__all__ = [
    "DEFAULTS",
    "Config",
    "Gan",
    "Settings",
    "configure",
    "default_out",
    "method_defaults",
    "read_settings",
    "validate",
]

MOST_PIXELS = 2**30
"""HR pixels of a step, over all processes and accumulated parts: 12 GiB as float32."""

MOVED = {"perceptual": "gan.perceptual", "gan.init": "init", "generator": "architecture"}
"""Short and earlier names of settings."""


def method_defaults(method: str) -> dict[str, Any]:
    """Return the defaults of a method, a trainer or a model.

    >>> method_defaults("srgan")["architecture"]
    'srresnet'
    >>> method_defaults("rrdb")["trainer"]
    'pixel'

    Raises:
        UserError: It is none of them.
    """
    if method in DEFAULTS:
        return DEFAULTS[method]
    if TRAINERS.knows(method):
        return {**DEFAULTS["srgan" if method == "gan" else "srresnet"], "trainer": method}
    try:
        MODELS.find(method)
    except ValueError as error:
        known = [*DEFAULTS, *TRAINERS.names(), *MODELS.names()]
        message = str(error)
        if message.endswith(MODELS.wanted):
            message += f", and not a trainer: {TRAINERS.wanted}"
        elif ":" not in method and method not in known:
            message = (
                f"method {method!r}: unknown{close(method, [*dict.fromkeys(known)])} "
                "(MODULE:CLASS is a model or trainer of your own)"
            )
        raise UserError(message) from None
    return {**DEFAULTS["srresnet"], "architecture": method}


def configure(
    method: str,
    flags: Mapping[str, Any],
    file: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> Config:
    """Return the config of a run.

    Args:
        method: A method, a trainer or a model.
        flags: Fields by name; None means that a flag was not given.
        file: YAML of fields, such as a run's config.yaml.
        changes: Fields by dotted name, ``{"gan.perceptual": "none", "model.kernels": [9, 1, 5]}``.
            ``perceptual`` alone is short for the first.
        preset: Another method, whose defaults are used; a method that is a model stays the
            architecture.

    Raises:
        UserError: All problems at once.
    """
    data: dict[str, Any] = {**method_defaults(method), "method": method}
    if preset is not None:
        own = {name: data[name] for name in ("architecture", "model") if name in data}
        data = {**method_defaults(preset), "method": method}
        if MODELS.knows(method):
            data = {**data, "model": {}, **own}
    document = read_settings(file)
    read = document.data
    if read.get("method", method) != method:
        raise UserError(
            f"{file}: its method is {read['method']}, not {method}; use another --config"
        )
    data.update(read)
    data.update({name: value for name, value in flags.items() if value is not None})
    for address, value in (changes or {}).items():
        _put(data, address, value)
    _rename(data)
    data.setdefault("val", None if str(data.get("recipe")).startswith(PAIRS) else "samples")
    config = validate(Config, data, document)
    try:
        TRAINERS.find(config.trainer)
    except ValueError as error:
        raise UserError(str(error)) from None
    if config.options and config.trainer in BUILT_IN:
        raise UserError(
            f"options {', '.join(config.options)}: are of trainers of your own; "
            f"{config.trainer} has none"
        )
    pixels = config.batch * config.patch**2
    if pixels > MOST_PIXELS:
        raise UserError(
            f"batch {config.batch}, patch {config.patch}: {pixels} HR pixels a step, more than "
            f"{MOST_PIXELS}; lower one of them"
        )
    if "scale" not in data:
        config = config.model_copy(update={"scale": default_scale(config.recipe)})
    if "out" not in data:
        config = config.model_copy(update={"out": default_out(config)})
    return config


def _rename(data: dict[str, Any]) -> None:
    """Move short and earlier names of settings to their places."""
    for short, address in MOVED.items():
        name, _, inner = short.partition(".")
        place = data.get(name) if inner else data
        if isinstance(place, dict) and (inner or name) in place:
            value = place[inner or name]
            place = {key: value for key, value in place.items() if key != (inner or name)}
            if inner:
                data[name] = place
            else:
                del data[name]
            _put(data, address, value)


def default_out(config: Config) -> str:
    """Return the folder of a run that names none.

    >>> default_out(Config(method="srcnn", recipe="recipes/mine.yaml", scale=2))
    'runs/srcnn_x2_mine'
    """
    recipe = Path(config.recipe.removeprefix(PAIRS)).resolve().name
    name = f"{config.method}_x{config.scale}_{recipe.removesuffix('.yaml')}"
    return f"runs/{re.sub(r'[^A-Za-z0-9._-]', '-', name)}"


def default_scale(recipe: str) -> int:
    """Return the scale of a recipe or of the pairs on disk. Raises UserError."""
    if not recipe.startswith(PAIRS):
        return Recipe.load(recipe).scale
    try:
        return PairedFolder(recipe.removeprefix(PAIRS)).scale
    except ValueError as error:
        raise UserError(str(error)) from None


def _put(data: dict[str, Any], address: str, value: Any) -> None:
    """Set a value by dotted name; nested mappings are copied, because the defaults are shared."""
    *path, last = address.split(".")
    place = data
    for name in path:
        inner = place.get(name)
        place[name] = dict(inner) if isinstance(inner, dict) else {}
        place = place[name]
    place[last] = value
