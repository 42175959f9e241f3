"""PatchFolder: an item is a function of (seed, epoch, index), whoever asks for it."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter

import albumentations
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from degrade.data.cache import DecodedImages
from degrade.data.patches import PatchFolder, augmented, crop
from degrade.images.files import ImageError, read_image
from degrade.images.pixels import encode_png, reflected
from degrade.images.samples import sample_images
from degrade.rng import Key


def coordinates(height: int, width: int, tag: int) -> np.ndarray:
    """Pixels that say where they are: (y, x, tag)."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([y, x, np.full_like(y, tag)]).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("hr")
    for tag, (height, width) in enumerate([(40, 60), (90, 33), (64, 64), (200, 100)]):
        (root / f"{tag}.png").write_bytes(encode_png(coordinates(height, width, tag)))
    return root


def items(folder, order=None, **options):
    patches = PatchFolder(folder, 32, seed=7, repeat=3, **options)
    return {i: patches[i]["hr"].numpy().tobytes() for i in order or range(len(patches))}


def plain(patches, index):
    return patches[index]["hr"].permute(1, 2, 0).numpy()


# --- an item is a function of its key ------------------------------------------------------------


def test_item(folder):
    patches = PatchFolder(folder, 32, repeat=3)
    assert len(patches) == 12
    for index in range(12):
        item = patches[index]
        assert item["hr"].shape == (3, 32, 32)
        assert item["hr"].dtype == torch.uint8
        assert item["hr"].is_contiguous()
        assert item["index"] == index
        assert item["path"] == str(folder / f"{index % 4}.png")
        assert item["notes"] == ""
        assert (item["hr"][2] == index % 4).all()
    with pytest.raises(IndexError):
        patches[12]


def test_order_does_not_matter(folder):
    assert items(folder) == items(folder, random.Random(0).sample(range(12), 12))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch", [1, 5])
def test_workers_and_batches_do_not_matter(folder, workers, batch):
    patches = PatchFolder(folder, 32, seed=7, repeat=3)
    loader = DataLoader(patches, batch_size=batch, num_workers=workers, shuffle=True)
    found = {
        int(i): hr.numpy().tobytes()
        for got in loader
        for i, hr in zip(got["index"], got["hr"], strict=True)
    }
    assert found == items(folder)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_persistent_workers_see_the_epoch(folder, start):
    patches = PatchFolder(folder, 32, seed=7, repeat=3)
    loader = DataLoader(
        patches,
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
    )
    epochs = []
    for epoch in (0, 1, 0):
        patches.set_epoch(epoch)
        epochs.append(torch.cat([got["hr"] for got in loader]))
        assert torch.equal(epochs[-1][5], patches[5]["hr"])
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(torch.cat([got["hr"] for got in loader]), epochs[1]), "it counts on"


def test_global_generators_are_neither_read_nor_moved(folder):
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    transform = albumentations.Compose([albumentations.HorizontalFlip(p=0.5)])
    first = items(folder, augment=transform)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    assert items(folder, augment=transform) == first


def test_seed_and_epoch_change_items(folder):
    patches = PatchFolder(folder, 32, seed=7, repeat=3)
    other = PatchFolder(folder, 32, seed=8, repeat=3)
    before = [patches[i]["hr"] for i in range(12)]
    assert sum(torch.equal(before[i], other[i]["hr"]) for i in range(12)) == 0
    patches.set_epoch(1)
    assert patches.epoch == 1
    assert sum(torch.equal(before[i], patches[i]["hr"]) for i in range(12)) == 0


def test_pickle_keeps_items_and_drops_the_cache(folder):
    patches = PatchFolder(folder, 32, seed=7, repeat=3, cache=True)
    patches.set_epoch(3)
    item = patches[4]["hr"]
    data = pickle.dumps(patches)
    assert len(data) < 5000
    assert torch.equal(pickle.loads(data)[4]["hr"], item)


