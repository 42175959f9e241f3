"""Formats: one dataset in each of them has the same pairs, survives kills, and gives the same
bytes each time.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
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
from degrade.images.files import read_image
from degrade.inspection.gallery import write_contact_sheet
from degrade.storage.files import sha256
from degrade.storage.names import unescape
from degrade.synthesis import engines
from degrade.synthesis.job import Job, prepare
from degrade.synthesis.manifest import read_rows
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
    recipe = Recipe.load(kwargs.pop("recipe", "realesrgan"))
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


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("names", ["hr,lr", "gt,lq", "hq,lq"])
def test_raw_hr_and_other_names(
    photos: Path, made: dict[str, Path], tmp_path: Path, format: str, names: str
) -> None:
    """HR as it was is beside the others, is verified and replayed as they are, and the pairs are
    the same under any name.
    """
    out, high = tmp_path / "out", names.partition(",")[0]
    kwargs: dict[str, Any] = {"names": names, "keep_raw": True, "per_image": 2}
    with pytest.raises(KeyboardInterrupt):
        make(photos, out, format, dies_after(4), **kwargs)
    assert make(photos, out, format, **kwargs).kept == 4
    assert make(photos, out, format, **kwargs).repaired == []
    pairs, before = PairedFolder(out), PairedFolder(made[format])
    assert pairs.reader.names == before.reader.names
    assert all(
        torch.equal(pairs[i][side], before[i][side]) for i in (0, 9) for side in ("hr", "lr")
    )
    sharpened = 0
    for pair in replay_pairs(out):
        assert pair.equal
        assert pair.on_disk
        assert pair.sides == (*names.split(","), f"{high}_raw")
        raw = read_image(pair.files[2]).pixels
        stem = re.sub(r"_s\d+$", "", pair.name)
        source = read_image(photos / f"{stem}.png").pixels
        assert np.array_equal(raw, source[: len(raw), : raw.shape[1]])
        sharpened += not np.array_equal(raw, read_image(pair.hr).pixels)
    assert sharpened
    with pytest.raises(SynthError, match="keep_raw True, now False"):
        make(photos, out, format, per_image=2, names=names)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("per_image", [1, 2])
def test_any_name(tmp_path: Path, format: str, per_image: int) -> None:
    """Each file is made, and again, whatever it is called."""
    names = [
        *(b"caf\xe9.png", b"caf\xe9/x\xff.png", b"a\rb.png", b"l\n\tx.png", b"\x1b[31mred.png"),
        *(b"x" * 251 + b".png", "照".encode() * 57 + b".png", "照".encode() * 82 + b".png"),
        *(b"a.jpg", b"a.png/b.png", b"a.png/a.png/c.png", b"a_s001.png/q.png"),
        *(b"100%41.png", b"%E9.png", b"[b]x[/b].png", b"-o.png", b" .png", b'"q",.png'),
        b"/".join([b"deep" * 10] * 30) + b"/z.png",
    ]
    for name in names:
        path = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(data.chelsea()[:16, :16]))
    out = tmp_path / "out"
    report = make(tmp_path / "in", out, format, recipe="bicubic", per_image=per_image)
    assert (report.made, report.skipped) == (len(names) * per_image, [])
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(out))
    assert len(PairedFolder(out)) == len(names) * per_image
    assert make(tmp_path / "in", out, format, recipe="bicubic", per_image=per_image).made == 0
    sources = {row["source"] for row in read_rows((out / "manifest.csv").read_text())[1]}
    assert {os.fsencode(unescape(source)) for source in sources} == set(names)
    assert all(source.isprintable() for source in sources)


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


def test_both_images_of_a_pair_are_flipped_and_turned_alike(tmp_path: Path) -> None:
    """HR that is LR with each pixel repeated stays so, in all eight orientations of one crop."""
    lr = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    for side, image in (("lr", lr), ("hr", lr.repeat(4, 0).repeat(4, 1))):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").write_bytes(png(image))
    repeat = 64
    plain = PairedFolder(tmp_path, 32, repeat=repeat)
    turned = PairedFolder(tmp_path, 32, repeat=repeat, flip=True, rotate=True)
    flipped = PairedFolder(tmp_path, 32, repeat=repeat, flip=True)
    seen: set[int] = set()
    for i in range(repeat):
        low, high = turned[i]["lr"], turned[i]["hr"]
        assert torch.equal(high, low.repeat_interleave(4, 1).repeat_interleave(4, 2))
        crop = plain[i]["lr"]
        poses = [x.rot90(n, (1, 2)) for x in (crop, crop.flip(2)) for n in range(4)]
        [pose] = [n for n, one in enumerate(poses) if torch.equal(one, low)]
        seen.add(pose)
        assert torch.equal(flipped[i]["lr"], poses[pose // 4 * 4])
    assert seen == set(range(8))


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("format", FORMATS)
def test_hr_as_it_was(photos: Path, tmp_path: Path, format: str, scheme: str) -> None:
    """Items have it where synth kept it, else HR."""
    out, plain = tmp_path / "out", tmp_path / "plain"
    make(photos, out, format, keep_raw=True)
    make(photos, plain, "folder", keep_raw=True)
    kept = PairedFolder(f"{scheme}{out}", 24, seed=1, flip=True, rotate=True, raw=True)
    raw = PairedFolder(
        f"lr={plain}/lr,hr={plain}/hr_raw", 24, seed=1, flip=True, rotate=True, raw=True
    )
    sharpened: list[bool] = []
    for i in range(len(kept)):
        item, expected = kept[i], raw[i]
        assert torch.equal(item["lr"], expected["lr"])
        assert torch.equal(item["hr_raw"], expected["hr"])
        assert torch.equal(expected["hr_raw"], expected["hr"])
        sharpened.append(not torch.equal(item["hr"], expected["hr"]))
    assert any(sharpened)
    assert "hr_raw" not in PairedFolder(out)[0]


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def write_tar(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_foreign_shards(tmp_path: Path, caplog: pytest.LogCaptureFixture, form: int) -> None:
    """Shards of other tools: no JSON, folders and dots in keys, sides in other words, long names,
    and members that belong to no pair, which are named.
    """
    hr, lr = (png(data.chelsea()[:32:step, :32:step]) for step in (1, 4))
    long = "/".join(["folder" * 9, "b" * 90])
    pairs = {"s/b": "gt lq", "1.5 x/a.v1.2": "hr lr", "d.e": "HQ LQ", long: "hr lr"}
    if form != tarfile.USTAR_FORMAT:
        pairs |= {"ä" * 120: "hr lr"}
    files: dict[str, bytes] = {}
    for key, sides in pairs.items():
        high, low = sides.split()
        files |= {f"{key}.{high}.png": hr, f"{key}.{low}.webp": lr}
    others = {"readme.txt": b"x", ".b.hr.png": hr, "s/b.hr.png": hr, "c.png": hr}
    beside = {"s/b.json": b"[" * 9999, "s/b.hr_raw.png": hr, "d.e.json": b"{"}
    path = write_tar(tmp_path / "x.tar", {**files, **others, **beside}, format=form)
    folder = PairedFolder(path)
    assert sorted(folder.reader.names) == sorted(pairs)
    assert all(item["lr"].shape == (3, 8, 8) for item in folder_items(folder))
    skipped = [f"x.tar/{name}" for name in others]
    assert sorted(folder.reader.skipped) == sorted(skipped)
    [record] = caplog.records
    assert "left out 4 members" in record.getMessage()
    assert "x.tar/.b.hr.png, x.tar/c.png, x.tar/readme.txt and 1 more" in record.getMessage()


def folder_items(folder: PairedFolder) -> list[dict[str, Any]]:
    return [folder[i] for i in range(len(folder))]


def hostile_tars() -> dict[str, bytes]:
    """Archives that a reader must refuse, or read as far as they are right."""

    def header(name: str, size: bytes = b"0" * 11, kind: bytes = b"0") -> bytes:
        block = bytearray(name.encode().ljust(100, b"\0") + b"0000644\0" * 3)
        block += size.ljust(12, b"\0") + b"0" * 11 + b"\0" + b" " * 8 + kind
        block += bytes(512 - len(block))
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    negative = b"\xff" * 12
    record = b"12 size=-5\n\0".ljust(512, b"\0")
    return {
        "negative size": header("a.hr.png", negative) * 2,
        "negative header": header("x", negative, b"x") + header("a.hr.png"),
        "huge size": header("a.hr.png", b"\x80" + b"\x7f" * 11),
        "8 EiB header": header("x", b"\x80" + bytes(3) + b"\x7f" * 8, b"L"),
        "negative pax size": header("x", b"%011o" % 12, b"x") + record + header("a.hr.png") * 2,
        "pax without end": header("x", b"%011o" % 4, b"x") + b"9999 path=x".ljust(512, b"\0"),
        "thousands of headers": (header("x", b"%011o" % 0, b"x")) * 5000 + header("a.hr.png"),
        "sparse": header("a.hr.png", b"%011o" % 0, b"S"),
        "no number": header("a.hr.png", b"many"),
        "noise": bytes(range(256)) * 8,
        "empty": b"",
        "zeros": bytes(10240),
    }


@pytest.mark.parametrize("what", hostile_tars())
def test_hostile_shards(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.tar").write_bytes(hostile_tars()[what])
    with pytest.raises(ValueError, match=r"x\.tar: is not a complete tar|hold no members"):
        PairedFolder(tmp_path)


def test_hostile_members(tmp_path: Path) -> None:
    """A link, or JSON that is deep or endless, costs nothing and changes nothing."""
    hr, lr = (png(data.chelsea()[:32:step, :32:step]) for step in (1, 4))
    for text in (b"[" * 10**5, b'{"name": "' + b"x" * 2**21 + b'"}', b'{"name": 7}', b"\xff"):
        files = {"a.hr.png": hr, "a.lr.png": lr, "a.json": text}
        assert PairedFolder(write_tar(tmp_path / "x.tar", files)).reader.names == ["a"]
    with tarfile.open(tmp_path / "x.tar", "a") as tar:
        link = tarfile.TarInfo("b.hr.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert PairedFolder(tmp_path / "x.tar").reader.names == ["a"]


@pytest.mark.parametrize("format", ["folder", "tar"])
def test_grey_pairs_among_colour_ones(tmp_path: Path, format: str) -> None:
    files: dict[str, bytes] = {}
    for i in range(4):
        hr = data.chelsea()[:32, :32] if i % 2 else data.camera()[:32, :32]
        files |= {f"{i}.hr.png": png(hr), f"{i}.lr.png": png(hr[::4, ::4])}
    if format == "tar":
        write_tar(tmp_path / "x.tar", files)
    for name, content in files.items():
        key, side, _ = name.split(".")
        (tmp_path / side).mkdir(exist_ok=True)
        (tmp_path / side / f"{key}.png").write_bytes(content)
    folder = PairedFolder(tmp_path / "x.tar" if format == "tar" else tmp_path)
    [batch] = DataLoader(folder, batch_size=4)
    assert batch["hr"].shape == (4, 3, 32, 32)
    assert torch.equal(batch["lr"][0, 0], batch["lr"][0, 2])


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
    with pytest.raises(ValueError, match=r"zz: in meta_info\.txt but not in the database"):
        PairedFolder(bad)


def test_errors_of_settings(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("realesrgan")
    with pytest.raises(
        SynthError, match="--format tar: should be folder, webdataset, lmdb, huggingface"
    ):
        prepare(recipe, SynthSettings(str(photos)), tmp_path, "tar")
    with pytest.raises(SynthError, match="--shard 0"):
        prepare(recipe, SynthSettings(str(photos)), tmp_path, "webdataset", 0)
    make(photos, tmp_path / "out", "folder", count=1)
    with pytest.raises(SynthError, match="format folder, now lmdb"):
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
