"""Training pairs, degraded on the device or in the loader's workers.

Pair ``i`` of epoch ``e`` always has the key ``Key.of(seed, i, e)``, so it does not depend on the
batch size, the number of workers, or whether a run was resumed.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from weakref import finalize

import torch

from degrade.data.batches import degrade_batch
from degrade.data.epochs import EpochDataset, release, tell
from degrade.data.patches import PatchFolder, Root
from degrade.execution import Backend
from degrade.recipe import Pair, Recipe
from degrade.rng import Key, integer

__all__ = ["DegradedFolder", "Pairs", "PatchFolder", "pairs"]

Names = tuple[str, str]
AnyRecipe = Recipe | str | os.PathLike[str] | Mapping[str, Any]
"""A recipe, or what :meth:`degrade.Recipe.load` reads: its name, file or data."""


def pairs(
    loader: Iterable[Any],
    recipe: AnyRecipe,
    seed: int = 0,
    device: torch.device | str | None = None,
    epoch: int | None = None,
    backend: Backend | None = None,
    margin: int | None = None,
) -> Pairs:
    """Degrade the HR batches of a loader on a device.

    Walking over the result again, or calling this again for the same dataset, recipe and seed, is
    the next epoch: other crops, other degradations.

    Args:
        loader: Yields HR batches: a (B, C, H, W) tensor, uint8 or float in [0, 1]; or (tensor,
            indices); or a mapping with the tensor under ``hr``, ``gt`` or ``image`` and optional
            indices under ``index``. Without indices, samples are counted from 0.
        recipe: The degradation, or its name or file.
        seed: Seed; a sample's key is ``Key.of(seed, index, epoch)``.
        device: Where to degrade; by default the device of the batch.
        epoch: The first epoch, to resume or to repeat one: ``pairs(loader, recipe, epoch=0)`` is
            the same each time, as validation wants. By default, passes are counted.
        backend: ``reference``, ``native`` or ``triton``; by default the fastest for the device.
        margin: HR pixels at each side that are degraded too and then cut off, a multiple of the
            scale. By default what the batch says: the margin of :class:`degrade.PatchFolder`.

    Returns:
        An iterable of pairs; ``pair.lr`` is (B, C, H / scale, W / scale) and ``pair.index`` (B,).

    Raises:
        RecipeError: all problems of the recipe at once.
        TypeError: a seed or an epoch that is no integer.
    """
    recipe, seed = as_recipe(recipe), integer("seed", seed)
    settings = {"device": device, "backend": backend, "margin": margin}
    degrade = partial(degrade_batch, recipe=recipe, seed=seed, **settings)
    return Pairs(loader, degrade, (recipe.hash, seed), epoch)


class Pairs(Iterable[Pair]):
    """Pairs of a loader's HR images; each pass is an epoch. Made by :func:`pairs`.

    Args:
        loader: As for :func:`pairs`.
        degrade: Called as ``degrade(batch, epoch=0, start=0)``, it returns the pair of a batch;
            ``start`` is the index of the first sample of a batch without indices.
        identity: Hash of the recipe, and seed: passes with the same are counted together.
        epoch: As for :func:`pairs`.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        degrade: Callable[..., Pair],
        identity: tuple[str, int],
        epoch: int | None = None,
    ) -> None:
        self.loader, self.degrade, self.identity = loader, degrade, identity
        self._dataset = getattr(loader, "dataset", loader)
        self._next = None if epoch is None else integer("epoch", epoch)
        self._set = epoch is not None
        self._walk: Iterator[Pair] | None = None

    def __len__(self) -> int:
        """The number of batches, if the loader knows it."""
        return len(self.loader)  # pyright: ignore[reportArgumentType]  (TypeError if it does not)

    @property
    def epoch(self) -> int:
        """The epoch of the next pass."""
        counted = passes(self._dataset).get(self.identity, 0)
        return counted if self._next is None else self._next

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        self._next, self._set = integer("epoch", epoch), True

    def state_dict(self) -> dict[str, int]:
        """Return the epoch of the next pass, for a checkpoint."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a checkpoint: sets the epoch of the next pass."""
        self.set_epoch(state["epoch"])

    def __iter__(self) -> Iterator[Pair]:
        epoch = self.epoch
        self._next = epoch + 1
        passes(self._dataset)[self.identity] = epoch + 1
        driven = drivers(self.loader)
        for each in driven:
            tell(each, epoch, even_fixed=self._set)
        try:
            yield from self._pairs(epoch)
        finally:
            for each in driven:
                release(each, epoch)

    def _pairs(self, epoch: int) -> Iterator[Pair]:
        start = 0
        for batch in self.loader:
            pair = self.degrade(batch, epoch=epoch, start=start)
            start += len(pair.lr)
            yield pair

    def __next__(self) -> Pair:
        """Go on with a pass; where it ends, the next call begins the next one."""
        self._walk = self._walk or iter(self)
        try:
            return next(self._walk)
        except StopIteration:
            self._walk = None
            raise


