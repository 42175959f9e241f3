"""Engines: who makes the pairs of a synthesis. All make pair ``index`` of a job alike, hence give the same bytes."""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from degrade.base import REGISTRY
from degrade.images.files import ImageError
from degrade.images.regions import open_image
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.synthesis.job import Images, Job, Loaded, degrade_crops, describe_pair, encode, load_crops
from degrade.synthesis.manifest import Row, SynthError, files, place
from degrade.synthesis.memory import Budget
from degrade.synthesis.writers import FORMATS

__all__ = ["Engine", "choose", "inline", "processes"]

T = TypeVar("T")
Result = tuple[int, "Row | ImageError"]
Engine = Callable[[Job, list[int]], Iterator[Result]]
Made = tuple[Row, bytes, bytes]
"""A pair: its row, its HR file and its LR file; a function of the job and the index alone."""
ENGINES = ("auto", "inline", "processes", "ray")
TOGETHER = 16
"""Most pairs of one source that a worker makes at a time."""
WHOLE = 120
"""About how many bytes a pixel takes where whole images are degraded: 111 measured with realesrgan, 83 with bicubic."""


def choose(
    device: str,
    workers: int | None = None,
    batch: int = 16,
    name: str = "auto",
    memory: int | None = None,
) -> Engine:
    """The engine of a name.

    Args:
        device: On any but the CPU, batches in this process; on several, such as ``cuda:0,cuda:2`` or ``cuda`` where
            there is more than one, a process each. With Ray, ``cuda`` is a GPU a task, wherever Ray has one.
        workers: Processes, or threads beside all devices; by default one a CPU core.
        batch: Pairs at a time on a device other than the CPU.
        name: One of ``ENGINES``; ``auto`` is processes where there are several workers, on a CPU.
        memory: Bytes that images in work may take together; see :class:`degrade.synthesis.memory.Budget`.

    Raises:
        SynthError: no such engine, or none for this device.
    """
    if name not in ENGINES:
        raise SynthError(f"--engine {name}: should be {', '.join(ENGINES)}")
    count = workers or os.cpu_count() or 1
    if name == "ray":
        from degrade.synthesis.ray_engine import on_ray

        if device not in ("cpu", "cuda"):
            raise SynthError(f"--engine ray: should have --device cpu or cuda, not {device}; Ray says which GPU")
        # A task sees the one GPU that Ray gave it, and no other.
        return partial(on_ray, workers=workers, device=None if device == "cpu" else "cuda:0", size=batch)
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


def devices(said: str) -> list[str]:
    """Those of ``cuda:0,cuda:1``; of ``cuda`` alone, all that are visible."""
    if said != "cuda":
        return said.split(",")
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def groups(job: Job, indices: list[int], most: int) -> list[list[int]]:
    """Pairs that are made one after the other: up to ``most`` of one source, which is then decoded once for them.

    A format that packs pairs by their numbers gets them by their numbers.
    """
    if FORMATS[job.format].numbered:
        return [[index] for index in indices]
    same: defaultdict[int, list[int]] = defaultdict(list)
    for index in indices:
        same[index % len(job.sources)].append(index)
    return [some[i : i + most] for some in same.values() for i in range(0, len(some), most)]


def inline(job: Job, indices: list[int]) -> Iterator[Result]:
    """One pair after the other, in this process."""
    recipe = Recipe.load(job.recipe)
    for some in groups(job, indices, TOGETHER):
        for index, made in _make(job, recipe, some):
            yield index, finish(job, index, made)


def batches(
    job: Job, indices: list[int], device: str, size: int, workers: int, budget: Budget | None = None
) -> Iterator[Result]:
    """Threads decode and encode while this one degrades, a batch of equal sizes at a time, on the device."""
    yield from _batches(job, Recipe.load(job.recipe), indices, device, size, workers, finish, budget)


