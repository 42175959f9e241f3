"""Stores: the same dataset from and to memory, archives and S3 as from and to a folder."""

from __future__ import annotations

import itertools
import shutil
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from skimage import data

from degrade import PairedFolder, PatchFolder, Recipe
from degrade.errors import SynthError, UserError
from degrade.images.files import ImageError, list_images, read_image
from degrade.inspection.gallery import write_contact_sheet
from degrade.storage.destination import object_store, open_destination
from degrade.storage.files import sha256, write_atomic
from degrade.storage.remote import is_url, join, list_files, local, open_store
from degrade.synthesis import engines
from degrade.synthesis.job import Job, prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import Report, synthesize
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers import FORMATS
from sr.examples import load_examples
from sr.training.config import configure
from sr.training.data import dataloader, open_dataset

fsspec = pytest.importorskip("fsspec", reason="the extra 'cloud' is not installed")
NAMES = ("a.png", "b/c.png", "b/d.jpg", "e.png")
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEGRADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(data.astronaut()[40 * i : 40 * i + 48 + 4 * i, 60:116]).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"nor this")
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 that lives in this process."""
    pytest.importorskip("s3fs", reason="the extra 'cloud' is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = moto.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket; address and credentials come from the environment, as with any S3."""
    import boto3

    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


def upload(folder: Path, url: str) -> str:
    store, path = open_store(url)
    for file in folder.rglob("*"):
        if file.is_file():
            store.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return url


def make(
    source: Path | str,
    output: Path | str,
    format: str = "folder",
    run: engines.Engine = engines.in_process,
    **settings: Any,
) -> Report:
    recipe = Recipe.load("realesrgan")
    wanted = SynthSettings(str(source), **settings)
    return synthesize(prepare(recipe, wanted, output, format, shard=3), recipe, run)


def hashes(folder: Path) -> dict[str, str]:
    """Of what must not depend on where a dataset lies or its sources lay."""
    paths = [
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    ]
    return {
        p.relative_to(folder).as_posix(): sha256(p)
        for p in paths
        if p.name not in ("synth.json", "lock.mdb")
    }


