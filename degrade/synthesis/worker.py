"""What a worker of a synthesis does: reads, degrades and encodes pairs. A pair is a function of
(job, index) alone.
"""

from __future__ import annotations

import importlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from degrade.base import REGISTRY
from degrade.images.files import ImageError
from degrade.images.regions import open_image
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.files import place
from degrade.synthesis.job import (
    Images,
    Job,
    Loaded,
    degrade_crops,
    describe_pair,
    encode,
    load_crops,
)
from degrade.synthesis.manifest import Row, files
from degrade.synthesis.memory import Budget
from degrade.synthesis.writers import FORMATS

__all__ = []

T = TypeVar("T")


Result = tuple[int, "Row | ImageError"]


Made = tuple[Row, bytes, bytes]
"""A pair: its row, its HR file and its LR file; a function of the job and the index alone."""


TOGETHER = 16
"""Most pairs of one source that a worker makes at a time."""


WHOLE = 120
"""About how many bytes a pixel takes where whole images are degraded: 111 measured with
realesrgan, 83 with bicubic.
"""


def devices(said: str) -> list[str]:
    """Those of ``cuda:0,cuda:1``; of ``cuda`` alone, all that are visible."""
    if said != "cuda":
        return said.split(",")
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def groups(job: Job, indices: list[int], most: int) -> list[list[int]]:
    """Pairs that are made one after the other: up to ``most`` of one source, which is then decoded
    once for them.

    A format that packs pairs by their numbers gets them by their numbers.
    """
    if FORMATS[job.format].numbered:
        return [[index] for index in indices]
    same: defaultdict[int, list[int]] = defaultdict(list)
    for index in indices:
        same[index % len(job.sources)].append(index)
    return [some[i : i + most] for some in same.values() for i in range(0, len(some), most)]


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
            for index, loaded in itertools.chain.from_iterable(
                future.result() for future in waiting
            ):
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


def some_batches(job: Job, indices: list[int], size: int, devices: int) -> list[list[int]]:
    """A task is a few batches, so that threads work beside a device; fewer where there are few
    for each device.
    """
    order = [index for some in groups(job, indices, size) for index in some]
    some = max(min(8, len(order) // (2 * size * devices)), 1) * size
    return [order[start : start + some] for start in range(0, len(order), some)]


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
    """The modules that define operators; another interpreter knows none that was defined by
    importing one here.
    """
    return sorted({kind.__module__ for kind in REGISTRY.values()} - {"__main__"})


def take_device(device: str, size: int, threads: int) -> None:
    """Makes a worker process that is ready work batches on a device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    _HERE[:] = [replace(_HERE[0], device=device, size=size, threads=threads)]


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
    return list(
        _batches(here.job, here.recipe, indices, here.device, here.size, here.threads, _as_made)
    )


def _as_made(job: Job, index: int, made: Made) -> Made:
    return made


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
                held.enter_context(
                    budget.take(image.memory_estimate if job.settings.patch else WHOLE * image.area)
                )
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


def _read(
    job: Job, recipe: Recipe, indices: list[int], budget: Budget | None
) -> list[tuple[int, Loaded | ImageError]]:
    try:
        with (
            open_image(job.source(indices[0])) as image,
            budget.take(image.memory_estimate) if budget else nullcontext(),
        ):
            return list(
                zip(indices, load_crops(image, job.settings, recipe.scale, indices), strict=True)
            )
    except ImageError as error:
        return [(index, error) for index in indices]


def _encode(
    job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, images: Images
) -> Made:
    hr, lr = encode(*images)
    return describe_pair(job, recipe, index, loaded, plan, hr, lr), hr, lr
