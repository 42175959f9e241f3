"""Apple's devices take the reference, which asks them for nothing that they lack.

None is here. :class:`Apple` plays one on a CPU: its tensors say that they are on ``mps``, meet no
tensor of another device, and refuse float64 and the operators that MPS came to late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_laws import BODIES, OPERATORS, spread
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from degrade.base import REGISTRY
from degrade.data.pairs import pairs
from degrade.execution import choose
from degrade.images.image import Image
from degrade.loading.search_path import names
from degrade.recipe import Recipe
from degrade.rng import Key
from sr.evaluation import evaluate
from sr.examples import Example
from sr.metrics import FIDELITY, open_metrics
from sr.models.interpolation import Bicubic
from sr.upscale import upscale_image

MPS = torch.device("mps")
LATE = ("embedding_bag", "unravel_index", "histc")
"""Not in MPS in the oldest PyTorch that is supported."""


class OnMPS(Tensor):
    """A tensor that says it is on ``mps``."""


class Apple(TorchFunctionMode):
    """Plays an MPS device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if name == "__get__" and func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return MPS if isinstance(args[0], OnMPS) else func(*args)
        if func is torch.device or name == "_parse_to":
            return func(*args, **kwargs)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        mine = [x for x in given if isinstance(x, OnMPS)]
        asked = self._asked(name, args, kwargs)
        if mine and name in LATE:
            raise NotImplementedError(f"{name} is not implemented for MPS")
        if mine and name == "numpy":
            raise TypeError("can't convert mps tensor to numpy")
        if name not in ("to", "copy_", "__get__", "__set__"):
            others = [x for x in given if not isinstance(x, OnMPS) and x.ndim]
            assert not (mine and others), f"{name} of tensors on mps and on a CPU"
        args, kwargs = tree_map(self._bare, (args, kwargs))
        with torch._C.DisableTorchFunction():
            made = func(*args, **kwargs)
        there = asked == "mps" or (asked is None and bool(mine))
        if name in ("to", "cpu") and there != bool(mine):
            made = made.clone()  # another memory
        return tree_map(self._there if there else lambda x: x, made)

    @staticmethod
    def _asked(name: str, args: Any, kwargs: Any) -> str | None:
        """The device that is asked for."""
        if name == "cpu":
            return "cpu"
        asked = kwargs.get("device")
        if name == "to" and asked is None:
            asked = next((x for x in args[1:] if isinstance(x, torch.device | str)), None)
        return None if asked is None else torch.device(asked).type

    @staticmethod
    def _bare(value: Any) -> Any:
        """On the CPU that plays."""
        if isinstance(value, OnMPS):
            return value.as_subclass(Tensor)
        named = isinstance(value, torch.device | str) and value in (MPS, "mps")
        return torch.device("cpu") if named else value

    @staticmethod
    def _there(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return value.as_subclass(OnMPS)


@pytest.fixture
def apple() -> Iterator[None]:
    with Apple():
        yield


def body(name: str) -> Any:
    """An operator of random fields."""
    kind = REGISTRY[name]
    return BODIES.get(name, {field: spread(value) for field, value in kind.variables().items()})


ALONE = {
    name: {
        "name": name,
        "scale": 2,
        "first": [{name: body(name)}, {"as": "back", "resize": {"of": "target"}}],
    }
    for name in OPERATORS
}


@pytest.mark.parametrize("recipe", [*names(), *ALONE.values()], ids=[*names(), *ALONE])
def test_pixels_on_mps_are_those_of_a_cpu(recipe: Any, photographs: Tensor) -> None:
    recipe = Recipe.load(recipe)
    hr = photographs[:, :, :56, :72]
    plan = recipe.plan(Key.of(5, np.arange(len(hr))))
    wanted = recipe.apply(hr, plan, backend="reference", chunk=len(hr))
    with Apple():
        there = hr.to("mps")
        assert there.device == MPS
        assert choose(there) == "reference"
        pair = recipe.apply(there, plan)
        assert pair.lr.device == pair.hr.device == MPS
        lr, target = pair.lr.cpu(), pair.hr.cpu()
    torch.testing.assert_close(lr, wanted.lr, rtol=0, atol=5e-3 / 255)
    torch.testing.assert_close(target, wanted.hr, rtol=0, atol=5e-3 / 255)


def test_pairs_on_mps(apple: None, photographs: Tensor) -> None:
    (pair,) = pairs([photographs[:2]], "realesrgan", device="mps")
    assert pair.lr.device == MPS


DIFFERENTIABLE = {
    "name": "differentiable",
    "scale": 2,
    "first": [
        {"blur": {"sigma": 1}},
        {"resize": {"of": "target"}},
        {"jpeg": {"quality": 80, "straight_through": True}},
    ],
}


def test_gradients_on_mps(photographs: Tensor) -> None:
    recipe = Recipe.load(DIFFERENTIABLE)
    hr = photographs[:1, :, :32, :32] / 255
    plan = recipe.plan(Key.of(0, np.arange(1)))
    found = []
    for device in ("cpu", "mps"):
        with Apple():
            leaf = hr.clone().requires_grad_()
            lr = recipe.apply(leaf.to(device), plan, backend="reference").lr
            assert lr.device.type == device
            lr.sum().cpu().backward()
        assert leaf.grad is not None
        found.append(leaf.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


def test_upscaling_and_measuring_on_mps(photographs: Tensor) -> None:
    image = Image(photographs[0].permute(1, 2, 0).numpy()[:24, :32])
    example = Example("a", photographs[:1, :, :12, :16] / 255, photographs[:1, :, :24, :32] / 255)
    found = []
    for device in ("cpu", "mps"):
        with Apple():
            model = Bicubic(scale=2).to(device)
            assert model.device.type == device
            levels = upscale_image(model, image, tile=8)
            results = evaluate(model.eval(), "bicubic", [example], metrics=open_metrics(FIDELITY))
            found.append((levels, results.as_dict()["mean"]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.double(),
        lambda x: x * torch.ones(3, 1, 1, dtype=torch.float64, device="mps"),
        lambda x: x.numpy(),
        lambda x: x + torch.ones(2, 3, 4, 4),
        lambda x: torch.nn.functional.embedding_bag(
            torch.zeros(1, 1, dtype=torch.int64, device="mps"), x[0, 0]
        ),
    ],
    ids=["double", "float64", "numpy", "another device", "embedding_bag"],
)
def test_the_player_refuses_what_mps_does(apple: None, work: Any) -> None:
    with pytest.raises((TypeError, AssertionError, NotImplementedError), match=r"mps|MPS"):
        work(torch.zeros(2, 3, 4, 4, device="mps"))
