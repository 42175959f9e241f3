"""One of two ranks dies: torchrun starts both again, and they go on from the last checkpoint to
the same weights.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import LONG, curves, results

from conftest import Run
from degrade.errors import UserError
from sr import checkpoint
from sr.training.config import configure
from sr.training.loop import train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
TWO = ("--nproc-per-node", "2", "--max-restarts", "3")


@contextmanager
def started(
    args: list[str], out: Path, log: Path, nodes: Sequence[str] = ("--standalone", *TWO)
) -> Iterator[subprocess.Popen[bytes]]:
    """The run on two ranks; none is left behind, whatever becomes of the test."""
    process = subprocess.Popen(
        [*TORCHRUN, *nodes, "-m", "sr", *args, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.terminate()  # torchrun ends its ranks; a process that has ended hears nothing
        process.wait(60)


def ranks(agent: int) -> dict[int, int]:
    """The processes of the ranks below an agent, by rank."""
    found: dict[int, int] = {}
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        said = re.search(rb"(?:^|\0)RANK=(\d+)", Path(f"/proc/{child}/environ").read_bytes())
        if said is not None:
            found[int(said[1])] = int(child)
    return found


@pytest.fixture(scope="module")
def undisturbed(training: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    with started(training.args, root / "out", root / "log") as process:
        assert process.wait(300) == 0, (root / "log").read_text()
    return root / "out"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ranks are found through /proc")
@pytest.mark.parametrize("victim", [0, 1] if LONG else [0])
def test_a_rank_dies(training: Run, undisturbed: Path, tmp_path: Path, victim: int) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    with started(training.args, out, log) as process:
        while not (out / "last.state.pt").exists():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        os.kill(ranks(process.pid)[victim], signal.SIGKILL)
        assert process.wait(300) == 0, log.read_text()
    assert log.read_text().count(f"failed (exitcode: -9) local_rank: {victim}") == 1, (
        "they were not started again"
    )
    assert results(out) == results(undisturbed)
    assert curves(out) == curves(undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="for the long mode")
@pytest.mark.skipif(sys.platform != "linux", reason="ranks are found through /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_the_rank_of_one_of_two_nodes_dies(
    training: Run, undisturbed: Path, tmp_path: Path, victim: int
) -> None:
    """Two nodes on this machine, a rank each."""
    out, logs = tmp_path / "out", [tmp_path / "log0", tmp_path / "log1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = [
        "--nnodes",
        "2",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        place,
        "--rdzv-id",
        "faults",
    ]
    nodes += ["--local-addr", "127.0.0.1", "--nproc-per-node", "1", "--max-restarts", "3"]
    with (
        started(training.args, out, logs[0], nodes) as first,
        started(training.args, out, logs[1], nodes) as second,
    ):
        while not (out / "last.state.pt").exists():
            assert first.poll() is None, logs[0].read_text()
            time.sleep(0.01)
        os.kill((ranks(first.pid) | ranks(second.pid))[victim], signal.SIGKILL)
        assert first.wait(200) == 0, logs[0].read_text()
        assert second.wait(200) == 0, logs[1].read_text()
    assert sum("failed (exitcode: -9)" in log.read_text() for log in logs) == 1
    assert results(out) == results(undisturbed)
    assert curves(out) == curves(undisturbed)


def test_only_what_this_launch_saved_is_gone_on_with(
    training: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that was refused, because another run is there, does not get in by being started
    again.
    """
    flags = {
        "recipe": "bicubic",
        "scale": 2,
        "data": (str(photos),),
        "out": str(tmp_path / "out"),
        "device": "cpu",
    }
    quick = {
        "batch": 4,
        "patch": 32,
        "tensorboard": False,
        "val": None,
        "model.kernels": [3, 1, 3],
    }
    one, more = (configure("srcnn", {**flags, "steps": n}, None, quick) for n in (2, 3))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(one)  # nothing had been saved before the restart
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    with pytest.raises(UserError, match="already contains a run; continue it with --resume"):
        train(more)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    train(more)
    assert checkpoint.read_metadata(tmp_path / "out/last.safetensors")["step"] == "3"
