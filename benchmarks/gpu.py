"""Degrading on a GPU: laws, speed beside Real-ESRGAN's ``feed_data``, memory, launches and waits.

    python benchmarks/gpu.py [--realesrgan DIR --basicsr DIR] [--images DIR] [--limit 50] [--dry]

Each part runs in a process of its own that is stopped at its time limit, so that one that hangs
or fails costs no other its result; all in under six minutes. One table comes last. ``--dry`` runs
on a CPU, in Triton's interpreter, on tiny images: its times mean nothing, and parts take longer
(give ``--limit 120``).

Parts: ``tests`` (the laws, with ``--device cuda``), ``agree`` (recipes against the reference on
the same device), ``sync`` (nothing waits for the device), ``speed``, ``share`` (of a training step
of SRResNet), ``memory`` and ``profile`` (host time, launches, and device time by kernel).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import photographs
from torch import Tensor

from degrade.data.prefetch import prefetch
from degrade.execution import cuda, reference
from degrade.recipe import Pair, Recipe
from degrade.rng import Key

Row = tuple[str, str]
"""What was measured, and its value."""

RECIPES = ("realesrgan", "bsrgan", "bsrgan_plus", "resshift", "bicubic")
SHAPES = ((16, 400), (48, 400), (16, 256), (48, 256), (64, 128))
"""Batch and HR side in pixels."""


def main() -> None:
    options = arguments()
    if options.part:
        for row in PARTS[options.part](options):
            print(json.dumps(row), flush=True)
        return
    rows: list[Row] = [("device", "interpreter" if options.dry else torch.cuda.get_device_name())]
    rows.append(("torch", torch.__version__))
    for part in PARTS:
        start = time.perf_counter()
        rows += run(part, options.limit)
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
    print("\n| what | value |\n|---|--:|")
    for what, value in rows:
        print(f"| {what} | {value} |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--realesrgan", type=Path, help="checkout of xinntao/Real-ESRGAN")
    parser.add_argument("--basicsr", type=Path, help="checkout of XPixelGroup/BasicSR")
    parser.add_argument("--images", type=Path, help="folder of HR images")
    parser.add_argument("--limit", type=float, default=50, help="seconds a part (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="tiny, on a CPU")
    parser.add_argument("--part", help="run one part and print its rows as JSON")
    options = parser.parse_args()
    if options.dry:
        os.environ["TRITON_INTERPRET"] = "1"
    options.device = "cpu" if options.dry else "cuda"
    options.shapes = ((2, 16),) if options.dry else SHAPES
    options.rounds, options.calls = (1, 1) if options.dry else (10, 8)
    return options


def run(part: str, limit: float) -> list[Row]:
    """A part's rows, as far as it came, and what became of it."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        ended = ""
        try:
            code = subprocess.run(command, stdout=out, stderr=err, timeout=limit).returncode
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        else:
            if code:
                err.seek(0)
                message = err.read()
                print(message[-2000:], file=sys.stderr)
                ended = "failed: " + (message.strip().splitlines() or ["?"])[-1]
        out.seek(0)
        rows = [(what, value) for what, value in map(json.loads, out)]
    return [*rows, (part, ended)] if ended else rows


# --- parts ---------------------------------------------------------------------------------------


