"""Formats: one dataset in each of them has the same pairs, survives kills, and gives the same
bytes each time.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader

from degrade import PairedFolder, Recipe
from degrade.data.readers import open_pairs
from degrade.data.readers.lmdb import key_of, name_of
from degrade.errors import SynthError, UserError
from degrade.images.files import ImageError, read_image
from degrade.inspection.gallery import write_contact_sheet
from degrade.storage.files import sha256
from degrade.synthesis import engines
from degrade.synthesis.job import Job, prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import Report, synthesize
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers import FORMATS

pytest.importorskip("webdataset", reason="the extra 'shards' is not installed")
lmdb = pytest.importorskip("lmdb", reason="the extra 'shards' is not installed")

NAMES = ("a.png", "b/dotted.name.png", "b/ä b (1).png", "c.png", "d.png")
OTHERS = sorted(set(FORMATS) - {"folder"})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(data.astronaut()[40 * i : 40 * i + 48 + 4 * i, 60:116]).save(path)
    return folder


def plan(source: Path, output: Path, format: str, **kwargs: Any) -> tuple[Job, Recipe]:
    recipe = Recipe.load("realesrgan")
    return prepare(recipe, SynthSettings(str(source), **kwargs), output, format, shard=2), recipe


def make(
    source: Path,
    output: Path,
    format: str,
    run: engines.Engine = engines.in_process,
    **kwargs: Any,
) -> Report:
    job, recipe = plan(source, output, format, **kwargs)
    return synthesize(job, recipe, run)


def backwards(job: Job, indices: list[int]) -> Iterator[engines.Result]:
    """An engine that finishes in another order."""
    return engines.in_process(job, indices[::-1])


def dies_after(count: int) -> engines.Engine:
    def run(job: Job, indices: list[int]) -> Iterator[engines.Result]:
        for n, result in enumerate(backwards(job, indices)):
            if n == count:
                raise KeyboardInterrupt
            yield result

    return run


def content(folder: Path) -> dict[str, str]:
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "lock.mdb")
    ]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same dataset in each format."""
    root = tmp_path_factory.mktemp("made")
    for format in FORMATS:
        assert make(photos, root / format, format, per_image=2).made == 2 * len(NAMES)
    return {format: root / format for format in FORMATS}


# --- laws over formats ---------------------------------------------------------------------------


@pytest.mark.parametrize("format", OTHERS)
def test_same_items(made: dict[str, Path], format: str) -> None:
    """A trainer sees the same dataset in every format, patches included."""
    for size in (None, 24):
        one, other = (PairedFolder(made[name], size, seed=3) for name in ("folder", format))
        for folder in (one, other):
            folder.set_epoch(2)
        assert len(one) == len(other) == 2 * len(NAMES)
        assert one.reader.names == other.reader.names
        for i in range(len(one)):
            a, b = one[i], other[i]
            assert torch.equal(a["lr"], b["lr"])
            assert torch.equal(a["hr"], b["hr"])
            assert a["index"] == b["index"] == i


@pytest.mark.parametrize("format", FORMATS)
def test_same_bytes_in_any_order(
    photos: Path, made: dict[str, Path], tmp_path: Path, format: str
) -> None:
    make(photos, tmp_path / "out", format, backwards, per_image=2)
    assert content(tmp_path / "out") == content(made[format])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_a_run_that_died_goes_on(
    photos: Path, made: dict[str, Path], tmp_path: Path, format: str, count: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make(photos, out, format, dies_after(count), per_image=2)
    report = make(photos, out, format, per_image=2)
    assert (report.made, report.kept) == (10 - count, count)
    assert content(out) == content(made[format])
    assert make(photos, out, format, per_image=2).made == 0
    assert content(out) == content(made[format])


@pytest.mark.parametrize("format", FORMATS)
def test_replay(made: dict[str, Path], format: str) -> None:
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(made[format]))


@pytest.mark.parametrize("format", FORMATS)
def test_records_beside(made: dict[str, Path], tmp_path: Path, format: str) -> None:
    for name in ("manifest.csv", "recipe.yaml", "skipped.csv"):
        assert (made[format] / name).read_bytes() == (made["folder"] / name).read_bytes()
    out = shutil.copytree(made[format], tmp_path / "out")
    sheet = write_contact_sheet(out, Recipe.load("realesrgan"))
    assert min(read_image(sheet).pixels.shape[:2]) > 100
    assert not (out / ".staged").exists()


