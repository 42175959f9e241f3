"""How fast a recipe makes pairs here, which part is the limit, and how many workers to use.

A pair costs a loader's time (decode, crop) and a degradation's. On a CPU both happen in the
loader's workers, one after the other; on another device the workers load while the device
degrades, and the slower of the two sets the pace. All of that is measured. The steps are timed in
a pass of their own, because to time them on a device is to wait for each.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degrade.canvas import Canvas
from degrade.data.pairs import DegradedFolder, pairs
from degrade.data.patches import PatchFolder
from degrade.inspection import metrics
from degrade.kernels import native
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = ["Bench", "Settings", "StepTime", "bench", "print_bench"]

EPOCH = 10**6
"""Patches in the loader's epoch, more than any measurement takes."""
NEAR = 0.95
"""Of several worker counts, the least whose speed is within this share of the best is advised."""


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Args:
        input: HR images: folder, file or glob; empty for the samples.
        device: Where to degrade.
        batch: Pairs at a time.
        size: Side of the HR patch.
        seconds: Length of each measurement.
        workers: Worker counts to try; empty for 1, 2, 4, ... up to the number of CPU cores.
        seed: Key of the draws.
    """

    input: str = ""
    device: str = "cpu"
    batch: int = 16
    size: int = 256
    seconds: float = 2.0
    workers: tuple[int, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class StepTime:
    """One step of the recipe: milliseconds a pair in which it ran, share of all pairs, share of
    the time.
    """

    address: str
    milliseconds: float
    ran: float
    share: float


@dataclass(frozen=True)
class Bench:
    """What was measured; speeds are pairs a second.

    Args:
        load: One worker that decodes and crops and does nothing else.
        degrade: On a CPU, one thread; on another device, whole batches.
        end_to_end: By number of workers.
        workers: The number to use.
        limit: ``loader`` or ``degradation``, whichever takes the longer.
        steps: In the order in which they first ran.
        memory: Highest resident memory of this process, MiB.
        worker_memory: The same of the largest worker.
        device_memory: Highest memory allocated on a CUDA device, MiB.
    """

    recipe: str
    scale: int
    device: str
    batch: int
    size: int
    cores: int
    load: float
    degrade: float
    end_to_end: dict[int, float]
    workers: int
    limit: str
    steps: tuple[StepTime, ...]
    memory: float
    worker_memory: float
    device_memory: float | None

    @property
    def advice(self) -> str:
        """What to do, in a sentence or two."""
        speed = self.end_to_end[self.workers]
        use = f"Use {self.workers} worker{'s' if self.workers > 1 else ''}: {speed:.0f} pairs/s."
        if self.limit == "loader":
            more = "Decoding is the limit: smaller or uncompressed source images (crops of 512, say) would help most."
        elif self.steps:
            slowest = max(self.steps, key=lambda step: step.share)
            more = f"Degradation is the limit, {slowest.address} first ({slowest.share:.0%} of its time)."
            if self.device == "cpu" and self.workers < self.cores:
                more += " Further workers gained nothing here: is something else running?"
        else:
            more = "Degradation is the limit, though this recipe has no steps."
        return f"{use} {more}"

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "advice": self.advice}


def bench(
    recipe: Recipe, settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> Bench:
    """Measures a recipe.

    Args:
        recipe: The recipe.
        settings: What to measure.
        tell: Is told what is being measured.

    Raises:
        ImageError: no usable image.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    size = max(settings.size // recipe.scale, 1) * recipe.scale
    files = metrics.pictures(settings.input)
    patches = PatchFolder(files, size, seed=settings.seed, repeat=math.ceil(EPOCH / len(files)))
    cuda = torch.device(settings.device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(settings.device)
    counts = settings.workers or tuple(
        sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores})
    )
    end_to_end: dict[int, float] = {}
    # Workers are forked, so they come first: before this process has used threads that a fork
    # would not copy.
    for count in counts:
        tell(f"end to end, {count} worker{'s' if count > 1 else ''}")
        end_to_end[count] = whole_speed(recipe, patches, settings, count)
    tell("loader alone")
    load = speed_of(lambda i: (patches[i % len(patches)], 1)[1], settings.seconds)
    crops = torch.stack([patches[i]["hr"] for i in range(settings.batch)]).to(settings.device)
    with one_thread():
        tell("degradation alone")
        degrade = degrade_speed(recipe, crops, settings)
        tell("its steps")
        steps = step_times(recipe, crops, settings)
    best = max(end_to_end.values())
    workers = min(count for count, speed in end_to_end.items() if speed >= NEAR * best)
    # On a CPU the same workers do both; elsewhere as many load as were found best, and the device
    # degrades.
    loading = load if settings.device == "cpu" else load * workers
    return Bench(
        recipe=recipe.name,
        scale=recipe.scale,
        device=settings.device,
        batch=settings.batch,
        size=size,
        cores=cores,
        load=load,
        degrade=degrade,
        end_to_end=end_to_end,
        workers=workers,
        limit="loader" if loading < degrade else "degradation",
        steps=steps,
        memory=peak(resource.RUSAGE_SELF),
        worker_memory=peak(resource.RUSAGE_CHILDREN),
        device_memory=torch.cuda.max_memory_allocated(settings.device) / 2**20 if cuda else None,
    )


# --- measurements --------------------------------------------------------------------------------


