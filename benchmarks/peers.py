"""Against the peers: patches a second from HR patch to LR patch, on the same photographs, by turns
in one process.

    python benchmarks/peers.py --realesrgan DIR --basicsr DIR --kair DIR --pepedd DIR [--images
    DIR] [--only ...]

The checkouts are the reader's own (xinntao/Real-ESRGAN, XPixelGroup/BasicSR, cszn/KAIR); a peer
without one is left out, and said to be. albumentations and kornia are dependencies, so they always
run. pepedd asks for another OpenCV and another pydantic; its folder is made beside the
environment, by ``pip install --no-deps --target DIR pepedd pepedd-nodes "pepeline~=1.2.2"
chainner-ext colour-science pepedpid "astropy~=7.2.0" astropy-iers-data pyerfa packaging tqdm``.
``--quick`` takes under a minute.

Sections: ``realesrgan`` (its ``feed_data``, without and with sharpening, against our recipe
without and with its ``hr`` stage), ``kair`` (``degradation_bsrgan`` and ``_plus``, one image at a
time), ``albumentations`` (two pipelines of comparable operators, one image at a time), ``pepedd``
(the three that it has of them), ``kornia`` (augmentation classes, a whole batch), ``workers``
(DataLoader), ``memory`` (peak of a batch of 48), ``split`` (per operator) and ``bookkeeping``
(what is not pixels).

What is compared is the work a user gets, not equal pixels: only Real-ESRGAN and KAIR follow the
recipes they are held against.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from bench import Entry, Made, header, loaded, peak_memory, photographs, race, report, threads
from checkouts import Kair, RealESRGAN
from torch import Tensor

from degrade.canvas import Canvas
from degrade.kernels import native
from degrade.recipe import Recipe
from degrade.rng import Key

SECTIONS = (
    "realesrgan",
    "kair",
    "albumentations",
    "pepedd",
    "kornia",
    "workers",
    "memory",
    "split",
    "bookkeeping",
)


def main() -> None:
    options = arguments()
    if options.measure_memory:
        print(peak(options))
        return
    print(header())
    print(
        f"- {options.rounds} rounds; images: {options.images or 'the photographs of scikit-image'}"
    )
    for section in options.only:
        globals()[f"race_{section}"](options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for peer in ("realesrgan", "basicsr", "kair", "pepedd"):
        parser.add_argument(f"--{peer}", type=Path, metavar="DIR")
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[400, 256])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1, 48])
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--slow", type=int, default=10, help="the sharpening reference runs in every n-th round"
    )
    parser.add_argument("--quick", action="store_true", help="small and few: for a smoke test")
    parser.add_argument(
        "--measure-memory", choices=("nothing", "ours", "realesrgan"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.batches, options.threads, options.workers, options.rounds = (
            [256],
            [4],
            [1],
            [1, 2],
            3,
        )
    return options


# --- ours ----------------------------------------------------------------------------------------


def recipe(name: str, sharpen: bool = True) -> Recipe:
    data = Recipe.load(name).dump()
    if not sharpen:
        data.pop("hr", None)
    return Recipe.load(data)


def ours(name: str, images: Tensor, sharpen: bool = True) -> Callable[[int], object]:
    """Draws and makes a batch of pairs, another one each round."""
    chosen, count = recipe(name, sharpen), len(images)
    return lambda i: chosen.apply(images, chosen.plan(Key.of(0, np.arange(count) + i * count)))


def unavailable(title: str, *checkouts: Path | None) -> bool:
    if all(checkouts):
        return False
    print(f"\n### {title}\n\nLeft out: no checkout given.")
    return True


# --- Real-ESRGAN ---------------------------------------------------------------------------------


def race_realesrgan(options: argparse.Namespace) -> None:
    if unavailable("Real-ESRGAN", options.realesrgan, options.basicsr):
        return
    for size, batch, count in itertools.product(options.sizes, options.batches, options.threads):
        threads(count)
        images = photographs(batch, size, options.images)
        entries: list[Entry] = []
        for usm in (False, True):
            peer = RealESRGAN(options.realesrgan, options.basicsr, images, usm)
            batches = [peer.batch() for _ in range(4)]
            label = ", sharpening" if usm else ""
            entries.append(Entry(f"ours{label}", ours("realesrgan", images, usm), batch))
            entries.append(
                Entry(
                    f"feed_data{label}",
                    lambda i, p=peer, b=batches: p.feed(b[i % 4]),
                    batch,
                    every=options.slow if usm else 1,
                )
            )
        race(entries, options.rounds)
        title = f"Real-ESRGAN, {size} px, batch {batch}, {count} threads"
        report(title, entries[:2], "feed_data")
        report(f"{title}, sharpening", entries[2:], "feed_data, sharpening")


# --- KAIR ----------------------------------------------------------------------------------------


def race_kair(options: argparse.Namespace) -> None:
    if unavailable("KAIR", options.kair):
        return
    threads(1)
    peer = Kair(options.kair)
    for size in options.sizes:
        images = photographs(8, size, options.images)
        floats = [image.permute(1, 2, 0).numpy().astype(np.float32) / 255 for image in images]
        for name in ("bsrgan", "bsrgan_plus"):
            theirs = getattr(peer, name)
            entries = [
                Entry("ours", ours(name, images), 8),
                Entry(
                    f"degradation_{name}",
                    lambda _, f=theirs, x=floats: [f(image) for image in x],
                    8,
                ),
            ]
            race(entries, options.rounds)
            report(f"KAIR, {size} px, one process, one thread", entries, f"degradation_{name}")


# --- albumentations ------------------------------------------------------------------------------


def compose(size: int, full: bool) -> Any:
    """``full``: what comes nearest to Real-ESRGAN's two orders. Else seven plain operators."""
    import albumentations as A

    small = size // 4
    if not full:
        return A.Compose(
            [
                A.GaussianBlur(blur_limit=(7, 21), sigma_limit=(0.2, 3), p=1),
                A.GaussNoise(std_range=(1 / 255, 30 / 255), p=1),
                A.Downscale(scale_range=(0.15, 0.9), p=1),
                A.ImageCompression(quality_range=(30, 95), p=1),
                A.Resize(small, small, interpolation=cv2.INTER_CUBIC),
                A.GaussNoise(std_range=(1 / 255, 25 / 255), p=1),
                A.ImageCompression(quality_range=(30, 95), p=1),
            ]
        )

    def kernel(sigma: float, p: float) -> Any:
        blur = A.AdvancedBlur(
            blur_limit=(7, 21),
            sigma_x_limit=(0.2, sigma),
            sigma_y_limit=(0.2, sigma),
            rotate_limit=180,
            beta_limit=(0.5, 4),
            noise_limit=(1, 1),
            p=0.9,
        )
        return A.OneOf(
            [blur, A.RingingOvershoot(blur_limit=(7, 21), cutoff=(np.pi / 3, np.pi), p=0.1)], p=p
        )

    def noise(sigma: float) -> Any:
        return A.OneOf(
            [
                A.GaussNoise(std_range=(1 / 255, sigma / 255)),
                A.ShotNoise(scale_range=(0.001, 0.03)),
            ],
            p=1,
        )

    jpeg = A.ImageCompression(quality_range=(30, 95), p=1)
    back = [
        A.Resize(small, small, interpolation=cv2.INTER_CUBIC),
        A.RingingOvershoot(blur_limit=(7, 21), cutoff=(np.pi / 3, np.pi), p=0.8),
    ]
    first = [
        kernel(3, 1),
        A.RandomScale((-0.85, 0.5), interpolation=cv2.INTER_AREA, p=0.9),
        noise(30),
        jpeg,
    ]
    # No transform resizes relative to the LR size: the second resize is to the middle of its
    # range.
    second = [kernel(1.5, 0.8), A.Resize(small * 4 // 5, small * 4 // 5), noise(25)]
    return A.Compose(
        [*first, *second, A.OneOf([A.Sequential([jpeg, *back]), A.Sequential([*back, jpeg])], p=1)]
    )


def race_albumentations(options: argparse.Namespace) -> None:
    """Theirs works an image a call, so that its threads are a pool's, each with an image."""
    for size in options.sizes:
        images = photographs(16, size, options.images)
        arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]
        for count in options.threads:
            threads(count)
            cv2.setNumThreads(1)
            with ThreadPoolExecutor(count) as pool:
                entries = [Entry("ours, no sharpening", ours("realesrgan", images, False), 16)]
                for name, full in (("7 operators", False), ("two orders", True)):
                    pipeline = compose(size, full)
                    entries.append(
                        Entry(
                            name,
                            lambda _, f=pipeline, x=arrays: list(pool.map(augmented(f), x)),
                            16,
                        )
                    )
                race(entries, options.rounds)
            for entry in entries[1:]:
                title = f"albumentations, {size} px, one process, threads: {count}"
                report(title, [entries[0], entry], entry.name)


def augmented(pipeline: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: pipeline(image=image)["image"]


# --- pepedd --------------------------------------------------------------------------------------


def pepedd(folder: Path) -> tuple[Callable[[int, np.ndarray], Any], list[Any]]:
    """What begins with an image, given a seed, and its nodes for Gaussian blur, bicubic
    downscale and JPEG.
    """
    sys.path.append(str(folder))
    from pepedd.core.objects.lq_hq_state import LQHQState
    from pepedd.core.objects.safe_rng import SafeRNG
    from pepedd.nodes.blur.blur import Blur
    from pepedd.nodes.compress.compress import Compress
    from pepedd.nodes.resize.resize import Resize

    names = {"alg_lq": ["c_catmullrom"], "alg_hq": ["c_catmullrom"]}
    nodes = [
        Blur({"filters": ["gauss"], "target_kernels": {"gauss": [0.2, 3]}}),
        Resize({**names, "spread": [1, 1, 1], "scale": 4, "olq": True}),
        Compress(
            {"algorithm": ["jpeg"], "samplings": ["420"], "target_compress": {"jpeg": [30, 95]}}
        ),
    ]
    return lambda i, image: LQHQState(rng=SafeRNG(i), lq=image.copy(), hq=image), nodes


def race_pepedd(options: argparse.Namespace) -> None:
    """Gaussian blur, bicubic downscale and JPEG, all that it has of these pipelines; ours are
    the same three.
    """
    if unavailable("pepedd", options.pepedd):
        return
    threads(1)
    start, nodes = pepedd(options.pepedd)

    def theirs(i: int, image: np.ndarray) -> np.ndarray:
        state = start(i, image)
        for node in nodes:
            state = node(state)
        return state.lq

    down = {"of": "target", "filter": "catmull_rom", "antialias": 1}
    steps = [{"blur": {"sigma": [0.2, 3]}}, {"resize": down}, {"jpeg": {"quality": [30, 95]}}]
    chosen = Recipe.load({"name": "three", "scale": 4, "all": steps})
    for size in options.sizes:
        images = photographs(8, size, options.images)
        floats = [image.permute(1, 2, 0).numpy().astype(np.float32) / 255 for image in images]
        entries = [
            Entry(
                "ours",
                lambda i, x=images: chosen.apply(x, chosen.plan(Key.of(0, np.arange(8) + i * 8))),
                8,
            ),
            Entry("pepedd", lambda i, x=floats: [theirs(i, image) for image in x], 8),
        ]
        race(entries, options.rounds)
        report(f"pepedd, 3 operators, {size} px, one process, one thread", entries, "pepedd")


# --- kornia --------------------------------------------------------------------------------------


def augmentations(size: int) -> list[Any]:
    import kornia.augmentation as K

    return [
        K.RandomGaussianBlur((21, 21), (0.2, 3.0), p=1.0),
        K.Resize((size // 4, size // 4), antialias=False),
        K.RandomGaussianNoise(std=15 / 255, p=1.0),
        K.RandomJPEG(jpeg_quality=(30.0, 95.0), p=1.0),
    ]


def race_kornia(options: argparse.Namespace) -> None:
    import kornia.augmentation as K

    for size, count in itertools.product(options.sizes, options.threads):
        threads(count)
        batch = min(16, max(options.batches))
        images = photographs(batch, size, options.images)
        pipeline = K.AugmentationSequential(*augmentations(size))
        entries = [
            Entry("ours, no sharpening", ours("realesrgan", images, False), batch),
            Entry(
                "kornia, 4 operators", lambda _, f=pipeline, x=images: f(x.float() / 255), batch
            ),
        ]
        with torch.no_grad():
            race(entries, options.rounds)
        report(f"kornia, {size} px, batch {batch}, {count} threads", entries, entries[1].name)


# --- workers -------------------------------------------------------------------------------------


def race_workers(options: argparse.Namespace) -> None:
    """Steady throughput of a loader: the first batches, which wait for its start, do not count."""
    threads(1)
    size = options.sizes[0]
    images = photographs(16, size, options.images)
    count = 16 * max(8, options.rounds)
    chosen, pipeline = recipe("realesrgan", sharpen=False), compose(size, full=True)
    makers: dict[str, Callable[[int], Tensor]] = {
        "ours": lambda i: chosen.apply(images[i % 16][None], chosen.plan(Key.of(0, i))).lr[0],
        "albumentations, two orders": lambda i: torch.from_numpy(
            pipeline(image=images[i % 16].permute(1, 2, 0).contiguous().numpy())["image"]
        ),
    }
    print(
        f"\n### DataLoader, {size} px, batch 16\n\n"
        "| | workers | patches/s | x one worker |\n|---|--:|--:|--:|"
    )
    for name, make in makers.items():
        speeds: dict[int, list[float]] = {workers: [] for workers in options.workers}
        for _, workers in itertools.product(range(3), options.workers):
            speeds[workers].append(loaded(Made(make, count), workers, 16)[0])
        one = np.median(speeds[options.workers[0]])
        for workers, values in speeds.items():
            print(
                f"| {name} | {workers} | {np.median(values):.1f} | {np.median(values) / one:.2f} |"
            )


# --- memory --------------------------------------------------------------------------------------


def race_memory(options: argparse.Namespace) -> None:
    """Peak resident memory of a process that makes three batches of 48, less that of one that
    only loads them.
    """
    print(
        "\n### Peak memory, batch 48, MiB above the images and libraries\n\n| | MiB |\n|---|--:|"
    )
    wanted = [
        "nothing",
        "ours",
        *(["realesrgan"] if options.realesrgan and options.basicsr else []),
    ]
    peaks: dict[str, float] = {}
    for what in wanted:
        command = [sys.executable, *sys.argv, "--measure-memory", what]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[what] = float(result.stdout.split()[-1])
    for what in wanted[1:]:
        print(f"| {what} | {peaks[what] - peaks['nothing']:.0f} |")


def peak(options: argparse.Namespace) -> float:
    threads(max(options.threads))
    images = photographs(48, options.sizes[0], options.images)
    peer = None
    if options.realesrgan and options.basicsr:
        # Sharpening is left out: it takes minutes, and its padded batch is no larger than that of
        # the blur.
        peer = RealESRGAN(options.realesrgan, options.basicsr, images, usm=False)
    if options.measure_memory == "ours":
        work = ours("realesrgan", images)
        for i in range(3):
            work(i)
    elif options.measure_memory == "realesrgan" and peer is not None:
        for _ in range(3):
            peer.feed(peer.batch())
    return peak_memory()


# --- where the time goes -------------------------------------------------------------------------


def race_split(options: argparse.Namespace) -> None:
    threads(1)
    size, batch = options.sizes[0], 16 if not options.quick else 2
    images = photographs(batch, size, options.images)
    chosen = recipe("realesrgan")
    seconds: Counter[str] = Counter()
    for i in range(options.rounds):
        seconds.update(spent(chosen, images, i))
    shares(f"ours, {size} px, one thread", seconds, batch * options.rounds)
    if options.realesrgan and options.basicsr:
        peer = RealESRGAN(options.realesrgan, options.basicsr, images, usm=False)
        with peer.split() as theirs:
            for _ in range(options.rounds):
                peer.feed(peer.batch())
        shares(
            f"feed_data without sharpening, {size} px, one thread", theirs, batch * options.rounds
        )
    if options.kair:
        kair = Kair(options.kair)
        for name in ("bsrgan", "bsrgan_plus"):
            with kair.split() as theirs:
                for image in images:
                    getattr(kair, name)(image.permute(1, 2, 0).numpy().astype(np.float32) / 255)
            shares(f"degradation_{name}, {size} px, one thread", theirs, batch)
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]
    for name, full in (("7 operators", False), ("two orders", True)):
        took: Counter[str] = Counter()
        steps = compose(size, full).transforms
        for _, array in itertools.product(range(options.rounds), arrays):
            apart(steps, array, lambda f, x: f(image=x)["image"], took)
        shares(f"albumentations, {name}, {size} px, one thread", took, batch * options.rounds)
    if options.pepedd:
        took = Counter()
        start, nodes = pepedd(options.pepedd)
        for i, array in itertools.product(range(options.rounds), arrays):
            apart(nodes, start(i, array.astype(np.float32) / 255), lambda f, x: f(x), took)
        shares(f"pepedd, 3 operators, {size} px, one thread", took, batch * options.rounds)
    took = Counter()
    for _ in range(options.rounds):
        apart(augmentations(size), images.float() / 255, lambda f, x: f(x), took)
    shares(f"kornia, {size} px, batch {batch}, one thread", took, batch * options.rounds)


def apart(
    steps: Iterable[Any], image: Any, call: Callable[[Any, Any], Any], seconds: Counter[str]
) -> None:
    """Counts the CPU seconds of each step; a ``OneOf`` is one, whatever it picks."""
    for number, step in enumerate(steps, 1):
        start = time.process_time()
        image = call(step, image)
        seconds[f"{number} {type(step).__name__}"] += time.process_time() - start


def spent(chosen: Recipe, images: Tensor, i: int) -> dict[str, float]:
    """CPU seconds by step, one row after the other."""
    seconds: Counter[str] = Counter()
    last = time.process_time()

    def watch(address: str, canvas: Canvas) -> None:
        nonlocal last
        now = time.process_time()
        seconds[address] += now - last
        last = time.process_time()

    count = len(images)
    plan = chosen.plan(Key.of(0, np.arange(count) + i * count))
    seconds["plan"] += time.process_time() - last
    for row in range(count):
        last = time.process_time()
        chosen.apply(images[row : row + 1], plan.take(slice(row, row + 1)), watch)
        seconds["tensors in and out"] += time.process_time() - last
    return seconds


def shares(title: str, seconds: dict[str, float], patches: int) -> None:
    total = sum(seconds.values())
    print(
        f"\n### Split: {title}, {total / patches * 1e3:.2f} ms a patch\n\n"
        "| | ms a patch | share |\n|---|--:|--:|"
    )
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {value / patches * 1e3:.3f} | {value / total:.1%} |")


def race_bookkeeping(options: argparse.Namespace) -> None:
    """CPU time that is not pixels: planning, routing, threads.

    The last column is an upper bound that counts an operator's own fixed cost too, its kernels for
    example: the time of the same calls on patches of 16 px, where pixels cost next to nothing.
    """
    threads(1)
    batch = 16
    chosen = recipe("realesrgan", sharpen=False)
    print("\n### Planning, routing and bookkeeping, one thread\n")
    print(
        "| HR px | ms a patch | planning | not pixels, planning included | same calls at 16 px |"
    )
    print("|---|--:|--:|--:|--:|")
    sizes = (16, 256, 400) if not options.quick else (16, 64)
    least = 0.0
    for size in sizes:
        images = photographs(batch, size, options.images)
        chosen.apply(images, chosen.plan(Key.of(0, np.arange(batch))))
        planning, inside = 0.0, [0.0]
        begun = time.process_time()
        with on_pixels(inside):
            for i in range(options.rounds):
                start = time.process_time()
                plan = chosen.plan(Key.of(0, np.arange(batch) + i * batch))
                planning += time.process_time() - start
                chosen.apply(images, plan)
        total = time.process_time() - begun
        least = least or total
        cells = [f"{x / total:.1%}" for x in (planning, total - inside[0], least)]
        print(
            f"| {size} | {total / batch / options.rounds * 1e3:.3f} | " + " | ".join(cells) + " |"
        )


@contextmanager
def on_pixels(seconds: list[float]) -> Iterator[None]:
    """Add up the CPU time of native code's ``run``, which works the pixels."""
    run = native.run_at

    def timed(*args: Any) -> int:
        start = time.thread_time()
        try:
            return run(*args)
        finally:
            seconds[0] += time.thread_time() - start

    with mock.patch("degrade.kernels.native.run_at", timed):
        yield


if __name__ == "__main__":
    main()
