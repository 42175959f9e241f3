"""Models by name. ``build(name, **model.config)`` builds the same architecture again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sr.models.base import Model
from sr.models.discriminator import Discriminator
from sr.models.interpolation import Bicubic
from sr.models.rrdb import RRDBNet
from sr.models.sparse import SparseCoding
from sr.models.srcnn import SRCNN
from sr.models.srresnet import MSRResNet, SRResNet

__all__ = [
    "MODELS",
    "SRCNN",
    "Bicubic",
    "Discriminator",
    "MSRResNet",
    "Model",
    "RRDBNet",
    "SRResNet",
    "SparseCoding",
    "build",
    "name_of",
]

MODELS: dict[str, Callable[..., Model]] = {
    "bicubic": Bicubic,
    "sparse": SparseCoding,
    "srcnn": SRCNN,
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "rrdb": RRDBNet,
}
"""Constructors by name."""


def build(name: str, **config: Any) -> Model:
    """Build a model, randomly initialized from torch's generator.

    >>> build("bicubic", scale=3)
    Bicubic(scale=3)

    Raises:
        ValueError: If the name, a setting or a setting's value is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r}: must be one of {', '.join(MODELS)}")
    known = inspect.signature(MODELS[name]).parameters
    wrong = [setting for setting in config if setting not in known]
    if wrong:
        raise ValueError(f"model {name}: no setting {', '.join(wrong)}; it has {', '.join(known)}")
    try:
        return MODELS[name](**config)
    except ValueError as error:
        raise ValueError(f"model {name}: {error}") from None


def name_of(model: Model) -> str:
    """Return the registered name of a model's class. Raises ValueError.

    >>> name_of(build("rrdb", blocks=1))
    'rrdb'
    """
    for name, constructor in MODELS.items():
        if constructor is type(model):
            return name
    raise ValueError(
        f"{type(model).__name__}: not a registered model; registered are {', '.join(MODELS)}"
    )
