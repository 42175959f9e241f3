"""Config of a training run: everything that its result depends on, as one YAML file.

.. math:: \\text{config} =
          \\text{the trainer's defaults} < \\text{file} < \\text{flags} < \\text{--set}

Two runs of equal configs on equal data give the same weights, bit for bit on a CPU. Unknown names
and values out of range are errors before anything starts, all of them at once.
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from degrade.data.pairs import PairedFolder
from degrade.errors import Problem, RecipeError, UserError, close
from degrade.loading.positions import Document, compose, read_text
from degrade.recipe import Recipe
from sr.examples import PAIRS

__all__ = ["DEFAULTS", "Config", "Gan", "Settings", "configure", "read_settings", "validate"]

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


MOST_PIXELS = 2**30
"""HR pixels of a step, over all processes and accumulated parts: 12 GiB as float32."""


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


class Gan(Settings):
    """Settings of srgan only.

    Args:
        pretrain: Steps with the pixel loss alone, before the adversarial ones.
        init: Checkpoint of the initial generator, instead of ``pretrain``.
        perceptual: Network of the content loss: vgg19, efficientnet_lite0 or none (pixels).
        content: Weight of the content loss.
        pixel: Weight of the pixel loss added to it.
        adversarial: Weight of the generator's adversarial loss.
        tv: Weight of total variation; the paper's first version had 2e-8.
        smoothing: The discriminator's label of photographs is 1 - smoothing.
        discriminator: Settings of :class:`sr.models.Discriminator`.
    """

    pretrain: Annotated[int, Field(ge=0)] = 0
    init: str | None = None
    perceptual: Literal["vgg19", "efficientnet_lite0", "none"] = "vgg19"
    content: Annotated[float, Field(ge=0)] = 1.0
    pixel: Annotated[float, Field(ge=0)] = 0.0
    adversarial: Annotated[float, Field(ge=0)] = 1e-3
    tv: Annotated[float, Field(ge=0)] = 0.0
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    discriminator: dict[str, Any] = {}


class Config(Settings):
    """A training run.

    Args:
        method: Trainer: srcnn, srresnet, msrresnet, rrdb, srgan or sparse.
        recipe: Name or file of a recipe, or ``pairs:DIR`` for pairs on disk.
        scale: HR size / LR size; by default the recipe's.
        data: HR images: folders, files or globs. Not for ``pairs:``.
        val: HR images to validate on, or ``pairs:DIR``; the best checkpoint is chosen on them.
            ``samples``, the default of :func:`configure` unless the recipe is ``pairs:``, are
            crops of the sample photographs. None: no validation.
        out: Folder of the run.
        seed: Seed of the weights, of the order of the images and of every degradation.
        steps: Optimizer steps.
        batch: Samples a step, over all processes and accumulated parts.
        patch: Side of an HR patch in pixels.
        accumulate: Parts over which a process accumulates the gradient of its share of a batch.
            Saves memory; changes nothing but the statistics of batch normalization.
        workers: Data loader workers of each process.
        device: auto, cpu, cuda, mps.
        precision: 32-true, bf16-mixed or 16-mixed.
        model: Settings of the model's constructor, except the scale.
        generator: Model that srgan trains.
        loss: Pixel loss.
        optimizer: adam or sgd.
        rate: Base learning rate.
        last_rate: Learning rate of SRCNN's last layer relative to the others.
        momentum: Momentum of SGD; beta_1 of Adam.
        schedule: Factor of the learning rate: constant, cosine (from 1 to ``floor``), or step
            (times ``gamma`` at each milestone).
        milestones: Fractions of the run.
        gamma: See ``schedule``.
        floor: See ``schedule``.
        warmup: Steps of linear warm-up.
        clip: Largest norm of the gradient; 0: no clipping.
        ema: Decay of the moving average of the weights, which is then the model that is validated
            and saved; 0: no average.
        log_every: Steps between rows of curves.csv.
        val_every: Steps between validations.
        save_every: Steps between checkpoints.
        tensorboard: Whether to write TensorBoard logs too.
        gan: Settings of srgan only.
    """

    method: Literal["srcnn", "srresnet", "msrresnet", "rrdb", "srgan", "sparse"]
    recipe: str = "bicubic"
    scale: Annotated[int, Field(ge=1, le=8)] = 4
    data: tuple[str, ...] = ()
    val: str | None = None
    out: str = "runs/run"
    seed: int = 0
    steps: Positive = 10_000
    batch: Annotated[int, Field(ge=1, le=2**16)] = 16
    patch: Annotated[int, Field(ge=1, le=2**12)] = 96
    accumulate: Annotated[int, Field(ge=1, le=2**16)] = 1
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    device: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    model: dict[str, Any] = {}
    generator: Literal["srresnet", "msrresnet", "rrdb"] = "srresnet"
    loss: Literal["l1", "mse", "charbonnier"] = "mse"
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 1e-4
    last_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[Fraction, ...] = (0.5,)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    floor: Fraction = 0.01
    warmup: Annotated[int, Field(ge=0)] = 0
    clip: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    log_every: Positive = 50
    val_every: Positive = 500
    save_every: Positive = 500
    tensorboard: bool = True
    gan: Gan = Gan()

    def to_yaml(self) -> str:
        """Return the config as a file that ``sr train --config`` reads."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None
        )


