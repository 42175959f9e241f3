"""Kernels in Triton against their references in torch, and the schedule of a batch.

On a CPU they run in Triton's interpreter; with ``--device cuda`` on the device.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("triton", reason="Triton is not installed")

from degrade.canvas import Canvas
from degrade.errors import UserError
from degrade.execution import cuda, reference
from degrade.kernels import convolve, jpeg, noise, psf, quantize, resample, unsharp
from degrade.kernels.base import Call, Kernel, PythonCall, Samples
from degrade.program import Program
from degrade.recipe import Recipe
from degrade.rng import Key

Real = NDArray[np.float64]
SIZES = np.array([(17, 23), (1, 1), (1, 9), (12, 3), (10, 70)])
"""Odd, single pixels and lines, narrower than a kernel, and more than a tile."""
COUNT = len(SIZES)
KEY = Key.of(3, np.arange(COUNT))
GRAY = np.arange(COUNT) % 2 == 1
no_cover = pytest.mark.no_cover
"""For lines that other tests run: measuring them makes the interpreter three times slower."""


def picture(height: int, width: int, channels: int, seed: int) -> torch.Tensor:
    """Smooth, with edges, on the grid of 8 bits and a little off it; partly beyond [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y * a + x * b) for a, b in generator.uniform(0, 1, (channels, 2))]
    edges = generator.random((channels, height, width)) > 0.8
    pixels = 0.5 + 0.4 * np.stack(waves) + 0.2 * edges
    pixels[:, ::2] = np.round(pixels[:, ::2] * 255) / 255
    return torch.from_numpy(pixels.astype(np.float32))


class Batch:
    """Images on a canvas, and their program in the making."""

    def __init__(self, images: list[torch.Tensor]) -> None:
        self.canvas = Canvas.of(images)
        self.program = Program(self.canvas.sizes, 1, images[0].shape[0])

    def samples(self, rows: Any = None) -> Samples:
        return self.program.samples(np.arange(len(self.canvas)) if rows is None else rows)

    def add(self, *calls: Call) -> None:
        for call in calls:
            self.program.add("stage.step", call.rows, [call])

    def run(self) -> list[torch.Tensor]:
        lr, _ = cuda.run(self.program.lines, self.canvas.pixels)
        return images_of(lr, self.program.sizes)

    def expected(self) -> list[torch.Tensor]:
        calls, data = self.program.calls, self.program.data
        left = reference.run_calls(self.canvas, calls, data).images()
        return [image.cpu() for image in left]

    def check(self, tolerance: float = 0.0) -> None:
        """Images equal the reference's to a tolerance in grey levels."""
        for i, (image, other) in enumerate(zip(self.run(), self.expected(), strict=True)):
            assert image.shape == other.shape
            error = 255 * (image - other).abs().max().item()
            assert error <= tolerance, f"image {i} {tuple(image.shape)}: {error} grey levels"


def images_of(pixels: torch.Tensor, sizes: Any) -> list[torch.Tensor]:
    return [image[:, :h, :w].cpu() for image, (h, w) in zip(pixels, sizes, strict=True)]


def pictures(channels: int, device: torch.device) -> list[torch.Tensor]:
    return [picture(h, w, channels, i).to(device) for i, (h, w) in enumerate(SIZES.tolist())]


@pytest.fixture(params=[3, 1], ids=["colour", "grey"])
def batch(request: pytest.FixtureRequest, device: torch.device) -> Batch:
    return Batch(pictures(request.param, device))


# --- kernels -------------------------------------------------------------------------------------

BORDERS: list[Any] = ["reflect", "replicate"]
LINES = psf.gaussian(np.array([5.0, 9, 3, 13, 21]), np.array([1, 2, 0.5, 3, 2.0]))


@pytest.mark.parametrize("border", BORDERS)
def test_correlate(batch: Batch, border: Any) -> None:
    """Each image with its own kernel, some wider than the image."""
    generator = np.random.default_rng(1)
    kernels = np.zeros((COUNT, 9, 9))
    for kernel, h, w in zip(kernels, (2, 1, 3, 4, 3), (1, 2, 3, 2, 1), strict=True):
        taps = generator.random((2 * h + 1, 2 * w + 1))
        kernel[4 - h : 5 + h, 4 - w : 5 + w] = taps / taps.sum()
    batch.add(convolve.correlate(batch.samples(), kernels, border))
    batch.check(5e-3)


