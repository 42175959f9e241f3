"""Batches of pairs: on the fly, in the workers or written before, the same index gives the same
pair.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader

from degrade import DegradedFolder, Key, PairedFolder, PatchFolder, Recipe, pairs
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        Image.fromarray(data.astronaut()[30 * i : 30 * i + 70, 90 : 150 + i]).save(
            folder / f"{i}.png"
        )
    return folder


RECIPE = Recipe.load("realesrgan")


def patches(photos: Path, **kwargs: bool) -> PatchFolder:
    return PatchFolder(photos, size=48, repeat=4, seed=5, **kwargs)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_three_speeds(photos: Path, tmp_path: Path, workers: int) -> None:
    """On the fly, by batches or in workers; from images cached in memory; baked by ``synth
    --patch``: equal, bit for bit."""
    plain = {"flip": False, "rotate": False}
    live = list(
        pairs(DataLoader(patches(photos, **plain), 5, num_workers=workers), RECIPE, seed=5)
    )
    index = np.concatenate([pair.index for pair in live if pair.index is not None])
    assert index.tolist() == list(range(12))
    lr, hr = torch.cat([pair.lr for pair in live]), torch.cat([pair.hr for pair in live])
    inside = DataLoader(
        DegradedFolder(patches(photos, **plain), RECIPE, seed=5), 4, num_workers=workers
    )
    batches = list(inside)
    assert torch.equal(torch.cat([batch["lq"] for batch in batches]), lr)
    assert torch.equal(torch.cat([batch["gt"] for batch in batches]), hr)
    cached = patches(photos, cache=True, **plain)
    loader = DataLoader(cached, 5, num_workers=workers, persistent_workers=workers > 0)
    for _ in range(2):  # the second time nothing is decoded
        again = list(pairs(loader, RECIPE, seed=5, epoch=0))
        assert torch.equal(torch.cat([pair.lr for pair in again]), lr)
        assert torch.equal(torch.cat([pair.hr for pair in again]), hr)
    job = prepare(
        RECIPE, SynthSettings(str(photos), patch=48, per_image=4, seed=5), tmp_path / "out"
    )
    synthesize(job, RECIPE, in_process)
    baked = PairedFolder(tmp_path / "out")
    assert baked.scale == 4
    places = {Path(baked[i]["path"]).stem: i for i in range(12)}
    for i in range(12):
        item = baked[places[job.name(i)]]
        assert torch.equal(item["lr"], lr[i])
        assert torch.equal(item["hr"], hr[i])


def test_results_do_not_depend_on_batches_or_resume(photos: Path) -> None:
    whole = torch.cat([pair.lr for pair in pairs(DataLoader(patches(photos), 12), RECIPE, seed=1)])
    for size in (1, 5):
        assert torch.equal(
            torch.cat([p.lr for p in pairs(DataLoader(patches(photos), size), RECIPE, seed=1)]),
            whole,
        )
    rest = DataLoader(torch.utils.data.Subset(patches(photos), [7, 3]), 2)
    [pair] = pairs(rest, RECIPE, seed=1)
    assert torch.equal(pair.lr, whole[[7, 3]])


def test_epochs_differ(photos: Path) -> None:
    loader = DataLoader(patches(photos), 12)
    first, second, again = (next(iter(pairs(loader, RECIPE, epoch=epoch))) for epoch in (0, 1, 0))
    assert torch.equal(first.lr, again.lr)
    assert not torch.equal(first.hr_raw, second.hr_raw)
    assert not np.array_equal(first.plan["first.jpeg.quality"], second.plan["first.jpeg.quality"])
    folder = DegradedFolder(patches(photos), RECIPE)
    folder.set_epoch(1)
    assert torch.equal(folder[3]["lq"], second.lr[3])


def test_every_kind_of_batch() -> None:
    hr = torch.rand(3, 3, 16, 16)
    plan = RECIPE.plan(Key.of(0, np.arange(3)))
    expected = RECIPE.apply(hr, plan).lr
    index = torch.arange(3)
    for batch in (
        hr,
        (hr, index),
        [hr, index],
        {"hr": hr},
        {"gt": hr, "index": index},
        {"image": hr, "index": [0, 1, 2]},
    ):
        [pair] = pairs([batch], RECIPE)
        assert torch.equal(pair.lr, expected)
    first, second = pairs([hr[:2], hr[2:]], RECIPE)
    assert torch.equal(torch.cat([first.lr, second.lr]), expected), (
        "without indices, samples are counted"
    )


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": 1}, "its images should be under hr, gt or image"),
        ([3, 4], "the batch's images are int; they should be one"),
        ((torch.rand(2, 3, 8, 8), [1]), r"2 images but indices of shape \(1,\)"),
        (torch.rand(2, 2, 8, 8), r"it should be \(B, 3, H, W\) or \(B, 1, H, W\)"),
        (torch.rand(3, 8, 8), r"it should be \(B, 3, H, W\)"),
        (torch.rand(2, 3, 8, 3), "an image of 8 x 3 is smaller than the scale 4"),
        (torch.ones(2, 3, 8, 8, dtype=torch.int64), "it should be uint8, or float"),
    ],
)
def test_wrong_batches(batch: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(pairs([batch], RECIPE))


def test_calling_a_recipe(photos: Path) -> None:
    picture = Image.open(photos / "0.png")
    array = np.asarray(picture)
    expected = RECIPE(photos / "0.png").lr
    for image in (
        picture,
        array,
        array[None],
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        array / np.float32(255),
    ):
        assert torch.equal(RECIPE(image).lr, expected)
    assert RECIPE(np.asarray(picture.convert("L"))).lr.shape[1] == 1
    assert not torch.equal(RECIPE(picture, index=1).lr, expected)
    with pytest.raises(ValueError, match="divide by 255"):
        RECIPE(array.astype(np.float32))


def test_datasets_travel(photos: Path) -> None:
    folder = DegradedFolder(patches(photos), RECIPE, names=("lr", "hr"))
    again = pickle.loads(pickle.dumps(folder))
    assert torch.equal(again[2]["lr"], folder[2]["lr"])


def write(folder: Path, side: str, name: str, size: tuple[int, int]) -> None:
    (folder / side).mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.coffee()[: size[0], : size[1]]).save(folder / side / name)


def test_paired_folder_of_others(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path, "gt", name, (48, 64))
        write(tmp_path, "lq", name, (24, 32))
    folder = PairedFolder(tmp_path, size=16, repeat=3, seed=1)
    assert (folder.scale, len(folder)) == (2, 6)
    items = [folder[i] for i in range(6)]
    assert all(item["hr"].shape == (3, 16, 16) and item["lr"].shape == (3, 8, 8) for item in items)
    assert torch.equal(folder[2]["hr"], items[2]["hr"])
    folder.set_epoch(1)
    assert not torch.equal(folder[2]["hr"], items[2]["hr"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no folders lr and hr"),
        ([("hr", "a.png", (8, 8)), ("lr", "b.png", (4, 4))], "a, b: only in one of lr and hr"),
        (
            [("hr", "a.png", (8, 9)), ("lr", "a.png", (4, 4))],
            "should be an integer multiple of LR",
        ),
    ],
)
def test_folders_that_do_not_pair(
    tmp_path: Path, files: list[tuple[str, str, tuple[int, int]]], message: str
) -> None:
    for side, name, size in files:
        write(tmp_path, side, name, size)
    with pytest.raises(ValueError, match=message):
        PairedFolder(tmp_path)
