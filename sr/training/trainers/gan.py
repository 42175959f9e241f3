"""Adversarial training: SRGAN, ESRGAN, Real-ESRGAN."""

# torch, lightning_fabric: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.losses.adversarial import discriminator_loss, generator_loss
from sr.losses.perceptual import content_loss
from sr.losses.pixel import total_variation
from sr.models import DISCRIMINATORS, Model
from sr.pretrained import MissingWeightsError
from sr.registry import construct
from sr.training.optimization import Losses, TrainState, split
from sr.training.settings import Config
from sr.training.trainers.base import (
    FurtherLosses,
    build_model,
    build_pixel_loss,
    seeded,
)
from sr.training.trainers.rehearsal import rehearse, rehearse_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["GANTrainer"]


class GANTrainer:
    """Trains a generator against a discriminator, first with a pixel loss alone (Ledig et al.,
    2017).

    .. math:: L_G = c L_{content} + a L_{adv} + p L_{pixel} + t L_{TV} + \\sum_i w_i L_i, \\qquad
              L_D = -\\log D(HR) - \\log(1 - D(SR))

    or the other objectives of :mod:`sr.losses.adversarial`. Each batch steps the generator, then
    the discriminator on the images of that same pass. The target of the adversarial loss is the HR
    image as it was read, that of the others the recipe's target (of ``realesrgan`` sharpened, as
    in the paper).
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.gan, self.fabric = config, config.gan, fabric
        self.done = 0
        network = build_model(config)
        if network.margin:
            raise UserError(
                f"{config.architecture}: a generator must keep the border; "
                "--set model.padding=same"
            )
        side = rehearse_model(network, config, fabric)
        groups = network.param_groups(config.rate)
        self.generator = TrainState(fabric, network.train(), groups, config)
        discriminator = self._discriminator().to(fabric.device)
        rehearse("discriminator", discriminator.eval(), side, fabric)
        groups = [{"params": list(discriminator.parameters()), "lr": config.rate}]
        self.discriminator = TrainState(fabric, discriminator.train(), groups, config, ema=False)
        self.content = self._content().to(fabric.device)
        rehearse("content loss", self.content, side, fabric, images=2)
        self.pixel = build_pixel_loss(config, fabric, side)
        self.further = FurtherLosses(config, fabric, side)
        self._fakes: list[Tensor] = []

    def _discriminator(self) -> nn.Module:
        try:
            with seeded(self.config.seed + 1):
                return construct(DISCRIMINATORS, self.gan.architecture, self.gan.discriminator)
        except ValueError as error:
            raise UserError(f"gan.{error}") from None

    def _content(self) -> nn.Module:
        gan = self.gan
        try:
            return content_loss(gan.perceptual, None, gan.layers, gan.criterion)
        except ValueError as error:
            raise UserError(f"gan.{error}") from None
        except MissingWeightsError as error:
            raise UserError(
                f"{error}\nor choose another content loss: --set perceptual=vgg16, "
                "--set perceptual=efficientnet_lite0, or --set perceptual=none for pixels"
                + (" (and --set 'gan.layers={}')" if gan.layers else "")
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
        self._fakes.clear()
        self.discriminator.module.requires_grad_(False)
        losses = self.generator.optimizer_step(parts, self.generator_terms, progress)
        self.discriminator.module.requires_grad_(True)
        images = [(part.hr_raw, sr) for part, sr in zip(parts, self._fakes, strict=True)]
        own = self.discriminator.optimizer_step(images, self.discriminator_terms, progress)
        return losses | {name: value for name, value in own.items() if name != "loss"}

    def pixel_terms(self, pair: Pair) -> tuple[Losses, Losses]:
        """Return the generator's loss of the pretraining steps."""
        return {"pixel": self.pixel(self.generator.network(pair.lr), pair.hr)}, {}

    def generator_terms(self, pair: Pair) -> tuple[Losses, Losses]:
        """Return the weighted terms of L_G whose weights are not 0."""
        sr, hr = self.generator.network(pair.lr), pair.hr
        self._fakes.append(sr.detach())
        gan = self.gan
        with self.fabric.autocast():
            # The module, not the wrapped network: no gradients of its weights to synchronize.
            fake: Tensor = self.discriminator.module(sr).float()
            real: Tensor | None = None
            if gan.relativistic:
                with torch.no_grad():
                    real = self.discriminator.module(pair.hr_raw).float()
        losses = {"adversarial": gan.adversarial * generator_loss(fake, real, gan.objective)}
        if gan.content:
            with self.fabric.autocast():
                losses["content"] = gan.content * self.content(sr, hr)
        if gan.pixel:
            losses["pixel"] = gan.pixel * self.pixel(sr, hr)
        if gan.tv:
            losses["tv"] = gan.tv * total_variation(sr)

        @torch.no_grad()
        def average() -> Tensor:
            return self.generator.ema_model(pair.lr)

        return losses | self.further.terms(sr, hr, average), {}

    def discriminator_terms(self, images: tuple[Tensor, Tensor]) -> tuple[Losses, Losses]:
        """Return L_D of photographs and super-resolved images, and the means of D(HR) and D(SR):
        probabilities for the objective vanilla, else as D returns them.
        """
        gan = self.gan
        real, fake = (self.discriminator.network(image) for image in images)
        loss = discriminator_loss(real, fake, gan.smoothing, gan.objective, gan.relativistic)
        seen = [torch.sigmoid(x) if gan.objective == "vanilla" else x for x in (real, fake)]
        return {"discriminator": loss}, {"d_hr": seen[0].mean(), "d_sr": seen[1].mean()}

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
