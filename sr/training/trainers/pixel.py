"""Training by a pixel loss: SRCNN, SRResNet, MSRResNet, RRDBNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from degrade.recipe import Pair
from sr.color import rgb_to_ycbcr
from sr.losses.pixel import PIXEL
from sr.models import Model
from sr.models.srcnn import crop
from sr.training.config import Config
from sr.training.optimization import Learner, Losses, split
from sr.training.trainers.base import kept, new_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PixelMethod"]


class PixelMethod:
    """SRCNN, SRResNet, RRDBNet: a pixel loss between SR and HR."""

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config = config
        self.done = 0
        network = new_model(config.method, config)
        groups = network.param_groups(config.rate)
        if config.method == "srcnn":
            groups[-1]["lr"] = config.rate * config.last_rate
        self.learner = Learner(fabric, network.train(), groups, config)
        self.luma = network.config.get("color") == "y"

    @property
    def model(self) -> Model:
        return kept(self.learner)

    def step(self, pair: Pair) -> Losses:
        losses = self.learner.descend(
            split(pair, self.config.accumulate), self.loss, self.done / self.config.steps
        )
        self.done += 1
        return losses

    def loss(self, pair: Pair) -> Losses:
        """The pixel loss, on luma where the model works on luma."""
        lr, hr = (
            rgb_to_ycbcr(image)[:, :1] if self.luma else image for image in (pair.lr, pair.hr)
        )
        margin = cast(Model, self.learner.plain).margin
        return {"pixel": PIXEL[self.config.loss](self.learner.network(lr), crop(hr, margin))}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"generator": self.learner.state(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        self.learner.load(state["generator"])
        self.done = int(state["done"])
