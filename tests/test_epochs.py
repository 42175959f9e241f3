"""Every pass over training data is the next epoch, whoever walks: a function of (seed, epoch,
index), for any loader, any number of workers, after any resume.
"""

from __future__ import annotations

import copy
import importlib.util
import pickle
import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler, Subset

from degrade import (
    DegradedFolder,
    EpochSampler,
    Key,
    PairedFolder,
    PatchFolder,
    Recipe,
    degrade_batch,
    pairs,
)
from degrade.images.pixels import encode_png

RECIPE = Recipe.load("bicubic")
NOISY = Recipe.load(
    {
        "name": "noisy",
        "scale": 2,
        "only": [
            {"resize": {"of": "target", "filter": "area"}},
            {"gaussian_noise": {"sigma": [1, 50]}},
        ],
    }
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, and pairs of them at x2."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for side, size in (("hr", 40), ("lr", 20)):
        (root / side).mkdir()
        for i in range(6):
            pixels = generator.integers(0, 256, (size, size, 3), np.uint8)
            (root / side / f"{i}.png").write_bytes(encode_png(pixels))
    return root


class Wrapper(Dataset[Any]):
    """What people write around a dataset."""

    def __init__(self, base: Dataset[Any]) -> None:
        self.base = base

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**self.base[i]}


DATASETS: dict[str, Callable[..., Any]] = {
    "patches": lambda root, **more: PatchFolder(root / "hr", 16, **more),
    "degraded": lambda root, **more: DegradedFolder(root / "hr", NOISY, size=16, **more),
    "paired": lambda root, **more: PairedFolder(root, 16, **more),
}
IMAGE = {"patches": "hr", "degraded": "gt", "paired": "hr"}


def walked(loader: Iterable[Any], image: str) -> dict[int, tuple[int, bytes]]:
    """By index, the epoch and the pixels of every item of a pass."""
    return {
        int(i): (int(e), x.numpy().tobytes())
        for batch in loader
        for i, e, x in zip(batch["index"], batch["epoch"], batch[image], strict=True)
    }


def expected(dataset: Any, image: str, epoch: int, indices: Iterable[int]) -> dict[int, Any]:
    return {i: (epoch, dataset.item(i, epoch)[image].numpy().tobytes()) for i in indices}


# --- loaders that nobody tells the epoch ---------------------------------------------------------


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (0, {}),
        (0, {"shuffle": True, "drop_last": True}),
        (2, {"shuffle": True}),
        (2, {"persistent_workers": True, "drop_last": True, "shuffle": True}),
    ],
)
def test_a_loader_moves_on(photos: Path, kind: str, workers: int, options: dict[str, Any]) -> None:
    dataset = DATASETS[kind](photos)
    loader = DataLoader(dataset, 4, num_workers=workers, **options)
    for epoch in range(3):
        found = walked(loader, IMAGE[kind])
        assert len(found) == (4 if "drop_last" in options else 6)
        assert found == expected(dataset, IMAGE[kind], epoch, found)
        assert dataset.epoch == epoch


@pytest.mark.parametrize("kind", DATASETS)
def test_iteration_ends_and_moves_on(photos: Path, kind: str) -> None:
    dataset = DATASETS[kind](photos)
    for epoch in range(2):
        items = list(dataset)
        assert [item["index"] for item in items] == list(range(6))
        assert {item["epoch"] for item in items} == {epoch}
    assert dataset[-1]["index"] == 5
    assert [item["index"] for item in reversed(dataset)] == [5, 4, 3, 2, 1, 0]
    for index in (6, -7):
        with pytest.raises(IndexError, match=rf"{index} is not in \[0, 6\)"):
            dataset[index]


@pytest.mark.parametrize("kind", DATASETS)
def test_looking_at_items_moves_nothing(photos: Path, kind: str) -> None:
    dataset = DATASETS[kind](photos)
    first = dataset[2]
    assert torch.equal(dataset[2][IMAGE[kind]], first[IMAGE[kind]])
    found = walked(DataLoader(dataset, 6), IMAGE[kind])
    assert found == expected(dataset, IMAGE[kind], 0, range(6))


@pytest.mark.parametrize("kind", DATASETS)
def test_fixed_datasets_stay(photos: Path, kind: str) -> None:
    dataset = DATASETS[kind](photos, fixed=True)
    loader = DataLoader(dataset, 4, num_workers=1)
    assert walked(loader, IMAGE[kind]) == walked(loader, IMAGE[kind])
    dataset.set_epoch(3)
    for _ in range(2):
        assert walked(loader, IMAGE[kind]) == expected(dataset, IMAGE[kind], 3, range(6))


@pytest.mark.parametrize(
    "wrap", [Wrapper, lambda d: Subset(d, [5, 1]), lambda d: ConcatDataset([d])]
)
def test_wrapped_datasets_move_on(photos: Path, wrap: Callable[[Any], Any]) -> None:
    dataset = DATASETS["degraded"](photos)
    loader = DataLoader(wrap(dataset), 2, num_workers=1)
    for epoch in range(2):
        found = walked(loader, "gt")
        assert found == expected(dataset, "gt", epoch, found)


