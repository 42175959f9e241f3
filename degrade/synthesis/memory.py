"""Budget: memory that the images in work may take together, whichever process they are in.

Every worker asks for an image's share before it decodes it, and waits while the others hold too
much. An image that alone is beyond the budget is worked when no other is.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Budget"]


class Budget:
    """Bytes for all who share it: threads, and processes that it is handed to when they start.

    Args:
        total: The bytes; by default half of the machine's memory.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        context = multiprocessing.get_context("spawn")
        self._free = context.Value("q", self.total, lock=False)
        self._changed = context.Condition()

    @contextmanager
    def take(self, count: int) -> Generator[None]:
        """Waits until ``count`` bytes are free, and holds them."""
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