@pytest.mark.parametrize("border", BORDERS)
def test_separable(batch: Batch, border: Any) -> None:
    batch.add(convolve.correlate_separable(batch.samples(), LINES, LINES[::-1], border))
    batch.check(5e-3)


def test_unsharp(batch: Batch) -> None:
    taps = convolve.trim(batch.program.data, LINES)
    amount, threshold = np.array([0.5, 1, 2, 0.5, 0.7]), np.full(COUNT, 10 / 255)
    batch.add(unsharp.sharpen(batch.samples(), taps, amount, threshold))
    batch.check(5e-3)


MATLAB = np.full(COUNT, float(resample.FILTERS.index("matlab")))
AFTER = np.array([(9, 31), (3, 2), (1, 5), (12, 8), (40, 33)])


@pytest.mark.parametrize("first", [0, 4])
def test_resample(batch: Batch, first: int) -> None:
    names = [name for name in resample.FILTERS if name != "matlab"]
    chosen = [names[(first + i) % len(names)] for i in range(COUNT)]
    filters = np.array([resample.FILTERS.index(name) for name in chosen], np.float64)
    antialias = (np.arange(COUNT) % 2 == 0).astype(np.float64)
    batch.add(*resample.resize(batch.samples(), AFTER, filters, antialias))
    batch.check(5e-3)


def test_matlab(batch: Batch) -> None:
    batch.add(*resample.resize(batch.samples(), AFTER, MATLAB, np.ones(COUNT)))
    batch.check()


def test_decimate(device: torch.device) -> None:
    sizes = [(18, 24), (2, 3), (4, 70)]
    batch = Batch([picture(h, w, 3, i).to(device) for i, (h, w) in enumerate(sizes)])
    after, first = np.array([(9, 8), (1, 1), (2, 35)]), np.array([(1, 2), (0, 1), (1, 0)])
    batch.add(resample.keep_every(batch.samples(), after, first))
    batch.check()


@pytest.mark.parametrize("multiply", [False, True], ids=["normal", "speckle"])
def test_normal(batch: Batch, multiply: bool) -> None:
    sigma, correlated = np.linspace(5, 30, COUNT) / 255, np.arange(COUNT) % 4 == 0
    call = noise.add_normal(batch.samples(), KEY, sigma, GRAY, correlated, multiply)
    batch.add(call)
    batch.check(5e-3)


def test_poisson(batch: Batch) -> None:
    """All but a few counts in a million are equal: float rounding decides the rest."""
    peak, scale = np.array([0, 0, 5, 300, 0.0]), np.linspace(0.5, 2, COUNT)
    batch.add(noise.add_poisson(batch.samples(), KEY, scale, peak, GRAY))
    unequal = 0
    for image, other in zip(batch.run(), batch.expected(), strict=True):
        unequal += (255 * (image - other).abs() > 5e-3).sum().item()
    assert unequal <= 1


def test_salt_pepper(batch: Batch) -> None:
    amount, salt = np.linspace(0.05, 0.3, COUNT), np.linspace(0.2, 0.9, COUNT)
    batch.add(noise.add_salt_pepper(batch.samples(), KEY, amount, salt, GRAY))
    batch.check()


@pytest.mark.parametrize("first", range(3))
def test_jpeg(batch: Batch, first: int) -> None:
    """Every chroma at every size; low, middle and best qualities."""
    names = (first + np.arange(COUNT)) % 3
    quality = np.array([[30, 75, 95, 50, 10], [100, 1, 49, 90, 60], [5, 51, 20, 80, 98]])[first]
    batch.add(jpeg.compress(batch.samples(), quality, names))
    batch.check()


@pytest.mark.parametrize("last", [True, False], ids=["on the way out", "in place"])
def test_quantize(batch: Batch, last: bool) -> None:
    for i, bits in enumerate([8, 4, 1, 16, 8]):
        samples = batch.samples(np.array([i]))
        batch.add(quantize.QUANTIZE.call(samples, levels=2**bits - 1))
    if not last:
        batch.add(quantize.CLIP.call(batch.samples()))
    batch.check()


def test_clip(batch: Batch) -> None:
    batch.add(quantize.CLIP.call(batch.samples()))
    batch.check()


# --- batches -------------------------------------------------------------------------------------


