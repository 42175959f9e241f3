"""Ray: the bytes of a single process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from degrade import Recipe
from degrade.errors import SynthError, UserError
from degrade.storage.files import sha256
from degrade.synthesis import engines
from degrade.synthesis.engines import choose
from degrade.synthesis.job import Job, prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings


def make(source: Path, output: Path, run: engines.Engine) -> dict[str, str]:
    recipe = Recipe.load("realesrgan")
    job = prepare(recipe, SynthSettings(str(source), patch=256, per_image=40), output)
    assert synthesize(job, recipe, run).made == 80
    return {p.relative_to(output).as_posix(): sha256(p) for p in output.rglob("*") if p.is_file()}


def busy_workers() -> list[int]:
    """Ray's workers below this process that are making a pair now."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not (folder / "cmdline").read_bytes().startswith(b"ray::_render"):
                continue
            pid = int(folder.name)
            while pid > 1 and pid != os.getpid():
                pid = int(
                    (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]
                )
        except OSError:  # it has ended
            continue
        if pid == os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'cluster' is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found through /proc")
def test_same_bytes_after_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from degrade.synthesis.ray_engine import on_ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    killed: list[int] = []

    def disturbed(job: Job, indices: list[int]) -> Iterator[engines.Result]:
        for result in on_ray(job, indices, workers=2):
            for worker in [] if killed else busy_workers()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            yield result

    (tmp_path / "in").mkdir()
    for name, image in (("a", data.astronaut()), ("b", data.chelsea())):
        Image.fromarray(image).save(tmp_path / f"in/{name}.png")
    try:
        found = make(tmp_path / "in", tmp_path / "ray", disturbed)
        batches = make(
            tmp_path / "in", tmp_path / "batches", partial(on_ray, device="cpu", size=6)
        )
        with pytest.raises(SynthError, match="--engine ray: this cluster has no GPU"):
            make(tmp_path / "in", tmp_path / "gpu", choose("cuda", name="ray"))
    finally:
        sys.modules["ray"].shutdown()
    assert len(killed) == 1
    one = make(tmp_path / "in", tmp_path / "one", engines.in_process)
    assert found == one
    assert batches == one, "as where tasks have a device"


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("cpu", 1) is engines.in_process
    assert choose("cpu", 4, name="inline") is engines.in_process
    for workers, name in ((3, "auto"), (1, "processes")):
        run = choose("cpu", workers, name=name)
        assert isinstance(run, partial)
        assert run.func is engines.process_pool
    with pytest.raises(SynthError, match="--engine spark: should be auto, inline, processes, ray"):
        choose("cpu", name="spark")
    with pytest.raises(
        SynthError, match="--engine ray: should have --device cpu or cuda, not cuda:1"
    ):
        choose("cuda:1", name="ray")
    with pytest.raises(SynthError, match="--engine inline: works on the CPU"):
        choose("cuda", name="inline")
    monkeypatch.setitem(sys.modules, "ray", None)
    run = choose("cpu", name="ray")
    with pytest.raises(UserError, match=r"--engine ray: .*pip install ray"):
        next(run(Job(Path(), ("a",), ("a",), Path(), {}, SynthSettings()), [0]))
