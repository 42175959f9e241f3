"""How time and memory grow with pixels, batch and threads, and what a canvas of mixed sizes wastes.

    python benchmarks/scaling.py [--recipe realesrgan] [--plot FILE.png] [--rounds 5] [--quick]

Memory is that of PyTorch and NumPy together: the growth of the process's peak, measured in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from bench import header, peak_memory, photographs, threads

from degrade.canvas import Canvas
from degrade.primitives import use_form
from degrade.recipe import Recipe
from degrade.rng import Key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="realesrgan")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 256, 400, 512])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 48])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", metavar="FILE", help="where to draw time against pixels and batch (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="small and few: for a smoke test")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe)
    if options.peak:
        print(peak(recipe, *options.peak))
        return
    if options.quick:
        options.sizes, options.batches, options.rounds = [64, 128], [1, 4], 2
    print(header())
    by_size = [(size, 8, 1) for size in options.sizes]
    by_batch = [(options.sizes[-2], batch, count) for count in (1, 2) for batch in options.batches]
    cases = list(dict.fromkeys([*by_size, *by_batch]))
    seconds: dict[tuple[int, int, int], list[float]] = {case: [] for case in cases}
    for i in range(options.rounds):
        for size, batch, count in cases:
            threads(count)
            seconds[size, batch, count].append(once(recipe, size, batch, i))
    print("\n| HR px | batch | threads | ms a patch | ns a HR pixel | peak MiB |\n|--:|--:|--:|--:|--:|--:|")
    nothing = measured(0, 0, options.recipe)
    for (size, batch, count), values in seconds.items():
        each = statistics.median(values) / batch
        memory = measured(size, batch, options.recipe) - nothing
        print(f"| {size} | {batch} | {count} | {each * 1e3:.2f} | {each / size**2 * 1e9:.1f} | {memory:.0f} |")
    canvas_waste(recipe, options.sizes[0] if options.quick else 128)
    if options.plot:
        draw(seconds, by_size, by_batch, options.plot)


def once(recipe: Recipe, size: int, batch: int, i: int) -> float:
    """Seconds for a batch."""
    images = photographs(batch, size)
    start = time.perf_counter()
    recipe.apply(images, recipe.plan(Key.of(i, np.arange(batch))))
    return time.perf_counter() - start


def measured(size: int, batch: int, recipe: str) -> float:
    command = [sys.executable, sys.argv[0], "--recipe", recipe, "--peak", str(size), str(batch)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(recipe: Recipe, size: int, batch: int) -> float:
    """MiB at the peak of a few batches; of one small image for size 0, which loads all there is to load."""
    threads(2)
    for i in range(3):
        once(recipe, size or 32, batch or 1, i)
    return peak_memory()


def canvas_waste(recipe: Recipe, size: int) -> None:
    """What part of the canvases of the tensor form no image fills, by rows worked at a time."""
    images = photographs(16, size)
    threads(1)
    print(
        f"\nCanvas waste of the tensor form, 16 images of {size} px\n\n| chunk | wasted | ms a patch |\n|--:|--:|--:|"
    )
    for chunk in (16, 8, 4, 2, 1):
        used: list[int] = []
        held: list[int] = []

        def watch(address: str, canvas: Canvas, used: list[int] = used, held: list[int] = held) -> None:
            used.append(int(canvas.sizes.prod(1).sum()))
            held.append(len(canvas) * int(np.prod(canvas.pixels.shape[-2:])))

        plan = recipe.plan(Key.of(0, np.arange(16)))
        start = time.perf_counter()
        with use_form("torch"), torch.no_grad():
            recipe.apply(images, plan, watch, chunk)
        each = (time.perf_counter() - start) / 16
        print(f"| {chunk} | {1 - sum(used) / sum(held):.0%} | {each * 1e3:.1f} |")


def draw(
    seconds: dict[tuple[int, int, int], list[float]],
    by_size: list[tuple[int, int, int]],
    by_batch: list[tuple[int, int, int]],
    file: str,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(
        [size**2 for size, _, _ in by_size], [statistics.median(seconds[c]) / c[1] * 1e3 for c in by_size], "o-"
    )
    left.set(xlabel="HR pixels", ylabel="ms a patch", title="one thread, batch 8")
    for count in (1, 2):
        cases = [case for case in by_batch if case[2] == count]
        speeds = [case[1] / statistics.median(seconds[case]) for case in cases]
        right.semilogx([case[1] for case in cases], speeds, "o-", label=f"{count} threads")
    right.set(xlabel="batch", ylabel="patches / s", title=f"{by_batch[0][0]} px", ylim=(0, None))
    right.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
