"""Weights and states from a stranger are read, or refused by an error that names the file; nothing
in them is run.

Headers of safetensors are changed in what they say of the model and of its tensors, states in any
of their parts; other files, pickles that would run something among them, are given their names.
Memory is bounded by the file's size, not by what it claims.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import fuzz, within, witnessed
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image

from degrade.errors import UserError
from degrade.images.samples import sample_images
from sr import checkpoint, pretrained
from sr.models import build
from sr.training.config import Config, configure
from sr.training.loop import train

ROOM = 2**29
"""Bytes by which a case may raise the most that the process has held."""
MODELS = {
    "srcnn": {"scale": 2, "kernels": [3, 1, 3], "filters": [4, 2]},
    "srresnet": {"scale": 2, "channels": 4, "blocks": 1},
    "rrdb": {"scale": 4, "channels": 4, "blocks": 1, "growth": 2},
    "sparse": {"scale": 2, "atoms": 8, "components": 4, "nonzeros": 2},
}
VALUES: list[Any] = [
    None,
    True,
    "",
    "x",
    "bicubic",
    "F32",
    "F64",
    "I8",
    "..",
    [],
    {},
    [0],
    [2**62],
    -1,
    0,
    1,
    2,
    3.5,
]
VALUES += [
    64,
    1000,
    10**6,
    10**9,
    2**31,
    2**63,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    [3, 1, 3],
    [10**9] * 4,
]


class Hostile:
    """A pickle of it runs a command."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("echo this should never run",)


