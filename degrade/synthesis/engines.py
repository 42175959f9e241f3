"""Execution engines of offline synthesis: in-process, process pool, devices, Ray.

Pair ``index`` of a job has the same bytes on every engine.
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
from degrade.synthesis.memory import MemorySemaphore
from degrade.synthesis.render import (
    PAIRS_PER_TASK,
    Engine,
    Result,
    by_source,
    commit,
    device_tasks,
    render_batches,
    render_pairs,
)
from degrade.synthesis.worker import Plugin, Worker, init_worker, plugins

__all__ = ["Engine", "Result", "choose", "device_pool", "in_process", "on_device", "process_pool"]

MAX_WORKERS, MAX_BATCH = 1024, 4096
ENGINES = ("auto", "inline", "processes", "ray")


def choose(
    device: str,
    workers: int | None = None,
    batch: int = 16,
    name: str = "auto",
    memory: int | None = None,
) -> Engine:
    """Return the engine of a name and a device.

    Args:
        device: On the CPU pair by pair, on other devices in batches in this process; on several,
            such as ``cuda:0,cuda:2`` or ``cuda`` where there is more than one, a process each.
            With Ray, ``cuda`` is one GPU a task, on any machine of the cluster.
        workers: Processes on the CPU, or threads in all beside the devices; by default one a CPU
            core.
        batch: Pairs in a batch on a device other than the CPU.
        name: One of ``ENGINES``; ``auto`` is ``processes`` on the CPU with several workers.
        memory: Bytes that the images in progress may take; see
            :class:`degrade.synthesis.memory.MemorySemaphore`.

    Raises:
        SynthError: the engine is unknown or does not work on this device, or a number is out of
            range.
    """
    problems = [] if name in ENGINES else [f"--engine {name}: should be {', '.join(ENGINES)}"]
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        problems.append(f"--workers {workers}: should be from 1 to {MAX_WORKERS}")
    if not 1 <= batch <= MAX_BATCH:
        problems.append(f"--batch {batch}: should be from 1 to {MAX_BATCH}")
    if problems:
        raise SynthError("\n".join(problems))
    count = workers or os.cpu_count() or 1
    if name == "ray":
        return _ray_engine(device, workers, batch)
    if device != "cpu":
        if name != "auto":
            raise SynthError(f"--engine {name}: works on the CPU; leave it out to use {device}")
        several = device_list(device)
        if len(several) > 1:
            return partial(device_pool, devices=several, size=batch, workers=count, memory=memory)
        limit = MemorySemaphore(memory)
        return partial(on_device, device=device, size=batch, workers=count, memory=limit)
    if name == "processes" or (name == "auto" and count > 1):
        return partial(process_pool, workers=count, memory=memory)
    return in_process


def _ray_engine(device: str, workers: int | None, batch: int) -> Engine:
    from degrade.synthesis.ray_engine import on_ray

    if device not in ("cpu", "cuda"):
        raise SynthError(
            f"--engine ray: should have --device cpu or cuda, not {device}; Ray selects the GPU"
        )
    # A task sees only the GPU that Ray assigned to it.
    visible = None if device == "cpu" else "cuda:0"
    return partial(on_ray, workers=workers, device=visible, size=batch)


def device_list(device: str) -> list[str]:
    """Return the devices of a comma-separated list; all visible GPUs for ``cuda`` alone.

    >>> device_list("cuda:0,cuda:2")
    ['cuda:0', 'cuda:2']
    """
    if device != "cuda":
        return device.split(",")
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def in_process(job: Job, indices: list[int]) -> Iterator[Result]:
    """Render one pair after the other in this process."""
    recipe = Recipe.load(job.recipe)
    for group in by_source(job, indices, PAIRS_PER_TASK):
        yield from render_pairs(job, recipe, group, commit)


def on_device(
    job: Job,
    indices: list[int],
    device: str,
    size: int,
    workers: int,
    memory: MemorySemaphore | None = None,
) -> Iterator[Result]:
    """Render batches on a device from this process, with threads that decode and encode."""
    recipe = Recipe.load(job.recipe)
    yield from render_batches(job, recipe, indices, device, size, workers, commit, memory)


def process_pool(
    job: Job, indices: list[int], workers: int, memory: int | None = None
) -> Iterator[Result]:
    """Render pairs on the CPU in worker processes.

    Raises:
        SynthError: a worker was killed.
    """
    if len(indices) < 16:  # done before the workers have started
        yield from in_process(job, indices)
        return
    most = min(PAIRS_PER_TASK, -(-len(indices) // (4 * workers)))
    tasks = by_source(job, indices, most)
    yield from _run_tasks(tasks, workers, _init_process, (job, plugins(), MemorySemaphore(memory)))


def device_pool(
    job: Job,
    indices: list[int],
    devices: list[str],
    size: int,
    workers: int,
    memory: int | None = None,
) -> Iterator[Result]:
    """Render batches on several devices, each with a process that takes tasks as it gets free.

    Raises:
        SynthError: a worker was killed.
    """
    tasks = device_tasks(job, indices, size, len(devices))
    free = multiprocessing.get_context("spawn").SimpleQueue()
    for device in devices:
        free.put(device)
    threads = max(workers // len(devices), 2)
    arguments = job, plugins(), MemorySemaphore(memory), free, size, threads
    yield from _run_tasks(tasks, len(devices), _init_device_process, arguments)


def _run_tasks(
    tasks: list[list[int]],
    workers: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[Result]:
    """Run tasks in a pool of new processes; yield results as they come.

    Raises:
        SynthError: a worker was killed.
    """
    # Spawned: a fork would copy the locks of this process's threads, and CUDA, in any state.
    context = multiprocessing.get_context("spawn")
    queue = iter(tasks)
    with ProcessPoolExecutor(
        workers, context, initializer=initializer, initargs=arguments
    ) as pool:
        pending: set[Future[list[Result]]] = set()
        try:
            while True:
                more = itertools.islice(queue, 2 * workers - len(pending))
                pending |= {pool.submit(_run_task, task) for task in more}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise SynthError(
                "a worker process was killed (out of memory?);"
                " run the same command again to resume"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _init_process(job: Job, plugins: list[Plugin], memory: MemorySemaphore) -> None:
    """Initialise a worker process of :func:`process_pool`."""
    _end_with_parent()
    init_worker(job, plugins, memory)


def _init_device_process(
    job: Job, plugins: list[Plugin], memory: MemorySemaphore, free: Any, size: int, threads: int
) -> None:
    """Initialise a worker process of :func:`device_pool`, on the next device in the queue."""
    _end_with_parent()
    init_worker(job, plugins, memory, str(free.get()), size, threads)


def _end_with_parent() -> None:
    """End this process when the run ends, which releases the dataset's lock."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_and_exit() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_exit, daemon=True).start()


def _run_task(indices: list[int]) -> list[Result]:
    worker = Worker.current()
    assert worker is not None, "the pool initialises its workers"
    return worker.render_and_commit(indices)
