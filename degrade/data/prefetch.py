"""Prefetching: on a GPU, the next batch is read and degraded while this one trains.

A thread walks the batches a few ahead and launches their kernels on a stream of its own; the
caller's stream waits for them by an event, not the CPU. Drawing and lowering are mostly done in
native code without the interpreter's lock; launches hold it.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

import torch

from degrade.recipe import Pair

__all__ = ["prefetch"]


def prefetch(
    batches: Iterable[Pair], device: torch.device | str, ahead: int = 2
) -> Iterator[Pair]:
    """Make pairs ahead of their time on a CUDA device; on others just yield them.

    ``for pair in prefetch(pairs(loader, recipe, device="cuda"), "cuda"): ...`` yields what the
    inner loop yields, in its order. With a loader without workers, images are read in the thread.

    Args:
        batches: What to walk, :func:`degrade.pairs` for example.
        device: Where its pairs are.
        ahead: Batches that are ready or in the making, at least 1.

    Raises:
        ValueError: ``ahead`` below 1. Errors of making a batch are raised where it would have been
            yielded.
    """
    if ahead < 1:
        raise ValueError(f"ahead is {ahead}; it should be at least 1")
    place = torch.device(device)
    if place.type != "cuda":
        return iter(batches)
    if place == torch.device("cuda"):  # of no number; a thread has a current device of its own
        place = torch.device("cuda", torch.cuda.current_device())
    return _ahead(batches, place, ahead)


def _ahead(batches: Iterable[Pair], device: torch.device, ahead: int) -> Iterator[Pair]:
    ready: queue.Queue[tuple[Pair, torch.cuda.Event] | BaseException | None] = queue.Queue(ahead)
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
                # Its memory is not used again before the caller's stream is done with it.
                image.record_stream(stream)
            yield pair
    finally:
        stopped.set()
        while not ready.empty():
            ready.get_nowait()
        thread.join()


def _fill(
    batches: Iterable[Pair],
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
