"""Learner: a network with its optimiser, its rate and, if asked for, the moving average of its
weights.

.. math:: \\theta \\leftarrow \\theta - r(t) \\, \\mathrm{opt}(\\nabla \\tfrac1k \\sum_{j=1}^{k} L(x_j)), \\qquad
          \\bar\\theta \\leftarrow d \\bar\\theta + (1 - d) \\theta

over the k parts of a batch. Its one constraint: rate and average follow from the progress and the
count of steps, so its state is tensors and numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from degrade.recipe import Pair
from sr.training.config import Config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Learner", "Losses", "rate_factor", "split"]

Losses = dict[str, Tensor]


def rate_factor(config: Config, progress: float, steps: int) -> float:
    """What multiplies the learning rate.

    Args:
        config: Its schedule.
        progress: Share of the phase that is done, in [0, 1].
        steps: Steps done in the phase, for the warm-up.
    """
    warm = min(1.0, (steps + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        return warm * (
            config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        )
    if config.schedule == "step":
        return warm * config.gamma ** sum(progress >= place for place in config.milestones)
    return warm


def split(pair: Pair, parts: int) -> list[Pair]:
    """A batch in equal parts."""
    size = len(pair.lr) // parts
    rows = [np.arange(i * size, (i + 1) * size) for i in range(parts)]
    return (
        [Pair(pair.lr[r], pair.hr[r], pair.hr_raw[r], pair.plan.take(r)) for r in rows]
        if parts > 1
        else [pair]
    )


class Learner:
    """Trains one network.

    Args:
        fabric: Devices, processes, precision.
        network: Moved to the device. It stays usable itself, with the same weights.
        groups: Parameter groups of the optimiser, each with its ``lr``.
        config: Optimiser, schedule, clipping, decay of the average.
        average: Whether to keep an average, if the config asks for one.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        groups: list[dict[str, Any]],
        config: Config,
        average: bool = True,
    ) -> None:
        self.fabric, self.plain, self.config = fabric, network, config
        if config.optimizer == "sgd":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, config.rate, momentum=config.momentum
            )
        else:
            optimizer = torch.optim.Adam(groups, config.rate, betas=(config.momentum, 0.999))
        # The faster layout of most convolutions; torch's stub does not know this form of the call.
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.average = (
            copy.deepcopy(network).requires_grad_(False) if average and config.ema else None
        )
        self.done = 0

    def descend(
        self, parts: Sequence[Pair], loss: Callable[[Pair], Losses], progress: float
    ) -> Losses:
        """One step of the optimiser on the sum of the losses, mean over the parts.

        Returns:
            The losses, and ``loss``, their sum; detached.
        """
        factor = rate_factor(self.config, progress, self.done)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        seen: list[Losses] = []
        for i, part in enumerate(parts):
            with self.fabric.no_backward_sync(self.network, enabled=i + 1 < len(parts)):
                terms = loss(part)
                total = torch.stack(list(terms.values())).sum()
                self.fabric.backward(total / len(parts))
            seen.append(
                {**{name: term.detach() for name, term in terms.items()}, "loss": total.detach()}
            )
        if self.config.clip:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.config.clip)
        self.optimizer.step()
        self.done += 1
        self._follow()
        return {name: torch.stack([terms[name] for terms in seen]).mean() for name in seen[0]}

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average; over the first steps it forgets its beginning sooner."""
        if self.average is None:
            return
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        for kept, now in zip(
            self.average.state_dict().values(), self.plain.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(now, 1 - decay)
            else:
                kept.copy_(now)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "network": self.plain.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "done": self.done,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a state. Raises RuntimeError or ValueError if it is of another network."""
        self.plain.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["network"])
        self.done = int(state["done"])
