"""The backends of each kernel against each other and against the best library call: milliseconds
an image, by turns.

    python benchmarks/primitives.py [--sizes 64 256 400] [--batches 1 16] [--threads 1] [--rounds
    20] [--quick]

A library call does less than a kernel of ours: one kernel, one size, one quality for all. It is
the mark to reach.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from bench import Entry, header, installed, photographs, race, report, threads

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.distributions import Const
from degrade.execution import Backend, execute
from degrade.kernels import psf
from degrade.kernels.base import Call, Samples
from degrade.kernels.convolve import correlate, correlate_separable
from degrade.kernels.jpeg import compress
from degrade.kernels.noise import poisson_quantile
from degrade.kernels.resample import FILTERS, resize
from degrade.ops.noise import GaussianNoise, PoissonNoise
from degrade.rng import Key, normal_field, uniform_field


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 400])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="small and few: for a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.batches, options.rounds = [64], [2], 3
    threads(options.threads)
    print(header())
    print(
        f"- {options.threads} threads; native code works one image after the other in the "
        "calling thread"
    )
    for size, batch in itertools.product(options.sizes, options.batches):
        canvas = Canvas.of(photographs(batch, size).float() / 255)
        for title, calls in primitives(canvas).items():
            entries = [Entry(name, lambda _, f=call: f(), batch) for name, call in calls.items()]
            with torch.no_grad():
                race(entries, options.rounds)
            report(f"{title}, {size} px, batch {batch}", entries, entries[0].name, "images/s")


def primitives(canvas: Canvas) -> dict[str, dict[str, Callable[[], object]]]:
    return {**convolutions(canvas), **resizes(canvas), **codecs(canvas), **noises(canvas)}


BACKENDS: tuple[Backend, ...] = ("reference", "native")


def backends(
    canvas: Canvas, lower: Callable[[Samples], Iterable[Call]]
) -> dict[str, Callable[[], object]]:
    """The calls that ``lower`` makes, on every backend; what lowers them is counted too."""

    def call(backend: Backend) -> object:
        return execute(lambda _, samples: lower(samples), canvas, None, backend)

    return {backend: partial(call, backend) for backend in BACKENDS}


def convolutions(canvas: Canvas) -> dict[str, dict[str, Callable[[], object]]]:
    import cv2

    count = len(canvas)
    images = [canvas.hwc(i) for i in range(count)]
    tables: dict[str, dict[str, Callable[[], object]]] = {}
    for width in (7, 13, 21):
        size, one = np.full(count, float(width)), np.ones(count)
        kernels = psf.elliptic(
            size, one * 2.5, one * 1.2, one * 0.7, one, np.zeros(count, np.bool_)
        )
        tables[f"convolve {width} x {width}"] = {
            **backends(canvas, lambda s, k=kernels: [correlate(s, k)]),
            "cv2.filter2D": lambda k=kernels: [cv2.filter2D(x, -1, k[0]) for x in images],
        }
    for width in (21, 51):
        taps = psf.gaussian(np.full(count, float(width)), np.full(count, width / 6))
        tables[f"convolve_separable {width}"] = {
            **backends(canvas, lambda s, k=taps: [correlate_separable(s, k, k)]),
            "cv2.GaussianBlur": lambda n=width: [
                cv2.GaussianBlur(x, (n, n), n / 6) for x in images
            ],
        }
    return tables


def resizes(canvas: Canvas) -> dict[str, dict[str, Callable[[], object]]]:
    import cv2

    count = len(canvas)
    images = [canvas.hwc(i) for i in range(count)]
    side = int(canvas.sizes[0, 0] * 0.6)
    sizes, one = np.full((count, 2), side), np.ones(count)
    flags = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
    tables: dict[str, dict[str, Callable[[], object]]] = {}
    for name, flag in flags.items():
        tables[f"resample {name} x0.6"] = {
            **backends(
                canvas,
                lambda s, n=name: resize(s, sizes, one * FILTERS.index(n), 0 * one),
            ),
            "cv2.resize": lambda f=flag: [
                cv2.resize(x, (side, side), interpolation=f) for x in images
            ],
            "torch interpolate": lambda n=name: torch.nn.functional.interpolate(
                canvas.pixels, (side, side), mode=n
            ),
        }
    return tables


def codecs(canvas: Canvas) -> dict[str, dict[str, Callable[[], object]]]:
    import cv2

    count = len(canvas)
    levels = [
        np.ascontiguousarray(np.rint(canvas.hwc(i) * 255).astype(np.uint8)) for i in range(count)
    ]

    def opencv() -> object:
        return [
            cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], 1)
            for x in levels
        ]

    calls = {
        **backends(canvas, lambda s: [compress(s, np.full(count, 75), np.zeros(count))]),
        "cv2, 8 bits to 8 bits": opencv,
    }
    if installed("PIL"):
        import io

        from PIL import Image

        def pillow() -> object:
            done: list[np.ndarray] = []
            for x in levels:
                file = io.BytesIO()
                Image.fromarray(x).save(file, "jpeg", quality=75)
                done.append(np.asarray(Image.open(file)))
            return done

        calls["Pillow, 8 bits to 8 bits"] = pillow
    if installed("simplejpeg"):
        import simplejpeg

        calls["simplejpeg"] = lambda: [
            simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(x, 75, colorsubsampling="420"))
            for x in levels
        ]
    return {"jpeg 75": calls}


def added(operator: Operator, canvas: Canvas, key: Key) -> dict[str, Callable[[], object]]:
    drawn = Draw(operator, {}, key, canvas)
    return backends(canvas, lambda s: operator.lower(drawn, s))


def noises(canvas: Canvas) -> dict[str, dict[str, Callable[[], object]]]:
    shape = canvas.pixels.shape
    key = Key.of(0, np.arange(len(canvas)))
    u = uniform_field(key, *shape[1:])
    mean = (canvas.pixels * 255).contiguous()
    return {
        "normal noise": {
            **added(GaussianNoise(sigma=Const(15)), canvas, key),
            "normal_field": lambda: normal_field(key, *shape[1:]),
            "torch.randn": lambda: torch.randn(shape),
        },
        "Poisson noise": {
            **added(PoissonNoise(), canvas, key),
            "uniform_field + poisson_quantile": lambda: poisson_quantile(
                mean, uniform_field(key, *shape[1:])
            ),
            "poisson_quantile": lambda: poisson_quantile(mean, u),
            "torch.poisson": lambda: torch.poisson(mean),
        },
    }


if __name__ == "__main__":
    main()