def work(images: list[torch.Tensor], order: Any) -> list[torch.Tensor]:
    """LR images and targets of samples ``order``, which do not all go the same way: blur, resize,
    noise and JPEG, in one or another order.
    """
    order = np.array(order)
    batch = Batch([images[i] for i in order])
    taps = convolve.trim(batch.program.data, np.full((len(order), 5), 0.2))
    batch.add(unsharp.sharpen(batch.samples(), taps, np.array(0.5), np.array(0.04)))
    batch.program.target_steps = 1
    after = np.maximum(batch.program.sizes // 2 + order[:, None] % 2, 1)
    key = KEY[order]
    bicubic = np.full(len(order), float(resample.FILTERS.index("bicubic")))
    for i, sample in enumerate(order):
        row, one = np.array([i]), np.ones(1)
        if sample % 2 == 0:
            batch.add(convolve.correlate(batch.samples(row), np.full((1, 3, 3), 1 / 9)))
            batch.add(noise.add_poisson(batch.samples(row), key[row], one, 0 * one, one > 1))
    batch.add(*resample.resize(batch.samples(), after, bicubic, np.ones(len(order))))
    for i, sample in enumerate(order):
        row, one, line = np.array([i]), np.ones(1), np.full((1, 5), 0.2)
        if sample % 2:
            batch.add(jpeg.compress(batch.samples(row), 40 + order[row], np.zeros(1)))
            gray = one > 0, one > 1
            batch.add(noise.add_normal(batch.samples(row), key[row], 0.1 * one, *gray))
            batch.add(convolve.correlate_separable(batch.samples(row), line, line, "replicate"))
        else:
            batch.add(jpeg.compress(batch.samples(row), 40 + order[row], np.ones(1)))
    batch.add(quantize.QUANTIZE.call(batch.samples(), levels=255))
    lr, target = cuda.run(batch.program.lines, batch.canvas.pixels)
    return images_of(lr, batch.program.sizes) + images_of(target, batch.program.hr)


@no_cover
@pytest.mark.parametrize("channels", [3, 1], ids=["colour", "grey"])
def test_batch_independence(channels: int, device: torch.device) -> None:
    """A sample has the same bits alone, in another order, and in another company."""
    images = pictures(channels, device)
    together = work(images, range(COUNT))
    for order in ([3, 2, 0], [2]):
        part = work(images, order)
        for i, sample in enumerate(order):
            assert torch.equal(part[i], together[sample])
            assert torch.equal(part[len(order) + i], together[COUNT + sample])


@no_cover
@pytest.mark.parametrize("name", ["realesrgan", "bicubic"])
def test_recipe(name: str, device: torch.device) -> None:
    """A recipe's pairs are those of the reference, to 5e-3 grey levels before they are rounded:
    hence nearly all levels are equal.
    """
    recipe = Recipe.load(name)
    hr = torch.stack([picture(16, 16, 3, i) for i in range(2)]).clamp(0, 1).to(device)
    program = recipe.lower(recipe.plan(Key.of(0, np.arange(2))), 16, 16)
    lr, target = cuda.run(recipe.lines(recipe.plan(Key.of(0, np.arange(2))), 16, 16), hr)
    expected = reference.run(program, hr)
    for image, other in zip((lr, target), expected, strict=True):
        assert image.shape == other.shape
        assert ((image - other).abs() > 5e-3 / 255).float().mean() < 0.01


def test_bytes_are_read_exactly(device: torch.device) -> None:
    """8-bit images of any layout come in as k / 255."""
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    levels = torch.cat([levels, levels.flip(1), levels.flip(2)])[None].to(device)
    levels = levels.contiguous(memory_format=torch.channels_last)
    for image in cuda.run(Batch([levels[0]]).program.lines, levels):
        assert (image.cpu().numpy() == levels.cpu().numpy() / np.float32(255)).all()


def test_nothing_to_do(device: torch.device) -> None:
    """A program without calls leaves images as they are, zeros around them; the target is not
    copied.
    """
    batch = Batch(pictures(3, device))
    lr, target = cuda.run(batch.program.lines, batch.canvas.pixels)
    assert torch.equal(lr, batch.canvas.pixels)
    assert target is batch.canvas.pixels


def test_python_calls(device: torch.device) -> None:
    """Operators in Python work between launches, on the samples that they are for."""
    batch = Batch(pictures(3, device))
    seen: list[Any] = []

    def invert(canvas: Canvas, places: Any) -> Canvas:
        seen.append(places.tolist())
        return canvas.with_pixels(1 - canvas.pixels)

    batch.add(quantize.QUANTIZE.call(batch.samples(), levels=255))
    some = batch.samples(np.array([1, 3, 4]))
    batch.add(PythonCall.of(some, some.sizes, invert))
    batch.add(quantize.CLIP.call(batch.samples()))
    batch.check()
    assert seen[0] == [0, 1, 2]


def test_kernel_of_a_plug_in(device: torch.device) -> None:
    """Its reference works between launches, and at the end."""
    square = Kernel("square", 99, {}, lambda canvas, *_: canvas.with_pixels(canvas.pixels**2))
    batch = Batch(pictures(3, device))
    batch.add(square.call(batch.samples(np.array([0, 2]))))
    batch.add(quantize.QUANTIZE.call(batch.samples(), levels=15))
    batch.add(square.call(batch.samples()))
    batch.check()


def test_what_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name the backend, what is wrong and the remedy."""
    images = torch.zeros(1, 3, 8, 8)
    program = Batch([images[0]]).program
    with pytest.raises(UserError, match="float64; should be uint8 or float32"):
        cuda.run(program.lines, images.double())
    with pytest.raises(UserError, match="has no gradients; use reference"):
        cuda.run(program.lines, images.requires_grad_())

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="triton")

    monkeypatch.setattr(cuda, "_LOADED", {})
    monkeypatch.setattr(cuda, "import_module", missing)
    with pytest.raises(UserError, match="pip install triton"):
        cuda.run(program.lines, torch.zeros(1, 3, 8, 8))


def test_schedule() -> None:
    """Samples that wait for the same kernel share a launch; what is uploaded is one buffer."""
    batch = Batch(pictures(3, torch.device("cpu")))
    square = np.full((5, 3, 3), 1 / 9)
    batch.add(convolve.correlate(batch.samples(np.array([0, 2, 4])), square[:3]))
    batch.add(jpeg.compress(batch.samples(), np.full(COUNT, 50), np.zeros(COUNT)))
    batch.add(convolve.correlate(batch.samples(np.array([1, 3])), square[:2]))
    batch.add(quantize.QUANTIZE.call(batch.samples(), levels=255))
    launches = cuda.dry_run(batch.program.lines, target=False)
    assert [(step.name, step.samples) for step in launches.steps] == [
        ("load", 5),
        ("correlate", 3),
        ("sample", 5),
        ("code", 5),
        ("rebuild", 5),
        ("correlate", 2),
        ("output", 5),
    ]
    assert launches.bytes < 8000


@pytest.mark.parametrize(
    ("name", "most"), [("realesrgan", 40), ("bsrgan", 55), ("bsrgan_plus", 55)]
)
def test_launches(name: str, most: int) -> None:
    """Few launches a batch."""
    recipe = Recipe.load(name)
    program = recipe.lower(recipe.plan(Key.of(0, np.arange(16))), 128, 128)
    assert len(cuda.dry_run(program.lines).steps) <= most


@pytest.mark.slow
def test_compiles_for_cuda(tmp_path: Any) -> None:
    """Every kernel compiles for a GPU (the interpreter lets pass what the compiler does not), and
    only those of ``matlab`` use float64.
    """
    code = textwrap.dedent(
        """
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
        from degrade.execution import cuda
        from degrade.execution.passes import TILES

        types = {"words": "*i32", "pixels": "*fp32", "images": "*u8"}
        types |= dict.fromkeys(("GREY", "BYTES", "BLOCKS", "ROWS", "COLUMNS"), "constexpr")
        for name, function in cuda.kernels().items():
            constants = {"GREY": False, "BYTES": True, "BLOCKS": TILES[name][1]}
            constants |= {"ROWS": TILES[name][0], "COLUMNS": TILES[name][1]}
            names = function.arg_names
            source = ASTSource(
                fn=function,
                signature={n: types.get(n, "i32") for n in names},
                constexprs={n: constants[n] for n in names if n in constants},
            )
            ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
            assert (".f64" in ptx) == name.startswith("matlab"), name
        print("all")
        """
    )
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.strip() == "all", done.stderr[-2000:]