def test_cache_changes_nothing(folder):
    patches = PatchFolder(folder, 32, seed=7, repeat=3, cache=True)
    for _ in range(2):
        assert {i: patches[i]["hr"].numpy().tobytes() for i in range(12)} == items(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for channels in (1, 3):
            # A patch of the size of the image is a copy too.
            whole = PatchFolder(
                [folder / "2.png"], 64, cache=True, flip=False, rotate=False, channels=channels
            )
            before = whole[0]["hr"].clone()
            whole[0]["hr"].zero_()
            assert torch.equal(whole[0]["hr"], before)


def test_cache_is_bounded_and_shared_and_ends(folder):
    """Of four images the first two fit; workers and copies find them; no file stays."""
    sizes = [read_image(folder / f"{i}.png").pixels.nbytes for i in range(4)]
    patches = PatchFolder(folder, 32, seed=7, repeat=3, cache=sum(sizes[:2]) + 1)
    assert {i: patches[i]["hr"].numpy().tobytes() for i in range(12)} == items(folder)
    place = patches.cache.folder
    kept = [path for path in place.iterdir() if not path.suffix]
    assert len(kept) == 2
    assert patches.cache.full
    loader = DataLoader(patches, 4, num_workers=2)
    found = [hr.numpy().tobytes() for batch in loader for hr in batch["hr"]]
    assert found == [items(folder)[i] for i in range(12)]
    copy = pickle.loads(pickle.dumps(patches))
    assert copy.cache.folder == place
    del copy, loader
    assert place.exists()
    del patches
    gc.collect()
    assert not place.exists()
    assert torch.equal(PatchFolder(folder, 32, seed=7, repeat=3)[0]["hr"], hr0(folder))


def hr0(folder):
    patches = PatchFolder(folder, 32, seed=7, repeat=3, cache=True)
    shutil.rmtree(patches.cache.folder)  # a cache that cannot be written is left out
    return patches[0]["hr"]


def test_caches_of_killed_processes_are_swept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"degrade-decoded-{dead.pid}-x").mkdir()
    (tmp_path / f"degrade-decoded-{os.getpid()}-x").mkdir()
    DecodedImages(1)
    assert [path.name for path in tmp_path.iterdir()] == [f"degrade-decoded-{os.getpid()}-x"]


# --- what is drawn -------------------------------------------------------------------------------


def test_every_turn_is_drawn_equally_and_every_place_possible(folder):
    """Eight turns, 2000 draws: each count is within 5 standard deviations of 250; and 29 x 5
    places of the crop.
    """
    patches = PatchFolder([folder / "0.png"], 32, repeat=2000, cache=True)
    turns, tops, lefts = Counter(), Counter(), Counter()
    for index in range(2000):
        patch = plain(patches, index)
        top, left = patch[..., 0].min(), patch[..., 1].min()
        source = coordinates(40, 60, 0)[top : top + 32, left : left + 32]
        images = [np.rot90(f, k) for f in (source, source[:, ::-1]) for k in range(4)]
        (turn,) = [k for k, image in enumerate(images) if np.array_equal(image, patch)]
        turns[turn] += 1
        tops[int(top)] += 1
        lefts[int(left)] += 1
    assert len(turns) == 8
    assert all(abs(count - 250) < 5 * np.sqrt(250 * 7 / 8) for count in turns.values())
    assert set(tops) == set(range(9))
    assert set(lefts) == set(range(29))
    assert all(abs(count - 2000 / 29) < 5 * np.sqrt(2000 / 29) for count in lefts.values())


@pytest.mark.parametrize(
    ("flip", "rotate", "kinds"), [(False, False, 1), (True, False, 2), (False, True, 4)]
)
def test_turns_that_are_switched_off_are_not_drawn(folder, flip, rotate, kinds):
    patches = PatchFolder([folder / "2.png"], 64, repeat=60, flip=flip, rotate=rotate, cache=True)
    assert len({plain(patches, i).tobytes() for i in range(60)}) == kinds


def test_switching_turns_moves_no_crop(folder):
    turned, still = (PatchFolder(folder, 32, flip=on, rotate=on) for on in (True, False))
    for index in range(4):
        assert (
            np.sort(plain(turned, index).ravel()).tobytes()
            == np.sort(plain(still, index).ravel()).tobytes()
        )


def test_crop():
    pixels = coordinates(10, 20, 0)
    np.testing.assert_array_equal(crop(pixels, 4, 0, 0), pixels[:4, :4])
    np.testing.assert_array_equal(crop(pixels, 4, 0.9999, 0.9999), pixels[-4:, -4:])
    np.testing.assert_array_equal(
        crop(pixels, 4, 0.5, 0.5, flip=True, turns=1), np.rot90(pixels[3:7, 11:7:-1])
    )


# --- small images --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (1, 30), (40, 3), (32, 32)])
def test_small_images_are_mirrored(shape):
    pixels = coordinates(*shape, 9)
    grown = reflected(pixels, 32)
    after = [max(32 - side, 0) for side in shape]
    np.testing.assert_array_equal(
        grown, np.pad(pixels, ((0, after[0]), (0, after[1]), (0, 0)), mode="reflect")
    )


def test_small_images_in_a_folder(folder):
    grown = PatchFolder(folder, 64, flip=False, rotate=False)
    assert len(grown) == 4
    source = np.pad(coordinates(90, 33, 1), ((0, 0), (0, 31), (0, 0)), mode="reflect")
    top = int(plain(grown, 1)[0, 0, 0])
    np.testing.assert_array_equal(plain(grown, 1), source[top : top + 64])
    left_out = PatchFolder(folder, 64, small="skip")
    assert [path.name for path in left_out.paths] == ["2.png", "3.png"]
    assert left_out.skipped[1] == (
        str(folder / "1.png"),
        "33 x 90 pixels, smaller than the patch of 64",
    )
    with pytest.raises(ImageError, match="no usable image, 4 skipped"):
        PatchFolder(folder, 500, small="skip")


# --- bad files and odd ones ----------------------------------------------------------------------