def as_recipe(recipe: AnyRecipe) -> Recipe:
    """Return a recipe, loaded if it is a name, a file or data. Raises RecipeError."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.load(recipe if isinstance(recipe, Mapping) else os.fspath(recipe))


Passes = dict[tuple[str, int], int]
_PASSES: dict[int, Passes] = {}


def passes(dataset: Any) -> Passes:
    """Return the next epoch of a dataset by recipe and seed.

    It is kept as long as the dataset, which outlives loaders. Of what cannot be referenced weakly,
    such as a list of batches, nothing is kept.
    """
    place = id(dataset)
    if place not in _PASSES:
        try:
            finalize(dataset, _PASSES.pop, place)
        except TypeError:
            return {}
        _PASSES[place] = {}
    return _PASSES[place]


def drivers(loader: Any) -> list[Any]:
    """Return a loader's dataset and samplers, whose epoch a pass sets."""
    batches = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), getattr(batches, "sampler", None), batches)
    unique = {id(each): each for each in samplers if hasattr(each, "set_epoch")}
    return [*unique.values(), getattr(loader, "dataset", None)]


# --- datasets ------------------------------------------------------------------------------------


class DegradedFolder(EpochDataset[dict[str, Any]]):
    """Pairs degraded in the loader's workers: for CPU training, or where a ``Dataset`` is needed.

    Item ``i`` is ``{"lq": (C, h, w), "gt": (C, H, W), "index": i, "epoch": e, "path": ...}``, the
    pair that :func:`pairs` yields for item ``i`` of ``patches``. Each pass of a loader is the next
    epoch.

    Args:
        patches: HR patches; or, for patches of ``options``, a folder, file, glob or URL.
        recipe: The degradation, or its name or file.
        seed: As for :func:`pairs`; also of the patches, unless they are given.
        names: Keys of the LR and the HR image, ``("lr", "hr")`` for example.
        backend: As for :func:`pairs`.
        options: Of :class:`degrade.PatchFolder`, such as ``size``, ``margin`` and ``fixed``, where
            ``patches`` is a folder.

    Raises:
        RecipeError: all problems of the recipe at once.
        ImageError: no usable image.
        ValueError: parameters out of range.
    """

    def __init__(
        self,
        patches: PatchFolder | Root,
        recipe: AnyRecipe,
        seed: int = 0,
        names: Names = ("lq", "gt"),
        backend: Backend | None = None,
        **options: Any,
    ) -> None:
        self.recipe, self.seed = as_recipe(recipe), integer("seed", seed)
        if not isinstance(patches, PatchFolder):
            given: dict[str, Any] = {"seed": seed, **options}
            patches = PatchFolder(patches, **given)
        elif options:
            raise ValueError(f"{', '.join(options)}: should be given to PatchFolder")
        if patches.margin % self.recipe.scale:
            raise ValueError(
                f"margin {patches.margin} should be a multiple of the scale {self.recipe.scale}"
            )
        self.patches, self.epochs = patches, patches.epochs
        self.names = names
        self.backend: Backend | None = backend

    def __len__(self) -> int:
        return len(self.patches)

    def item(self, index: int, epoch: int) -> dict[str, Any]:
        """Return pair ``index`` of an epoch."""
        patch = self.patches.item(index, epoch)
        plan = self.recipe.plan(Key.of(self.seed, index, epoch))
        pair = self.recipe.apply(patch["hr"][None], plan, backend=self.backend)
        pair = pair.trimmed(patch["margin"])
        lr, hr = self.names
        return {
            lr: pair.lr[0],
            hr: pair.hr[0],
            "index": index,
            "epoch": epoch,
            "path": patch["path"],
        }
