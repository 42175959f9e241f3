"""Benchmark a recipe: pairs a second, the bottleneck, and how many workers to use.

A pair takes loading (decode, crop) and degradation. On a CPU both run in the loader's workers, one
after the other; on another device the workers load while the device degrades, and the slower of
the two sets the throughput. Steps are timed in a separate pass, because timing them on a device
synchronises after each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from degrade.data.patches import PatchFolder
from degrade.execution import choose_for
from degrade.inspection.metrics import input_images
from degrade.inspection.throughput import (
    LoadSettings,
    StepTime,
    count_launches,
    degradation_throughput,
    end_to_end_throughput,
    host_time,
    loader_throughput,
    peak_memory,
    single_thread,
    step_times,
)
from degrade.recipe import Recipe

__all__ = ["BenchResult", "BenchSettings", "benchmark"]

EPOCH = 10**6
"""Patches in the loader's epoch, more than any measurement takes."""
NEAR_BEST = 0.95
"""The fewest workers whose throughput is at least this share of the best are recommended."""


@dataclass(frozen=True)
class BenchSettings(LoadSettings):
    """What to measure.

    Args:
        input: HR images: folder, file or glob; empty for the samples.
        size: Side of the HR patch.
        workers: Worker counts to try; empty for 1, 2, 4, ... up to the number of CPU cores.
    """

    input: str = ""
    size: int = 256
    workers: tuple[int, ...] = ()


@dataclass(frozen=True)
class BenchResult:
    """The measurements; throughputs are in pairs a second.

    Args:
        backend: What ran the recipe's programs.
        load: One worker that only decodes and crops.
        degrade: On a CPU, one thread; on another device, whole batches.
        end_to_end: By number of workers.
        workers: The number to use.
        limit: The bottleneck, ``loader`` or ``degradation``.
        steps: In the order in which they first ran.
        memory: Highest resident memory of this process, MiB.
        worker_memory: The same of the largest worker.
        device_memory: Highest memory allocated on a CUDA device, MiB.
        host_share: Share of the time of a batch that the host plans and lowers it; on a GPU it may
            overlap with the device's.
        launches: Calls of native code, or kernel launches, a batch; None for the reference, which
            does not count them.
        uploaded: Bytes that a batch uploads to a GPU: arguments and arrays, not images.
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
    memory: float | None
    worker_memory: float | None
    device_memory: float | None
    backend: str = "reference"
    host_share: float = 0.0
    launches: int | None = None
    uploaded: int = 0

    @property
    def advice(self) -> str:
        """What to do, in one or two sentences."""
        speed = self.end_to_end[self.workers]
        use = f"Use {self.workers} worker{'s' if self.workers > 1 else ''}: {speed:.0f} pairs/s."
        if self.limit == "loader":
            more = (
                "Decoding is the limit: smaller or uncompressed source images (crops of 512, say) "
            )
            more += "would help most."
        elif self.steps:
            slowest = max(self.steps, key=lambda step: step.share)
            share = f"{slowest.share:.0%} of its time"
            more = f"Degradation is the limit, {slowest.address} first ({share})."
            if self.device == "cpu" and self.workers < self.cores:
                more += " Further workers gained nothing here: is something else running?"
        else:
            more = "Degradation is the limit, though this recipe has no steps."
        return f"{use} {more}"

    def data(self) -> dict[str, Any]:
        """Return the measurements and the advice as JSON data."""
        return {**asdict(self), "advice": self.advice}


def benchmark(
    recipe: Recipe, settings: BenchSettings, progress: Callable[[str], None] = lambda _: None
) -> BenchResult:
    """Measure a recipe.

    Args:
        recipe: The recipe.
        settings: What to measure.
        progress: Called with the name of each measurement before it begins.

    Raises:
        ImageError: There is no usable image.
    """
    device = settings.device
    cores = _cpu_cores()
    size = max(settings.size // recipe.scale, 1) * recipe.scale
    files = input_images(settings.input)
    patches = PatchFolder(files, size, seed=settings.seed, repeat=math.ceil(EPOCH / len(files)))
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    end_to_end: dict[int, float] = {}
    # Workers are forked, so they come first: a fork does not copy the threads that this process
    # starts later.
    for count in settings.workers or worker_counts(cores):
        progress(f"end to end, {count} worker{'s' if count > 1 else ''}")
        end_to_end[count] = end_to_end_throughput(recipe, patches, settings, count)
    progress("loader alone")
    load = loader_throughput(patches, settings)
    crops = torch.stack([patches[i]["hr"] for i in range(settings.batch)]).to(device)
    with single_thread():
        progress("degradation alone")
        degrade = degradation_throughput(recipe, crops, settings)
        progress("its steps")
        steps = step_times(recipe, crops, settings)
        progress("the host's share")
        host = host_time(recipe, crops, settings)
    used = choose_for(device, settings.backend)
    launches, uploaded = count_launches(recipe, crops, settings, used)
    best = max(end_to_end.values())
    workers = min(count for count, speed in end_to_end.items() if speed >= NEAR_BEST * best)
    # On a CPU each worker does both; elsewhere all workers load and the device degrades.
    loading = load if device == "cpu" else load * workers
    memory, worker_memory = peak_memory()
    return BenchResult(
        recipe=recipe.name,
        scale=recipe.scale,
        device=device,
        batch=settings.batch,
        size=size,
        cores=cores,
        backend=used,
        load=load,
        degrade=degrade,
        end_to_end=end_to_end,
        workers=workers,
        limit="loader" if loading < degrade else "degradation",
        steps=steps,
        memory=memory,
        worker_memory=worker_memory,
        device_memory=torch.cuda.max_memory_allocated(device) / 2**20 if cuda else None,
        host_share=min(host * degrade / (1000 * len(crops)), 1.0),
        launches=launches,
        uploaded=uploaded,
    )


def worker_counts(cores: int) -> list[int]:
    """Return the worker counts to try: powers of two up to the number of cores, and that number.

    >>> worker_counts(6)
    [1, 2, 4, 6]
    """
    powers = {2**i for i in range(cores.bit_length()) if 2**i <= cores}
    return sorted(powers | {cores})


def _cpu_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
