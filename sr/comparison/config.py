"""Config of a comparison, from a YAML file and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from degrade.errors import UserError
from sr.training.config import Settings, read_settings, validate

__all__ = ["BICUBIC", "Comparison", "override", "read_comparison"]

BICUBIC = "bicubic"

Names = tuple[str, ...]

TESTED = ("bicubic", "realesrgan_light", "bsrgan", "realesrgan")


class Comparison(Settings):
    """What to compare; also the YAML file of ``sr compare --config``.

    Args:
        models: ``bicubic``, trainers of ``sr train``, and checkpoints (files, run folders, names
            of packaged models).
        train: Recipes to train on.
        test: Recipes that make the LR images to test on.
        data: HR images to train on: folders, files or globs.
        val: HR images to test on; never trained on.
        scale: HR size / LR size.
        steps: Optimizer steps of every run; by default the trainer's.
        seeds: Runs of every model and recipe, with seeds 0, 1, ..; values are means over them.
        seed: Seed of the degradations of the test images.
        out: Folder of the runs and results.
        device: Device of ``sr train``.
        reuse: Checkpoints, run folders or folders of run folders, used instead of training where
            trainer, recipe hash, scale and seed agree, whatever their other settings.
        settings: Settings of a trainer's runs:
            ``{"srcnn": {"batch": 8, "model.kernels": [9, 1, 5]}}``.
    """

    models: Annotated[Names, Field(min_length=1)] = (BICUBIC, "srcnn", "srresnet")
    train: Names = ("bicubic", "bsrgan", "realesrgan")
    test: Annotated[Names, Field(min_length=1)] = TESTED
    data: Names = ()
    val: str = ""
    scale: Annotated[int, Field(ge=1, le=8)] = 4
    steps: Annotated[int, Field(ge=1)] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    seed: int = 0
    out: str = "comparison"
    device: str = "auto"
    reuse: Names = ()
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)


def read_comparison(file: str | Path | None, flags: Mapping[str, Any]) -> Comparison:
    """Read a comparison from a YAML file and flags. Flags take precedence; None means that a flag
    was not given. Raises UserError, all problems at once.
    """
    document = read_settings(file)
    given = {name: value for name, value in flags.items() if value is not None}
    return validate(Comparison, {**document.data, **given}, document)


def override(comparison: Comparison, changes: Mapping[str, Any]) -> Comparison:
    """Return a comparison with other settings of its models: ``{"srcnn.batch": 8}``. Raises
    UserError if an address does not begin with a model.
    """
    settings = {model: dict(values) for model, values in comparison.settings.items()}
    for address, value in changes.items():
        model, _, name = address.partition(".")
        if model not in comparison.models or not name:
            raise UserError(
                f"{address}: should begin with one of {', '.join(comparison.models)} and a dot"
            )
        settings.setdefault(model, {})[name] = value
    return comparison.model_copy(update={"settings": settings})
