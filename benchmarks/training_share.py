"""What part of a training step is degradation, and whether a loader keeps up: SRCNN and SRResNet.

    python benchmarks/training_share.py [--device cpu] [--batch 16] [--size 96] [--steps 5]
    [--quick]

A step is timed in its parts: planning, degrading, and the model's forward, backward and update.
With workers the pairs are made beside the step; the loader is the bound where waiting for it takes
more than a tenth of the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from bench import header, photographs, threads
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from degrade.recipe import Recipe
from degrade.rng import Key


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--recipe", default="realesrgan")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small and few: for a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.size, options.steps = 2, 32, 2
    threads(options.threads)
    recipe = Recipe.load(options.recipe)
    images = photographs(options.batch, options.size)
    print(header())
    print(
        f"- {options.device}, {options.recipe}, batch {options.batch}, HR "
        f"{options.size}, {options.threads} threads"
    )
    print(
        "\n| model | plan ms | degrade ms | model ms | degradation's share | waiting "
        "for a worker |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, model in models(recipe.scale).items():
        step = stepper(model.to(options.device))
        plan, degrade, train = parts(recipe, images, step, options)
        waiting = wait(recipe, images, step, options)
        share = (plan + degrade) / (plan + degrade + train)
        print(
            f"| {name} | {plan * 1e3:.2f} | {degrade * 1e3:.1f} | {train * 1e3:.1f} | "
            f"{share:.1%} | {waiting:.1%} |"
        )


def models(scale: int) -> dict[str, nn.Module]:
    from sr.models.srcnn import SRCNN
    from sr.models.srresnet import SRResNet

    return {"SRCNN": SRCNN(scale=scale), "SRResNet": SRResNet(scale=scale)}


def stepper(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step(lr: Tensor, hr: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.l1_loss(model(lr), hr).backward()
        optimizer.step()

    return step


def parts(
    recipe: Recipe,
    images: Tensor,
    step: Callable[[Tensor, Tensor], None],
    options: argparse.Namespace,
) -> tuple[float, float, float]:
    """Mean seconds of planning, degrading and training, after a warm-up."""
    sums = np.zeros(3)
    hr = images.to(options.device)
    for i in range(options.steps + 1):
        marks = [clock(options.device)]
        plan = recipe.plan(Key.of(0, np.arange(options.batch) + i * options.batch))
        marks.append(clock(options.device))
        pair = recipe.apply(hr, plan)
        marks.append(clock(options.device))
        step(pair.lr, pair.hr)
        marks.append(clock(options.device))
        sums += np.diff(marks) if i else 0
    plan_s, degrade_s, train_s = sums / options.steps
    return float(plan_s), float(degrade_s), float(train_s)


def clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, recipe: Recipe, images: Tensor, count: int) -> None:
        self.recipe, self.images, self.count = recipe, images, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        pair = self.recipe.apply(
            self.images[i % len(self.images)][None], self.recipe.plan(Key.of(0, i))
        )
        return pair.lr[0], pair.hr[0]


def wait(
    recipe: Recipe,
    images: Tensor,
    step: Callable[[Tensor, Tensor], None],
    options: argparse.Namespace,
) -> float:
    """What part of the time a training loop with one worker waits for its next batch."""
    loader = DataLoader(
        Pairs(recipe, images, options.batch * (options.steps + 2)), options.batch, num_workers=1
    )
    waited, begun, before = 0.0, 0.0, time.perf_counter()
    for i, (lr, hr) in enumerate(loader):
        now = time.perf_counter()
        if i == 1:
            begun = before
        if i:
            waited += now - before
        step(lr.to(options.device), hr.to(options.device))
        before = clock(options.device)
    return waited / (before - begun)


if __name__ == "__main__":
    main()
