"""A thread pool for the samples of a CPU batch.

Inside them PyTorch uses one thread: samples are parallel to each other, and a sample's result
cannot depend on how many threads there are.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import lru_cache

import torch

__all__ = ["each"]


def each(work: Callable[[int], None], items: Iterable[int]) -> None:
    """Call ``work`` on every item, without gradients, on as many threads as PyTorch may use.

    Within ``work``, calls run inline on its thread. What ``work`` raises is raised, after which no
    further item is begun.
    """
    items = list(items)
    left = iter(items)  # shared: a thread takes the next item, and a list's iterator is atomic

    def drain() -> None:
        with torch.no_grad():
            for item in left:
                work(item)

    if getattr(_HERE, "works", False):  # avoid deadlock: nested calls run inline
        drain()
        return
    count = torch.get_num_threads()
    pool = _pool(os.getpid(), count)
    waiting = [
        pool.submit(contextvars.copy_context().run, drain) for _ in range(min(count, len(items)))
    ]
    try:
        wait(waiting, return_when=FIRST_EXCEPTION)
    finally:
        for _ in left:  # there are some after an error or an interrupt
            pass
    wait(waiting)
    for future in waiting:
        future.result()


_HERE = threading.local()


@lru_cache(maxsize=4)
def _pool(pid: int, count: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork, so a DataLoader's worker makes its
    own.
    """
    return ThreadPoolExecutor(count, "degrade", initializer=_alone)


def _alone() -> None:
    _HERE.works = True
    torch.set_num_threads(1)  # this thread's own setting