DEFAULTS: dict[str, dict[str, Any]] = {
    "srcnn": {
        "steps": 20_000,
        "patch": 60,
        "rate": 1e-3,
        "last_rate": 1.0,
        "schedule": "cosine",
        "warmup": 100,
        "ema": 0.998,
        "model": {"kernels": [9, 5, 5], "padding": "valid", "residual": True, "init": "kaiming"},
    },
    "srresnet": {"steps": 100_000, "rate": 2e-4, "schedule": "cosine"},
    "msrresnet": {"steps": 100_000, "rate": 2e-4, "schedule": "cosine", "loss": "l1"},
    "rrdb": {"steps": 100_000, "rate": 2e-4, "schedule": "cosine", "loss": "l1"},
    "srgan": {"steps": 200_000, "rate": 1e-4, "schedule": "step", "ema": 0.999},
    "sparse": {"steps": 32, "batch": 32, "log_every": 1, "val_every": 10**9, "save_every": 10**9},
}
"""Defaults by trainer. The settings of SRCNN's papers are in docs/training.md."""


def configure(
    method: str,
    flags: Mapping[str, Any],
    file: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Config:
    """Return the config of a run.

    Args:
        method: The trainer's name.
        flags: Fields by name; None means that a flag was not given.
        file: YAML of fields, such as a run's config.yaml.
        changes: Fields by dotted name, ``{"gan.perceptual": "none", "model.kernels": [9, 1, 5]}``.
            ``perceptual`` alone is short for the first.

    Raises:
        UserError: All problems at once.
    """
    if method not in DEFAULTS:
        raise UserError(f"method {method!r}: should be one of {', '.join(DEFAULTS)}")
    data: dict[str, Any] = {**DEFAULTS[method], "method": method}
    document = read_settings(file)
    read = document.data
    if read.get("method", method) != method:
        raise UserError(
            f"{file}: its method is {read['method']}, not {method}; use another --config"
        )
    data.update(read)
    data.update({name: value for name, value in flags.items() if value is not None})
    for address, value in (changes or {}).items():
        _put(data, "gan.perceptual" if address == "perceptual" else address, value)
    data.setdefault("val", None if str(data.get("recipe")).startswith(PAIRS) else "samples")
    config = validate(Config, data, document)
    pixels = config.batch * config.patch**2
    if pixels > MOST_PIXELS:
        raise UserError(
            f"batch {config.batch}, patch {config.patch}: {pixels} HR pixels a step, more than "
            f"{MOST_PIXELS}; lower one of them"
        )
    if "scale" in data:
        return config
    return config.model_copy(update={"scale": default_scale(config.recipe)})


def default_scale(recipe: str) -> int:
    """Return the scale of a recipe or of the pairs on disk. Raises UserError."""
    if not recipe.startswith(PAIRS):
        return Recipe.load(recipe).scale
    try:
        return PairedFolder(recipe.removeprefix(PAIRS)).scale
    except ValueError as error:
        raise UserError(str(error)) from None


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
    path = error["loc"]
    value = error["input"]
    message = f"{error['msg'].removeprefix('Input ')} (is {_shorten(value)})"
    if error["type"] == "extra_forbidden":
        group = Gan if path[0] == "gan" else kind
        message = f"no such setting{close(str(path[-1]), [*group.model_fields])}"
    written: Any = document.data
    for part in path:
        inside = isinstance(written, list) or (isinstance(written, dict) and part in written)
        written = cast("Any", written[part]) if inside else None
    position = document.position(path) if written is value and path else ("", 0)
    return Problem(*position, ".".join(map(str, path)), message)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _put(data: dict[str, Any], address: str, value: Any) -> None:
    """Set a value by dotted name; nested mappings are copied, because the defaults are shared."""
    *path, last = address.split(".")
    place = data
    for name in path:
        inner = place.get(name)
        place[name] = dict(inner) if isinstance(inner, dict) else {}
        place = place[name]
    place[last] = value
