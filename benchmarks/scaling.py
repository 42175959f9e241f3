"""How time and memory grow with pixels, batch, threads and workers, and what a canvas of mixed
sizes wastes.

    python benchmarks/scaling.py [--recipe realesrgan] [--plot FILE.png] [--rounds 5] [--quick]

Memory is that of PyTorch and NumPy together: the growth of the process's peak, measured in a
process of its own. That of workers is what they hold once they work, their part of what is shared
included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from bench import Made, header, loaded, peak_memory, photographs, threads

from degrade.canvas import Canvas
from degrade.recipe import Recipe
from degrade.rng import Key


@dataclass
class Case:
    """What is timed.

    Args:
        size: Side of the HR patches.
        batch: How many at once.
        threads: On how many threads.
    """

    size: int
    batch: int
    threads: int
    seconds: list[float] = field(default_factory=list[float])
    memory: float = 0.0

    @property
    def each(self) -> float:
        """Seconds a patch, median."""
        return statistics.median(self.seconds) / self.batch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="realesrgan")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256, 400, 512])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 48])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--plot", metavar="FILE", help="where to draw time and memory (needs matplotlib)"
    )
    parser.add_argument("--quick", action="store_true", help="small and few: for a smoke test")
    parser.add_argument("--peak", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe)
    if options.peak:
        print(peak(recipe, *options.peak))
        return
    if options.quick:
        options.sizes, options.batches, options.rounds = [64, 128], [1, 4], 2
    print(header())
    by_size = [Case(size, 8, options.threads[0]) for size in options.sizes]
    middle = options.sizes[-2:][0]
    by_batch = [
        Case(middle, batch, count) for count in options.threads for batch in options.batches
    ]
    for i in range(options.rounds):
        for case in (*by_size, *by_batch):
            threads(case.threads)
            once(recipe, case.size, case.batch, i)  # does not count: see bench.race
            case.seconds.append(once(recipe, case.size, case.batch, i))
    print(
        "\n| HR px | batch | threads | ms a patch | ns a HR pixel | peak MiB |\n"
        "|--:|--:|--:|--:|--:|--:|"
    )
    nothing = measured(Case(0, 0, 1), options.recipe)
    for case in (*by_size, *by_batch):
        case.memory = measured(case, options.recipe) - nothing
        cells = f"{case.each * 1e3:.2f} | {case.each / case.size**2 * 1e9:.1f} | {case.memory:.0f}"
        print(f"| {case.size} | {case.batch} | {case.threads} | {cells} |")
    by_workers(recipe, middle, options.workers, 64 * max(4, options.rounds))
    canvas_waste(recipe, options.sizes[0] if options.quick else 128)
    if options.plot:
        draw(by_size, by_batch, options.plot)


def once(recipe: Recipe, size: int, batch: int, i: int) -> float:
    """Seconds for a batch."""
    images = photographs(batch, size)
    start = time.perf_counter()
    recipe.apply(images, recipe.plan(Key.of(i, np.arange(batch))))
    return time.perf_counter() - start


def measured(case: Case, recipe: str) -> float:
    what = [str(n) for n in (case.size, case.batch, case.threads)]
    command = [sys.executable, sys.argv[0], "--recipe", recipe, "--peak", *what]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(recipe: Recipe, size: int, batch: int, count: int) -> float:
    """MiB at the peak of a few batches; of one small image for size 0, which loads all there is
    to load.
    """
    threads(count)
    for i in range(3):
        once(recipe, size or 32, batch or 1, i)
    return peak_memory()


def by_workers(recipe: Recipe, size: int, workers: list[int], count: int) -> None:
    """A DataLoader whose workers degrade, each on one thread."""
    threads(1)
    images = photographs(16, size)
    made = Made(
        lambda i: recipe.apply(images[i % 16][None], recipe.plan(Key.of(0, i))).lr[0], count
    )
    print(
        f"\nDataLoader, {size} px, batch 16; median of 3\n\n"
        "| workers | patches/s | MiB of the workers |\n|--:|--:|--:|"
    )
    seen: dict[int, list[tuple[float, float]]] = {number: [] for number in workers}
    for _ in range(3):
        for number in workers:
            seen[number].append(loaded(made, number, 16))
    for number, values in seen.items():
        speed, memory = np.median(values, 0)
        print(f"| {number} | {speed:.1f} | {memory:.0f} |")


def canvas_waste(recipe: Recipe, size: int) -> None:
    """What part of the canvases of the reference no image fills, by rows worked at a time."""
    images = photographs(16, size)
    threads(1)
    print(
        f"\nCanvas waste of the reference, 16 images of {size} px\n\n"
        "| chunk | wasted | ms a patch |\n|--:|--:|--:|"
    )
    for chunk in (16, 8, 4, 2, 1):
        used: list[int] = []
        held: list[int] = []

        def watch(
            address: str, canvas: Canvas, used: list[int] = used, held: list[int] = held
        ) -> None:
            used.append(int(canvas.sizes.prod(1).sum()))
            held.append(len(canvas) * int(np.prod(canvas.pixels.shape[-2:])))

        plan = recipe.plan(Key.of(0, np.arange(16)))
        start = time.perf_counter()
        with torch.no_grad():
            recipe.apply(images, plan, watch, chunk, "reference")
        each = (time.perf_counter() - start) / 16
        print(f"| {chunk} | {1 - sum(used) / sum(held):.0%} | {each * 1e3:.1f} |")


def draw(by_size: list[Case], by_batch: list[Case], file: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    (left, right), (below, last) = figure.subplots(2, 2)
    pixels = [case.size**2 for case in by_size]
    what = f"batch {by_size[0].batch}, threads: {by_size[0].threads}"
    left.loglog(pixels, [case.each * 1e3 for case in by_size], "o-")
    left.set(xlabel="HR pixels", ylabel="ms a patch", title=what)
    below.plot(pixels, [case.memory for case in by_size], "o-")
    below.set(xlabel="HR pixels", ylabel="peak MiB", title=what)
    for count in dict.fromkeys(case.threads for case in by_batch):
        cases = [case for case in by_batch if case.threads == count]
        batches = [case.batch for case in cases]
        right.semilogx(batches, [1 / case.each for case in cases], "o-", label=f"threads: {count}")
        last.plot(batches, [case.memory for case in cases], "o-", label=f"threads: {count}")
    right.set(xlabel="batch", ylabel="patches / s", title=f"{by_batch[0].size} px", ylim=(0, None))
    last.set(xlabel="batch", ylabel="peak MiB", title=f"{by_batch[0].size} px", ylim=(0, None))
    right.legend()
    last.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
