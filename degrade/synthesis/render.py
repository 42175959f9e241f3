"""Rendering of pairs: read, degrade and encode them, one at a time or in batches.

A pair is a function of (job, index) alone. What happens to a rendered pair is up to the caller:
:func:`commit` writes its files; a worker on another machine returns it.
"""

from __future__ import annotations

import errno
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import NamedTuple, TypeVar

from degrade.images.files import ImageError
from degrade.images.regions import open_image
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.files import move_aside, place
from degrade.synthesis.job import Job
from degrade.synthesis.manifest import Row, pair_files
from degrade.synthesis.memory import MemorySemaphore
from degrade.synthesis.pair import (
    HRCrop,
    PairPixels,
    RenderedPair,
    degrade_crops,
    encode_pair,
    load_crops,
    manifest_row,
)
from degrade.synthesis.writers import FORMATS

__all__ = [
    "PAIRS_PER_TASK",
    "Committed",
    "Engine",
    "Rendered",
    "Result",
    "by_source",
    "commit",
    "device_tasks",
    "render_batches",
    "render_pairs",
]

T = TypeVar("T")


class Committed(NamedTuple):
    """A pair whose files are written.

    Args:
        row: Its row of the manifest.
        moved: Where other files that had the names of its files are now.
    """

    row: Row
    moved: tuple[str, ...] = ()


Result = tuple[int, "Committed | ImageError"]
"""The index of a pair and what was written, or its error."""
Engine = Callable[[Job, list[int]], Iterator[Result]]
"""Renders the pairs of some indices and writes their files, in any order; yields the results."""
Rendered = tuple[int, "RenderedPair | ImageError"]
"""The index of a pair and its files, or its error."""

PAIRS_PER_TASK = 16
"""Most pairs of one source in a task."""
BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR)
"""Errors of file systems that are due to a name: too long, not allowed, taken by a folder."""
BYTES_PER_PIXEL = 120
"""Memory that degrading a whole image takes, an HR pixel: 111 measured with realesrgan, 83 with
bicubic.
"""


# --- pairs of one source -------------------------------------------------------------------------


def by_source(job: Job, indices: list[int], most: int) -> list[list[int]]:
    """Return groups of up to ``most`` pairs of one source, which is decoded once for a group.

    Formats that pack pairs in the order of their indices get groups of one, in that order.
    """
    if FORMATS[job.format].packs_in_order:
        return [[index] for index in indices]
    same: defaultdict[int, list[int]] = defaultdict(list)
    for index in indices:
        same[index % len(job.sources)].append(index)
    return [group[i : i + most] for group in same.values() for i in range(0, len(group), most)]


def render_pairs(
    job: Job,
    recipe: Recipe,
    indices: list[int],
    then: Callable[[Job, int, RenderedPair], T],
    memory: MemorySemaphore | None = None,
) -> Iterator[tuple[int, T | ImageError]]:
    """Render pairs of one source, one after the other.

    Args:
        job: The job.
        recipe: Its recipe.
        indices: Pairs of one source.
        then: Called with each rendered pair; its result is yielded.
        memory: Acquired while the image is in memory.

    Yields:
        Each index, with the result of ``then`` or, if the source cannot be used, its error.
    """
    with ExitStack() as resources:
        try:
            image = resources.enter_context(open_image(job.source(indices[0])))
            if memory is not None:
                needed = (
                    image.memory_estimate if job.settings.patch else BYTES_PER_PIXEL * image.area
                )
                resources.enter_context(memory.acquire(needed))
            crops = load_crops(image, job.settings, recipe.scale, indices)
        except ImageError as error:
            yield from ((index, error) for index in indices)
            return
        del image
        if job.settings.patch:  # the crops are copies, so the image's memory is free now
            resources.close()
        for index, crop in zip(indices, crops, strict=True):
            plan = recipe.plan(Key.of(job.settings.seed, index))
            [pixels] = degrade_crops([crop], recipe, plan, backend=job.backend)
            yield index, then(job, index, _encode(job, recipe, index, crop, plan, pixels))


def _encode(
    job: Job, recipe: Recipe, index: int, crop: HRCrop, plan: Plan, pixels: PairPixels
) -> RenderedPair:
    files = encode_pair(pixels, crop, job.settings)
    return RenderedPair(manifest_row(job, recipe, index, crop, plan, files), files)


def commit(job: Job, index: int, pair: RenderedPair) -> Committed | ImageError:
    """Write a pair's files atomically under their final names, and return its row.

    A file that has such a name and other contents was damaged after its row was lost, or is
    somebody's; it is moved aside. A name that the file system does not take is the pair's error.
    """
    paths = pair_files(job.staging_dir, job.name(index), job.settings.sides)
    moved: list[str] = []
    try:
        for path, data in zip(paths, pair.files, strict=True):
            aside = move_aside(path, data)
            if aside is not None and FORMATS[job.format].uses_staging:
                aside.unlink()  # in a hidden folder, where nothing is but our files
            elif aside is not None:
                moved.append(str(aside))
            place(path, data)
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        return ImageError(
            str(job.source(index)), f"cannot be written as {job.name(index)}: {error.strerror}"
        )
    return Committed(pair.row, tuple(moved))