def fetched(url: str, folder: Path) -> dict[str, str]:
    store, path = open_store(url)
    store.invalidate_cache()
    for name in store.find(path):
        target = folder / str(name)[len(path.rstrip("/")) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(store.cat_file(name))
    return hashes(folder)


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Hashes of the dataset on this disk, by format."""
    root = tmp_path_factory.mktemp("made")
    for format in FORMATS:
        make(photos, root / format, format)
    return {format: hashes(root / format) for format in FORMATS}


# --- URLs ----------------------------------------------------------------------------------------


def test_urls() -> None:
    urls = ["s3://b/k", "memory://x", "zip://a::b.zip", "gs://b", "file:///a/b.zip::x"]
    paths = ["a/b", "/a", "C:\\x", "file:///a/b", "a://", "", Path("s3://b")]
    assert [is_url(url) for url in urls] == [True] * 5
    assert [is_url(path) for path in paths] == [False] * 7
    assert local("file:///a/b") == Path("/a/b")
    assert join("s3://b/k", "x/y.png") == "s3://b/k/x/y.png"
    assert join("zip://a::s3://b/c.zip", "y.png") == "zip://a/y.png::s3://b/c.zip"
    assert join("zip://::c.zip", "y.png") == "zip://y.png::c.zip"


def test_passwords_are_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="holds a password") as caught:
        open_store("ftp://me:secret@host/x")
    assert "secret" not in str(caught.value)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="memory://nothing"):
        list_files("memory://nothing")
    with pytest.raises(UserError, match="nosuch"):
        list_files("nosuch://x")
    with pytest.raises(ImageError, match=r"memory://nothing\.png: does not exist"):
        read_image("memory://nothing.png")
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"no\.zip"):
        list_files(f"zip://{tmp_path}/no.zip")
    open_store("memory://bad")[0].pipe_file("/bad/x.png", b"no image")
    with pytest.raises(ImageError, match=r"memory://bad/x\.png: not an image"):
        read_image("memory://bad/x.png")
    for name in ("x.txt", "y.txt"):
        open_store("memory://bad")[0].pipe_file(f"/texts/{name}", b"")
    with pytest.raises(ImageError, match="no images here, of 2 files"):
        list_images("memory://texts")


# --- input ---------------------------------------------------------------------------------------


def test_listing(photos: Path) -> None:
    url = upload(photos, f"memory://{uuid4().hex}")
    assert list_images(url)[1] == sorted(NAMES)
    assert list_images(f"{url}/*.png")[1] == ["a.png", "e.png"]
    assert list_images(f"{url}/b/d.jpg")[1] == ["d.jpg"]
    root, [name], _ = list_images(f"{url}/b/d.jpg")
    assert (
        read_image(join(root, name)).pixels.tobytes()
        == read_image(photos / "b/d.jpg").pixels.tobytes()
    )


@pytest.fixture
def archive(photos: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in photos.rglob("*"):
            file.write(path, path.relative_to(photos))
    return tmp_path / "photos.zip"


@pytest.mark.parametrize("form", ["zip://{}", "zip://::{}", "zip://::file://{}"])
def test_from_zip(
    archive: Path, tmp_path: Path, made: dict[str, dict[str, str]], form: str
) -> None:
    make(form.format(archive), tmp_path / "out")
    assert hashes(tmp_path / "out") == made["folder"]
    assert all(pair.equal for pair in replay_pairs(tmp_path / "out"))


def test_hostile_archives(tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A member that leads out, is encrypted, packed unknown, or expands to gigabytes is left out
    or skipped; the others are made.
    """
    path, good = tmp_path / "x.zip", (photos / "a.png").read_bytes()
    names = ("../b.png", "/c.png", "x/../../d.png", "encrypted.png", "unknown.png")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", good)
        file.writestr("zeros.png", bytes(2**27))
        for name in names:
            file.writestr(name, good, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    for name, offset, value in ((names[3], 8, 1), (names[4], 10, 99)):
        central = raw.rfind(b"PK\1\2", 0, raw.rfind(name.encode()))
        raw[central + offset] = value
    path.write_bytes(raw)
    report = make(f"zip://{path}", tmp_path / "out")
    assert report.made == 1
    reasons = {url.split("://")[1].split("::")[0]: reason for url, reason in report.skipped}
    assert reasons.keys() == {"zeros.png", *names[3:]}
    assert "expands from" in reasons["zeros.png"]
    assert "encrypted" in reasons["encrypted.png"]
    assert "method is not supported" in reasons["unknown.png"]
    assert "left out 3 files whose names lead out of it" in caplog.text


def test_from_memory_and_file_url(
    photos: Path, tmp_path: Path, made: dict[str, dict[str, str]]
) -> None:
    make(upload(photos, f"memory://{uuid4().hex}/deep"), tmp_path / "out")
    make(f"file://{photos}", tmp_path / "other")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "other") == made["folder"]


def test_from_s3(
    photos: Path, archive: Path, bucket: str, tmp_path: Path, made: dict[str, dict[str, str]]
) -> None:
    make(upload(photos, f"{bucket}/in"), tmp_path / "out")
    assert hashes(tmp_path / "out") == made["folder"]
    moved = shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(moved))
    store, path = open_store(f"{bucket}/photos.zip")
    store.pipe_file(path, archive.read_bytes())
    make(f"zip://::{bucket}/photos.zip", tmp_path / "zipped")
    assert hashes(tmp_path / "zipped") == made["folder"]


# --- output --------------------------------------------------------------------------------------


def dies_after(count: int) -> engines.Engine:
    def run(job: Job, indices: list[int]) -> Iterator[engines.Result]:
        for n, result in enumerate(engines.in_process(job, indices)):
            if n == count:
                raise KeyboardInterrupt
            yield result

    return run


@pytest.mark.parametrize("format", FORMATS)
def test_to_s3(
    photos: Path, bucket: str, tmp_path: Path, made: dict[str, dict[str, str]], format: str
) -> None:
    """Interrupted, gone on with, looked at, replayed; the bytes in the bucket are those of a
    folder.
    """
    url = f"{bucket}/sets/one"
    with pytest.raises(KeyboardInterrupt):
        make(photos, url, format, dies_after(2))
    assert make(photos, url, format).made <= len(NAMES)
    sheet = write_contact_sheet(
        prepare(Recipe.load("realesrgan"), SynthSettings(str(photos)), url).output,
        Recipe.load("realesrgan"),
        url=url,
    )
    assert open_store(url)[0].exists(f"{open_store(url)[1]}/contact_sheet.png")
    assert sheet.is_file()
    assert {
        k: v for k, v in fetched(url, tmp_path / "got").items() if k != "contact_sheet.png"
    } == made[format]
    assert make(photos, url, format).made == 0
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(url))
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(f"{url}/manifest.csv"))


