"""Engines: one source decoded for several pairs, memory shared out, and devices that share the
pairs.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from degrade import Recipe
from degrade.errors import SynthError
from degrade.images.regions import OpenImage
from degrade.storage.files import sha256
from degrade.synthesis import engines
from degrade.synthesis.engines import choose
from degrade.synthesis.job import prepare
from degrade.synthesis.memory import MemorySemaphore
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.worker import import_plugins


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, image in (("a", data.astronaut()), ("b", data.chelsea()), ("c", data.coffee())):
        Image.fromarray(image).save(tmp_path / f"in/{name}.png")
    (tmp_path / "in/d.png").write_bytes(b"no image")
    return tmp_path / "in"


def make(
    source: Path, output: Path, run: engines.Engine, format: str = "folder"
) -> dict[str, str]:
    recipe = Recipe.load("realesrgan")
    synthesize(
        prepare(
            recipe, SynthSettings(str(source), patch=64, per_image=8), output, format, shard=10
        ),
        recipe,
        run,
    )
    return {p.relative_to(output).as_posix(): sha256(p) for p in output.rglob("*") if p.is_file()}


def test_devices_share_the_pairs(photos: Path, tmp_path: Path) -> None:
    """Two processes, each a device of its own, and one process without: the same bytes."""
    assert engines.device_list("cuda:0,cuda:2") == ["cuda:0", "cuda:2"]
    found = make(photos, tmp_path / "two", engines.choose("cpu,cpu", 2, batch=4))
    assert found == make(photos, tmp_path / "one", engines.in_process)
    assert len(found) == 2 * 24 + 5


@pytest.mark.parametrize(("format", "times"), [("folder", 3), ("webdataset", 24)])
def test_a_source_is_decoded_once_for_its_pairs(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, times: int
) -> None:
    """Unless the pairs are packed by their numbers."""
    decoded: list[str] = []
    read_regions = OpenImage.read_regions
    monkeypatch.setattr(
        OpenImage,
        "read_regions",
        lambda self, boxes: decoded.append(self.name) or read_regions(self, boxes),
    )
    make(photos, tmp_path / "out", engines.in_process, format)
    assert len(decoded) == times


def test_memory_semaphore() -> None:
    """Never more is held than there is, and what is larger than all is worked alone."""
    memory, held, most = MemorySemaphore(10), [0], [0]
    lock = threading.Lock()

    def work(count: int) -> None:
        with memory.acquire(count):
            with lock:
                held[0] += min(count, 10)
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.002)
            with lock:
                held[0] -= min(count, 10)

    threads = [threading.Thread(target=work, args=(count,)) for count in [3, 4, 5, 50] * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert held == [0]
    assert 5 < most[0] <= 10


def test_plugins_are_imported_from_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a worker process, whose ``sys.path`` may lack the folder."""
    (tmp_path / "plug_in_of_a_folder.py").write_text("")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    import_plugins([("plug_in_of_a_folder", str(tmp_path))])
    assert sys.modules.pop("plug_in_of_a_folder").__file__ is not None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"workers": 0}, "--workers 0: should be from 1 to 1024"),
        ({"workers": -1, "batch": 0}, "--workers -1: .*\n--batch 0: should be from 1 to 4096"),
        ({"batch": 10**12}, "--batch 1000000000000: should be"),
        ({"name": "none", "batch": 0}, "--engine none: .*\n--batch 0"),
    ],
)
def test_numbers_are_bounded(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(SynthError, match=message):
        choose("cpu", **kwargs)
