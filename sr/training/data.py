"""Data of a training run: batches of pairs as a function of (seed, step) alone.

Sample n of a run is image :math:`\\pi_e(n \\bmod N)` of epoch :math:`e = \\lfloor n / N \\rfloor`,
with :math:`\\pi_e` a permutation drawn from (seed, e). Step s takes samples s b to (s + 1) b - 1;
of w processes, rank r takes every w-th of these. So a resumed run continues the sequence, ranks
never share a sample, and w ranks together see what one process would. No two samples of a run have
the same index, so the data set's own epoch stays 0.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from degrade.data.batches import degrade_batch
from degrade.data.paired_folder import PairedFolder
from degrade.data.pairs import PatchFolder, pairs
from degrade.data.prefetch import prefetch
from degrade.errors import UserError
from degrade.images.files import find_sources
from degrade.plan import Plan
from degrade.recipe import Pair, Recipe
from degrade.rng import Key
from sr.examples import PAIRS
from sr.training.settings import Config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["ShardedBatchSampler", "dataloader", "open_dataset", "worker_count"]

MARGIN = 4
"""Margin of patches in LR pixels, unless the config says another: what ``bicubic`` looks at."""
MOST_WORKERS = 8
"""Of a process, unless the config asks for more."""


class ShardedBatchSampler(Sampler[list[int]]):
    """Indices of each step's samples, this rank's share.

    >>> list(ShardedBatchSampler(images=3, batch=2, start=0, stop=3))
    [[0, 2], [1, 5], [3, 4]]

    Args:
        images: N.
        batch: b.
        start: First step.
        stop: Last step, excluded.
        seed: Seed of the permutations.
        rank: r.
        world: w, a divisor of b.
    """

    def __init__(
        self,
        images: int,
        batch: int,
        start: int,
        stop: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.batch, self.start, self.stop = images, batch, start, stop
        self.seed, self.rank, self.world = seed, rank, world
        self._permutation = lru_cache(2)(self._permute)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            samples = range(step * self.batch, (step + 1) * self.batch)
            yield [self.index(n) for n in samples[self.rank :: self.world]]

    def index(self, n: int) -> int:
        """Return the index of sample ``n``: unique, and congruent to its image modulo N."""
        epoch, place = divmod(n, self.images)
        return epoch * self.images + int(self._permutation(epoch)[place])

    def _permute(self, epoch: int) -> NDArray[np.intp]:
        keys = Key.of(self.seed, np.arange(self.images), epoch).fold("order")
        return np.argsort(keys.uniform(), kind="stable")


def dataloader(
    config: Config,
    recipe: Recipe | None,
    dataset: PatchFolder | PairedFolder,
    start: int,
    fabric: Fabric,
) -> Iterator[Pair]:
    """Return the batches from step ``start`` on, this rank's share of each.

    Args:
        config: The run.
        recipe: Makes LR images; None for ``pairs:``.
        dataset: From :func:`open_dataset`.
        start: Steps done.
        fabric: Where to degrade and to train; rank and number of processes.

    Raises:
        UserError: The batch is not divisible by processes and parts, or the patch by the scale.
    """
    device, world = fabric.device, fabric.world_size
    if config.batch % (world * config.accumulate):
        raise UserError(
            f"batch {config.batch}: should be a multiple of {world} processes x "
            f"{config.accumulate} parts (accumulate)"
        )
    if config.patch % config.scale:
        raise UserError(f"patch {config.patch}: should be a multiple of the scale {config.scale}")
    if (config.margin or 0) % config.scale:
        raise UserError(
            f"margin {config.margin}: should be a multiple of the scale {config.scale}"
        )
    images = len(dataset)
    dataset.repeat = config.steps * config.batch // images + 2
    source: Dataset[Any] = dataset
    if recipe is not None and config.degrade == "workers":
        source = DegradedPatches(dataset, recipe, config.seed)
    loader = DataLoader(
        source,
        batch_sampler=ShardedBatchSampler(
            images, config.batch, start, config.steps, config.seed, fabric.global_rank, world
        ),
        num_workers=worker_count(config, device, int(os.environ.get("LOCAL_WORLD_SIZE", 1))),
        pin_memory=device.type == "cuda",
        worker_init_fn=ignore_interrupt,
    )
    if recipe is None or config.degrade == "workers":
        batches = ready_made(loader, config.seed, device)
    else:
        batches = pairs(loader, recipe, config.seed, device, epoch=0)
    return prefetch(batches, device)


def worker_count(config: Config, device: torch.device, processes: int = 1) -> int:
    """Return the number of data loader workers of each of a machine's processes."""
    if config.workers is not None:
        return config.workers
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_WORKERS, (cores or 1) // processes)


def ignore_interrupt(_worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the one that saves the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class DegradedPatches(Dataset[dict[str, Any]]):
    """The pairs that :func:`degrade.data.pairs.pairs` yields, degraded in the workers."""

    def __init__(self, patches: Dataset[Any], recipe: Recipe, seed: int) -> None:
        self.patches, self.recipe, self.seed = patches, recipe, seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.patches[index]
        batch = {"hr": item["hr"][None], "index": [index], "margin": item["margin"]}
        pair = degrade_batch(batch, self.recipe, self.seed)
        return {"lr": pair.lr[0], "hr": pair.hr[0], "hr_raw": pair.given[0], "index": index}


def ready_made(
    loader: Iterable[dict[str, Any]], seed: int, device: torch.device
) -> Iterator[Pair]:
    """Yield the pairs of a loader that need no degradation, on the device."""
    for batch in loader:
        lr, hr = (batch[name].to(device, non_blocking=True) for name in ("lr", "hr"))
        given = batch["hr_raw"].to(device, non_blocking=True) if "hr_raw" in batch else hr
        index = batch["index"].numpy()
        plan = Plan((), np.empty((len(index), 0)), Key.of(seed, index))
        yield Pair(lr, hr, given, plan, index)


def open_dataset(config: Config) -> PatchFolder | PairedFolder:
    """Open the data set of a run, each image once an epoch. Raises UserError if it is missing."""
    if config.recipe.startswith(PAIRS):
        try:
            folder = PairedFolder(
                config.recipe.removeprefix(PAIRS),
                config.patch,
                config.seed,
                fixed=True,
                flip=True,
                rotate=config.rotate,
                raw=config.trainer == "gan",  # others do not look at it
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        if folder.scale != config.scale:
            raise UserError(
                f"{config.recipe}: its pairs are x{folder.scale}, the run is x{config.scale}; "
                f"give --scale {folder.scale}"
            )
        return folder
    if not config.data:
        raise UserError("--data is missing: a folder of HR images (may be given several times)")
    files = [path for source in config.sources for path in find_sources(*source)]
    margin = MARGIN * config.scale if config.margin is None else config.margin
    return PatchFolder(
        files,
        config.patch,
        seed=config.seed,
        cache=int(config.cache * 2**30),
        margin=margin,
        rotate=config.rotate,
        fixed=True,
    )