def tests(options: argparse.Namespace) -> Iterator[Row]:
    """The laws of kernels, operators and recipes on the device."""
    folder = Path(__file__).parent.parent / "tests"
    files = [str(folder / f"test_{name}.py") for name in ("triton", "laws", "no_sync")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [files[0], "-k", "clip"] if options.dry else [*files, "-m", "not slow", "-n", "8"]
    command += [] if options.dry else ["--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *_, last = done.stdout.strip().splitlines()
    yield "laws", last.strip("= ")
    for line in done.stdout.splitlines():
        if line.startswith("FAILED"):
            yield "law", line


def agree(options: argparse.Namespace) -> Iterator[Row]:
    """The share of LR values beyond 5e-3 grey levels of the reference, and whether a sample alone
    has the bits that it has in its batch.
    """
    batch, size = (2, 16) if options.dry else (8, 160)
    for name in RECIPES[:1] if options.dry else RECIPES:
        hr = hr_images(options, batch, size).float() / 255
        recipe = Recipe.load(name)
        plan = recipe.plan(Key.of(0, np.arange(batch)))
        lr, _ = cuda.run(recipe.lines(plan, size, size), hr)
        expected, _ = reference.run(recipe.lower(plan, size, size), hr)
        unequal = ((lr - expected).abs() > 5e-3 / 255).float().mean().item()
        one, _ = cuda.run(recipe.lines(plan.take(slice(1, 2)), size, size), hr[1:2])
        alone = "the same alone" if torch.equal(one[0], lr[1]) else "OTHER BITS ALONE"
        yield f"{name}: LR values that are not the reference's", f"{unequal:.2%}, {alone}"


def sync(options: argparse.Namespace) -> Iterator[Row]:
    """Whether a recipe runs without a wait for the device."""
    batch, size = options.shapes[0]
    hr = hr_images(options, batch, size)
    for name in RECIPES[:1] if options.dry else RECIPES:
        make = pairs(Recipe.load(name), hr)
        make(0)
        if not options.dry:
            torch.cuda.set_sync_debug_mode("error")
        try:
            make(1)
            yield f"{name}: waits", "none"
        except RuntimeError as error:
            yield f"{name}: waits", str(error).splitlines()[0]
        finally:
            if not options.dry:
                torch.cuda.set_sync_debug_mode("default")


def speed(options: argparse.Namespace) -> Iterator[Row]:
    """Patches a second, plans drawn anew each batch, ``feed_data`` beside ours in turns."""
    for batch, size in options.shapes:
        hr = hr_images(options, batch, size)
        for sharpen in (True, False):
            works = {"ours": pairs(realesrgan(sharpen), hr)}
            if options.realesrgan and options.basicsr and size >= 256:  # what its crop needs
                works["feed_data"] = feed_data(options, hr, sharpen)
            taken = race(works, options)
            label = f"{batch} x {size} px, {'with' if sharpen else 'without'} USM"
            options.calls, calls = 1, options.calls
            alone = race({"ours": works["ours"]}, options)["ours"]
            options.calls = calls
            text = ", ".join(f"{name} {batch / t:.0f}" for name, t in taken.items())
            if "feed_data" in taken:
                text += f", ratio {taken['feed_data'] / taken['ours']:.1f}"
            yield f"{label}, patches/s", f"{text}; ours with a wait after each {batch / alone:.0f}"
    batch, size = options.shapes[0]
    for name in () if options.dry else RECIPES[1:]:
        hr = hr_images(options, batch, size)
        taken = race({"ours": pairs(Recipe.load(name), hr)}, options)
        yield f"{name}, {batch} x {size} px, patches/s", f"{batch / taken['ours']:.0f}"


def share(options: argparse.Namespace) -> Iterator[Row]:
    """Degradation's share of a step of SRResNet, batch 16, HR 96, eager float32: made ahead, as
    ``sr train`` does, and in the loop.
    """
    from sr.models.srresnet import SRResNet

    batch, size = (1, 16) if options.dry else (16, 96)
    model = SRResNet(scale=4).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    recipe, hr = Recipe.load("realesrgan"), hr_images(options, batch, size)

    def make(i: int) -> Pair:
        key = Key.of(0, np.arange(batch) + i * batch)
        return recipe.apply(hr, recipe.plan(key), backend="triton")

    def train(pair: Pair) -> None:
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(model(pair.lr), pair.hr).backward()
        optimizer.step()

    same = make(0)
    ahead = prefetch(map(make, itertools.count()), options.device)
    works: dict[str, Callable[[int], object]] = {
        "alone": lambda _: train(same),
        "ahead": lambda _: train(next(ahead)),
        "in the loop": lambda i: train(make(i)),
    }
    # Many calls a round: the first few find batches that were made during the round before.
    taken = race(works, options, 1 if options.dry else 5 * options.calls)
    step = f"of SRResNet's {1e3 * taken['alone']:.2f} ms a step, 16 x 96 px"
    for name in ("ahead", "in the loop"):
        yield f"degrading {name}, {step}", f"{1 - taken['alone'] / taken[name]:.1%} of the whole"


def memory(options: argparse.Namespace) -> Iterator[Row]:
    """Peak device memory of a batch of 48 x 400 px, without its HR images."""
    batch, size = options.shapes[min(1, len(options.shapes) - 1)]
    hr = hr_images(options, batch, size)
    recipe = Recipe.load("realesrgan")
    launches = cuda.dry_run(recipe.lines(recipe.plan(Key.of(0, np.arange(batch))), size, size))
    yield f"{batch} x {size} px, pixels' buffer", f"{4 * launches.floats / 2**20:.0f} MiB"
    if options.dry:
        return
    make = pairs(recipe, hr)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for i in range(4):
        make(i)
    peak = torch.cuda.max_memory_allocated() - before
    yield f"{batch} x {size} px, peak memory", f"{peak / 2**20:.0f} MiB"


def profile(options: argparse.Namespace) -> Iterator[Row]:
    """Of a batch of 16 x 400 px: launches, what is uploaded, the host's time by part, the device's
    by kernel.
    """
    batch, size = options.shapes[0]
    hr = hr_images(options, batch, size)
    for name in RECIPES[:3]:
        recipe = Recipe.load(name)
        parts: dict[str, list[float]] = {"plan": [], "lower": [], "schedule": [], "run": []}
        launches: list[Any] = []
        for i in range(1 + options.rounds):
            key = Key.of(0, np.arange(batch) + i * batch)
            plan = timed(parts["plan"], lambda r=recipe, k=key: r.plan(k))
            lines = timed(parts["lower"], lambda r=recipe, p=plan: r.lines(p, size, size))
            launches.append(timed(parts["schedule"], lambda p=lines: cuda.dry_run(p)))
            timed(parts["run"], lambda p=lines: cuda.run(p, hr))
            wait(options)
        count = statistics.mean(len(made.steps) for made in launches)
        up = statistics.mean(made.bytes for made in launches) / 2**10
        yield f"{name}: launches, uploaded", f"{count:.0f}, {up:.0f} KiB in 1 upload"
        host = ", ".join(f"{p} {1e3 * statistics.median(t[1:]):.2f}" for p, t in parts.items())
        yield f"{name}: host ms (run: schedule, upload, launches)", host
    if not options.dry:
        yield from by_kernel(pairs(Recipe.load("realesrgan"), hr), options.rounds)


def by_kernel(make: Callable[[int], object], rounds: int) -> Iterator[Row]:
    """Device time of a batch by kernel, the longest first."""
    from torch.profiler import ProfilerActivity

    make(0)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as found:
        for i in range(rounds):
            make(i)
        torch.cuda.synchronize()
    events = [e for e in found.key_averages() if e.self_device_time_total > 0]
    events.sort(key=lambda e: -e.self_device_time_total)
    total = sum(e.self_device_time_total for e in events) / rounds / 1e3
    yield "realesrgan: device ms a batch", f"{total:.2f}"
    for event in events[:14]:
        text = f"{event.self_device_time_total / rounds / 1e3:.3f}, {event.count / rounds:.1f} x"
        yield f"realesrgan: device ms, {event.key[:40]}", text


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    part.__name__: part for part in (tests, agree, sync, speed, share, memory, profile)
}

# --- measuring -----------------------------------------------------------------------------------


def hr_images(options: argparse.Namespace, batch: int, size: int) -> Tensor:
    return photographs(batch, size, options.images).to(options.device)


def realesrgan(sharpen: bool) -> Recipe:
    """The recipe, with or without the sharpening of its targets."""
    data = Recipe.load("realesrgan").dump()
    if not sharpen:
        data.pop("hr")
    return Recipe.load(data)


def pairs(recipe: Recipe, hr: Tensor) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Draws and makes batch i."""
    batch, channels, height, width = hr.shape

    def make(i: int) -> tuple[Tensor, Tensor]:
        plan = recipe.plan(Key.of(0, np.arange(batch) + i * batch))
        return cuda.run(recipe.lines(plan, height, width, channels), hr)

    return make


def feed_data(options: argparse.Namespace, hr: Tensor, sharpen: bool) -> Callable[[int], object]:
    """Real-ESRGAN's, of batches of kernels drawn beforehand."""
    from checkouts import RealESRGAN

    peer = RealESRGAN(options.realesrgan, options.basicsr, hr, sharpen, options.device)
    batches = [peer.batch() for _ in range(4)]
    return lambda i: peer.feed(batches[i % 4])


def race(
    works: dict[str, Callable[[int], object]], options: argparse.Namespace, calls: int = 0
) -> dict[str, float]:
    """Median seconds of a call of each: in turns, a few calls one after the other and then a wait
    for the device, as a training loop calls them. What compiles is not counted.
    """
    calls = calls or options.calls
    taken: dict[str, list[float]] = {name: [] for name in works}
    for i in range(options.rounds + (0 if options.dry else 2)):
        for name, work in works.items():
            wait(options)
            start = time.perf_counter()
            for j in range(calls):
                work(i * calls + j)
            wait(options)
            taken[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(t[-options.rounds :]) for name, t in taken.items()}


def timed(into: list[float], work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    made = work()
    into.append(time.perf_counter() - start)
    return made


def wait(options: argparse.Namespace) -> None:
    if not options.dry:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
