"""Data of a training run: batches of pairs as a function of (seed, step) alone.

Sample n of a run is image :math:`\\pi_e(n \\bmod N)` of epoch :math:`e = \\lfloor n / N \\rfloor`,
with :math:`\\pi_e` a permutation drawn from (seed, e). Step s takes samples s b to (s + 1) b - 1;
of w processes, rank r takes every w-th of these. So a resumed run continues the sequence, ranks
never share a sample, and w ranks together see what one process would. No two samples of a run have
the same index, so the data set's own epoch stays 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from degrade.data.pairs import PairedFolder, PatchFolder, pairs
from degrade.errors import UserError
from degrade.images.files import find_sources
from degrade.plan import Plan
from degrade.recipe import Pair, Recipe
from degrade.rng import Key
from sr.examples import PAIRS
from sr.training.config import Config

__all__ = ["ShardedBatchSampler", "dataloader", "open_dataset"]

MAX_CACHED_IMAGES = 600
"""Data sets of at most this many images stay decoded in memory."""


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
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Pair]:
    """Return the batches from step ``start`` on, this rank's share of each.

    Args:
        config: The run.
        recipe: Makes LR images; None for ``pairs:``.
        dataset: From :func:`open_dataset`.
        start: Steps done.
        device: Where to degrade and to train.
        rank: Rank of this process.
        world: Number of processes.

    Raises:
        UserError: The batch is not divisible by processes and parts, or the patch by the scale.
    """
    if config.batch % (world * config.accumulate):
        raise UserError(
            f"batch {config.batch}: should be a multiple of {world} processes x "
            f"{config.accumulate} parts (accumulate)"
        )
    if config.patch % config.scale:
        raise UserError(f"patch {config.patch}: should be a multiple of the scale {config.scale}")
    images = len(dataset)
    dataset.repeat = config.steps * config.batch // images + 2
    sampler = ShardedBatchSampler(
        images, config.batch, start, config.steps, config.seed, rank, world
    )
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=config.workers,
        pin_memory=device.type == "cuda",
    )
    if recipe is not None:
        yield from pairs(loader, recipe, config.seed, device, epoch=0)
        return
    for batch in loader:
        lr, hr = batch["lr"].to(device), batch["hr"].to(device)
        index = batch["index"].numpy()
        plan = Plan((), np.empty((len(index), 0)), Key.of(config.seed, index))
        yield Pair(lr, hr, hr, plan, index)


def open_dataset(config: Config) -> PatchFolder | PairedFolder:
    """Open the data set of a run, each image once an epoch. Raises UserError if it is missing."""
    if config.recipe.startswith(PAIRS):
        try:
            folder = PairedFolder(
                config.recipe.removeprefix(PAIRS), config.patch, config.seed, fixed=True
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
    files = [path for source in config.data for path in find_sources(source)]
    return PatchFolder(
        files,
        config.patch,
        seed=config.seed,
        cache=len(files) <= MAX_CACHED_IMAGES,
        fixed=True,
    )
