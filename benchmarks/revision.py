"""This tree against another revision of ``degrade``: milliseconds a patch, by turns.

    git worktree add --detach ../before 0b10984     # and build its native code there
    python benchmarks/revision.py ../before [--recipe realesrgan] [--sizes 16 64 128 256 400]
        [--batch 1] [--threads 1] [--rounds 20]

Each revision runs in a process of its own, which sees its own tree only. They take turns, batch by
batch, on the same images with the same keys; the table holds medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
WORKER = """
import sys, time
import numpy as np, torch
from skimage import data
from degrade import Key, Recipe
recipe, threads = Recipe.load(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
photo = torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy())
for line in sys.stdin:
    size, batch, start = map(int, line.split())
    hr = torch.stack([photo[:, i : i + size, i : i + size] for i in range(batch)])
    begin = time.perf_counter()
    recipe.apply(hr, recipe.plan(Key.of(0, np.arange(start, start + batch))))
    print(time.perf_counter() - begin, flush=True)
"""


class Revision:
    """A process that degrades batches with the code of a tree."""

    def __init__(self, tree: Path, recipe: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, recipe, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )

    def seconds(self, size: int, batch: int, start: int) -> float:
        """Of one batch."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(size, batch, start, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other revision's tree")
    parser.add_argument("--recipe", default="realesrgan")
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 64, 128, 256, 400])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    trees = (options.other.resolve(), HERE)
    before, after = (Revision(tree, options.recipe, options.threads) for tree in trees)
    what = f"{options.recipe}, batch {options.batch}, {options.threads} threads"
    print(f"\n### {what}, ms a patch\n\n| HR px | before | after | ratio |\n|--:|--:|--:|--:|")
    for size in options.sizes:
        times: dict[Revision, list[float]] = {before: [], after: []}
        for i in range(options.rounds + 2):
            for revision in (before, after):
                seconds = revision.seconds(size, options.batch, i * options.batch)
                if i > 1:  # the first two set things up
                    times[revision].append(seconds / options.batch * 1e3)
        one, two = (statistics.median(times[revision]) for revision in (before, after))
        print(f"| {size} | {one:.3f} | {two:.3f} | {one / two:.2f} |", flush=True)


if __name__ == "__main__":
    main()
