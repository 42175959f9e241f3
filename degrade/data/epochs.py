"""Epochs: each pass over a dataset draws anew, and every draw is a function of (seed, epoch,
index).

.. math:: \\mathrm{item}(i, e) = f(\\mathrm{Key.of}(seed, i, e))

A map-style dataset is not told when a loader begins a pass. But a pass asks for each index at most
once, so an index that is asked for again begins the next one: :class:`Epochs` keeps that in memory
that worker processes share. Who drives the passes knows them exactly: :class:`EpochSampler` and
:func:`degrade.pairs` set the epoch, and then nothing is counted.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from degrade.rng import Key, integer

__all__ = ["EpochDataset", "EpochSampler", "Epochs"]

T = TypeVar("T")

NEVER = -(2**63)
LOOKS = 100
"""Items that one may look at twice, without being warned that they are the same."""


class Epochs:
    """The present epoch of a dataset, in memory that its loaders' workers share.

    Args:
        length: Items of an epoch.
        fixed: Whether every pass is of the same epoch.
    """

    def __init__(self, length: int, fixed: bool = False) -> None:
        self.fixed = fixed
        # The epoch, and whether repeated indices begin the next one.
        self._state = torch.tensor([0, not fixed]).share_memory_()
        self.resize(length)

    def resize(self, length: int) -> None:
        """Set the number of items; none of them was asked for yet."""
        self._last = torch.full((0 if self.fixed else length,), NEVER).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for tensor in (self._state, self._last):  # copies are private
            tensor.share_memory_()

    @property
    def now(self) -> int:
        """The epoch that items are of."""
        return int(self._state[0])

    @property
    def following(self) -> int:
        """The epoch of a pass that would begin now."""
        return self.now + bool((self._last >= self.now).any())

    def set(self, epoch: int, counting: bool = True) -> None:
        """Set the epoch of the next items; ``counting``: until indices are asked for again."""
        self._state[1] = 0
        self._last.fill_(NEVER)
        self._state[0] = integer("epoch", epoch)
        self._state[1] = counting and not self.fixed

    def release(self, epoch: int) -> None:
        """Count again after a pass of an epoch that was set without counting."""
        if self.now == epoch and not self.fixed:
            self._last.fill_(epoch)
            self._state[1] = 1

    def of(self, indices: Sequence[int]) -> int:
        """Return the epoch of the items that a loader asks for: the next one if it had any of them
        in this one.

        Workers need no lock: they race only to write the same number.
        """
        now, counting = self._state.tolist()
        if not counting:
            return now
        given = self._last.numpy()
        before = int(given[indices].max(initial=NEVER))
        if before >= now:
            now = before + 1
            self._state[0] = now
        given[indices] = now
        return now


class EpochDataset(Dataset[T], Generic[T]):
    """A dataset that draws its items anew in every epoch.

    A subclass defines :meth:`__len__` and :meth:`item`. ``dataset[i]`` is item ``i`` of the
    present epoch; loaders, and ``for item in dataset``, go on to the next epoch by themselves.
    """

    epochs: Epochs

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, index: int, epoch: int) -> T:
        """Return item ``index``, in [0, len), of an epoch."""

    @property
    def epoch(self) -> int:
        """The epoch that items are of."""
        return self.epochs.now

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, in persistent workers too; passes after it count on."""
        self.epochs.set(epoch)
        self._asked = 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch of the next pass, for a checkpoint."""
        return {"epoch": self.epochs.following}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a checkpoint: sets the epoch of the next pass."""
        self.set_epoch(state["epoch"])

    def __getitem__(self, index: int) -> T:
        index = self._checked(index)
        if get_worker_info() is not None:  # only loaders have workers
            return self.item(index, self.epochs.of([index]))
        self._warn_if_repeated()
        return self.item(index, self.epoch)

    def __getitems__(self, indices: Sequence[int]) -> list[T]:
        """Return a batch: what a ``DataLoader`` calls."""
        indices = [self._checked(index) for index in indices]
        epoch = self.epochs.of(indices)
        return [self.item(index, epoch) for index in indices]

    def __iter__(self) -> Iterator[T]:
        """Walk over the items of the next epoch."""
        for index in range(len(self)):
            yield self.item(index, self.epochs.of([index]))

    def _checked(self, index: int) -> int:
        i, n = integer("index", index), len(self)
        if not -n <= i < n:
            raise IndexError(f"{i} is not in [0, {n})")
        return i % n

    _asked = 0

    def _warn_if_repeated(self) -> None:
        """Warn if many items are asked for one by one, in this process, for a second time: a
        dataset that wraps this one, in a loader without workers, hides where a pass begins.
        """
        self._asked += 1
        if self._asked == 2 * max(len(self), LOOKS) and not self.epochs.fixed:
            warnings.warn(
                f"{type(self).__name__}: {self._asked} items were read one by one, all of epoch"
                f" {self.epoch}, so some are repeated; call set_epoch({self.epoch + 1}) before the"
                " next pass, or say fixed=True if they should be",
                stacklevel=3,
            )


