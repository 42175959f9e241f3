"""One batch of HR images: what it says, and the pairs that it gives."""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.execution import Backend
from degrade.recipe import Pair, Recipe
from degrade.rng import Key, integers

__all__ = ["degrade_batch", "unpack"]


def degrade_batch(
    batch: Any,
    recipe: Recipe,
    seed: int = 0,
    epoch: int = 0,
    *,
    start: int = 0,
    device: torch.device | str | None = None,
    backend: Backend | None = None,
    margin: int | None = None,
) -> Pair:
    """Degrade one batch of HR images, for frameworks that walk the loader themselves.

    Args:
        batch: As :func:`pairs` takes it. What it says of its samples' epoch or margin counts, as
            the batches of :class:`degrade.PatchFolder` do.
        recipe: The degradation.
        seed: Seed.
        epoch: Epoch of a batch that does not say its own.
        start: Index of the first sample of a batch without indices.
        device: Where to degrade; by default the device of the batch.
        backend: As for :func:`pairs`.
        margin: As for :func:`pairs`.

    Raises:
        ValueError: the batch has another structure, shape, dtype or range.
        TypeError: indices that are no integers.
    """
    given = unpack(batch, start)
    hr = given.hr if device is None else given.hr.to(device, non_blocking=True)
    key = Key.of(seed, given.index, epoch if given.epoch is None else given.epoch)
    pair = replace(recipe.apply(hr, recipe.plan(key), backend=backend), index=given.index)
    return pair.trimmed(given.margin if margin is None else margin)


@dataclass(frozen=True, eq=False)
class Unpacked:
    """The HR images of a batch, (B, C, H, W), their indices, (B,), and what the batch says of its
    epoch, None or (B,), and of its margin.
    """

    hr: Tensor
    index: NDArray[np.int64]
    epoch: NDArray[np.int64] | None = None
    margin: int = 0


def unpack(batch: Any, start: int) -> Unpacked:
    """Return what :func:`pairs` uses of a batch.

    ``start`` is the index of the first sample of a batch without indices.

    >>> unpack(torch.zeros(2, 3, 8, 8), start=6).index
    array([6, 7])

    Raises:
        ValueError: the batch has another structure.
        TypeError: indices that are no integers.
    """
    index = epoch = None
    margin: Any = 0
    hr = batch
    if isinstance(batch, Mapping):
        names = [name for name in ("hr", "gt", "image") if name in batch]
        if not names:
            raise ValueError(
                f"the batch has {', '.join(map(str, batch))};"
                " its images should be under hr, gt or image"
            )
        hr, index = batch[names[0]], batch.get("index")
        epoch, margin = batch.get("epoch"), batch.get("margin", 0)
    elif isinstance(batch, tuple | list):
        hr, index = batch[0], batch[1] if len(batch) > 1 else None
    if not isinstance(hr, Tensor):
        raise ValueError(
            f"the batch's images are {type(hr).__name__}; they should be one (B, C, H, W) tensor"
        )
    margins = set(on_host("margin", margin).tolist())
    if len(margins) > 1:
        raise ValueError(f"the batch has margins of {sorted(margins)}; they should be equal")
    indices = np.arange(start, start + len(hr)) if index is None else on_host("index", index)
    epochs = None if epoch is None else on_host("epoch", epoch)
    for name, values in (("indices", indices), ("epochs", epochs)):
        if values is not None and values.shape != (len(hr),):
            raise ValueError(f"{len(hr)} images but {name} of shape {values.shape}")
    return Unpacked(hr, indices, epochs, margins.pop() if margins else 0)


def on_host(name: str, values: Any) -> NDArray[np.int64]:
    return integers(name, values.cpu() if isinstance(values, Tensor) else values)
