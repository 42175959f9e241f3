"""The tensor backends never wait for a device: no operation in them asks for a number, or for a
size that depends on one.

A dispatch mode sees every operation, also on a CPU, and refuses those that synchronise on a GPU.
The one constraint: it cannot see a blocking copy; `torch.cuda.set_sync_debug_mode("error")` does,
where there is a GPU.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from degrade.execution import threads
from degrade.loading.search_path import names
from degrade.recipe import Recipe
from degrade.rng import Key

RECIPES = names()
WAITING = {
    *(
        "_local_scalar_dense",
        "item",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "bincount",
        "unique_dim",
    ),
    *("_unique2", "unique_consecutive", "repeat_interleave.Tensor", "histc"),
}
"""Operations whose result, or its size, has to be known on the host."""


class NoWaiting(TorchDispatchMode):
    """Raises at an operation that would wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        waits = name in WAITING or f"{name}.{func._overloadname}" in WAITING
        # Indexing by a mask counts its true elements first.
        masks = name in ("index", "index_put", "index_put_") and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if waits or masks:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RECIPES)
def test_no_operation_waits(
    name: str, photographs: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every recipe, the whole ragged batch at once, several draws."""
    recipe = Recipe.load(name)
    # The mode belongs to this thread, so the rows may not go to others.
    monkeypatch.setattr(threads, "each", lambda work, items: [work(item) for item in items])
    for seed in range(3):
        plan = recipe.plan(Key.of(seed, np.arange(len(photographs))))
        with torch.no_grad(), NoWaiting():
            recipe.apply(photographs, plan, chunk=len(photographs), backend="reference")


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.masked_select(x, x > 0),
        lambda x: x.unique(),
        lambda x: int(x.max()),
    ],
)
def test_the_mode_sees_what_waits(wait: Any) -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        wait(torch.arange(4.0))
