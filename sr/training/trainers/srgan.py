"""Adversarial training: SRGAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.losses.pixel import PIXEL, discriminator_loss, generator_loss, total_variation
from sr.models import Discriminator, Model
from sr.training.config import Config
from sr.training.optimization import Learner, Losses, split
from sr.training.trainers.base import kept, new_model, seeded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SRGAN"]


class SRGAN:
    """A generator trained against a discriminator, after a while with a pixel loss alone (Ledig et
    al., 2017).

    .. math:: L_G = c L_{content} + a L_{adv} + p L_{pixel} + t L_{TV}, \\qquad
              L_D = -\\log D(HR) - \\log(1 - D(SR))

    Generator first, then discriminator, on one batch. The target of the adversarial loss is the HR
    image as it was read, that of the others the recipe's target.
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.gan, self.fabric = config, config.gan, fabric
        self.done = 0
        network = self._generator()
        self.generator = Learner(
            fabric, network.train(), network.param_groups(config.rate), config
        )
        with seeded(config.seed + 1):
            critic = Discriminator(**config.gan.discriminator)
        groups = [{"params": list(critic.parameters()), "lr": config.rate}]
        self.critic = Learner(fabric, critic.train(), groups, config, average=False)
        self.content = self._content().to(fabric.device)

    def _generator(self) -> Model:
        network = new_model(self.config.generator, self.config)
        if self.gan.init is not None:
            from sr.checkpoint import load

            trained = load(self.gan.init, self.config.scale)
            try:
                network.load_state_dict(trained.state_dict())
            except RuntimeError as error:
                raise UserError(
                    f"gan.init {self.gan.init}: not a {self.config.generator} of these settings: {error}"
                ) from None
        return network

    def _content(self) -> nn.Module:
        from sr.losses.perceptual import MissingWeightsError, content_loss

        try:
            return content_loss(self.gan.perceptual)
        except MissingWeightsError as error:
            raise UserError(
                f"{error}\nrun `sr fetch vgg19`, or choose another content loss: --set perceptual=efficientnet_lite0, "
                "or --set perceptual=none for pixels"
            ) from None

    @property
    def model(self) -> Model:
        return kept(self.generator)

    def step(self, pair: Pair) -> Losses:
        parts = split(pair, self.config.accumulate)
        before = self.gan.pretrain
        if self.done < before:
            losses = self.generator.descend(parts, self.pixel_loss, self.done / before)
        else:
            progress = (self.done - before) / max(1, self.config.steps - before)
            self.critic.plain.requires_grad_(False)
            losses = self.generator.descend(parts, self.generator_loss, progress)
            self.critic.plain.requires_grad_(True)
            judged = self.critic.descend(parts, self.critic_loss, progress)
            losses |= {"discriminator": judged["discriminator"]}
        self.done += 1
        return losses

    def pixel_loss(self, pair: Pair) -> Losses:
        """Of the steps before the discriminator comes in."""
        return {"pixel": PIXEL[self.config.loss](self.generator.network(pair.lr), pair.hr)}

    def generator_loss(self, pair: Pair) -> Losses:
        """Weighted terms; those of weight 0 are left out."""
        sr = self.generator.network(pair.lr)
        gan = self.gan
        with self.fabric.autocast():
            # The plain discriminator: its gradients are not wanted, so nothing is to be
            # synchronised.
            losses = {
                "adversarial": gan.adversarial * generator_loss(self.critic.plain(sr).float())
            }
        if gan.content:
            losses["content"] = gan.content * self.content(sr, pair.hr)
        if gan.pixel:
            losses["pixel"] = gan.pixel * PIXEL[self.config.loss](sr, pair.hr)
        if gan.tv:
            losses["tv"] = gan.tv * total_variation(sr)
        return losses

    def critic_loss(self, pair: Pair) -> Losses:
        """The discriminator's, on new images of the generator that has just moved."""
        with torch.no_grad():
            sr = self.generator.network(pair.lr)
        real, fake = self.critic.network(pair.hr_raw), self.critic.network(sr)
        return {"discriminator": discriminator_loss(real, fake, self.gan.smoothing)}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state(),
            "critic": self.critic.state(),
            "done": self.done,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.generator.load(state["generator"])
        self.critic.load(state["critic"])
        self.done = int(state["done"])
