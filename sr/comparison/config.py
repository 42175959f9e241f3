"""Config of a comparison, from a YAML file and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from degrade.errors import UserError
from sr.checkpoint import BICUBIC
from sr.examples import Target
from sr.models import MODELS
from sr.models.external import is_external
from sr.training.config import DEFAULTS, method_defaults
from sr.training.reading import Settings, read_settings, validate
from sr.training.trainers import TRAINERS

__all__ = ["BICUBIC", "Comparison", "is_trained", "override", "read_comparison", "settable"]

Names = tuple[str, ...]
Level = Annotated[float, Field(ge=0, lt=1)]

TESTED = ("bicubic", "realesrgan_light", "bsrgan", "realesrgan")


class Comparison(Settings):
    """What to compare; also the YAML file of ``sr compare --config``.

    Args:
        models: ``bicubic``, methods of ``sr train``, and any model that exists: checkpoints
            (files, run folders, names of packaged models), weights of other programs,
            ``onnx:FILE``, ``python:MODULE:FUNCTION``, ``command:PROGRAM``.
        train: Recipes to train on.
        test: Test sets: recipes that make the LR images, ``RECIPE@LEVEL`` for one at a severity
            from 0 to 1, ``pairs:DIR``, or ``lr:DIR`` for LR images without ground truth.
        severity: Levels at which each of these recipes is tested besides.
        draws: How often each image is degraded, each time with a draw of its own; the values of
            an image are means over them.
        data: HR images to train on: folders, files or globs.
        val: HR images to test on; never trained on.
        scale: HR size / LR size.
        steps: Optimizer steps of every run; by default the trainer's.
        seeds: Runs of every model and recipe, with seeds 0, 1, ..; values are means over them, and
            intervals hold for other seeds too.
        seed: Seed of the degradations of the test images.
        representatives: Number of representative degradations of the test recipes, on which every
            model's acceptance rate is measured (:mod:`sr.comparison.seal`); 0: none.
        lines: CSV file of their acceptance and excellence lines; by default stand-ins.
        metrics: Names of :data:`sr.metrics.METRICS`; by default PSNR, SSIM, and LPIPS where its
            weights are installed. Those that need no ground truth are measured on ``lr:DIR``.
        target: What SR is compared with: ``raw``, the HR image as it was, or ``recipe``, the
            recipe's target, which it may have sharpened.
        modules: Modules with models, metrics or operators of one's own.
        out: Folder of the runs and results.
        device: Device of ``sr train``; several, ``cuda:0,cuda:1``, each take whole runs.
        jobs: Processes that train and evaluate side by side; by default one a device.
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
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: int = 0
    severity: tuple[Level, ...] = ()
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
    representatives: Annotated[int, Field(ge=0, le=1000)] = 0
    lines: str | None = None
    metrics: Names = ()
    target: Target = "raw"
    modules: Names = ()
    out: str = "comparison"
    device: str = "auto"
    jobs: Annotated[int, Field(ge=1, le=1024)] | None = None
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
    known = settable(comparison)
    for address, value in changes.items():
        model, _, name = address.partition(".")
        if model not in known or not name:
            raise UserError(f"{address}: should begin with one of {', '.join(known)} and a dot")
        settings.setdefault(model, {})[name] = value
    return comparison.model_copy(update={"settings": settings})


def settable(comparison: Comparison) -> list[str]:
    """Return the models whose settings matter: those that are trained, and the generators that
    adversarial ones may begin from.
    """
    trained = [model for model in comparison.models if is_trained(model)]
    adversarial = [model for model in trained if method_defaults(model).get("trainer") == "gan"]
    generators = [method_defaults(model)["architecture"] for model in adversarial]
    return list(dict.fromkeys([*trained, *generators]))


def is_trained(model: str) -> bool:
    """Return whether a name is a method of ``sr train``; else it is a model that exists.

    >>> is_trained("srgan"), is_trained("bicubic"), is_trained("srcnn_x4")
    (True, False, False)
    """
    if model == BICUBIC or is_external(model):
        return False
    return model in DEFAULTS or TRAINERS.knows(model) or MODELS.knows(model)
