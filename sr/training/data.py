"""Feed: the pairs of a training run, as a function of (seed, step) and nothing else.

Sample n of a run is image :math:`\\pi_e(n \\bmod N)` of epoch :math:`e = \\lfloor n / N \\rfloor`,
with :math:`\\pi_e` a permutation drawn from (seed, e). Step s takes samples s b to (s + 1) b - 1;
of w processes, the r-th takes every w-th of these. So a run goes on where it stopped, processes
never share a sample, and several see together what one would.
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

__all__ = ["Order", "feed", "open_data"]

CACHED = 600
"""Sets of at most this many images stay decoded in memory."""


class Order(Sampler[list[int]]):
    """Indices of each step's samples.

    Args:
        images: N.
        batch: b.
        start: First step.
        stop: Last step, not included.
        seed: See above.
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
            samples = np.arange(step * self.batch, (step + 1) * self.batch)[
                self.rank :: self.world
            ]
            yield [self.index(int(n)) for n in samples]

    def index(self, n: int) -> int:
        """Index of sample ``n``: unique, and congruent to its image modulo N."""
        epoch, place = divmod(n, self.images)
        return epoch * self.images + int(self._permutation(epoch)[place])

    def _permute(self, epoch: int) -> NDArray[np.intp]:
        return np.argsort(
            Key.of(self.seed, np.arange(self.images), epoch).fold("order").uniform(), kind="stable"
        )


def feed(
    config: Config,
    recipe: Recipe | None,
    dataset: PatchFolder | PairedFolder,
    start: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Pair]:
    """Batches from step ``start`` on, this process's share of each.

    Args:
        config: The run.
        recipe: Makes LR images; None for ``pairs:``.
        dataset: From :func:`open_data`.
        start: Steps done.
        device: Where to degrade and to train.
        rank: Number of this process.
        world: Number of processes.

    Raises:
        UserError: A batch that cannot be shared out, a patch that the scale does not divide.
    """
    if config.batch % (world * config.accumulate):
        raise UserError(
            f"batch {config.batch}: should be a multiple of {world} processes x {config.accumulate} parts (accumulate)"
        )
    if config.patch % config.scale:
        raise UserError(f"patch {config.patch}: should be a multiple of the scale {config.scale}")
    images = len(dataset)
    dataset.repeat = config.steps * config.batch // images + 2
    loader = DataLoader(
        dataset,
        batch_sampler=Order(images, config.batch, start, config.steps, config.seed, rank, world),
        num_workers=config.workers,
        pin_memory=device.type == "cuda",
    )
    if recipe is not None:
        yield from pairs(loader, recipe, config.seed, device)
        return
    for batch in loader:
        lr, hr = batch["lr"].to(device), batch["hr"].to(device)
        index = batch["index"].numpy()
        yield Pair(
            lr, hr, hr, Plan((), np.empty((len(index), 0)), Key.of(config.seed, index)), index
        )


def open_data(config: Config) -> PatchFolder | PairedFolder:
    """The data set of a run, each image once an epoch. Raises UserError if there is none."""
    if config.recipe.startswith(PAIRS):
        try:
            folder = PairedFolder(config.recipe.removeprefix(PAIRS), config.patch, config.seed)
        except ValueError as error:
            raise UserError(str(error)) from None
        if folder.scale != config.scale:
            raise UserError(
                f"{config.recipe}: its pairs are x{folder.scale}, the run is x{config.scale}"
            )
        return folder
    if not config.data:
        raise UserError("--data is missing: a folder of HR images (may be given several times)")
    files = [path for source in config.data for path in find_sources(source)]
    return PatchFolder(files, config.patch, seed=config.seed, cache=len(files) <= CACHED)
