"""Training with a pixel loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.color import rgb_to_ycbcr
from sr.models import Model
from sr.models.srcnn import crop
from sr.training.optimization import Losses, TrainState, split
from sr.training.settings import Config
from sr.training.trainers.base import FurtherLosses, build_model, build_pixel_loss
from sr.training.trainers.rehearsal import rehearse_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PixelTrainer"]


class PixelTrainer:
    """Minimizes a pixel loss between SR and HR, and further losses if there are any."""

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config = config
        self.done = 0
        network = build_model(config)
        if config.patch <= 2 * network.margin:
            raise UserError(
                f"patch {config.patch}: of its result {config.architecture} lacks "
                f"{network.margin} pixels on each side, so nothing would be left; --set patch=N "
                f"with N above {2 * network.margin}, or --set model.padding=same"
            )
        side = rehearse_model(network, config, fabric)
        groups = network.param_groups(config.rate)
        if config.architecture == "srcnn":
            groups[-1]["lr"] = config.rate * config.last_rate
        self.generator = TrainState(fabric, network.train(), groups, config)
        self.on_y = network.config.get("color") == "y"
        self.pixel = build_pixel_loss(config, fabric, side)
        self.further = FurtherLosses(config, fabric, side)

    @property
    def model(self) -> Model:
        return cast(Model, self.generator.ema_model)

    def step(self, pair: Pair) -> Losses:
        parts = split(pair, self.config.accumulate)
        progress = self.done / self.config.steps
        losses = self.generator.optimizer_step(parts, self.loss_terms, progress)
        self.done += 1
        return losses

    def loss_terms(self, pair: Pair) -> tuple[Losses, Losses]:
        """Return the losses, on Y where the model works on Y."""
        lr, hr = pair.lr, pair.hr
        if self.on_y:
            lr, hr = (rgb_to_ycbcr(image)[:, :1] for image in (lr, hr))
        hr = crop(hr, cast(Model, self.generator.module).margin)
        sr = self.generator.network(lr)

        @torch.no_grad()
        def average() -> Tensor:
            image = self.generator.ema_model(lr)
            return crop(image, (image.shape[-1] - sr.shape[-1]) // 2)

        return {"pixel": self.pixel(sr, hr), **self.further.terms(sr, hr, average)}, {}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"generator": self.generator.state(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        self.generator.load(state["generator"])
        self.done = int(state["done"])
