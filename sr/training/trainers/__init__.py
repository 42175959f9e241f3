"""Methods: what one training step is. ``step(pair) -> {"loss": .., ..}`` is all that the loop
knows of them.

A method owns its models and optimisers. ``model`` is what is validated, kept and used; ``done``
counts the steps. A new method is a class with these members and a line in :func:`build_method`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sr.training.config import Config
from sr.training.trainers.base import Method
from sr.training.trainers.pixel import PixelMethod
from sr.training.trainers.sparse import SparseMethod
from sr.training.trainers.srgan import SRGAN

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["build_method"]


def build_method(config: Config, fabric: Fabric) -> Method:
    """The method that a config names. Raises UserError."""
    if config.method == "srgan":
        return SRGAN(config, fabric)
    if config.method == "sparse":
        return SparseMethod(config, fabric)
    return PixelMethod(config, fabric)
