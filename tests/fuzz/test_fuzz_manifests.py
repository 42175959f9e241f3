"""A dataset from a stranger is read, or refused by an error that says where; it leads nowhere and
runs nothing.

Cells of manifests, values of settings, lines of lists, members of shards and mere bytes are
changed; then the dataset is replayed, the replay written, gone on with, and read as pairs.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import fuzz, within, witnessed
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image

from degrade import PairedFolder, Recipe
from degrade.errors import UserError
from degrade.storage.files import place
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.manifest import pair_files
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings

RECIPE = {
    "name": "small",
    "scale": 2,
    "hr": [{"p": 0.5, "unsharp": {}}],
    "first": [
        {
            "one_of": [
                {"blur": {"size": {"any": [3, 5]}, "sigma": [0.2, 2]}},
                {"jpeg": {"quality": [30, 95]}},
            ]
        },
        {"resize": {"factor": [0.5, 1.5], "filter": ["area", "bicubic"]}},
        {
            "shuffle": [
                {"as": "end", "resize": {"of": "target"}},
                {"gaussian_noise": {"sigma": [1, 9], "gray": 0.5}},
            ]
        },
        {
            "repeat": {
                "times": {"integers": [0, 2]},
                "steps": ["clip", {"poisson_noise": {"scale": [0, 1]}}],
            }
        },
    ],
}
NAMES = [
    "../secret",
    "../../secret.png",
    "/secret.png",
    "a/../../secret",
    "..",
    ".",
    "",
    "~/x",
    "a\0b",
    "a\nb",
    "file:///x",
    "%2E%2E/secret.png",
    "%2Fsecret.png",
    "a%00b",
    "%0A",
]
NUMBERS = [
    "-1",
    "0",
    "1",
    "1.5",
    "nan",
    "inf",
    "1e999",
    "-0.0",
    str(2**63),
    str(2**64),
    "9" * 5000,
    "٣",
    "x",
    "True",
]
CELLS = [
    *NAMES,
    *NUMBERS,
    "200",
    "99",
    "yes",
    "area",
    "0" * 64,
    "memory://x/y.png",
    "�",
    "a" * 300,
]
VALUES: list[Any] = [
    None,
    "\ud800",
    "a\0",
    "9" * 5000,
    True,
    [],
    {},
    "",
    "x",
    "..",
    "/",
    -1,
    0,
    1,
    2,
    3,
    1.5,
    10**6,
    10**9,
    2**63,
    2**70,
    1e300,
    [1] * 9,
    "gt,lq",
    "lr,hr",
    {"hr": 10**400},
]


@dataclass(frozen=True)
class Dataset:
    """A dataset, its sources beside it, and an image outside of both that nobody may open."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "data"

    def go_on(self) -> None:
        recipe = Recipe.load(RECIPE)
        form = json.loads((self.root / "format").read_text())
        job = prepare(
            recipe,
            SynthSettings(str(self.root / "photos"), patch=16, per_image=2),
            self.folder,
            form,
            3,
        )
        synthesize(job, recipe, in_process)


@pytest.fixture(scope="module", params=["folder", "webdataset", "lmdb", "huggingface"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = Dataset(tmp_path_factory.mktemp(request.param))
    (made.root / "photos").mkdir()
    (made.root / "format").write_text(json.dumps(request.param))
    draw = np.random.default_rng(0)
    for name in ("photos/a.png", "photos/b.png", "secret.png"):
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), np.uint8)).save(made.root / name)
    made.go_on()
    shutil.copytree(made.folder, made.root / "whole")
    return made


# --- mutations -----------------------------------------------------------------------------------


def scribbled(draw: Any, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3)) if data else 0):
        out[draw(st.integers(0, len(out) - 1))] = draw(st.integers(0, 255))
    start, end = sorted(draw(st.integers(0, len(out))) for _ in range(2))
    way = draw(st.sampled_from(["keep", "keep", "cut", "drop", "double"]))
    parts = {
        "keep": out,
        "cut": out[:start],
        "drop": out[:start] + out[end:],
        "double": out[:end] + out[start:],
    }
    return bytes(parts[way])


