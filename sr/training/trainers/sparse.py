"""Training of sparse coding by dictionary learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.color import rgb_to_ycbcr
from sr.losses.pixel import mse
from sr.models import Model, SparseCoding
from sr.models.interpolation import enlarge
from sr.training.optimization import Losses
from sr.training.settings import Config
from sr.training.trainers.base import build_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SparseTrainer"]


def _sparse(model: Model) -> SparseCoding:
    if not isinstance(model, SparseCoding):
        raise UserError(
            f"trainer sparse: trains the model sparse, not {type(model).__name__}; "
            "--set trainer=pixel"
        )
    return model


class SparseTrainer:
    """Collects patches in :meth:`step` and learns the dictionaries in :meth:`finish`. The loss is
    that of bicubic.
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.done = config, 0
        self._model = _sparse(build_model(config))
        self._low: list[Tensor] = []
        self._high: list[Tensor] = []

    @property
    def model(self) -> Model:
        return self._model

    def step(self, pair: Pair) -> Losses:
        low, high = (rgb_to_ycbcr(image)[:, 0].cpu() for image in (pair.lr, pair.hr))
        self._low.append(low)
        self._high.append(high)
        self.done += 1
        return {"loss": mse(enlarge(low[:, None], self.config.scale)[:, 0], high)}

    def finish(self) -> None:
        planes = zip(torch.cat(self._low), torch.cat(self._high), strict=True)
        try:
            self._model.fit(planes, seed=self.config.seed)
        except ValueError as error:
            raise UserError(f"sparse: {error}; raise --steps or --set batch=N") from None

    def state(self) -> dict[str, Any]:
        return {
            "low": self._low,
            "high": self._high,
            "model": self._model.state_dict(),
            "done": self.done,
        }

    def load(self, state: dict[str, Any]) -> None:
        self._low, self._high = list(state["low"]), list(state["high"])
        self._model.load_state_dict(state["model"])
        self.done = int(state["done"])
