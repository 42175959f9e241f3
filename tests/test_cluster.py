"""Ray: the bytes of a single process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'cluster' is not installed")
def test_same_bytes_after_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from degrade.synthesis import ray_engine
    from degrade.synthesis.ray_engine import on_ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    died, render = tmp_path / "died", ray_engine._render

    def fatal(*args: Any) -> Any:
        """What the first worker to begin does not survive. Local, so that Ray sends its code."""
        try:
            died.touch(exist_ok=False)
        except FileExistsError:
            return render(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(ray_engine, "_render", fatal)
    (tmp_path / "in").mkdir()
    for name, image in (("a", data.astronaut()), ("b", data.chelsea())):
        Image.fromarray(image).save(tmp_path / f"in/{name}.png")
    try:
        found = make(tmp_path / "in", tmp_path / "ray", partial(on_ray, workers=2))
        batches = make(
            tmp_path / "in", tmp_path / "batches", partial(on_ray, device="cpu", size=6)
        )
        with pytest.raises(SynthError, match="--engine ray: this cluster has no GPU"):
            make(tmp_path / "in", tmp_path / "gpu", choose("cuda", name="ray"))
    finally:
        sys.modules["ray"].shutdown()
    assert died.exists()
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
