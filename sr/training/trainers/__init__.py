"""Trainers by name. The training loop only calls ``step(pair) -> losses``.

A trainer owns its networks and optimizers; ``model`` is what is validated, saved and used,
``done`` counts the steps. To add one, write a class with the members of
:class:`sr.training.trainers.Trainer`, built from a config and a Fabric, and
``TRAINERS["mine"] = Mine``; or train with ``sr train my_module:Mine``. Its own settings are
``config.options``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sr.registry import Registry
from sr.training.settings import Config
from sr.training.trainers.base import Trainer, build_model
from sr.training.trainers.gan import GANTrainer
from sr.training.trainers.pixel import PixelTrainer
from sr.training.trainers.sparse import SparseTrainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["BUILT_IN", "TRAINERS", "Trainer", "build_model", "build_trainer"]

MEMBERS = ("step", "finish", "state", "load")


def _is_trainer(found: Any) -> bool:
    return isinstance(found, type) and all(hasattr(found, name) for name in MEMBERS)


TRAINERS: Registry[Callable[[Config, Any], Trainer]] = Registry(
    "trainer", "sr.trainers", _is_trainer, f"a class with {', '.join(MEMBERS)}"
)
"""Classes by name; also entry points of the group ``sr.trainers``, and ``module:Class``."""
BUILT_IN = {"pixel": PixelTrainer, "gan": GANTrainer, "sparse": SparseTrainer}
TRAINERS.update(BUILT_IN)


def build_trainer(config: Config, fabric: Fabric) -> Trainer:
    """Build the trainer that ``config.trainer`` names. Raises UserError."""
    return TRAINERS.find(config.trainer)(config, fabric)
