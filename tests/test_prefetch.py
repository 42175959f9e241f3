"""Prefetching on a GPU that is not here: order, errors, ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from degrade import prefetch
from degrade.errors import UserError


class Image:
    """An image on a GPU that is not here."""

    def __init__(self) -> None:
        self.streams: list[object] = []

    def record_stream(self, stream: object) -> None:
        self.streams.append(stream)


class Stream:
    """A stream, or an event on one."""

    def __init__(self, *_: object) -> None:
        self.waited: list[object] = []
        self.devices: list[torch.device] = []

    def wait_event(self, event: object) -> None:
        self.waited.append(event)

    def record(self, stream: object) -> None:
        self.stream = stream


@pytest.fixture
def training_stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Stands in for CUDA."""
    stream = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Stream)

    def device(place: torch.device) -> AbstractContextManager[None]:
        stream.devices.append(place)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    return stream


def batches(made: list[int], count: int, fails: int | None = None) -> Iterator[Any]:
    for n in range(count):
        if n == fails:
            raise UserError("a file is gone")
        made.append(n)
        yield SimpleNamespace(n=n, lr=Image(), hr=Image(), given=Image())


def test_batches_are_made_ahead_in_order(training_stream: Stream):
    made: list[int] = []
    found = []
    for pair in prefetch(batches(made, 20), torch.device("cuda")):
        assert pair.lr.streams == [training_stream], "its memory waits for the training stream"
        assert len(made) <= len(found) + 1 + 2 + 1
        found.append(pair.n)
    assert found == list(range(20))
    assert len(training_stream.waited) == 20


def test_errors_of_making_a_batch_come_where_it_would(training_stream: Stream):
    found: list[int] = []
    walk = prefetch(batches([], 9, fails=5), torch.device("cuda"))

    def collect() -> None:
        for pair in walk:
            found.append(pair.n)

    with pytest.raises(UserError, match="a file is gone"):
        collect()
    assert found == [0, 1, 2, 3, 4]
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_a_walk_that_stops_ends_the_thread(training_stream: Stream):
    made: list[int] = []
    walk = prefetch(batches(made, 10**9), torch.device("cuda"))
    assert [next(walk).n for _ in range(3)] == [0, 1, 2]
    walk.close()
    assert len(made) <= 3 + 2 + 2
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_are_made_than_asked(training_stream: Stream, ahead: int):
    made: list[int] = []
    for n, _ in enumerate(prefetch(batches(made, 20), "cuda", ahead)):
        # One is with the caller, ``ahead`` are ready, one waits for its place among them.
        assert len(made) <= n + 1 + ahead + 1
    assert made == list(range(20))


@pytest.mark.parametrize(("asked", "used"), [("cuda", "cuda:1"), ("cuda:2", "cuda:2")])
def test_the_thread_works_on_the_callers_device(training_stream: Stream, asked: str, used: str):
    assert len(list(prefetch(batches([], 2), asked))) == 2
    assert training_stream.devices == [torch.device(used)]


def test_elsewhere_nothing_is_made_ahead():
    made: list[int] = []
    walk = prefetch(batches(made, 3), "cpu")
    assert next(walk).n == 0  # type: ignore[attr-defined]  # a stand-in of Pair
    assert made == [0]


def test_ahead_of_none_is_refused():
    with pytest.raises(ValueError, match="ahead is 0; it should be at least 1"):
        prefetch(batches([], 3), "cuda", 0)
