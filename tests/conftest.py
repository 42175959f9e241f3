"""Options and images that the tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import numpy as np
import pytest
import torch
from skimage import data

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the laws are held: cpu, cuda")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported
    # A shell without job control starts `pytest &` deaf to Ctrl-C, as would be all programs that
    # the tests start and stop with it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Trace nothing for ``no_cover``. pytest-cov stops its own measurement, under which a worker
    of xdist has one more, which would go on.
    """
    if item.get_closest_marker("no_cover"):
        sys.settrace(None)
    yield


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device named by --device."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def photographs() -> torch.Tensor:
    """(6, 3, 60, 72) uint8: four photographs, white noise and black, the last two to disturb
    their batch-mates.
    """
    pictures = [
        data.astronaut()[60:120, 180:252],
        data.chelsea()[80:140, 100:172],
        data.coffee()[100:160, 200:272],
    ]
    pictures.append(data.astronaut()[300:360, 20:92])
    noise = np.random.default_rng(0).integers(0, 256, (60, 72, 3)).astype(np.uint8)
    stack = np.stack([*pictures, noise, np.zeros_like(noise)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """An empty cache, and no way to the network."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path
