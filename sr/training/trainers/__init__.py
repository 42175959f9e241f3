"""Trainers. The training loop only calls ``step(pair) -> losses``.

A trainer owns its networks and optimizers; ``model`` is what is validated, saved and used,
``done`` counts the steps. To add one, write a class with the members of
:class:`sr.training.trainers.Trainer` and add a line to :func:`build_trainer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sr.training.config import Config
from sr.training.trainers.base import Trainer
from sr.training.trainers.pixel import PixelTrainer
from sr.training.trainers.sparse import SparseTrainer
from sr.training.trainers.srgan import SRGANTrainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Trainer", "build_trainer"]


def build_trainer(config: Config, fabric: Fabric) -> Trainer:
    """Build the trainer that ``config.method`` names. Raises UserError."""
    if config.method == "srgan":
        return SRGANTrainer(config, fabric)
    if config.method == "sparse":
        return SparseTrainer(config, fabric)
    return PixelTrainer(config, fabric)