def _batches(
    job: Job,
    recipe: Recipe,
    indices: list[int],
    device: str,
    size: int,
    workers: int,
    keep: Callable[[Job, int, Made], T],
    budget: Budget | None = None,
) -> Iterator[tuple[int, T | ImageError]]:
    """As :func:`batches`; ``keep``, in a thread, says what becomes of a pair."""
    order = [index for some in groups(job, indices, size) for index in some]
    with ThreadPoolExecutor(max(workers, 2)) as pool:

        def read(start: int) -> list[Future[list[tuple[int, Loaded | ImageError]]]]:
            some = groups(job, order[start : start + size], size)
            return [pool.submit(_read, job, recipe, same, budget) for same in some]

        def encoded(index: int, loaded: Loaded, plan: Plan, images: Images) -> T:
            return keep(job, index, _encode(job, recipe, index, loaded, plan, images))

        kept: deque[tuple[int, Future[T]]] = deque()
        coming = read(0)
        for start in range(0, len(order), size):
            waiting, coming = coming, read(start + size)
            alike: dict[tuple[int, ...], list[tuple[int, Loaded]]] = {}
            for index, loaded in itertools.chain.from_iterable(future.result() for future in waiting):
                if isinstance(loaded, ImageError):
                    yield index, loaded
                else:
                    alike.setdefault(loaded.pixels.shape, []).append((index, loaded))
            for group in alike.values():
                plan = recipe.plan(Key.of(job.settings.seed, [index for index, _ in group]))
                images = degrade_crops([loaded for _, loaded in group], recipe, plan, device)
                for i, ((index, loaded), image) in enumerate(zip(group, images, strict=True)):
                    part = plan.take(slice(i, i + 1))
                    kept.append((index, pool.submit(encoded, index, loaded, part, image)))
            while len(kept) > size:
                index, pair = kept.popleft()
                yield index, pair.result()
        for index, pair in kept:
            yield index, pair.result()