def test_a_wrapper_without_workers_is_warned_of(photos: Path) -> None:
    """There a pass cannot be seen; ``pairs`` and ``EpochSampler`` tell it in any case."""
    dataset = PatchFolder(photos / "hr", 16, repeat=20)
    loader = DataLoader(Wrapper(dataset), 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = walked(loader, "hr")
    with pytest.warns(UserWarning, match=r"all of epoch 0.*call set_epoch\(1\)"):
        assert walked(loader, "hr") == first
    dataset.set_epoch(1)
    assert walked(loader, "hr") == expected(dataset, "hr", 1, range(120))


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATASETS)
def test_datasets_resume(photos: Path, kind: str) -> None:
    dataset = DATASETS[kind](photos)
    assert dataset.state_dict() == {"epoch": 0}
    for _ in range(2):
        walked(DataLoader(dataset, 4), IMAGE[kind])
    other = DATASETS[kind](photos)
    other.load_state_dict(dataset.state_dict())
    loader = DataLoader(other, 4, num_workers=1)
    for epoch in (2, 3):
        assert walked(loader, IMAGE[kind]) == expected(dataset, IMAGE[kind], epoch, range(6))
    other.set_epoch(0)
    assert walked(loader, IMAGE[kind]) == expected(dataset, IMAGE[kind], 0, range(6))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_move_on_alone(photos: Path, clone: Callable[[Any], Any]) -> None:
    dataset = DATASETS["degraded"](photos)
    dataset.set_epoch(4)
    other = clone(dataset)
    loader = DataLoader(other, 3, num_workers=1)
    for epoch in (4, 5):
        assert walked(loader, "gt") == expected(dataset, "gt", epoch, range(6))
    assert dataset.epoch == 4


def test_repeats_can_be_changed(photos: Path) -> None:
    dataset = PatchFolder(photos / "hr", 16)
    dataset.repeat = 2
    for epoch in range(2):
        assert walked(DataLoader(dataset, 5), "hr") == expected(dataset, "hr", epoch, range(12))


# --- pairs ---------------------------------------------------------------------------------------


def made(stream: Iterable[Any]) -> Tensor:
    return torch.cat([pair.lr for pair in stream])


def of_epoch(patches: PatchFolder, epoch: int, recipe: Recipe = NOISY) -> Tensor:
    hr = torch.stack([patches.item(i, epoch)["hr"] for i in range(6)])
    return recipe.apply(hr, recipe.plan(Key.of(0, np.arange(6), epoch))).lr


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("wrap", [lambda d: d, Wrapper])
def test_pairs_move_on(photos: Path, workers: int, wrap: Callable[[Any], Any]) -> None:
    """Walked again, made again, or over another loader of the dataset."""
    patches = PatchFolder(photos / "hr", 16)
    dataset = wrap(patches)
    stream = pairs(DataLoader(dataset, 4, num_workers=workers), NOISY)
    for epoch in range(2):
        assert torch.equal(made(stream), of_epoch(patches, epoch))
    for epoch in range(2, 4):
        loader = DataLoader(dataset, 3, num_workers=workers, persistent_workers=workers > 0)
        assert torch.equal(made(pairs(loader, NOISY)), of_epoch(patches, epoch))
    assert torch.equal(made(pairs(loader, NOISY, epoch=1)), of_epoch(patches, 1))
    assert torch.equal(made(pairs(loader, RECIPE)), of_epoch(patches, 0, RECIPE)), "its first pass"


def test_broken_passes_count(photos: Path) -> None:
    """With persistent workers, which still hold batches of the pass before."""
    patches = PatchFolder(photos / "hr", 16)
    loader = DataLoader(patches, 1, num_workers=2, persistent_workers=True)
    stream = pairs(loader, NOISY)
    for epoch in range(4):
        for pair in islice(stream, 2):
            assert torch.equal(pair.lr[0], of_epoch(patches, epoch)[int(pair.index[0])])


def test_pairs_resume(photos: Path) -> None:
    patches = PatchFolder(photos / "hr", 16)
    stream = pairs(DataLoader(patches, 4), NOISY, epoch=3)
    assert torch.equal(made(stream), of_epoch(patches, 3))
    other = pairs(DataLoader(PatchFolder(photos / "hr", 16), 4), NOISY)
    other.load_state_dict(stream.state_dict())
    for epoch in (4, 5):
        assert torch.equal(made(other), of_epoch(patches, epoch))


def test_a_plain_loader_moves_on_after_pairs(photos: Path) -> None:
    patches = PatchFolder(photos / "hr", 16)
    loader = DataLoader(patches, 4)
    for _ in pairs(loader, NOISY):
        pass
    for epoch in (1, 2):
        assert walked(loader, "hr") == expected(patches, "hr", epoch, range(6))


