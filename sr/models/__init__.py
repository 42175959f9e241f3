"""Models by name. ``build(name, **model.config)`` builds the same architecture again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from sr.models.base import Model
from sr.models.compact import SRVGGNetCompact
from sr.models.discriminator import (
    Discriminator,
    ESRGANDiscriminator,
    PatchDiscriminator,
    UNetDiscriminator,
)
from sr.models.interpolation import Bicubic
from sr.models.rrdb import RRDBNet
from sr.models.sparse import SparseCoding
from sr.models.srcnn import SRCNN
from sr.models.srresnet import MSRResNet, SRResNet
from sr.registry import Registry, construct

__all__ = [
    "DISCRIMINATORS",
    "MODELS",
    "SRCNN",
    "Bicubic",
    "Discriminator",
    "MSRResNet",
    "Model",
    "RRDBNet",
    "SRResNet",
    "SRVGGNetCompact",
    "SparseCoding",
    "build",
    "name_of",
]

MODELS: Registry[Callable[..., Model]] = Registry(
    "model",
    "sr.models",
    lambda found: isinstance(found, type) and issubclass(found, Model),
    "a subclass of sr.models.Model",
)
"""Constructors by name; also entry points of the group ``sr.models``, and ``module:Class``."""
MODELS.update(
    {
        "bicubic": Bicubic,
        "sparse": SparseCoding,
        "srcnn": SRCNN,
        "srresnet": SRResNet,
        "msrresnet": MSRResNet,
        "rrdb": RRDBNet,
        "compact": SRVGGNetCompact,
    }
)

DISCRIMINATORS: Registry[Callable[..., nn.Module]] = Registry(
    "discriminator",
    "sr.discriminators",
    lambda found: isinstance(found, type) and issubclass(found, nn.Module),
    "a subclass of torch.nn.Module",
)
"""Discriminators by name, likewise."""
DISCRIMINATORS.update(
    {
        "srgan": Discriminator,
        "esrgan": ESRGANDiscriminator,
        "unet": UNetDiscriminator,
        "patch": PatchDiscriminator,
    }
)


def build(name: str, **config: Any) -> Model:
    """Build a model, randomly initialized from torch's generator.

    >>> build("bicubic", scale=3)
    Bicubic(scale=3)

    Raises:
        ValueError: If the name, a setting or a setting's value is unknown.
    """
    return construct(MODELS, name, config)


def name_of(model: Model) -> str:
    """Return the name by which :func:`build` finds a model's class. Raises ValueError.

    >>> name_of(build("rrdb", blocks=1))
    'rrdb'
    """
    kind = type(model)
    for name, constructor in MODELS.items():
        if constructor is kind:
            return name
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not MODELS.knows(name) or MODELS.find(name) is not kind:
        raise ValueError(
            f"{kind.__name__}: not at the top of a module, and not registered; "
            f"registered are {', '.join(MODELS)}"
        )
    return name