@pytest.mark.parametrize("format", OTHERS)
def test_damage_is_mended(
    photos: Path, made: dict[str, Path], tmp_path: Path, format: str
) -> None:
    """A flipped bit in a pair: found when the run is started again, and the pair made anew."""
    out = shutil.copytree(made[format], tmp_path / "out")
    pair = (made["folder"] / "lr/c_s001.png").read_bytes()
    [victim] = [path for path in out.rglob("*") if path.is_file() and pair in path.read_bytes()]
    victim.write_bytes(
        victim.read_bytes().replace(pair, pair[:200] + bytes([pair[200] ^ 1]) + pair[201:])
    )
    assert not all(pair.on_disk for pair in replay_pairs(out))
    assert make(photos, out, format, per_image=2).made == 1
    assert content(out) == content(made[format])


@pytest.mark.parametrize("format", ["webdataset", "lmdb"])
def test_a_source_that_can_be_used_later(photos: Path, tmp_path: Path, format: str) -> None:
    """Its pair joins those that were packed without it, and the bytes are those of an
    undisturbed run.
    """
    source = shutil.copytree(photos, tmp_path / "photos")
    whole = (source / "b/dotted.name.png").read_bytes()
    (source / "b/dotted.name.png").write_bytes(whole[:200])
    assert len(make(source, tmp_path / "out", format).skipped) == 1
    (source / "b/dotted.name.png").write_bytes(whole)
    report = make(source, tmp_path / "out", format)
    assert (report.made, report.kept) == (1, 4)
    make(source, tmp_path / "undisturbed", format)
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


# --- as others read them -------------------------------------------------------------------------