def test_any_data_moves_on() -> None:
    """Tensors in a loader of others; a list by the object that walks it."""
    hr = torch.rand(4, 3, 8, 8)
    loader = DataLoader(torch.utils.data.TensorDataset(hr), 2)
    expect = [NOISY.apply(hr, NOISY.plan(Key.of(0, np.arange(4), e))).lr for e in range(2)]
    for epoch in range(2):
        assert torch.equal(made(pairs(loader, NOISY)), expect[epoch])
    stream = pairs([hr], NOISY)
    for epoch in range(2):
        assert torch.equal(made(stream), expect[epoch])
    assert len(stream) == 1


def test_next_goes_on(photos: Path) -> None:
    patches = PatchFolder(photos / "hr", 16)
    stream = pairs(DataLoader(patches, 4), NOISY)
    for epoch in range(2):
        lr = torch.cat([next(stream).lr, next(stream).lr])
        assert torch.equal(lr, of_epoch(patches, epoch))
        with pytest.raises(StopIteration):
            next(stream)


def test_fixed_patches_stay_unless_told(photos: Path) -> None:
    patches = PatchFolder(photos / "hr", 16, fixed=True)
    loader = DataLoader(patches, 4)
    for _ in range(2):
        assert torch.equal(made(pairs(loader, NOISY)), of_epoch(patches, 0))
    assert torch.equal(made(pairs(loader, NOISY, epoch=2)), of_epoch(patches, 2))


def test_batches_say_their_epoch(photos: Path) -> None:
    """Which is what a framework needs that walks the loader itself."""
    patches = PatchFolder(photos / "hr", 16)
    loader = DataLoader(patches, 6)
    for epoch in range(2):
        [batch] = loader
        assert torch.equal(degrade_batch(batch, NOISY).lr, of_epoch(patches, epoch))


def test_pairs_tell_samplers() -> None:
    hr = torch.rand(6, 3, 8, 8)
    dataset = torch.utils.data.TensorDataset(hr)
    sampler = DistributedSampler(dataset, num_replicas=2, rank=0)
    loader = DataLoader(dataset, 3, sampler=sampler)
    for epoch in range(3):
        _ = made(pairs(loader, NOISY))
        assert sampler.epoch == epoch


# --- samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("wrap", [lambda d: d, Wrapper])
def test_sampler(photos: Path, workers: int, wrap: Callable[[Any], Any]) -> None:
    dataset = DATASETS["degraded"](photos)
    sampler = EpochSampler(wrap(dataset), seed=1)
    loader = DataLoader(
        wrap(dataset),
        2,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    orders: list[list[int]] = []
    for epoch in range(3):
        _ = next(iter(loader)) if epoch == 1 else None  # a broken pass
        sampler.set_epoch(epoch)
        found = walked(loader, "gt")
        assert found == expected(dataset, "gt", epoch, range(6))
        orders.append(list(found))
    assert len({tuple(order) for order in orders}) == 3
    assert orders[2] == list(EpochSampler(dataset, seed=1).of(2))


def test_sampler_resumes_within_an_epoch() -> None:
    whole = EpochSampler(range(10), seed=3)
    first, second, third = (list(whole) for _ in range(3))
    again = EpochSampler(range(10), seed=3)
    again.set_epoch(1, start=4)
    again.set_epoch(1)  # as Lightning does at the start of an epoch
    assert list(again) == second[4:]
    assert list(again) == third
    assert again.state_dict() == {"epoch": 3}
    assert sorted(first) == list(range(10))


def test_ranks_share_an_epoch() -> None:
    ranks = [EpochSampler(range(11), rank=rank, world=3) for rank in range(3)]
    for _ in range(2):
        parts = [list(sampler) for sampler in ranks]
        assert [len(part) for part in parts] == [len(sampler) for sampler in ranks] == [3, 3, 3]
        assert len({i for part in parts for i in part}) == 9
    with pytest.raises(ValueError, match=r"rank 3 should be in \[0, 3\)"):
        EpochSampler(range(3), rank=3, world=3)


# --- Lightning -----------------------------------------------------------------------------------


@pytest.mark.skipif(not importlib.util.find_spec("lightning"), reason="lightning is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_lightning(photos: Path, sampled: bool, workers: int) -> None:
    import lightning.pytorch as lightning

    seen: list[dict[int, Any]] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def on_train_epoch_start(self) -> None:
            seen.append({})

        def training_step(self, batch: Any, _: int) -> Tensor:
            seen[-1] |= walked([batch], "gt")
            return (self.weight - batch["lq"].mean()) ** 2

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-3)

    dataset = DATASETS["degraded"](photos)
    loader = DataLoader(
        dataset,
        2,
        sampler=EpochSampler(dataset) if sampled else None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Module(), loader)
    assert len(seen) == 3
    for epoch, found in enumerate(seen):
        assert found == expected(dataset, "gt", epoch, range(6))
