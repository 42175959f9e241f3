"""The training loop: pairs in, a run folder out. It knows no losses; :mod:`sr.training.trainers`
does.

Iterations, not epochs. A run is a function of its config, so that on a CPU 100 steps are 50, a
resume, and 50 more, to the last bit of the weights. Under torchrun every process runs
:func:`train` and sees its share of each batch.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from degrade.errors import UserError
from degrade.recipe import Pair, Recipe
from sr.examples import PAIRS, examples
from sr.training import distributed
from sr.training.config import Config
from sr.training.data import feed, open_data
from sr.training.run import Run
from sr.training.trainers import build_method

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Status", "launch", "train"]

EVERY = 8
"""Steps from one that is timed to the next."""


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Args:
        done: Steps done.
        steps: Steps in all.
        loss: As last measured.
        psnr: As last validated.
        degrading: Share of the time that went into reading and degrading.
    """

    done: int
    steps: int
    loss: float
    psnr: float | None
    degrading: float


def train(
    config: Config, resume: bool = False, watch: Callable[[Status], None] | None = None
) -> Run:
    """Trains until ``config.steps``. An interrupt saves, and is passed on.

    Args:
        config: The run.
        resume: Whether to go on from the last checkpoint in ``config.out``. What torchrun starts
            again does so anyway.
        watch: Told how things stand whenever losses are logged.

    Raises:
        UserError: What a user can mend. The last good checkpoint is intact.
    """
    fabric = launch(config)
    recipe = None if config.recipe.startswith(PAIRS) else Recipe.load(config.recipe, config.scale)
    data = [] if config.val is None else list(examples(config.val, recipe))
    dataset = open_data(config)
    method = build_method(config, fabric)
    run = Run(config, recipe, len(dataset), data, fabric.is_global_zero)
    clock = Clock(fabric.device)
    with closing(run), interruptible() as stop:
        run.begin(method, resume)
        batches = feed(
            config,
            recipe,
            dataset,
            method.done,
            fabric.device,
            fabric.global_rank,
            fabric.world_size,
        )
        for pair in clock.watch(batches):
            losses = method.step(pair)
            if method.done == config.steps:
                method.finish()
            if run.after(method, losses) and watch is not None:
                watch(
                    Status(
                        method.done, config.steps, run.history[-1]["loss"], run.psnr, clock.share
                    )
                )
            if stop:
                run.save(method)
                raise KeyboardInterrupt
    return run


@contextmanager
def interruptible() -> Generator[list[int]]:
    """A list that the first SIGINT or SIGTERM is put into, so that a step is done before a run
    stops.

    A second one has its usual effect. Outside the main thread signals are left as they are.
    """
    stop: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        stop.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        before = {
            number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
        }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch(config: Config) -> Fabric:
    """The devices and processes of a run: those of torchrun, else one.

    Left to itself, Fabric takes one process on a CPU even under torchrun, and each trains alone.

    Raises:
        UserError: No such device, or fewer processes than torchrun started.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    accelerator, _, number = config.device.partition(":")
    local, nodes, world = (
        int(os.environ.get(name, 1))
        for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "WORLD_SIZE")
    )
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=[int(number)] if number else local,
            num_nodes=nodes,
            precision=config.precision,
            # Two passes through one batch normalisation before a backward, as a discriminator has,
            # need this.
            strategy=DDPStrategy(forward_sync_buffers=False) if world > 1 else "auto",
        )
        if world > 1:
            distributed.join("nccl" if fabric.device.type == "cuda" else "gloo")
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"device {config.device}, precision {config.precision}: {error}") from None
    if fabric.world_size != world:
        raise UserError(
            f"{fabric.world_size} processes train together, but torchrun started {world}"
        )
    return fabric


class Clock:
    """Share of the time spent in a feed."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.total, self.waited = device, 0.0, 0.0

    @property
    def share(self) -> float:
        return self.waited / self.total if self.total else 0.0

    def watch(self, feed: Iterator[Pair]) -> Iterator[Pair]:
        """``feed``, one step in :data:`EVERY` timed: an accelerator must be waited for to be
        timed, which costs.
        """
        for step in itertools.count():
            timed = step % EVERY == 0
            begun = self._now(timed)
            pair = next(feed, None)
            if pair is None:
                return
            got = self._now(timed)
            yield pair
            if timed:
                self.waited, self.total = (
                    self.waited + got - begun,
                    self.total + self._now(timed) - begun,
                )

    def _now(self, timed: bool) -> float:
        if timed and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
