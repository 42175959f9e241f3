"""Adversarial training: SRGAN."""

# torch, lightning_fabric: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from degrade.errors import UserError
from degrade.recipe import Pair
from sr import checkpoint
from sr.losses.adversarial import discriminator_loss, generator_loss
from sr.losses.perceptual import content_loss
from sr.losses.pixel import PIXEL, total_variation
from sr.models import Discriminator, Model
from sr.pretrained import MissingWeightsError
from sr.training.config import Config
from sr.training.optimization import Losses, TrainState, split
from sr.training.trainers.base import build_model, seeded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SRGANTrainer"]


class SRGANTrainer:
    """Trains a generator against a discriminator, first with a pixel loss alone (Ledig et al.,
    2017).

    .. math:: L_G = c L_{content} + a L_{adv} + p L_{pixel} + t L_{TV}, \\qquad
              L_D = -\\log D(HR) - \\log(1 - D(SR))

    Each batch steps the generator, then the discriminator. The target of the adversarial loss is
    the HR image as it was read, that of the others the recipe's target.
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.gan, self.fabric = config, config.gan, fabric
        self.done = 0
        network = self._generator()
        groups = network.param_groups(config.rate)
        self.generator = TrainState(fabric, network.train(), groups, config)
        with seeded(config.seed + 1):
            discriminator = Discriminator(**config.gan.discriminator)
        groups = [{"params": list(discriminator.parameters()), "lr": config.rate}]
        self.discriminator = TrainState(fabric, discriminator.train(), groups, config, ema=False)
        self.content = self._content().to(fabric.device)

    def _generator(self) -> Model:
        network = build_model(self.config.generator, self.config)
        if self.gan.init is None:
            return network
        trained = checkpoint.load(self.gan.init, self.config.scale)
        try:
            network.load_state_dict(trained.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"gan.init {self.gan.init}: "
                f"not a {self.config.generator} of these settings: {error}"
            ) from None
        return network

    def _content(self) -> nn.Module:
        try:
            return content_loss(self.gan.perceptual)
        except MissingWeightsError as error:
            raise UserError(
                f"{error}\nrun `sr fetch vgg19`, or choose another content loss: "
                "--set perceptual=efficientnet_lite0, or --set perceptual=none for pixels"
            ) from None

    @property
    def model(self) -> Model:
        return cast(Model, self.generator.ema_model)

    def step(self, pair: Pair) -> Losses:
        parts = split(pair, self.config.accumulate)
        if self.done < self.gan.pretrain:
            progress = self.done / self.gan.pretrain
            losses = self.generator.optimizer_step(parts, self.pixel_terms, progress)
        else:
            losses = self._adversarial_step(parts)
        self.done += 1
        return losses

    def _adversarial_step(self, parts: list[Pair]) -> Losses:
        """Step the generator, then the discriminator."""
        pretrain = self.gan.pretrain
        progress = (self.done - pretrain) / max(1, self.config.steps - pretrain)
        self.discriminator.module.requires_grad_(False)
        losses = self.generator.optimizer_step(parts, self.generator_terms, progress)
        self.discriminator.module.requires_grad_(True)
        own = self.discriminator.optimizer_step(parts, self.discriminator_terms, progress)
        return losses | {"discriminator": own["discriminator"]}

    def pixel_terms(self, pair: Pair) -> Losses:
        """Return the generator's loss of the pretraining steps."""
        return {"pixel": PIXEL[self.config.loss](self.generator.network(pair.lr), pair.hr)}

    def generator_terms(self, pair: Pair) -> Losses:
        """Return the weighted terms of L_G whose weights are not 0."""
        sr = self.generator.network(pair.lr)
        gan = self.gan
        with self.fabric.autocast():
            # The module, not the wrapped network: no gradients of its weights to synchronize.
            logits = self.discriminator.module(sr).float()
            losses = {"adversarial": gan.adversarial * generator_loss(logits)}
        if gan.content:
            losses["content"] = gan.content * self.content(sr, pair.hr)
        if gan.pixel:
            losses["pixel"] = gan.pixel * PIXEL[self.config.loss](sr, pair.hr)
        if gan.tv:
            losses["tv"] = gan.tv * total_variation(sr)
        return losses

    def discriminator_terms(self, pair: Pair) -> Losses:
        """Return L_D, on new images of the generator that was just stepped."""
        with torch.no_grad():
            sr = self.generator.network(pair.lr)
        real, fake = self.discriminator.network(pair.hr_raw), self.discriminator.network(sr)
        return {"discriminator": discriminator_loss(real, fake, self.gan.smoothing)}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        # The key is "critic" so that the state files of earlier versions load.
        return {
            "generator": self.generator.state(),
            "critic": self.discriminator.state(),
            "done": self.done,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.generator.load(state["generator"])
        self.discriminator.load(state["critic"])
        self.done = int(state["done"])