class EpochSampler(Sampler[int]):
    """The indices of a dataset; each pass is the next epoch, of which it tells the dataset.

    The order is a function of (seed, epoch), so a training resumes anywhere. Lightning calls
    :meth:`set_epoch` itself; so do others that know ``DistributedSampler``, which this replaces.

    >>> sampler = EpochSampler(range(4), seed=1)
    >>> list(sampler), list(sampler)
    ([0, 1, 2, 3], [2, 3, 1, 0])

    Args:
        dataset: Anything with a length; its ``set_epoch``, if there is one, is called.
        shuffle: Whether to permute each epoch.
        seed: Seed of the permutations.
        rank: Of ``world`` processes, this one's number; each takes every ``world``-th index, and
            the remainder is dropped. By default as ``torch.distributed`` was initialised.
        world: The number of processes.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        from torch import distributed

        joined = distributed.is_available() and distributed.is_initialized()
        self.dataset, self.shuffle, self.seed = dataset, shuffle, integer("seed", seed)
        self.world = world or (distributed.get_world_size() if joined else 1)
        self.rank = (distributed.get_rank() if joined else 0) if rank is None else rank
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} should be in [0, {self.world}), the processes")
        self._epoch, self._start = 0, 0

    def __len__(self) -> int:
        return len(self.dataset) // self.world

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Set the epoch of the next pass, and how many of this process's indices were used before
        (by default none, or what was said of this epoch already).
        """
        if start is not None or epoch != self._epoch:
            self._start = integer("start", start or 0)
        self._epoch = integer("epoch", epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch of the next pass, for a checkpoint."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a checkpoint: sets the epoch of the next pass."""
        self.set_epoch(state["epoch"])

    def __iter__(self) -> Iterator[int]:
        epoch, start = self._epoch, self._start
        self.set_epoch(epoch + 1)
        tell(self.dataset, epoch)
        yield from self.of(epoch)[start:]

    def of(self, epoch: int) -> list[int]:
        """Return this process's indices of an epoch."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            keys = Key.of(self.seed, order, epoch).fold("order")
            order = np.argsort(keys.uniform(), kind="stable")
        return order[self.rank :: self.world][: len(self)].tolist()


def tell(dataset: Any, epoch: int, even_fixed: bool = False) -> None:
    """Set the epoch of a dataset, or of those that it holds, as ``Subset`` does; the caller counts
    the passes.
    """
    if isinstance(dataset, EpochDataset):
        if even_fixed or not dataset.epochs.fixed:
            dataset.epochs.set(epoch, counting=False)
    elif callable(set_epoch := getattr(dataset, "set_epoch", None)):
        set_epoch(epoch)
    else:
        for each in held(dataset):
            tell(each, epoch, even_fixed)


def release(dataset: Any, epoch: int) -> None:
    """Let datasets count their passes again, after one of an epoch that :func:`tell` set."""
    if isinstance(dataset, EpochDataset):
        dataset.epochs.release(epoch)
    else:
        for each in held(dataset):
            release(each, epoch)


def held(dataset: Any) -> list[Dataset[Any]]:
    """Return the datasets that a dataset has as attributes, or in lists."""
    values = getattr(dataset, "__dict__", {}).values()
    lists = (value if isinstance(value, list | tuple) else [value] for value in values)
    return [each for some in lists for each in some if isinstance(each, Dataset)]