# --- batches on a device -------------------------------------------------------------------------


def render_batches(
    job: Job,
    recipe: Recipe,
    indices: list[int],
    device: str,
    size: int,
    threads: int,
    then: Callable[[Job, int, RenderedPair], T],
    memory: MemorySemaphore | None = None,
) -> Iterator[tuple[int, T | ImageError]]:
    """Render pairs in batches on a device, while threads decode the next and encode the last.

    Args:
        job: The job.
        recipe: Its recipe.
        indices: The pairs.
        device: Where to degrade.
        size: Pairs in a batch; those of unequal size are degraded one size at a time.
        threads: Threads that decode and encode, at least 2.
        then: Called in a thread with each rendered pair; its result is yielded.
        memory: Acquired while an image is decoded.

    Yields:
        Each index, with the result of ``then`` or, if the source cannot be used, its error.
    """
    with ThreadPoolExecutor(max(threads, 2)) as pool:

        def finish(index: int, crop: HRCrop, plan: Plan, pixels: PairPixels) -> T:
            return then(job, index, _encode(job, recipe, index, crop, plan, pixels))

        encoding: deque[tuple[int, Future[T]]] = deque()
        for batch in _read_ahead(job, recipe, indices, size, memory, pool):
            crops: list[tuple[int, HRCrop]] = []
            for index, read in batch:
                if isinstance(read, ImageError):
                    yield index, read
                else:
                    crops.append((index, read))
            for group in _by_shape(crops):
                for index, crop, plan, pixels in _degrade_group(job, recipe, group, device):
                    encoding.append((index, pool.submit(finish, index, crop, plan, pixels)))
            while len(encoding) > size:
                index, future = encoding.popleft()
                yield index, future.result()
        for index, future in encoding:
            yield index, future.result()


def _read_ahead(
    job: Job,
    recipe: Recipe,
    indices: list[int],
    size: int,
    memory: MemorySemaphore | None,
    pool: ThreadPoolExecutor,
) -> Iterator[list[tuple[int, HRCrop | ImageError]]]:
    """Yield the crops of each batch, while the pool reads those of the next."""

    def submit(batch: list[int]) -> list[Future[list[tuple[int, HRCrop | ImageError]]]]:
        groups = by_source(job, batch, size)
        return [pool.submit(_read, job, recipe, group, memory) for group in groups]

    batches = _batches(job, indices, size)
    reading = submit(batches[0]) if batches else []
    for following in [*batches[1:], []]:
        batch, reading = reading, submit(following)
        yield [item for future in batch for item in future.result()]


def _read(
    job: Job, recipe: Recipe, indices: list[int], memory: MemorySemaphore | None
) -> list[tuple[int, HRCrop | ImageError]]:
    """Read the crops of pairs of one source."""
    try:
        with (
            open_image(job.source(indices[0])) as image,
            memory.acquire(image.memory_estimate) if memory else nullcontext(),
        ):
            crops = load_crops(image, job.settings, recipe.scale, indices)
    except ImageError as error:
        return [(index, error) for index in indices]
    return list(zip(indices, crops, strict=True))


def _by_shape(crops: list[tuple[int, HRCrop]]) -> list[list[tuple[int, HRCrop]]]:
    groups: defaultdict[tuple[int, ...], list[tuple[int, HRCrop]]] = defaultdict(list)
    for index, crop in crops:
        groups[crop.pixels.shape].append((index, crop))
    return list(groups.values())


def _degrade_group(
    job: Job, recipe: Recipe, group: list[tuple[int, HRCrop]], device: str
) -> Iterator[tuple[int, HRCrop, Plan, PairPixels]]:
    """Degrade crops of equal shape as one batch; yield each with its row of the plan."""
    plan = recipe.plan(Key.of(job.settings.seed, [index for index, _ in group]))
    pairs = degrade_crops([crop for _, crop in group], recipe, plan, device, job.backend)
    for i, ((index, crop), pixels) in enumerate(zip(group, pairs, strict=True)):
        yield index, crop, plan.take(slice(i, i + 1)), pixels


def _batches(job: Job, indices: list[int], size: int) -> list[list[int]]:
    """Return slices of ``size`` pairs, ordered by source."""
    order = [index for group in by_source(job, indices, size) for index in group]
    return [order[start : start + size] for start in range(0, len(order), size)]


def device_tasks(job: Job, indices: list[int], size: int, devices: int) -> list[list[int]]:
    """Return tasks of up to 8 batches, so that threads work beside a device.

    Tasks have fewer batches if each device would get less than two tasks.
    """
    batches = max(min(8, len(indices) // (2 * size * devices)), 1)
    order = [index for group in by_source(job, indices, size) for index in group]
    step = batches * size
    return [order[start : start + step] for start in range(0, len(order), step)]