def test_bad_files_are_left_out_with_a_reason(tmp_path, caplog):
    good = encode_png(coordinates(40, 40, 1))
    contents = {
        "a.png": good,
        "b.png": b"text",
        "c.png": b"",
        "d.png": good[: len(good) // 2],
        "e.png": good,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        patches = PatchFolder(tmp_path, 32)
    assert [path.name for path in patches.paths] == ["a.png", "d.png", "e.png"]
    assert [reason for _, reason in patches.skipped][1] == "the file is empty"
    assert "b.png: not an image" in caplog.text
    with pytest.raises(ImageError, match=r"d\.png: truncated"):
        patches[1]
    full = PatchFolder(tmp_path, 32, check="full")
    assert [path.name for path in full.paths] == ["a.png", "e.png"]
    assert len(PatchFolder(tmp_path, 32, check="none")) == 5
    with pytest.raises(
        ImageError, match=r"no usable image, 1 skipped; first, .*c\.png: the file is empty"
    ):
        PatchFolder([tmp_path / "c.png"])
    with pytest.raises(ImageError, match="does not exist"):
        PatchFolder(tmp_path / "missing")


def test_depth_alpha_and_grey(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32, 4), np.uint16)
    (tmp_path / "a.png").write_bytes(encode_png(deep))
    (tmp_path / "b.png").write_bytes(encode_png(coordinates(32, 32, 0)[..., :1]))
    options = {"flip": False, "rotate": False}
    patches = PatchFolder(tmp_path, 32, **options)
    np.testing.assert_array_equal(plain(patches, 0), np.rint(deep[..., :3] / 257))
    assert patches[0]["notes"] == "16-bit; rounded to 8 bits; alpha dropped"
    np.testing.assert_array_equal(plain(patches, 1), coordinates(32, 32, 0)[..., [0, 0, 0]])
    assert patches[1]["notes"] == "grey repeated in 3 channels"
    grey = PatchFolder(tmp_path, 32, channels=1, **options)
    assert grey[0]["hr"].shape == (1, 32, 32)
    luma = np.rint(deep[..., :3] / 257) @ [0.299, 0.587, 0.114]
    assert np.abs(plain(grey, 0)[..., 0] - luma).max() <= 0.51
    assert grey[1]["notes"] == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0"),
        ({"repeat": 0}, "repeat 0"),
        ({"channels": 2}, "channels 2"),
        ({"small": "grow"}, "small 'grow'"),
        ({"check": "some"}, "check 'some'"),
        ({"small": "skip", "check": "none"}, "needs sizes"),
        ({"augment": np.flip}, "cannot be seeded"),
    ],
)
def test_wrong_parameters(folder, options, message):
    with pytest.raises(ValueError, match=message):
        PatchFolder(folder, **options)


# --- albumentations ------------------------------------------------------------------------------


def test_augment_runs_before_the_crop(folder):
    cut = albumentations.RandomCrop(40, 33, p=1)
    patches = PatchFolder(folder, 32, augment=cut, flip=False, rotate=False, repeat=3)
    assert [plain(patches, i).tobytes() for i in range(12)] == [
        plain(patches, i).tobytes() for i in range(12)
    ]
    assert {plain(patches, i).tobytes() for i in range(12)} != {
        plain(PatchFolder(folder, 32, flip=False, rotate=False, repeat=3), i).tobytes()
        for i in range(12)
    }
    with pytest.raises(ValueError, match="both sides at least 32"):
        PatchFolder(folder, 32, augment=albumentations.RandomCrop(20, 40, p=1))[0]


def test_augment_does_not_depend_on_workers(folder):
    transform = albumentations.Compose([albumentations.RandomCrop(33, 33), albumentations.D4(p=1)])
    patches = PatchFolder(folder, 32, seed=7, repeat=3, augment=transform, cache=True)
    single = torch.stack([patches[i]["hr"] for i in reversed(range(12))]).flip(0)
    double = torch.cat([got["hr"] for got in DataLoader(patches, batch_size=2, num_workers=2)])
    assert torch.equal(single, double)


def test_parts_of_a_composition_are_independent():
    """Two flips of probability 1/2 give four outcomes, 100 times each of 400, within 5 standard
    deviations.
    """
    transform = albumentations.Compose(
        [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
    )
    pixels = coordinates(2, 2, 0)
    counts = Counter(augmented(pixels, transform, Key.of(0, i)).tobytes() for i in range(400))
    assert len(counts) == 4
    assert all(abs(count - 100) < 5 * np.sqrt(75) for count in counts.values())


def test_samples_make_patches():
    patches = PatchFolder(sample_images(), 256)
    assert len(patches) == 5
    assert not patches.skipped
    for index in range(5):
        source = read_image(patches[index]["path"]).pixels
        levels = np.bincount(patches[index]["hr"].numpy().ravel(), minlength=256)
        assert levels.sum() == 3 * 256 * 256
        assert (levels <= np.bincount(source.ravel(), minlength=256)).all()
