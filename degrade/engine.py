"""Engines: who makes the pairs of a synthesis. All make pair ``index`` of a job alike, hence give the same bytes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from degrade.base import REGISTRY
from degrade.images import ImageError
from degrade.job import Images, Job, Loaded, degrade_crops, describe_pair, encode, load_crop
from degrade.manifest import Row, SynthError, files, place
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["Engine", "choose", "inline", "processes"]

Result = tuple[int, "Row | ImageError"]
Engine = Callable[[Job, list[int]], Iterator[Result]]
Made = tuple[Row, bytes, bytes]
"""A pair: its row, its HR file and its LR file; a function of the job and the index alone."""
ENGINES = ("auto", "inline", "processes", "ray")


def choose(device: str, workers: int | None = None, batch: int = 16, name: str = "auto") -> Engine:
    """The engine of a name.

    Args:
        device: On any but the CPU, batches in this process.
        workers: Processes, or threads beside a device; by default one a CPU core.
        batch: Pairs at a time on a device other than the CPU.
        name: One of ``ENGINES``; ``auto`` is processes where there are several workers, on a CPU.

    Raises:
        SynthError: no such engine, or none for this device.
    """
    if name not in ENGINES:
        raise SynthError(f"--engine {name}: should be {', '.join(ENGINES)}")
    count = workers or os.cpu_count() or 1
    if device != "cpu":
        if name != "auto":
            raise SynthError(f"--engine {name}: works on the CPU; leave it out to use {device}")
        return partial(batches, device=device, size=batch, workers=count)
    if name == "ray":
        from degrade.cluster import on_ray

        return partial(on_ray, workers=workers)
    return partial(processes, workers=count) if name == "processes" or (name == "auto" and count > 1) else inline


def inline(job: Job, indices: list[int]) -> Iterator[Result]:
    """One pair after the other, in this process."""
    recipe = Recipe.load(job.recipe)
    for index in indices:
        yield index, finish(job, index, _make(job, recipe, index))


def batches(job: Job, indices: list[int], device: str, size: int, workers: int) -> Iterator[Result]:
    """Threads decode and encode while this one degrades, a batch of equal sizes at a time, on the device."""
    recipe = Recipe.load(job.recipe)
    with ThreadPoolExecutor(max(workers, 2)) as pool:
        written: deque[tuple[int, Future[Row | ImageError]]] = deque()
        for start in range(0, len(indices), size):
            some = indices[start : start + size]
            waiting = [(i, pool.submit(_read, job, recipe, i)) for i in some]
            groups: dict[tuple[int, ...], list[tuple[int, Loaded]]] = {}
            for index, future in waiting:
                loaded = future.result()
                if isinstance(loaded, ImageError):
                    yield index, loaded
                else:
                    groups.setdefault(loaded.pixels.shape, []).append((index, loaded))
            for group in groups.values():
                plan = recipe.plan(Key.of(job.settings.seed, [index for index, _ in group]))
                images = degrade_crops([loaded for _, loaded in group], recipe, plan, device)
                for i, ((index, loaded), image) in enumerate(zip(group, images, strict=True)):
                    part = plan.take(slice(i, i + 1))
                    written.append((index, pool.submit(_write, job, recipe, index, loaded, part, image)))
            while len(written) > size:
                index, row = written.popleft()
                yield index, row.result()
        for index, row in written:
            yield index, row.result()


def processes(job: Job, indices: list[int], workers: int) -> Iterator[Result]:
    """Worker processes, each of which reads, degrades and writes whole pairs; a few are always in flight.

    Raises:
        SynthError: a worker was killed.
    """
    if len(indices) < 16:  # so few are done before other interpreters have started
        yield from inline(job, indices)
        return
    # Fresh interpreters: a fork would copy the locks of this process's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    todo = iter(indices)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(job, plugins())) as pool:
        flight: dict[Future[Row | ImageError], int] = {}
        try:
            while True:
                for index in todo:
                    flight[pool.submit(_work, index)] = index
                    if len(flight) >= 4 * workers:
                        break
                if not flight:
                    return
                for future in wait(flight, return_when=FIRST_COMPLETED).done:
                    yield flight.pop(future), future.result()
        except BrokenProcessPool:
            raise SynthError("a worker process was killed (out of memory?); run again to go on") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_HERE: list[tuple[Job, Recipe]] = []
"""What this worker process works on, set once when it starts."""


def plugins() -> list[str]:
    """The modules that define operators; another interpreter knows none that was defined by importing one here."""
    return sorted({kind.__module__ for kind in REGISTRY.values()} - {"__main__"})


def _begin(job: Job, modules: list[str]) -> None:
    """Makes a worker process of :func:`processes` ready; it must not outlive the run, whose lock goes with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(job, modules)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def begin(job: Job, modules: list[str]) -> None:
    """Makes a worker process ready."""
    import torch

    for module in modules:
        importlib.import_module(module)
    torch.set_num_threads(1)
    _HERE[:] = [(job, Recipe.load(job.recipe))]


def pair(index: int) -> Made | ImageError:
    """Makes a pair of this worker's job."""
    job, recipe = _HERE[0]
    return _make(job, recipe, index)


def _work(index: int) -> Row | ImageError:
    job, recipe = _HERE[0]
    return finish(job, index, _make(job, recipe, index))


def finish(job: Job, index: int, made: Made | ImageError) -> Row | ImageError:
    """Gives the files of a pair their names."""
    if isinstance(made, ImageError):
        return made
    row, *both = made
    for path, data in zip(files(job.stage, job.name(index)), both, strict=True):
        place(path, data)
    return row


def _make(job: Job, recipe: Recipe, index: int) -> Made | ImageError:
    """Makes a pair; or says why its source cannot be used."""
    loaded = _read(job, recipe, index)
    if isinstance(loaded, ImageError):
        return loaded
    plan = recipe.plan(Key.of(job.settings.seed, index))
    [images] = degrade_crops([loaded], recipe, plan)
    return _encode(job, recipe, index, loaded, plan, images)


def _read(job: Job, recipe: Recipe, index: int) -> Loaded | ImageError:
    try:
        return load_crop(job.source(index), job.settings, recipe.scale, index)
    except ImageError as error:
        return error


def _encode(job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, images: Images) -> Made:
    hr, lr = encode(*images)
    return describe_pair(job, recipe, index, loaded, plan, hr, lr), hr, lr


def _write(job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, images: Images) -> Row | ImageError:
    return finish(job, index, _encode(job, recipe, index, loaded, plan, images))
