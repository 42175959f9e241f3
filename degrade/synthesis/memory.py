"""A memory semaphore: limits the bytes that the images in progress take, across processes.

A worker acquires an image's memory before it decodes it, and waits while the others hold too much.
An image larger than the limit is processed while no other is.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["MemorySemaphore"]


class MemorySemaphore:
    """Bytes shared by threads, and by processes that receive it when they start.

    Args:
        total: The bytes; by default half of the machine's memory, or 4 GiB where Python does not
            know it (Windows).
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total or machine_memory() // 2
        context = multiprocessing.get_context("spawn")
        self._free = context.Value("q", self.total, lock=False)
        self._changed = context.Condition()

    @contextmanager
    def acquire(self, count: int) -> Generator[None]:
        """Wait until ``count`` bytes are free, at most ``total``, and hold them."""
        count = min(count, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._free.value >= count)
            self._free.value -= count
        try:
            yield
        finally:
            with self._changed:
                self._free.value += count
                self._changed.notify_all()


def machine_memory() -> int:
    """Return the bytes of the machine's memory; 8 GiB where Python does not know it (Windows)."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 * 2**30
