"""Engines: who makes the pairs of a synthesis. All make pair ``index`` of a job alike, hence
give the same bytes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from degrade.errors import SynthError
from degrade.recipe import Recipe
from degrade.synthesis.job import Job
from degrade.synthesis.memory import Budget
from degrade.synthesis.worker import (
    _HERE,
    TOGETHER,
    Result,
    _batches,
    _make,
    begin,
    devices,
    finish,
    groups,
    plugins,
    some_batches,
    take_device,
)

__all__ = ["Engine", "choose", "inline", "processes"]

Engine = Callable[[Job, list[int]], Iterator[Result]]
ENGINES = ("auto", "inline", "processes", "ray")


def choose(
    device: str,
    workers: int | None = None,
    batch: int = 16,
    name: str = "auto",
    memory: int | None = None,
) -> Engine:
    """The engine of a name.

    Args:
        device: On any but the CPU, batches in this process; on several, such as ``cuda:0,cuda:2``
            or ``cuda`` where there is more than one, a process each. With Ray, ``cuda`` is a GPU a
            task, wherever Ray has one.
        workers: Processes, or threads beside all devices; by default one a CPU core.
        batch: Pairs at a time on a device other than the CPU.
        name: One of ``ENGINES``; ``auto`` is processes where there are several workers, on a CPU.
        memory: Bytes that images in work may take together; see
            :class:`degrade.synthesis.memory.Budget`.

    Raises:
        SynthError: no such engine, or none for this device.
    """
    if name not in ENGINES:
        raise SynthError(f"--engine {name}: should be {', '.join(ENGINES)}")
    count = workers or os.cpu_count() or 1
    if name == "ray":
        from degrade.synthesis.ray_engine import on_ray

        if device not in ("cpu", "cuda"):
            raise SynthError(
                f"--engine ray: should have --device cpu or cuda, not {device}; Ray says which GPU"
            )
        # A task sees the one GPU that Ray gave it, and no other.
        return partial(
            on_ray, workers=workers, device=None if device == "cpu" else "cuda:0", size=batch
        )
    if device != "cpu":
        if name != "auto":
            raise SynthError(f"--engine {name}: works on the CPU; leave it out to use {device}")
        several = devices(device)
        if len(several) > 1:
            return partial(on_devices, devices=several, size=batch, workers=count, memory=memory)
        return partial(batches, device=device, size=batch, workers=count, budget=Budget(memory))
    if name == "processes" or (name == "auto" and count > 1):
        return partial(processes, workers=count, memory=memory)
    return inline


def inline(job: Job, indices: list[int]) -> Iterator[Result]:
    """One pair after the other, in this process."""
    recipe = Recipe.load(job.recipe)
    for some in groups(job, indices, TOGETHER):
        for index, made in _make(job, recipe, some):
            yield index, finish(job, index, made)


def batches(
    job: Job,
    indices: list[int],
    device: str,
    size: int,
    workers: int,
    budget: Budget | None = None,
) -> Iterator[Result]:
    """Threads decode and encode while this one degrades, a batch of equal sizes at a time, on
    the device.
    """
    yield from _batches(
        job, Recipe.load(job.recipe), indices, device, size, workers, finish, budget
    )


def processes(
    job: Job, indices: list[int], workers: int, memory: int | None = None
) -> Iterator[Result]:
    """Worker processes, each of which reads, degrades and writes whole pairs; a few are always in
    flight.

    Raises:
        SynthError: a worker was killed.
    """
    if len(indices) < 16:  # so few are done before other interpreters have started
        yield from inline(job, indices)
        return
    tasks = groups(job, indices, min(TOGETHER, -(-len(indices) // (4 * workers))))
    yield from share(tasks, _work, workers, _begin, (job, plugins(), Budget(memory)))


def on_devices(
    job: Job,
    indices: list[int],
    devices: list[str],
    size: int,
    workers: int,
    memory: int | None = None,
) -> Iterator[Result]:
    """A process for each device, which works :func:`batches`; each takes the next few batches when
    it is done.

    Raises:
        SynthError: a worker was killed.
    """
    tasks = some_batches(job, indices, size, len(devices))
    free = multiprocessing.get_context("spawn").SimpleQueue()
    for device in devices:
        free.put(device)
    threads = max(workers // len(devices), 2)
    yield from share(
        tasks,
        _work_batches,
        len(devices),
        _begin_device,
        (job, plugins(), Budget(memory), free, size, threads),
    )


def share(
    tasks: list[list[int]],
    work: Callable[[list[int]], list[Result]],
    workers: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[Result]:
    """Shares tasks out among new processes. Raises SynthError if one is killed."""
    # Fresh interpreters: a fork would copy the locks of this process's threads, and CUDA, in
    # whatever state they are.
    context = multiprocessing.get_context("spawn")
    todo = iter(tasks)
    with ProcessPoolExecutor(
        workers, context, initializer=initializer, initargs=arguments
    ) as pool:
        flight: set[Future[list[Result]]] = set()
        try:
            while True:
                flight |= {
                    pool.submit(work, task)
                    for task in itertools.islice(todo, 2 * workers - len(flight))
                }
                if not flight:
                    return
                done, flight = wait(flight, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise SynthError(
                "a worker process was killed (out of memory?); run again to go on"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(job: Job, modules: list[str], budget: Budget) -> None:
    """Makes a worker process of :func:`processes` ready; it must not outlive the run, whose
    lock goes with it.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(job, modules, budget)


def _begin_device(
    job: Job, modules: list[str], budget: Budget, free: Any, size: int, threads: int
) -> None:
    """Makes a worker process of :func:`on_devices` ready, for the next device that has none
    yet.
    """
    _begin(job, modules, budget)
    take_device(str(free.get()), size, threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(indices: list[int]) -> list[Result]:
    here = _HERE[0]
    return [
        (i, finish(here.job, i, made))
        for i, made in _make(here.job, here.recipe, indices, here.budget)
    ]


def _work_batches(indices: list[int]) -> list[Result]:
    here = _HERE[0]
    return list(batches(here.job, indices, here.device, here.size, here.threads, here.budget))