def speed_of(work: Callable[[int], int], seconds: float) -> float:
    """Things a second: calls ``work``, which says how much it did, on 1, 2, ... for some
    seconds; 0 is not counted.
    """
    work(0)
    start = time.perf_counter()
    done, i = 0, 1
    while not done or time.perf_counter() - start < seconds:
        done += work(i)
        i += 1
    return done / (time.perf_counter() - start)


def whole_speed(recipe: Recipe, patches: PatchFolder, settings: Settings, workers: int) -> float:
    """Pairs a second out of a loader with this many workers, as a training loop would see them."""
    on_cpu = settings.device == "cpu"
    source: Dataset[Any] = DegradedFolder(patches, recipe, settings.seed) if on_cpu else patches
    loader: DataLoader[Any] = DataLoader(
        source, settings.batch, num_workers=workers, pin_memory=not on_cpu
    )
    batches: Iterator[Any] = iter(
        loader if on_cpu else pairs(loader, recipe, settings.seed, settings.device)
    )
    # What is in flight was begun before the clock; a round of it is taken first.
    for _ in range(2 * workers):
        next(batches)
    wait_for(settings.device)
    start = time.perf_counter()
    done = 0
    while not done or time.perf_counter() - start < settings.seconds:
        next(batches)
        done += settings.batch
    wait_for(settings.device)
    return done / (time.perf_counter() - start)


def degrade_speed(recipe: Recipe, crops: Tensor, settings: Settings) -> float:
    """Pairs a second of crops that are there already: one by one on one thread on a CPU, by the
    batch elsewhere.
    """
    one = settings.device == "cpu"

    def work(i: int) -> int:
        batch = crops[i % len(crops)][None] if one else crops
        index = np.arange(i * len(batch), (i + 1) * len(batch))
        recipe.apply(batch, recipe.plan(Key.of(settings.seed, index)))
        wait_for(settings.device)
        return len(batch)

    return speed_of(work, settings.seconds)


def step_times(recipe: Recipe, crops: Tensor, settings: Settings) -> tuple[StepTime, ...]:
    """The time between a step's end and that of the one before."""
    spent: dict[str, float] = {}
    rows: dict[str, int] = {}
    last = 0.0
    total = 0

    def watch(address: str, canvas: Canvas) -> None:
        nonlocal last
        wait_for(settings.device)
        now = time.perf_counter()
        spent[address] = spent.get(address, 0.0) + now - last
        rows[address] = rows.get(address, 0) + len(canvas)
        last = time.perf_counter()

    def work(i: int) -> int:
        nonlocal last, total
        batch = crops[i % len(crops)][None] if settings.device == "cpu" else crops
        # As floats, so that their conversion is not counted to the first step.
        batch = batch.float() / 255
        plan = recipe.plan(Key.of(settings.seed, np.arange(i * len(batch), (i + 1) * len(batch))))
        wait_for(settings.device)
        last = time.perf_counter()
        recipe.apply(batch, plan, watch=watch)
        if i == 0:  # the first call sets things up
            spent.clear()
            rows.clear()
        else:
            total += len(batch)
        return len(batch)

    speed_of(work, settings.seconds)
    whole = sum(spent.values())
    return tuple(
        StepTime(
            address,
            1000 * spent[address] / rows[address],
            rows[address] / total,
            spent[address] / whole,
        )
        for address in spent
    )


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch on one thread, as in a loader's worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_for(device: str) -> None:
    """Waits until a device has done what it was given."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def peak(who: int) -> float:
    """Highest resident memory so far, MiB; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# --- tables --------------------------------------------------------------------------------------


def print_bench(console: Console, found: Bench) -> None:
    """Prints what was measured and the advice."""
    code = (
        f"native code ({native.available()})" if native.available() else "OpenCV, no native code"
    )
    where = found.device if found.device != "cpu" else f"{found.cores} CPU cores, {code}"
    heading = f"{found.recipe} x{found.scale}, HR {found.size} x {found.size}, {where}"
    console.print(_speeds(found, heading))
    console.print(_steps(found))
    memory = f"Peak memory: this process {found.memory:.0f} MiB, largest worker {found.worker_memory:.0f} MiB"
    if found.device_memory is not None:
        memory += f", device {found.device_memory:.0f} MiB"
    console.print(f"\n{memory}.", soft_wrap=True)
    console.print(found.advice, markup=False, soft_wrap=True)


def _speeds(found: Bench, heading: str) -> Table:
    table = _table(heading, "", "pairs/s", "ms a pair")
    rows = [("decode and crop, one worker", found.load)]
    alone = "one thread" if found.device == "cpu" else f"batches of {found.batch}"
    rows.append((f"degrade, {alone}", found.degrade))
    for count, speed in found.end_to_end.items():
        star = " *" if count == found.workers else ""
        rows.append((f"end to end, {count} worker{'s' if count > 1 else ''}{star}", speed))
    for name, speed in rows:
        table.add_row(name, f"{speed:.1f}", f"{1000 / speed:.2f}")
    return table


def _steps(found: Bench) -> Table:
    table = _table("\nSteps", "", "ms when it runs", "runs in", "of the time")
    for step in sorted(found.steps, key=lambda step: -step.share):
        table.add_row(
            Text(step.address), f"{step.milliseconds:.3f}", f"{step.ran:.0%}", f"{step.share:.1%}"
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table