def test_webdataset_reads_shards(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDS_SECURE", "1")
    from webdataset import WebDataset

    shards = sorted(map(str, made["webdataset"].glob("*.tar")))
    assert [Path(shard).name for shard in shards] == [f"pairs-{k:06d}.tar" for k in range(5)]
    samples = list(WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:06d}" for i in range(10)]
    for sample in samples:
        said = json.loads(sample["json"])
        assert said["hr_sha256"] == sha256(sample["hr.png"])
        assert said["lr_sha256"] == sha256(sample["lr.png"])
        assert isinstance(
            said["last.jpeg.quality"] if "last.jpeg.quality" in said else said["hr_width"],
            int | float,
        )


def test_shards_say_nothing_of_when_and_who(made: dict[str, Path]) -> None:
    with tarfile.open(made["webdataset"] / "pairs-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uname, m.gname, m.mode, m.uid, m.gid) for m in members} == {
        (0, "degrade", "degrade", 0o644, 0, 0)
    }


def test_basicsr_reads_databases(made: dict[str, Path]) -> None:
    """As ``paired_paths_from_lmdb`` and ``LmdbBackend`` of BasicSR do."""
    for side in ("hr", "lr"):
        folder = made["lmdb"] / f"{side}.lmdb"
        lines = (folder / "meta_info.txt").read_text(encoding="ascii").splitlines()
        assert len(lines) == 10
        client = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
        for line in lines:
            key = line.split(".")[0]
            with client.begin(write=False) as transaction:
                value = transaction.get(key.encode("ascii"))
            height, width, channels = read_image(bytes(value)).pixels.shape
            assert line == f"{key}.png ({height},{width},{channels}) 1"
        client.close()


def test_keys() -> None:
    names = ["a", "a/b.c", "a%2Eb", "ä (1)", "日本 x", "a.b", "%"]
    assert [name_of(key_of(name)) for name in names] == names
    assert all(key_of(name).isascii() and not set(key_of(name)) & set(". ()") for name in names)


def test_alpha_in_meta_info(tmp_path: Path) -> None:
    image = np.dstack([data.chelsea()[:40, :40], np.full((40, 40), 128, np.uint8)])
    (tmp_path / "in").mkdir()
    Image.fromarray(image).save(tmp_path / "in/a.png")
    make(tmp_path / "in", tmp_path / "out", "lmdb", alpha="keep")
    assert (tmp_path / "out/hr.lmdb/meta_info.txt").read_text() == "a.png (40,40,4) 1\n"


def test_metadata_of_image_folder(made: dict[str, Path]) -> None:
    lines = [
        json.loads(line)
        for line in (made["huggingface"] / "metadata.jsonl").read_text().splitlines()
    ]
    assert [line["index"] for line in lines] == list(range(10))
    for line in lines:
        assert sha256(made["huggingface"] / line["hr_file_name"]) == line["hr_sha256"]
        assert sha256(made["huggingface"] / line["lr_file_name"]) == line["lr_sha256"]


# --- PairedFolder --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_travels_to_workers(made: dict[str, Path], format: str) -> None:
    folder = PairedFolder(made[format], 24)
    first = folder[0]  # handles are open now
    again = pickle.loads(pickle.dumps(folder))[0]
    assert torch.equal(first["hr"], again["hr"])
    items = list(DataLoader(folder, batch_size=None, num_workers=2))
    assert all(torch.equal(item["hr"], folder[item["index"]]["hr"]) for item in items)
    loaded = [item["index"] for item in items]
    assert sorted(loaded) == list(range(10))


def test_foreign_shards(tmp_path: Path) -> None:
    """Shards of other tools: no JSON, folders in keys, gt and lq."""
    hr = data.chelsea()[:32, :32]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, image in (("s/b.gt.png", hr), ("s/b.lq.png", hr[::4, ::4]), ("readme.txt", hr)):
            Image.fromarray(image).save(tmp_path / "one.png")
            tar.add(tmp_path / "one.png", name)
    folder = PairedFolder(tmp_path / "x.tar")
    assert (folder.scale, folder.reader.names) == (4, ["s/b"])


def test_what_is_wrong_is_said(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no folders lr and hr .* no \*\.tar"):
        open_pairs(tmp_path)
    tar = made["webdataset"] / "pairs-000000.tar"
    (tmp_path / "cut.tar").write_bytes(tar.read_bytes()[:3000])
    with pytest.raises((UserError, ValueError), match=r"cut\.tar"):
        PairedFolder(tmp_path)
    (tmp_path / "cut.tar").write_bytes(b"no tar at all")
    with pytest.raises(UserError, match="not a complete tar"):
        PairedFolder(tmp_path)
    bad = shutil.copytree(made["lmdb"], tmp_path / "bad")
    with open(bad / "lr.lmdb/meta_info.txt", "a") as file:
        file.write("more.png (1,1,3) 1\n")
    with pytest.raises(ValueError, match=r"more: only in one of lr\.lmdb, hr\.lmdb"):
        PairedFolder(bad)
    (bad / "lr.lmdb/meta_info.txt").unlink()
    with pytest.raises(UserError, match=r"meta_info\.txt"):
        PairedFolder(bad)
    bad = shutil.copytree(made["lmdb"], tmp_path / "bad2")
    for side in ("lr", "hr"):
        with open(bad / f"{side}.lmdb/meta_info.txt", "a") as file:
            file.write("zz.png (1,1,3) 1\n")
    with pytest.raises(ImageError, match=r"zz: is in meta_info\.txt but not in the database"):
        PairedFolder(bad)[10]


def test_errors_of_settings(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("realesrgan")
    with pytest.raises(
        SynthError, match="--format tar: should be folder, webdataset, lmdb, huggingface"
    ):
        prepare(recipe, SynthSettings(str(photos)), tmp_path, "tar")
    with pytest.raises(SynthError, match="--shard 0"):
        prepare(recipe, SynthSettings(str(photos)), tmp_path, "webdataset", 0)
    make(photos, tmp_path / "out", "folder", count=1)
    with pytest.raises(SynthError, match="format was missing, now 'lmdb'"):
        make(photos, tmp_path / "out", "lmdb", count=1)
    for format, module in (("webdataset", "webdataset.writer"), ("lmdb", "lmdb")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(UserError, match=rf"--format {format}: .*pip install webdataset lmdb"):
            prepare(recipe, SynthSettings(str(photos)), tmp_path / "new", format)


def test_datasets_reads_the_huggingface_format(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    folder = made["huggingface"]
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path)
    )
    assert len(loaded) == 2 * len(NAMES)
    for item in loaded:
        for side in ("hr", "lr"):
            expected = read_image(folder / side / f"{item['name']}.png").pixels
            np.testing.assert_array_equal(np.asarray(item[side]), expected)