@pytest.mark.parametrize("format", ["folder", "webdataset", "huggingface"])
def test_another_machine_goes_on(
    photos: Path,
    bucket: str,
    cache: Path,
    tmp_path: Path,
    made: dict[str, dict[str, str]],
    format: str,
) -> None:
    """The working folder is lost: what the bucket holds is enough."""
    url = f"{bucket}/one"
    make(photos, url, format)
    shutil.rmtree(cache)
    assert make(photos, url, format).made == 0
    shutil.rmtree(cache)
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(url))
    store, path = open_store(url)
    gone = next(name for name in store.find(path) if "hr/" in name or name.endswith(".tar"))
    store.rm_file(gone)
    assert make(photos, url, format).made > 0
    assert fetched(url, tmp_path / "got") == made[format]


@pytest.mark.parametrize("last", [0, 1, 2])
def test_killed_while_it_fetches_what_is_there(
    photos: Path,
    bucket: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: int,
) -> None:
    """Another machine's first run dies before one of its three records is written; the next
    goes on all the same.
    """
    url = f"{bucket}/one"
    make(photos, url)
    shutil.rmtree(cache)
    written: list[Path] = []

    def dies(path: Path, data: bytes) -> None:
        if len(written) == last:
            raise KeyboardInterrupt
        written.append(path)
        write_atomic(path, data)

    with monkeypatch.context() as during:
        during.setattr(object_store, "write_atomic", dies)
        with pytest.raises(KeyboardInterrupt):
            make(photos, url)
    assert len(written) == last
    assert make(photos, url).made == 0
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(url))


