"""Training loop: pairs in, a run folder out. The losses are the trainer's
(:mod:`sr.training.trainers`).

Steps, not epochs. A run is a function of its config: on a CPU, 100 steps give the same weights,
bit for bit, as 50, a resume, and 50 more. Under torchrun every rank runs :func:`train` and sees
its share of each batch.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from degrade.data.readers import recipe_file
from degrade.errors import UserError
from degrade.recipe import Pair, Recipe
from sr.examples import PAIRS
from sr.training import distributed
from sr.training.data import dataloader, open_dataset
from sr.training.optimization import Losses
from sr.training.precision import precision_plugin
from sr.training.run import STATE, Run
from sr.training.settings import Config
from sr.training.trainers import build_trainer
from sr.training.validation import Validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Status", "launch", "train"]

TIMED_EVERY = 8
"""Every so many steps, one is timed."""


@dataclass(frozen=True)
class Status:
    """Status of a run, for callbacks.

    Args:
        done: Steps done.
        steps: Steps in all.
        loss: Last logged: what the trainer calls ``loss``, else its first.
        scores: Means of the last validation by metric; empty before the first.
        degrading: Share of the time spent reading and degrading.
    """

    done: int
    steps: int
    loss: float
    scores: Mapping[str, float]
    degrading: float


def train(
    config: Config, resume: bool = False, callback: Callable[[Status], None] | None = None
) -> Run:
    """Train until ``config.steps``. SIGINT and SIGTERM save a checkpoint and are raised as
    KeyboardInterrupt.

    Args:
        config: The run.
        resume: Whether to continue from the last checkpoint in ``config.out``. Processes that
            torchrun restarts do so in any case.
        callback: Called with the status whenever losses are logged.

    Raises:
        UserError: A setting, a file or a loss is wrong. The last good checkpoint is kept.
    """
    if resume and not (Path(config.out) / STATE).is_file():
        raise UserError(f"{config.out}: there is no run to resume here; leave out --resume")
    fabric = launch(config)
    recipe = None if config.recipe.startswith(PAIRS) else Recipe.load(config.recipe, config.scale)
    dataset = open_dataset(config)
    main = fabric.is_global_zero
    validation = None
    if main and config.val is not None:
        validation = Validation(config, recipe or recipe_of_pairs(config))
    run = Run(config, recipe, len(dataset), main)
    timer = StepTimer(fabric.device)
    with closing(run), interruptible() as stop:
        state = run.open(resume)
        trainer = build_trainer(config if state is None else without_init(config), fabric)
        run.begin(trainer, state)
        batches = dataloader(config, recipe, dataset, trainer.done, fabric)
        losses: list[Losses] = []
        step, steps = trainer.done, config.steps
        owed = due(config.val_every, step, steps) and not run.validated(step)
        if validation is not None and owed:  # it was killed between a save and its validation
            run.record(trainer.model, step, validation(trainer.model, step))
        for pair in timer.time(batches):
            losses.append(trainer.step(pair))
            step = trainer.done
            if step == steps:
                trainer.finish()
            saves = due(config.save_every, step, steps)
            if saves or stop or due(config.log_every, step, steps):
                means = run.log(step, losses)
                losses.clear()
                if callback is not None:
                    shown = means.get("loss", next(iter(means.values()), math.nan))
                    callback(Status(step, steps, shown, run.scores, timer.share))
            if config.keep_every and due(config.keep_every, step, steps):
                run.keep(trainer.model, step)
            if saves or stop:
                run.save(trainer)
            if stop:
                raise KeyboardInterrupt
            if validation is not None and due(config.val_every, step, steps):
                run.record(trainer.model, step, validation(trainer.model, step))
        if validation is not None:
            run.save(trainer)  # with the last validation
    distributed.barrier()
    return run


def recipe_of_pairs(config: Config) -> Recipe | None:
    """Return the recipe that lies with ``pairs:DIR``, as ``degrade synth`` leaves it, to validate
    on HR images; None if there is none.
    """
    file = recipe_file(config.recipe.removeprefix(PAIRS))
    return None if file is None else Recipe.load(file, config.scale)


def due(every: int, step: int, steps: int) -> bool:
    """Return whether something is due after a step: every so often, and at the end.

    >>> [step for step in range(8) if due(3, step, 7)]
    [3, 6, 7]
    """
    return step > 0 and (step % every == 0 or step == steps)


def without_init(config: Config) -> Config:
    """Return the config of a resumed run, whose weights are in its state."""
    return config.model_copy(update={"init": None})


@contextmanager
def interruptible() -> Generator[list[int]]:
    """Yield a list to which the first SIGINT or SIGTERM is appended, so that a run stops between
    steps; a second one has its usual effect. Outside the main thread signals are left alone.
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
    """Set up devices and processes: those of torchrun, else one process.

    Left to itself, Fabric takes one process on a CPU even under torchrun, and each trains alone.

    Raises:
        UserError: The device is missing, or fewer processes joined than torchrun started.
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
            plugins=precision_plugin(config.precision, accelerator),
            # A discriminator passes twice through its batch normalization before a backward.
            strategy=DDPStrategy(forward_sync_buffers=False) if world > 1 else "auto",
        )
        if world > 1:
            distributed.init_process_group("nccl" if fabric.device.type == "cuda" else "gloo")
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"device {config.device}, precision {config.precision}: {error}") from None
    if fabric.world_size != world:
        raise UserError(
            f"{fabric.world_size} processes joined, but torchrun started {world}; check --nnodes"
        )
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # patches have one size
    return fabric


class StepTimer:
    """Share of the time that is spent waiting for batches."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.total, self.waited = device, 0.0, 0.0

    @property
    def share(self) -> float:
        return self.waited / self.total if self.total else 0.0

    def time(self, batches: Iterator[Pair]) -> Iterator[Pair]:
        """Yield the batches and time one step in :data:`TIMED_EVERY`: an accelerator must be
        synchronized to be timed, which costs.
        """
        for step in itertools.count():
            timed = step % TIMED_EVERY == 0
            begun = self._now(timed)
            pair = next(batches, None)
            if pair is None:
                return
            received = self._now(timed)
            yield pair
            if timed:
                self.waited += received - begun
                self.total += self._now(timed) - begun

    def _now(self, timed: bool) -> float:
        if timed and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
