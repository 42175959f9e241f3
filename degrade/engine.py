"""Engines: who makes the pairs of a synthesis. All make pair ``index`` of a job alike, hence give the same bytes."""

from __future__ import annotations

import importlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from degrade.base import REGISTRY
from degrade.images import ImageError
from degrade.manifest import Row, SynthError, files, place
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.synth import Images, Job, Loaded, degrade_crops, describe_pair, encode, load_crop

__all__ = ["Engine", "choose", "inline", "processes"]

Result = tuple[int, "Row | ImageError"]
Engine = Callable[[Job, list[int]], Iterator[Result]]


def choose(device: str, workers: int, batch: int = 16) -> Engine:
    """Processes for several workers on a CPU; batches in this process on other devices."""
    if device != "cpu":
        return partial(batches, device=device, size=batch, workers=workers)
    return partial(processes, workers=workers) if workers > 1 else inline


def inline(job: Job, indices: list[int]) -> Iterator[Result]:
    """One pair after the other, in this process."""
    recipe = Recipe.load(job.recipe)
    for index in indices:
        yield index, _finish(job, recipe, index)


def batches(job: Job, indices: list[int], device: str, size: int, workers: int) -> Iterator[Result]:
    """Threads decode and encode while this one degrades, a batch of equal sizes at a time, on the device."""
    recipe = Recipe.load(job.recipe)
    with ThreadPoolExecutor(max(workers, 2)) as pool:
        written: deque[tuple[int, Future[Row]]] = deque()
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
    # They know no operator that was defined by importing a module here.
    plugins = sorted({kind.__module__ for kind in REGISTRY.values()} - {"__main__"})
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(job, plugins)) as pool:
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


def _start(job: Job, plugins: list[str]) -> None:
    import torch

    for module in plugins:
        importlib.import_module(module)
    torch.set_num_threads(1)
    _HERE[:] = [(job, Recipe.load(job.recipe))]


def _work(index: int) -> Row | ImageError:
    job, recipe = _HERE[0]
    return _finish(job, recipe, index)


def _finish(job: Job, recipe: Recipe, index: int) -> Row | ImageError:
    """Makes a pair and gives its files their names; or says why its source cannot be used."""
    loaded = _read(job, recipe, index)
    if isinstance(loaded, ImageError):
        return loaded
    plan = recipe.plan(Key.of(job.settings.seed, index))
    [images] = degrade_crops([loaded], recipe, plan)
    return _write(job, recipe, index, loaded, plan, images)


def _read(job: Job, recipe: Recipe, index: int) -> Loaded | ImageError:
    try:
        return load_crop(job.source(index), job.settings, recipe.scale, index)
    except ImageError as error:
        return error


def _write(job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, images: Images) -> Row:
    data = encode(*images)
    for path, one in zip(files(job.stage, job.name(index)), data, strict=True):
        place(path, one)
    return describe_pair(job, recipe, index, loaded, plan, *data)
