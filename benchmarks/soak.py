"""Whether memory stays flat over a long run: ``pairs`` on a DataLoader with workers, watched from
outside.

    python benchmarks/soak.py [--minutes 60] [--images DIR] [--workers 2] [--csv FILE] [--plot
    FILE.png] [--quick]

Every few seconds the memory of the process and of its workers is read from ``/proc``: the
proportional set size, in which a page that n processes share counts 1/n to each, so that the sum
is what the run holds. Mapped files do not count: a run's part of a library's code moves as soon as
another program that uses it begins or ends. The workers live through all epochs, as in a training
with ``persistent_workers``. The slope is that of a least-squares line after the first sixth, in
which allocators and caches fill. The one constraint: Linux.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from itertools import count

import numpy as np
from bench import children, header, rollup
from torch.utils.data import DataLoader

from degrade import PatchFolder, Recipe, pairs
from degrade.images.samples import sample_images

FLAT = 16
"""MiB an hour below which memory is called flat: one array of 64 x 64 floats lost every four
seconds.
"""


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment.

    Args:
        seconds: Since the start.
        pairs: Made so far.
        cpu: Seconds of CPU time of the main process, which degrades.
        main: MiB of the main process.
        workers: MiB of its workers, together.
        resident: MiB resident in all of them, shared pages counted in each.
        files: Open files of all of them.
    """

    seconds: float
    pairs: int
    cpu: float
    main: float
    workers: float
    resident: float
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="realesrgan")
    parser.add_argument(
        "--images", metavar="DIR", help="HR images; by default the built-in photographs"
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument(
        "--csv", metavar="FILE", help="where to write what was seen, as it is seen"
    )
    parser.add_argument("--plot", metavar="FILE", help="where to draw it (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="a few seconds: for a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.every, options.batch, options.patch = 0.1, 0.5, 4, 64
    print(header())
    samples: list[Sample] = []
    with open(options.csv or os.devnull, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(field.name for field in fields(Sample))
        for sample in run(options):
            samples.append(sample)
            table.writerow(f"{value:.10g}" for value in astuple(sample))
            stream.flush()
    report(samples, options.batch)
    if options.plot:
        draw(samples, options.plot)


def run(options: argparse.Namespace) -> Iterator[Sample]:
    """Makes pairs, epoch after epoch, and looks around between two batches."""
    folder = PatchFolder(options.images or sample_images(), options.patch, repeat=8)
    loader = DataLoader(
        folder, options.batch, shuffle=True, num_workers=options.workers, persistent_workers=True
    )
    recipe = Recipe.load(options.recipe)
    start, due, made = time.monotonic(), 0.0, 0
    for epoch in count():
        for pair in pairs(loader, recipe, epoch=epoch):
            made += len(pair.lr)
            now = time.monotonic() - start
            if now >= due:
                yield look(now, made)
                due = now + options.every
            if now >= 60 * options.minutes:
                return


def look(seconds: float, made: int) -> Sample:
    me, others = os.getpid(), children(os.getpid())
    held = {pid: rollup(pid) for pid in (me, *others)}
    return Sample(
        round(seconds, 2),
        made,
        round(time.process_time(), 2),
        round(own(held[me]), 1),
        round(sum(own(held[pid]) for pid in others), 1),
        round(sum(each["Rss"] for each in held.values()), 1),
        sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in held),
    )


def own(held: dict[str, float]) -> float:
    """MiB of anonymous and of shared memory."""
    return held["Pss"] - held["Pss_File"]


def columns(samples: list[Sample]) -> dict[str, np.ndarray]:
    """The samples as arrays by name, with ``hours`` and the ``total`` memory."""
    seen = {
        field.name: np.array([getattr(sample, field.name) for sample in samples])
        for field in fields(Sample)
    }
    return {**seen, "hours": seen["seconds"] / 3600, "total": seen["main"] + seen["workers"]}


def settled(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was seen after the first sixth."""
    late = seen["seconds"] > seen["seconds"][-1] / 6
    return {name: values[late] for name, values in seen.items()}


def slope(seen: dict[str, np.ndarray], name: str) -> float:
    """Least-squares growth an hour."""
    return float(np.polyfit(seen["hours"], seen[name], 1)[0])


def report(samples: list[Sample], batch: int) -> None:
    """Prints levels, slopes and the verdict."""
    seen = settled(columns(samples))
    hours = seen["hours"][-1] - seen["hours"][0]
    made = seen["pairs"][-1] - seen["pairs"][0]
    cpu = seen["cpu"][-1] - seen["cpu"][0]
    print(
        f"\n{samples[-1].pairs} pairs in {samples[-1].seconds / 60:.1f} minutes; of "
        "these, after the warm-up,"
    )
    print(
        f"{made} pairs in {60 * hours:.1f}: {made / hours / 3600:.2f} a second, "
        f"{made / cpu:.2f} a CPU second\n"
    )
    print("| | least | median | most | slope an hour |\n|---|--:|--:|--:|--:|")
    names = {
        "total": "MiB, all",
        "main": "MiB, main process",
        "workers": "MiB, workers",
        "files": "open files",
    }
    for name, label in names.items():
        values = seen[name]
        print(
            f"| {label} | {min(values):.0f} | {np.median(values):.0f} | "
            f"{max(values):.0f} | {slope(seen, name):+.2f} |"
        )
    if samples[-1].seconds < 1800:
        print("\ntoo short to tell: the slope counts after half an hour or more")
        return
    grown = slope(seen, "total")
    each = grown * hours / (made / batch) * 1024
    print(
        f"\n{'flat' if grown < FLAT else 'NOT flat'}: {grown:+.2f} MiB an hour, "
        f"{each:+.3f} KiB a batch"
    )


def draw(samples: list[Sample], file: str) -> None:
    from matplotlib.figure import Figure

    seen = columns(samples)
    minutes = seen["seconds"] / 60
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("total", "all"), ("main", "main process"), ("workers", "workers")):
        left.plot(minutes, seen[name], label=label, linewidth=1)
    late = settled(seen)
    left.plot(
        late["seconds"] / 60,
        np.poly1d(np.polyfit(late["hours"], late["total"], 1))(late["hours"]),
        "k--",
    )
    left.set(xlabel="minutes", ylabel="MiB", title="memory", ylim=(0, None))
    left.legend()
    steps = np.linspace(0, len(samples) - 1, min(len(samples), 61)).astype(int)
    for name, label in (("seconds", "wall clock"), ("cpu", "CPU time")):
        speed = np.diff(seen["pairs"][steps]) / np.diff(seen[name][steps])
        right.plot(minutes[steps[1:]], speed, label=f"a second of {label}", linewidth=1)
    right.set(xlabel="minutes", ylabel="pairs", title="throughput", ylim=(0, None))
    right.legend()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
