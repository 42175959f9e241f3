"""Threads: every item once, an error ends the work, and work within work does not wait for
itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from degrade.execution.threads import each


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads there are; one is what a DataLoader's worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_item_once(count: int) -> None:
    done: list[int] = []
    each(done.append, range(100))
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize("culprit", [0, 1])
def test_an_error_ends_the_work(count: int, culprit: int) -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.02)
        if item == culprit:
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=f"item {culprit}"):
        each(work, range(1000))
    seen = len(begun)
    assert seen < 100
    time.sleep(0.1)
    assert len(begun) == seen, "some were worked after the error was raised"


def test_work_within_work(count: int) -> None:
    done: list[tuple[int, int]] = []

    def work() -> None:
        torch.set_num_threads(count)
        each(lambda i: each(lambda j: done.append((i, j)), range(5)), range(4))

    outer = threading.Thread(target=work, daemon=True)
    outer.start()
    outer.join(20)
    assert not outer.is_alive(), "it waits for itself"
    assert sorted(done) == [(i, j) for i in range(4) for j in range(5)]
