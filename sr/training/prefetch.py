"""Prefetching: on a GPU, the next batch is read and degraded while this one trains.

A thread walks the batches, two ahead, and launches its kernels on a stream of its own; the
training stream waits for them by an event, not the CPU.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import torch

from degrade.recipe import Pair

__all__ = ["prefetched"]

AHEAD = 2
"""Batches that are ready or in the making."""


def prefetched(batches: Iterator[Pair], device: torch.device) -> Iterator[Pair]:
    """Yield the batches, each made ahead of its time on CUDA; elsewhere just yield them.

    Errors of making a batch are raised where it would have been yielded.
    """
    if device.type != "cuda":
        yield from batches
        return
    ready: queue.Queue[tuple[Pair, torch.cuda.Event] | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(batches, device, ready, stopped), name="prefetch", daemon=True
    )
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            pair, made = item
            stream = torch.cuda.current_stream(device)
            stream.wait_event(made)
            for image in (pair.lr, pair.hr, pair.given):
                # Its memory is not used again before the training stream is done with it.
                image.record_stream(stream)
            yield pair
    finally:
        stopped.set()
        while not ready.empty():
            ready.get_nowait()
        thread.join()


def _fill(
    batches: Iterator[Pair],
    device: torch.device,
    ready: queue.Queue[tuple[Pair, torch.cuda.Event] | BaseException | None],
    stopped: threading.Event,
) -> None:
    stream = torch.cuda.Stream(device)
    try:
        with torch.cuda.device(device), torch.cuda.stream(stream):
            for pair in batches:
                if stopped.is_set():
                    return
                made = torch.cuda.Event()
                made.record(stream)
                ready.put((pair, made))
        ready.put(None)
    except BaseException as error:
        ready.put(error)
