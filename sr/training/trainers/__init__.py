"""Methods: what one training step is. ``step(pair) -> {"loss": .., ..}`` is all that the loop knows of them.

A method owns its models and optimisers. ``model`` is what is validated, kept and used; ``done`` counts the steps.
A new method is a class with these members and a line in :func:`build_method`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.recipe import Pair
from sr.color import rgb_to_ycbcr
from sr.losses.pixel import PIXEL, discriminator_loss, generator_loss, total_variation
from sr.models import Discriminator, Model, SparseCoding, build
from sr.models.srcnn import crop
from sr.training.config import Config
from sr.training.optimization import Learner, Losses, split

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SRGAN", "Method", "PixelMethod", "SparseMethod", "build_method"]


class Method(Protocol):
    """What the loop asks of a method."""

    done: int
    """Steps done."""

    @property
    def model(self) -> Model:
        """The model as it would be used now."""
        ...

    def step(self, pair: Pair) -> Losses:
        """Learns from a batch; returns its losses, scalars without gradient."""
        ...

    def finish(self) -> None:
        """Called after the last step."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers, and containers of them."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""
        ...


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
        losses = self.learner.descend(split(pair, self.config.accumulate), self.loss, self.done / self.config.steps)
        self.done += 1
        return losses

    def loss(self, pair: Pair) -> Losses:
        """The pixel loss, on luma where the model works on luma."""
        lr, hr = (rgb_to_ycbcr(image)[:, :1] if self.luma else image for image in (pair.lr, pair.hr))
        margin = cast(Model, self.learner.plain).margin
        return {"pixel": PIXEL[self.config.loss](self.learner.network(lr), crop(hr, margin))}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"generator": self.learner.state(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        self.learner.load(state["generator"])
        self.done = int(state["done"])


class SRGAN:
    """A generator trained against a discriminator, after a while with a pixel loss alone (Ledig et al., 2017).

    .. math:: L_G = c L_{content} + a L_{adv} + p L_{pixel} + t L_{TV}, \\qquad
              L_D = -\\log D(HR) - \\log(1 - D(SR))

    Generator first, then discriminator, on one batch. The target of the adversarial loss is the HR image as it was
    read, that of the others the recipe's target.
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.gan, self.fabric = config, config.gan, fabric
        self.done = 0
        network = self._generator()
        self.generator = Learner(fabric, network.train(), network.param_groups(config.rate), config)
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
            # The plain discriminator: its gradients are not wanted, so nothing is to be synchronised.
            losses = {"adversarial": gan.adversarial * generator_loss(self.critic.plain(sr).float())}
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
        return {"generator": self.generator.state(), "critic": self.critic.state(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        self.generator.load(state["generator"])
        self.critic.load(state["critic"])
        self.done = int(state["done"])


class SparseMethod:
    """Sparse coding: steps collect patches, the end learns the dictionaries. The loss is that of bicubic."""

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.done = config, 0
        self._model = cast(SparseCoding, new_model("sparse", config))
        self._low: list[Tensor] = []
        self._high: list[Tensor] = []

    @property
    def model(self) -> Model:
        return self._model

    def step(self, pair: Pair) -> Losses:
        from sr.models.interpolation import enlarge

        low, high = (rgb_to_ycbcr(image)[:, 0].cpu() for image in (pair.lr, pair.hr))
        self._low.append(low)
        self._high.append(high)
        self.done += 1
        return {"loss": PIXEL["mse"](enlarge(low[:, None], self.config.scale)[:, 0], high)}

    def finish(self) -> None:
        planes = zip(torch.cat(self._low), torch.cat(self._high), strict=True)
        try:
            self._model.fit(planes, seed=self.config.seed)
        except ValueError as error:
            raise UserError(f"sparse: {error}; raise --steps or --set batch") from None

    def state(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high, "model": self._model.state_dict(), "done": self.done}

    def load(self, state: dict[str, Any]) -> None:
        self._low, self._high = list(state["low"]), list(state["high"])
        self._model.load_state_dict(state["model"])
        self.done = int(state["done"])


def build_method(config: Config, fabric: Fabric) -> Method:
    """The method that a config names. Raises UserError."""
    if config.method == "srgan":
        return SRGAN(config, fabric)
    if config.method == "sparse":
        return SparseMethod(config, fabric)
    return PixelMethod(config, fabric)


def new_model(name: str, config: Config) -> Model:
    """A model of the run's scale and settings, its weights drawn from the run's seed. Raises UserError."""
    try:
        with seeded(config.seed):
            return build(name, scale=config.scale, **config.model)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Torch's CPU generator at ``seed`` inside, as it was outside: initialisers know no other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def kept(learner: Learner) -> Model:
    """The average if there is one, else the network itself."""
    return cast(Model, learner.plain if learner.average is None else learner.average)
