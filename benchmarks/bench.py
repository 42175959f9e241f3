"""What the benchmarks share: photographs, interleaved rounds, tables, and what there is to say
about the machine.

Candidates of one table take turns in one process (A, B, C, A, B, C, ...), so that what disturbs
the machine disturbs all of them. Beside the wall clock stands the CPU time of the process: the
steadier of the two where others use the machine. The one constraint: nothing is asserted; a
benchmark prints what it saw.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degrade.images.files import find_images, read_image
from degrade.images.samples import sample_images

__all__ = [
    *(
        "Entry",
        "Made",
        "children",
        "header",
        "installed",
        "loaded",
        "peak_memory",
        "photographs",
        "race",
        "report",
    ),
    *("rollup", "threads"),
]


@dataclass
class Entry:
    """A candidate of a race.

    Args:
        name: What the table calls it.
        call: Does the work of round ``i``.
        patches: HR patches it makes a call.
        every: Takes part in every n-th round only: for the very slow.
    """

    name: str
    call: Callable[[int], object]
    patches: int
    every: int = 1
    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])


def race(entries: Sequence[Entry], rounds: int) -> None:
    """Times the entries by turns; their ``wall`` and ``cpu`` hold the seconds of each round.

    Each turn begins with a call that does not count. What the candidate before left in the caches,
    and OpenMP's threads, which spin for a while after their work on a CPU that the next one needs,
    would be on its bill.
    """
    for i in range(rounds):
        for entry in entries:
            if i % entry.every == 0:
                entry.call(i)
                wall, cpu = time.perf_counter(), time.process_time()
                entry.call(i)
                entry.wall.append(time.perf_counter() - wall)
                entry.cpu.append(time.process_time() - cpu)


def report(
    title: str, entries: Sequence[Entry], base: str | None = None, unit: str = "patches/s"
) -> None:
    """Prints a table: throughput by median and by mean of the wall clock, CPU time, and the
    ratios to ``base``.
    """
    print(f"\n### {title}\n")
    lead = f"| | rounds | {unit}, median | {unit}, mean | CPU ms each |"
    print(lead + (f" x {base}: median | mean | CPU |" if base else ""))
    print("|---|--:|--:|--:|--:|" + ("--:|--:|--:|" if base else ""))
    ruler = next((entry for entry in entries if entry.name == base), None)
    for entry in entries:
        median, mean, cpu = _each(entry)
        cells = [
            entry.name,
            f"{len(entry.wall)}",
            _short(1 / median),
            _short(1 / mean),
            _short(cpu * 1e3),
        ]
        if ruler is not None:
            cells += [
                _short(theirs / ours)
                for theirs, ours in zip(_each(ruler), (median, mean, cpu), strict=True)
            ]
        print("| " + " | ".join(cells) + " |")
    sys.stdout.flush()


def _each(entry: Entry) -> tuple[float, float, float]:
    """Seconds a patch: wall median, wall mean, CPU mean."""
    times = (
        statistics.median(entry.wall),
        statistics.mean(entry.wall),
        statistics.mean(entry.cpu),
    )
    median, mean, cpu = (seconds / entry.patches for seconds in times)
    return median, mean, cpu


def _short(x: float) -> str:
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def photographs(count: int, size: int, folder: str | Path | None = None) -> Tensor:
    """(count, 3, size, size) uint8 centre crops of the images of ``folder``, or of scikit-image's
    photographs.

    Small ones are mirrored to size.
    """
    images = (
        [read_image(path).pixels for path in find_images(folder)[: 4 * count]]
        if folder
        else _samples()
    )
    crops: list[Tensor] = []
    for image in images:
        pixels = np.asarray(image)
        pixels = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[:, :, :3]
        tall, wide = (max(0, size - n) for n in pixels.shape[:2])
        pixels = np.pad(pixels, ((0, tall), (0, wide), (0, 0)), mode="reflect")
        top, left = ((n - size) // 2 for n in pixels.shape[:2])
        crops.append(
            torch.from_numpy(pixels[top : top + size, left : left + size].copy()).permute(2, 0, 1)
        )
    return torch.stack([crops[i % len(crops)] for i in range(count)]).contiguous()


def _samples() -> list[np.ndarray]:
    return [read_image(path).pixels for path in sample_images()]


def threads(count: int) -> None:
    """Lets PyTorch (hence degrade) and OpenCV use ``count`` threads."""
    import cv2

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


class Made(Dataset[Tensor]):
    """LR patches made in a loader's worker, from their numbers."""

    def __init__(self, make: Callable[[int], Tensor], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Tensor:
        return self.make(i)


def loaded(made: Made, workers: int, batch: int) -> tuple[float, float]:
    """Patches/s of a loader, and MiB of its workers.

    The first batches, which wait for its start, do not count. Of shared memory a worker has its
    part.
    """
    start, seen, held = 0.0, 0, 0.0
    for i, patches in enumerate(DataLoader(made, batch, num_workers=workers)):
        if i == 2 * workers:
            if Path("/proc").exists():
                held = sum(rollup(child)["Pss"] for child in children(os.getpid()))
            start = time.perf_counter()
        elif i > 2 * workers:
            seen += len(patches)
    return seen / (time.perf_counter() - start), held


def children(pid: int) -> list[int]:
    """The processes that a process started; each is listed under the thread that did."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def rollup(pid: int) -> dict[str, float]:
    """MiB of a process by kind: Rss, Pss and so on."""
    rows = (
        line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows}


def installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def peak_memory() -> float:
    """MiB that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count the parent's peak too, which a child inherits.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def header() -> str:
    """Date, machine, versions, commit, load and command, as a Markdown list."""
    import cv2

    root = Path(__file__).parent
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=root, capture_output=True, text=True, check=False
    )
    now = datetime.datetime.now(datetime.UTC)
    load = (
        ", ".join(f"{x:.1f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    )
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return "\n".join(
        [
            f"- `{command}`, {now:%Y-%m-%d %H:%M} UTC, commit "
            f"{commit.stdout.strip() or 'unknown'}",
            f"- {os.cpu_count()} CPUs ({_cpu()}), {device}, load average at the start {load}",
            f"- Python {platform.python_version()}, torch {torch.__version__}, "
            f"OpenCV {cv2.__version__}, NumPy {np.__version__}",
        ]
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        if "model name" in fields:
            return (
                f"{fields['model name']}, family {fields.get('cpu family')} model "
                f"{fields.get('model')}"
            )
    return platform.machine()
