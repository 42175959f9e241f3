"""The fault suite: whatever happens to a run, nothing is lost, doubled or half there, and going on
ends the same.

``DEGRADE_FAULT_ROUNDS=50 pytest tests/faults`` is the long mode: every random fault so often, and
a kill before every single change to the disk. ``DEGRADE_FAULT_SEED`` draws other moments and
places. Each test prints what it drew.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Command, Ended
from PIL import Image
from skimage import data


@dataclass(frozen=True)
class Run:
    """An undisturbed run."""

    folder: Path
    args: list[str]
    ended: Ended


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small photographs, one of them in a folder below."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for i, name in enumerate(["a.png", "b.png", "c.png", "below/d.png", "e.png"]):
        Image.fromarray(data.astronaut()[40 * i : 40 * i + 96, 60:156]).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def datasets(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A dataset of 25 pairs in a format, made once."""
    made: dict[str, Run] = {}

    def make(format: str) -> Run:
        if format not in made:
            root = tmp_path_factory.mktemp(format)
            args = [
                "synth",
                "--recipe",
                "realesrgan",
                "--input",
                str(photos),
                "--patch",
                "32",
                "--per-image",
                "5",
            ]
            args += ["--format", format, "--shard", "4"]
            here = ["--engine", "inline", "--output", str(root / "out")]
            ended = Command("degrade", [*args, *here], root / "log", root / "out").end()
            assert ended.code == 0, ended.text
            made[format] = Run(root / "out", args, ended)
        return made[format]

    return make


@pytest.fixture(scope="session")
def training(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """SRCNN, 12 steps, a checkpoint every 3 and a validation every 4."""
    root = tmp_path_factory.mktemp("training")
    args = [
        "train",
        "srcnn",
        "--recipe",
        "bicubic",
        "--scale",
        "2",
        "--data",
        str(photos),
        "--val",
        str(photos),
    ]
    args += ["--steps", "12", "--device", "cpu", "--seed", "3"]
    settings = [
        "batch=4",
        "patch=32",
        "save_every=3",
        "val_every=4",
        "log_every=1",
        "tensorboard=false",
        "ema=0.9",
    ]
    settings += ["model.kernels=[3,1,3]", "model.filters=[6,4]"]
    args += [word for setting in settings for word in ("--set", setting)]
    ended = Command("sr", [*args, "--out", str(root / "out")], root / "log", root / "out").end()
    assert ended.code == 0, ended.text
    return Run(root / "out", args, ended)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many kB; called again, it is the same one, of another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def make(size: int) -> Path:
        nonlocal mounted
        options = f"size={size}k" + (",remount" if mounted else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be made here: {done.stderr.decode().strip()}")
        mounted = True
        return folder

    yield make
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes a folder one that cannot be written: mounted so for root, whom no permission stops."""
    undo: list[list[str]] = []

    def make(folder: Path) -> None:
        commands = [["chmod", "555", str(folder)]]
        back = ["chmod", "755", str(folder)]
        if os.getuid() == 0:
            commands = [["mount", "--bind", str(folder), str(folder)]]
            commands += [["mount", "-o", "remount,ro,bind", str(folder)]]
            back = ["umount", str(folder)]
        for command in commands:
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                pytest.skip(
                    f"a folder cannot be made read-only here: {done.stderr.decode().strip()}"
                )
            undo[:1] = [back]

    yield make
    for command in undo:
        subprocess.run(command, check=True)
