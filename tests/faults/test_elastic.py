"""One of two ranks dies: torchrun starts both again, and they go on from the last checkpoint to the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run
from harness import LONG, curves, results

from degrade.errors import UserError
from sr import checkpoint
from sr.config import configure
from sr.train import train

TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "--max-restarts",
    "3",
]


def start(args: list[str], out: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*TORCHRUN, "-m", "sr", *args, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )


def rank(agent: int, number: int) -> int:
    """The process of a rank."""
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"RANK={number}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no rank {number} below {agent}")


@pytest.fixture(scope="module")
def undisturbed(training: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    process = start(training.args, root / "out", root / "log")
    assert process.wait(300) == 0, (root / "log").read_text()
    return root / "out"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ranks are found through /proc")
@pytest.mark.parametrize("victim", [0, 1] if LONG else [0])
def test_a_rank_dies(training: Run, undisturbed: Path, tmp_path: Path, victim: int) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(training.args, out, log)
    while not (out / "last.state.pt").exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    os.kill(rank(process.pid, victim), signal.SIGKILL)
    assert process.wait(300) == 0, log.read_text()
    assert "failed (exitcode: -9)" in log.read_text(), "torchrun saw no rank die, so it started none again"
    assert results(out) == results(undisturbed)
    assert curves(out) == curves(undisturbed)


def test_only_what_this_launch_saved_is_gone_on_with(
    training: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that was refused, because another run is there, does not get in by being started again."""
    flags = {"recipe": "bicubic", "scale": 2, "data": (str(photos),), "out": str(tmp_path / "out"), "device": "cpu"}
    quick = {"batch": 4, "patch": 32, "tensorboard": False, "val": None, "model.kernels": [3, 1, 3]}
    one, more = (configure("srcnn", {**flags, "steps": n}, None, quick) for n in (2, 3))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(one)  # nothing had been saved before the restart
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    with pytest.raises(UserError, match="holds a run already; go on with --resume"):
        train(more)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    train(more)
    assert checkpoint.read_metadata(tmp_path / "out/last.safetensors")["step"] == "3"