def test_a_download_that_was_cut_short(
    photos: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for the shard; nor is a copy of what the shard was before."""
    url = f"{bucket}/one"
    make(photos, url, "webdataset")
    store, path = open_store(url)

    def half(name: str, target: str) -> None:
        Path(target).write_bytes(store.cat_file(name)[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(store, "get_file", half)
        with pytest.raises(KeyboardInterrupt):
            list(replay_pairs(url))
    assert all(pair.on_disk for pair in replay_pairs(url))
    shard = f"{path}/pairs-000000.tar"
    whole = store.cat_file(shard)
    hr = whole.index(b"IDAT") + 100
    store.pipe_file(shard, whole[:hr] + bytes([whole[hr] ^ 1]) + whole[hr + 1 :])
    assert not all(pair.on_disk for pair in replay_pairs(url))


def test_local_disk_holds_only_what_is_being_made(photos: Path, cache: Path, bucket: str) -> None:
    make(photos, f"{bucket}/x")
    assert not [path for path in cache.rglob("*.png")]


def test_nothing_is_overwritten(photos: Path, bucket: str, tmp_path: Path) -> None:
    upload(photos, f"{bucket}/mine")
    with pytest.raises(SynthError, match=r"holds .*which degrade did not write"):
        make(photos, f"{bucket}/mine")
    make(photos, f"{bucket}/one")
    with pytest.raises(SynthError, match="holds another run"):
        make(photos / "a.png", f"{bucket}/one")


def test_one_machine_at_a_time(
    photos: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines are told apart by where they work, here by their caches; a killed run's lock
    stays, for its own next.
    """
    url, places = f"{bucket}/one", [str(tmp_path / name) for name in ("here", "there")]

    def meanwhile(job: Job, indices: list[int]) -> Iterator[engines.Result]:
        for result in engines.in_process(job, indices):
            monkeypatch.setenv("DEGRADE_CACHE", places[1])
            with pytest.raises(
                SynthError, match=r"has been writing here since 20.*delete s3://.*/one/\.lock"
            ):
                make(photos, url)
            yield result

    monkeypatch.setenv("DEGRADE_CACHE", places[0])
    make(photos, url, run=meanwhile)
    assert make(photos, url).made == 0, "the lock is gone"
    killed = open_destination(url)
    killed.folder.mkdir(parents=True, exist_ok=True)
    killed.lock()
    assert make(photos, url).made == 0, "taken over"
    open_destination(url).lock()
    monkeypatch.setenv("DEGRADE_CACHE", places[0])
    with pytest.raises(SynthError, match="has been writing here"):
        make(photos, url)


@pytest.mark.parametrize("format", ["folder", "webdataset", "lmdb", "huggingface"])
def test_to_an_archive(
    photos: Path, tmp_path: Path, made: dict[str, dict[str, str]], format: str
) -> None:
    """The files of the folder, the same bytes each time; it goes on from the cache, or without
    it from the archive.
    """
    archive = tmp_path / "new.zip"
    url = f"zip://{archive}"

    def interrupted(job: Job, indices: list[int]) -> Iterator[engines.Result]:
        yield from itertools.islice(engines.in_process(job, indices), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(photos, url, format, interrupted)
    assert not archive.exists()
    make(photos, url, format)
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "unpacked")
    assert hashes(tmp_path / "unpacked") == made[format]
    assert make(photos, url, format).made == 0
    shutil.rmtree(open_destination(url).folder)
    assert make(photos, url, format).made == 0
    assert archive.read_bytes() == whole
    assert all(pair.equal and pair.on_disk for pair in replay_pairs(url))


def test_an_archive_of_others_is_left_alone(photos: Path, tmp_path: Path, archive: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"no archive")
    before = archive.read_bytes()
    for url, words in (
        (f"zip://{archive}", "is an archive that degrade did not write"),
        (f"zip://{tmp_path}/no.zip", "cannot be read as an archive"),
        (f"zip://in::{archive}", "should be zip://NAME.zip"),
        ("zip://::s3://bucket/a.zip", "should be zip://NAME.zip"),
    ):
        with pytest.raises(SynthError, match=words):
            make(photos, url)
    assert archive.read_bytes() == before
    assert (tmp_path / "no.zip").read_bytes() == b"no archive"


def test_no_bucket(photos: Path, bucket: str) -> None:
    with pytest.raises(UserError, match="nosuchbucket"):
        make(photos, "s3://nosuchbucket/x")
    with pytest.raises(UserError, match="nosuchbucket"):
        make("s3://nosuchbucket/x", "unused")


def test_to_memory(photos: Path, tmp_path: Path, made: dict[str, dict[str, Any]]) -> None:
    url = f"memory://{uuid4().hex}"
    make(photos, url)
    assert fetched(url, tmp_path / "got") == made["folder"]


# --- reading for training ------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_pairs_are_read_from_s3(photos: Path, bucket: str, tmp_path: Path, format: str) -> None:
    make(photos, tmp_path / "out", format, keep_raw=True)
    make(photos, f"{bucket}/pairs", format, keep_raw=True)
    here, there = (
        PairedFolder(place, raw=True) for place in (str(tmp_path / "out"), f"{bucket}/pairs")
    )
    assert here.reader.names == there.reader.names
    assert len(there) == len(NAMES)
    for i in range(len(NAMES)):
        for side in ("lr", "hr", "hr_raw"):
            assert torch.equal(here[i][side], there[i][side])
    assert load_examples(f"pairs:{bucket}/pairs", None).target == "raw"
    assert load_examples(f"pairs:{bucket}/pairs", None, target="recipe").target == "recipe"
    kept = [torch.equal(here[i]["hr"], here[i]["hr_raw"]) for i in range(len(NAMES))]
    assert not all(kept)
    config = configure(
        "srcnn",
        {"recipe": f"pairs:{bucket}/pairs", "patch": 16, "steps": 1, "batch": 2, "val": None},
    )
    [pair] = dataloader(
        config, None, open_dataset(config), 0, Fabric(accelerator="cpu", devices=1)
    )
    assert pair.lr.shape == (2, 3, 4, 4)


def test_patches_are_read_from_urls(photos: Path, archive: Path, bucket: str) -> None:
    here = PatchFolder(photos, 32, repeat=2)
    for url in (
        upload(photos, f"{bucket}/hr"),
        upload(photos, f"memory://{uuid4().hex}"),
        f"zip://{archive}",
    ):
        there = PatchFolder(url, 32, repeat=2)
        assert len(there) == len(here)
        assert all(torch.equal(there[i]["hr"], here[i]["hr"]) for i in range(len(here)))