def table(draw: Any, data: bytes) -> bytes:
    """Cells, rows or columns of a manifest, the rows' checksums made right again."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(["cell", "cell", "cell", "cell", "drop", "double", "column"]))
        i = draw(st.integers(1 if way == "cell" else 0, len(rows) - 1)) if len(rows) > 1 else 0
        if way == "cell":
            j = draw(st.one_of(st.integers(0, 3), st.integers(0, len(rows[i]) - 2)))
            rows[i][j] = draw(st.sampled_from(CELLS))
        elif way == "column":
            j = draw(st.integers(0, len(rows[0]) - 1))
            rows = [row[:j] + row[j + 1 :] for row in rows]
        else:
            rows = (
                rows[:i] + rows[i + 1 :]
                if way == "drop"
                else [*rows[:i], list(rows[i]), *rows[i:]]
            )
        if len(rows) < 2 or len(rows[0]) < 3:
            break
    for row in rows[1:]:
        row[-1:] = [f"{zlib.crc32(b''.join(cell.encode() + bytes(1) for cell in row[:-1])):08x}"]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def settings(draw: Any, data: bytes) -> bytes:
    said = json.loads(data)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(said)))
        if draw(st.integers(0, 4)) == 0:
            del said[name]
        else:
            said[name] = draw(st.sampled_from([*VALUES, *NAMES]))
    return json.dumps(said).encode()


def listed(draw: Any, data: bytes) -> bytes:
    lines = data.decode().splitlines()
    lines[draw(st.integers(0, len(lines) - 1))] = draw(
        st.sampled_from([*NAMES, *NUMBERS, "%2E%2E%2Fsecret.png (1,1,3) 1"])
    )
    return "\n".join(lines).encode("utf-8")


def shard(draw: Any, data: bytes) -> bytes:
    """Members of a tar archive: their names, kinds, JSON."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as before,
        tarfile.open(fileobj=out, mode="w") as after,
    ):
        members = before.getmembers()
        hit = draw(st.integers(0, len(members) - 1))
        for i, member in enumerate(members):
            body = before.extractfile(member).read()  # type: ignore[union-attr]
            way = (
                draw(st.sampled_from(["name", "kind", "body", "drop", "double"]))
                if i == hit
                else ""
            )
            if way == "name":
                member.name = draw(
                    st.sampled_from([name.replace("\0", "") or "x" for name in NAMES])
                ) + draw(st.sampled_from(["", ".hr.png", ".lr.png", ".json"]))
            elif way == "kind":
                member.type = draw(
                    st.sampled_from(
                        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]
                    )
                )
                member.linkname = "../../secret.png"
            elif way == "body":
                body = scribbled(draw, body)
                if member.name.endswith(".json"):
                    body = json.dumps({"name": draw(st.sampled_from([*VALUES, *NAMES]))}).encode()
            member.size = len(body)
            for _ in range({"drop": 0, "double": 2}.get(way, 1)):
                after.addfile(member, io.BytesIO(body))
    return out.getvalue()


SIZES = [
    b"\xff" * 12,
    b"\x80" + b"\x7f" * 11,
    b"-0000000001\0",
    b"77777777777\0",
    b"many\0\0\0\0\0\0\0\0",
    bytes(12),
]
"""Size fields: negative, huge, no numbers."""


def headers(draw: Any, data: bytes) -> bytes:
    """Headers of a tar archive, their checksums made right again: sizes, types, and headers that
    say something of the next one.
    """
    out = bytearray(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        start = draw(st.sampled_from([member.offset for member in tar]))
    block = out[start : start + 512]
    size, kind = (draw(st.sampled_from([None, *each])) for each in (SIZES, b"01257LKxXgSVA"))
    block[124:136] = size or block[124:136]
    block[156] = kind or block[156]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    out[start : start + 512] = bytes(block) * draw(st.sampled_from([1, 1, 2, 3000]))
    return bytes(out)


Mutation = Callable[[Any, bytes], bytes]
OWN: list[tuple[str, Mutation]] = [
    ("manifest.csv", table),
    ("manifest.csv", table),
    ("synth.json", settings),
    ("hr.lmdb/meta_info.txt", listed),
    ("lr.lmdb/meta_info.txt", listed),
    ("hr.lmdb/data.mdb", scribbled),
    ("lr.lmdb/data.mdb", scribbled),
    ("hr.lmdb/SHA256SUMS", scribbled),
    ("pairs-000000.tar", shard),
    ("pairs-000000.tar", headers),
    ("recipe.yaml", scribbled),
    ("metadata.jsonl", scribbled),
]


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Path], str]:
    """Changes one file of a dataset, and says which."""

    def change(folder: Path) -> str:
        there = [(name, mutation) for name, mutation in OWN if (folder / name).is_file()]
        name, mutation = draw(st.sampled_from(there))
        mutation = draw(st.sampled_from([mutation, mutation, scribbled]))
        (folder / name).write_bytes(mutation(draw, (folder / name).read_bytes()))
        return name

    return change


# --- laws ----------------------------------------------------------------------------------------


def everything(dataset: Dataset) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All that reads a dataset."""
    folder, out = dataset.folder, dataset.root / "out"

    def write() -> None:
        for pair in replay_pairs(folder):
            for path, data in zip(pair_files(out, pair.name), (pair.hr, pair.lr), strict=True):
                assert path.resolve().is_relative_to(out)
                place(path, data)

    def read() -> None:
        pairs = PairedFolder(folder, 8)
        for i in range(len(pairs)):
            assert pairs[i]["hr"].shape == (3, 8, 8)

    yield "replay", write
    yield "pairs", read
    yield "recipe", lambda: Recipe.load(folder / "recipe.yaml")
    yield "go on", dataset.go_on


def refusal(attempt: Callable[[], Any], kind: type[Exception]) -> Exception | None:
    try:
        attempt()
    except kind as error:
        return error
    return None


def restore(dataset: Dataset) -> None:
    for name in ("data", "out"):
        shutil.rmtree(dataset.root / name, ignore_errors=True)
    shutil.copytree(dataset.root / "whole", dataset.folder)


@fuzz(25)
@given(st.data())
def test_a_changed_dataset_is_read_or_refused(dataset: Dataset, data: st.DataObject) -> None:
    restore(dataset)
    changed = data.draw(changes())(dataset.folder)
    for name, attempt in everything(dataset):
        with within(30), witnessed(dataset.root) as done:
            error = refusal(attempt, UserError if name != "pairs" else ValueError)
        event(f"{changed}, {name}: {'read' if error is None else 'refused'}")
        assert error is None or str(error), "an error that says nothing"
        assert not done
    assert sorted(path.name for path in dataset.root.iterdir() if path.name != "out") == [
        "data",
        "format",
        "photos",
        "secret.png",
        "whole",
    ]