def processes(job: Job, indices: list[int], workers: int, memory: int | None = None) -> Iterator[Result]:
    """Worker processes, each of which reads, degrades and writes whole pairs; a few are always in flight.

    Raises:
        SynthError: a worker was killed.
    """
    if len(indices) < 16:  # so few are done before other interpreters have started
        yield from inline(job, indices)
        return
    tasks = groups(job, indices, min(TOGETHER, -(-len(indices) // (4 * workers))))
    yield from share(tasks, _work, workers, _begin, (job, plugins(), Budget(memory)))


def on_devices(
    job: Job, indices: list[int], devices: list[str], size: int, workers: int, memory: int | None = None
) -> Iterator[Result]:
    """A process for each device, which works :func:`batches`; each takes the next few batches when it is done.

    Raises:
        SynthError: a worker was killed.
    """
    tasks = some_batches(job, indices, size, len(devices))
    free = multiprocessing.get_context("spawn").SimpleQueue()
    for device in devices:
        free.put(device)
    threads = max(workers // len(devices), 2)
    yield from share(
        tasks, _work_batches, len(devices), _begin_device, (job, plugins(), Budget(memory), free, size, threads)
    )


def some_batches(job: Job, indices: list[int], size: int, devices: int) -> list[list[int]]:
    """A task is a few batches, so that threads work beside a device; fewer where there are few for each device."""
    order = [index for some in groups(job, indices, size) for index in some]
    some = max(min(8, len(order) // (2 * size * devices)), 1) * size
    return [order[start : start + some] for start in range(0, len(order), some)]


def share(
    tasks: list[list[int]],
    work: Callable[[list[int]], list[Result]],
    workers: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[Result]:
    """Shares tasks out among new processes. Raises SynthError if one is killed."""
    # Fresh interpreters: a fork would copy the locks of this process's threads, and CUDA, in whatever state they are.
    context = multiprocessing.get_context("spawn")
    todo = iter(tasks)
    with ProcessPoolExecutor(workers, context, initializer=initializer, initargs=arguments) as pool:
        flight: set[Future[list[Result]]] = set()
        try:
            while True:
                flight |= {pool.submit(work, task) for task in itertools.islice(todo, 2 * workers - len(flight))}
                if not flight:
                    return
                done, flight = wait(flight, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise SynthError("a worker process was killed (out of memory?); run again to go on") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Worker:
    """What a worker process works on, set once when it starts."""

    job: Job
    recipe: Recipe
    budget: Budget | None = None
    device: str = "cpu"
    size: int = 1
    threads: int = 1


_HERE: list[Worker] = []


def plugins() -> list[str]:
    """The modules that define operators; another interpreter knows none that was defined by importing one here."""
    return sorted({kind.__module__ for kind in REGISTRY.values()} - {"__main__"})


def _begin(job: Job, modules: list[str], budget: Budget) -> None:
    """Makes a worker process of :func:`processes` ready; it must not outlive the run, whose lock goes with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(job, modules, budget)


def _begin_device(job: Job, modules: list[str], budget: Budget, free: Any, size: int, threads: int) -> None:
    """Makes a worker process of :func:`on_devices` ready, for the next device that has none yet."""
    _begin(job, modules, budget)
    take_device(str(free.get()), size, threads)


def take_device(device: str, size: int, threads: int) -> None:
    """Makes a worker process that is ready work batches on a device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    _HERE[:] = [replace(_HERE[0], device=device, size=size, threads=threads)]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def begin(job: Job, modules: list[str], budget: Budget | None = None) -> None:
    """Makes a worker process ready."""
    import torch

    for module in modules:
        importlib.import_module(module)
    torch.set_num_threads(1)
    _HERE[:] = [Worker(job, Recipe.load(job.recipe), budget)]


def make(indices: list[int]) -> list[tuple[int, Made | ImageError]]:
    """Makes some pairs of one source of this worker's job."""
    here = _HERE[0]
    return list(_make(here.job, here.recipe, indices, here.budget))


def make_batches(indices: list[int]) -> list[tuple[int, Made | ImageError]]:
    """Makes some pairs of this worker's job on its device."""
    here = _HERE[0]
    return list(_batches(here.job, here.recipe, indices, here.device, here.size, here.threads, _as_made))


def _as_made(job: Job, index: int, made: Made) -> Made:
    return made


def _work(indices: list[int]) -> list[Result]:
    here = _HERE[0]
    return [(i, finish(here.job, i, made)) for i, made in _make(here.job, here.recipe, indices, here.budget)]


def _work_batches(indices: list[int]) -> list[Result]:
    here = _HERE[0]
    return list(batches(here.job, indices, here.device, here.size, here.threads, here.budget))


def finish(job: Job, index: int, made: Made | ImageError) -> Row | ImageError:
    """Gives the files of a pair their names."""
    if isinstance(made, ImageError):
        return made
    row, *both = made
    for path, data in zip(files(job.stage, job.name(index)), both, strict=True):
        place(path, data)
    return row


def _make(
    job: Job, recipe: Recipe, indices: list[int], budget: Budget | None = None
) -> Iterator[tuple[int, Made | ImageError]]:
    """Makes pairs of one source; or says why it cannot be used."""
    with ExitStack() as held:
        try:
            image = held.enter_context(open_image(job.source(indices[0])))
            if budget is not None:
                held.enter_context(budget.take(image.held if job.settings.patch else WHOLE * image.area))
            crops = load_crops(image, job.settings, recipe.scale, indices)
        except ImageError as error:
            yield from ((index, error) for index in indices)
            return
        del image
        if job.settings.patch:  # which are all that is left of it
            held.close()
        for index, loaded in zip(indices, crops, strict=True):
            plan = recipe.plan(Key.of(job.settings.seed, index))
            [images] = degrade_crops([loaded], recipe, plan)
            yield index, _encode(job, recipe, index, loaded, plan, images)


def _read(job: Job, recipe: Recipe, indices: list[int], budget: Budget | None) -> list[tuple[int, Loaded | ImageError]]:
    try:
        with open_image(job.source(indices[0])) as image, budget.take(image.held) if budget else nullcontext():
            return list(zip(indices, load_crops(image, job.settings, recipe.scale, indices), strict=True))
    except ImageError as error:
        return [(index, error) for index in indices]


def _encode(job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, images: Images) -> Made:
    hr, lr = encode(*images)
    return describe_pair(job, recipe, index, loaded, plan, hr, lr), hr, lr
