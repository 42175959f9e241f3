"""Optimization of one network: optimizer, learning-rate schedule, moving average of the weights.

.. math:: \\theta \\leftarrow \\theta - \\eta(t) \\,
          \\mathrm{opt}(\\nabla \\tfrac1k \\sum_{j=1}^{k} L(x_j)), \\qquad
          \\bar\\theta \\leftarrow d \\bar\\theta + (1 - d) \\theta

over the k parts of a batch. Learning rate and average are functions of the progress and of the
count of steps, so the state is tensors and numbers.
"""

# torch, lightning_fabric: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from degrade.recipe import Pair
from sr.training.settings import Config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Losses", "TrainState", "lr_lambda", "split"]

Losses = dict[str, Tensor]
Part = TypeVar("Part")


def lr_lambda(config: Config, progress: float, steps: int) -> float:
    """Return the factor of the learning rate.

    Args:
        config: Its schedule.
        progress: Share of the phase that is done, in [0, 1].
        steps: Steps done in the phase, for the warm-up.

    References:
        MiniCPM (Hu et al., 2024), section 4, of the schedule wsd
        https://arxiv.org/abs/2404.06395
    """
    warmup = min(1.0, (steps + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return warmup * (config.floor + (1 - config.floor) * cosine)
    if config.schedule == "wsd":
        left = min(1.0, (1 - progress) / config.decay)
        return warmup * (config.floor + (1 - config.floor) * left)
    if config.schedule == "step":
        return warmup * config.gamma ** sum(progress >= place for place in config.milestones)
    return warmup


def split(pair: Pair, parts: int) -> list[Pair]:
    """Split a batch into equal parts, for gradient accumulation."""
    if parts == 1:
        return [pair]
    size = len(pair.lr) // parts
    rows = [np.arange(i * size, (i + 1) * size) for i in range(parts)]
    return [Pair(pair.lr[r], pair.hr[r], pair.given[r], pair.plan.take(r)) for r in rows]


class TrainState:
    """A network with its optimizer and moving average.

    Args:
        fabric: Devices, processes, precision.
        module: Moved to the device; shares its weights with ``network``, the module as Fabric
            wraps it for mixed precision and several processes.
        groups: Parameter groups of the optimizer, each with its ``lr``.
        config: Optimizer, schedule, gradient clipping, decay of the average.
        ema: Whether to keep the average, if the config asks for one.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        groups: list[dict[str, Any]],
        config: Config,
        ema: bool = True,
    ) -> None:
        if config.sync_bn and fabric.world_size > 1 and fabric.device.type == "cuda":
            module = cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))
        self.fabric, self.module, self.config = fabric, module, config
        optimizer = _optimizer(groups, config)
        # The faster layout of most convolutions; torch's stub does not know this form of the call.
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        compiled = cast(nn.Module, torch.compile(module)) if config.compile else module
        self.network, self.optimizer = fabric.setup(compiled, optimizer)
        averaged = ema and config.ema > 0
        self.ema = copy.deepcopy(module).eval().requires_grad_(False) if averaged else None
        self.done = 0

    @property
    def ema_model(self) -> nn.Module:
        """The moving average, or the module itself without one."""
        return self.module if self.ema is None else self.ema

    def optimizer_step(
        self,
        parts: Sequence[Part],
        loss: Callable[[Part], tuple[Losses, Losses]],
        progress: float,
    ) -> Losses:
        """Step the optimizer on the sum of the losses, averaged over the parts.

        Args:
            parts: Of the batch.
            loss: From a part to its losses, and to other scalars that are logged with them.
            progress: Share of the phase that is done.

        Returns:
            The losses; ``loss``, their sum; and the other scalars; detached.
        """
        factor = lr_lambda(self.config, progress, self.done)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        self.optimizer.zero_grad()
        losses = [self._backward(part, loss, i, len(parts)) for i, part in enumerate(parts)]
        if self.config.clip:
            # A gradient that is not finite ends the run at the next log, by its loss; in float16
            # it is common, and the scaler skips the step.
            self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.done += 1
        self._update_ema()
        return {name: torch.stack([terms[name] for terms in losses]).mean() for name in losses[0]}

    def _backward(
        self, part: Part, loss: Callable[[Part], tuple[Losses, Losses]], i: int, parts: int
    ) -> Losses:
        """Accumulate the gradient of part i; processes are synchronized at the last one."""
        with self.fabric.no_backward_sync(self.network, enabled=i + 1 < parts):
            terms, others = loss(part)
            total = torch.stack(list(terms.values())).sum()
            self.fabric.backward(total / parts)
        logged = {**terms, "loss": total, **others}
        return {name: value.detach() for name, value in logged.items()}

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Update the average. The decay rises over the first steps, so that the initial weights
        are forgotten sooner.
        """
        if self.ema is None:
            return
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        pairs = zip(self.ema.state_dict().values(), self.module.state_dict().values(), strict=True)
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in pairs:
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        get_ema_multi_avg_fn(decay)(averages, values, self.done)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "network": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.ema is None else self.ema.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "done": self.done,
        }

    @staticmethod
    def _options(group: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in group.items() if name != "params"}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state. Raises RuntimeError or ValueError if it is of another network."""
        self.module.load_state_dict(state["network"])
        options = [self._options(group) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)  # the momentum, say, is this config's, not the state's
        if self.ema is not None:
            self.ema.load_state_dict(state["average"] or state["network"])
        if state.get("scaler"):
            self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.done = int(state["done"])


def _optimizer(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.rate, momentum=config.momentum)
    return torch.optim.Adam(groups, config.rate, betas=(config.momentum, config.beta2))