def torch_saved(data: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(data, file, **options)
    return file.getvalue()


def zipped(inside: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in inside.items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


BYTEARRAY = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + bytes(4) + b"\x10\x85R."
"""Asks for bytearray(2^36)."""
DISGUISED = {
    "nothing": b"",
    "text": b"weights",
    "a long header": (2**40).to_bytes(8, "little") + b"{}",
    "a longest header": b"\xff" * 8 + b"{}",
    "a header of nested lists": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "a pickle": pickle.dumps(Hostile()),
    "a pickle of torch": torch_saved(Hostile()),
    "an old pickle of torch": torch_saved(Hostile(), _use_new_zipfile_serialization=False),
    "a pickle within a state": torch_saved({"method": {"done": Hostile()}}),
    "a tensor": torch_saved(torch.zeros(3)),
    "a list": torch_saved([1, 2]),
    "a pickle of nested tuples": zipped(
        {"data.pkl": b"\x80\x02" + b"(" * 10**5 + b".", "version": b"3\n"}
    ),
    "a pickle that asks for memory": zipped({"data.pkl": BYTEARRAY, "version": b"3\n"}),
    "a bomb": zipped({"data.pkl": bytes(10**9), "version": b"3\n"}, zipfile.ZIP_DEFLATED),
}


def refusal(attempt: Callable[[], Any], folder: Path, kinds: Any = UserError) -> Exception | None:
    """How something was refused, if it was. Nothing may be run, and little memory taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with within(60), witnessed(folder) as done:
        try:
            attempt()
            error = None
        except kinds as caught:
            error = caught
    assert not done
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < ROOM
    return error


@pytest.mark.parametrize("name", DISGUISED)
@pytest.mark.parametrize(
    ("file", "read", "kinds"),
    [
        ("last.safetensors", checkpoint.load, UserError),
        ("last.state.pt", checkpoint.load_state, UserError),
        (
            "vgg.pth",
            lambda path: pretrained.features("vgg19", path),
            pretrained.MissingWeightsError,
        ),
    ],
)
def test_other_files_are_refused(
    name: str, file: str, read: Callable[[Path], Any], kinds: Any, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.write_bytes(DISGUISED[name])
    said = str(refusal(lambda: read(path), tmp_path, kinds))
    if file != "vgg.pth" or name not in ("a tensor", "a list"):  # which hold no features
        assert said.startswith(str(path))


# --- weights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("models")
    for name, config in MODELS.items():
        checkpoint.save(folder / name, build(name, **config))
        checkpoint.load(folder / name)
    return {name: (folder / name).read_bytes() for name in MODELS}


def scribbled(draw: Any, data: bytes) -> bytes:
    out = bytearray(data)
    near = draw(st.sampled_from([16, 2000, len(out)]))
    for _ in range(draw(st.integers(1, 4))):
        out[draw(st.integers(0, min(near, len(out)) - 1))] = draw(st.integers(0, 255))
    return bytes(out[: draw(st.one_of(st.just(len(out)), st.integers(0, len(out))))])


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [path, *(inner for key, value in items for inner in places(value, (*path, key)))]


def changed(draw: Any, data: Any, value: Any) -> None:
    """One part of nested data taken out or replaced."""
    path = draw(st.sampled_from(places(data)[1:]))
    for key in path[:-1]:
        data = data[key]
    if draw(st.integers(0, 4)) == 0:
        del data[path[-1]]
    else:
        data[path[-1]] = value


def restated(draw: Any, data: bytes) -> bytes:
    """Another header: what is said of the model, or of a tensor."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    for _ in range(draw(st.integers(1, 2))):
        value = draw(st.sampled_from(VALUES))
        about = header.get("__metadata__")
        if (
            draw(st.booleans())
            and isinstance(about, dict)
            and isinstance(about.get("config"), str)
        ):
            config = json.loads(about["config"])
            if isinstance(config, dict) and config:
                changed(draw, config, value)
            about["config"] = json.dumps(config)
        else:
            changed(draw, header, draw(st.sampled_from([value, str(value), json.dumps(value)])))
    text = json.dumps(header).encode()
    length = draw(
        st.sampled_from([len(text)] * 4 + [0, len(text) - 1, len(text) + 8, 2**32, 2**63])
    )
    return length.to_bytes(8, "little") + text + data[end:]


@fuzz(120)
@given(st.data())
def test_changed_weights_are_read_or_refused(
    saved: dict[str, bytes], tmp_path_factory: Any, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    mutation = data.draw(st.sampled_from([restated, restated, scribbled]))
    name = data.draw(st.sampled_from(sorted(MODELS)))
    path.write_bytes(mutation(data.draw, saved[name]))
    error = refusal(lambda: checkpoint.load(path), path.parent)
    event("read" if error is None else "refused")
    assert error is None or str(error).startswith(str(path))


# --- states --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("run")
    (root / "hr").mkdir()
    Image.open(sample_images()[0]).convert("RGB").crop((0, 0, 40, 40)).save(root / "hr" / "a.png")
    flags = {
        "data": (str(root / "hr"),),
        "out": str(root / "out"),
        "device": "cpu",
        "steps": 2,
        "scale": 2,
        "seed": 1,
    }
    quick = {
        "batch": 2,
        "patch": 16,
        "tensorboard": False,
        "val": None,
        "log_every": 1,
        "ema": 0.9,
    }
    config = configure(
        "srcnn", flags, changes={**quick, "model.kernels": [3, 1, 3], "model.filters": [4, 2]}
    )
    train(config)
    return config


STARTS = (
    "kind",
    "scale",
    "seed",
    "batch",
    "recipe",
    "images",
    "method",
    "best",
    "history",
    "seconds",
)
"""What a run itself looks at in a state; what is within a method's is for PyTorch's optimisers
to judge.
"""


@fuzz(40)
@given(st.data())
def test_a_changed_state_is_found(run: Config, tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.state.pt"
    whole = (Path(run.out) / "last.state.pt").read_bytes()
    path.write_bytes(scribbled(data.draw, whole))
    error = refusal(lambda: checkpoint.load_state(path), path.parent)
    event("read" if error is None else "refused")
    assert error is None or str(error).startswith(str(path))


@pytest.mark.parametrize(
    "value", [None, -1, "x", [1], [{"step": "x"}], {"done": -1}, torch.zeros(3)], ids=str
)
@pytest.mark.parametrize("name", STARTS)
def test_a_run_refuses_a_state_of_another_kind(run: Config, name: str, value: Any) -> None:
    number = isinstance(value, int) and name in ("best", "seconds")
    if number or (name == "best" and value is None):
        pytest.skip("may be so")
    path = Path(run.out) / "last.state.pt"
    whole = path.read_bytes()
    path.write_bytes(torch_saved({**checkpoint.load_state(path), name: value}))
    try:
        error = refusal(
            lambda: train(run.model_copy(update={"steps": 3, "cache": 0}), resume=True),
            path.parent,
        )
    finally:
        path.write_bytes(whole)
    assert str(error).startswith(str(path))
