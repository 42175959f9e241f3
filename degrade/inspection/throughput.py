"""Measure throughput: of the data loader, the degradation, both together, and each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degrade.canvas import Canvas
from degrade.data.pairs import DegradedFolder, pairs
from degrade.data.patches import PatchFolder
from degrade.execution import Backend
from degrade.recipe import Recipe
from degrade.rng import Key

__all__ = [
    "LoadSettings",
    "StepTime",
    "count_launches",
    "degradation_throughput",
    "end_to_end_throughput",
    "host_time",
    "loader_throughput",
    "peak_memory",
    "single_thread",
    "step_times",
    "throughput",
]


@dataclass(frozen=True)
class LoadSettings:
    """The load that throughput is measured under.

    Args:
        device: Where to degrade.
        batch: Pairs a batch.
        seconds: Length of each measurement.
        seed: Seed of the draws.
        backend: What runs the recipe's programs; by default the fastest for the device.
    """

    device: str = "cpu"
    batch: int = 16
    seconds: float = 2.0
    seed: int = 0
    backend: Backend | None = None


@dataclass(frozen=True)
class StepTime:
    """The time of one step of a recipe.

    Args:
        address: Of the step.
        milliseconds: A pair in which it ran.
        ran: Share of pairs in which it ran.
        share: Share of the time of all steps.
    """

    address: str
    milliseconds: float
    ran: float
    share: float


def throughput(work: Callable[[int], int], seconds: float) -> float:
    """Return items a second.

    Args:
        work: Called with 0, which is not timed, and then with 1, 2, ...; returns its items.
        seconds: How long to call it, at least once.
    """
    work(0)
    start = time.perf_counter()
    done, i = 0, 1
    while not done or time.perf_counter() - start < seconds:
        done += work(i)
        i += 1
    return done / (time.perf_counter() - start)


def loader_throughput(patches: PatchFolder, settings: LoadSettings) -> float:
    """Return patches a second, loaded in this process one at a time."""

    def work(i: int) -> int:
        _ = patches[i % len(patches)]
        return 1

    return throughput(work, settings.seconds)


def end_to_end_throughput(
    recipe: Recipe, patches: PatchFolder, settings: LoadSettings, workers: int
) -> float:
    """Return pairs a second from a data loader, as a training loop sees them."""
    on_cpu = settings.device == "cpu"
    degraded = DegradedFolder(patches, recipe, settings.seed, backend=settings.backend)
    source: Dataset[Any] = degraded if on_cpu else patches
    loader: DataLoader[Any] = DataLoader(
        source, settings.batch, num_workers=workers, pin_memory=not on_cpu
    )
    batches: Iterator[Any] = iter(
        loader
        if on_cpu
        else pairs(loader, recipe, settings.seed, settings.device, 0, settings.backend)
    )
    # Batches prefetched before the clock starts are discarded.
    for _ in range(2 * workers):
        next(batches)
    synchronize(settings.device)
    start = time.perf_counter()
    done = 0
    while not done or time.perf_counter() - start < settings.seconds:
        next(batches)
        done += settings.batch
    synchronize(settings.device)
    return done / (time.perf_counter() - start)


def degradation_throughput(recipe: Recipe, crops: Tensor, settings: LoadSettings) -> float:
    """Return pairs a second of loaded (B, C, H, W) crops: one at a time on a CPU, in batches on
    other devices.
    """
    one = settings.device == "cpu"

    def work(i: int) -> int:
        batch = crops[i % len(crops)][None] if one else crops
        index = np.arange(i * len(batch), (i + 1) * len(batch))
        plan = recipe.plan(Key.of(settings.seed, index))
        recipe.apply(batch, plan, backend=settings.backend)
        synchronize(settings.device)
        return len(batch)

    return throughput(work, settings.seconds)


def host_time(recipe: Recipe, crops: Tensor, settings: LoadSettings) -> float:
    """Return the milliseconds that the host takes to plan and lower a batch of crops."""
    channels, height, width = recipe.crop(crops).shape[1:]

    def work(i: int) -> int:
        index = np.arange(i * len(crops), (i + 1) * len(crops))
        recipe.lines(recipe.plan(Key.of(settings.seed, index)), height, width, channels)
        return 1

    return 1000 / throughput(work, settings.seconds)


def count_launches(
    recipe: Recipe, crops: Tensor, settings: LoadSettings, backend: Backend
) -> tuple[int | None, int]:
    """Return the calls of native code or kernel launches of a batch, and the bytes it uploads."""
    if backend == "reference":
        return None, 0
    if backend == "native":
        return len(crops), 0
    from degrade.execution import cuda

    channels, height, width = recipe.crop(crops).shape[1:]
    plan = recipe.plan(Key.of(settings.seed, np.arange(len(crops))))
    launches = cuda.dry_run(recipe.lines(plan, height, width, channels))
    return len(launches.steps), launches.bytes


def step_times(recipe: Recipe, crops: Tensor, settings: LoadSettings) -> tuple[StepTime, ...]:
    """Return the time of each step, from the end of the step before to its own end."""
    spent: dict[str, float] = {}
    rows: dict[str, int] = {}
    last = 0.0
    total = 0

    def watch(address: str, canvas: Canvas) -> None:
        nonlocal last
        synchronize(settings.device)
        now = time.perf_counter()
        spent[address] = spent.get(address, 0.0) + now - last
        rows[address] = rows.get(address, 0) + len(canvas)
        last = time.perf_counter()

    def work(i: int) -> int:
        nonlocal last, total
        batch = crops[i % len(crops)][None] if settings.device == "cpu" else crops
        # Converted here, so that the conversion is not counted to the first step.
        batch = batch.float() / 255
        plan = recipe.plan(Key.of(settings.seed, np.arange(i * len(batch), (i + 1) * len(batch))))
        synchronize(settings.device)
        last = time.perf_counter()
        recipe.apply(batch, plan, watch, backend=settings.backend)
        if i == 0:  # the first call sets things up
            spent.clear()
            rows.clear()
        else:
            total += len(batch)
        return len(batch)

    throughput(work, settings.seconds)
    all_steps = sum(spent.values())
    return tuple(
        StepTime(
            address,
            milliseconds=1000 * spent[address] / rows[address],
            ran=rows[address] / total,
            share=spent[address] / all_steps,
        )
        for address in spent
    )


@contextmanager
def single_thread() -> Generator[None]:
    """Run PyTorch on one thread, as in a loader's worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: str) -> None:
    """Wait until a device has finished all queued work."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def peak_memory() -> tuple[float | None, float | None]:
    """Return the peak resident memory of this process and of its largest child so far, in MiB.

    None where the system does not count it: on Windows, whose Python has no module ``resource``.
    """
    try:
        import resource
    except ImportError:
        return None, None
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    own, children = (
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own, children
