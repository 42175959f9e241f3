"""Kernels in Triton against their torch references, and the schedule of a batch.

On a CPU they run in Triton's interpreter; with ``--device cuda`` on the device.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

if "--device" not in " ".join(sys.argv) or "cuda" not in " ".join(sys.argv):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # must be set before Triton is imported
pytest.importorskip("triton", reason="Triton is not installed")

from degrade.canvas import Canvas
from degrade.execution import cuda
from degrade.kernels import psf
from degrade.kernels.backend import use_backend
from degrade.kernels.base import Call, Data, Kernel, Samples
from degrade.kernels.convolve import convolve, convolve_separable
from degrade.kernels.jpeg import CHROMA, jpeg
from degrade.kernels.resample import FILTERS, band, decimate, resample
from degrade.ops.noise import gray_levels, luma, mix, poisson_quantile
from degrade.ops.pixel import quantize
from degrade.ops.sharpen import unsharp
from degrade.rng import Key, normal_field, uniform_field

GREY_LEVEL = 1 / 255
SIZES = np.array([(17, 23), (1, 1), (1, 9), (12, 3), (24, 70)])
"""Odd, single pixels and lines, narrower than a kernel, and more than a tile."""
COUNT = len(SIZES)

NORMAL = {"low": "u4", "high": "u4", "sigma": "f4", "planes": "i4", "times": "i4", "mixed": "i4"}
KERNELS = {
    name: Kernel(name, code, fields, lambda canvas, records, data: canvas)
    for name, code, fields in (
        ("correlate", 1, {"taps": "i4", "rows": "i4", "columns": "i4", "border": "i4"}),
        ("separable", 2, {"down": "i4", "tall": "i4", "across": "i4", "wide": "i4", "border": "i4"}),
        ("unsharp", 3, {"taps": "i4", "count": "i4", "amount": "f4", "threshold": "f4"}),
        ("resample", 4, {"words": "6i4"}),
        ("matlab", 5, {"words": "6i4"}),
        ("decimate", 6, {"first": "2i4", "step": "2i4"}),
        ("normal", 7, {**NORMAL, "mixing": "9f4"}),
        (
            "poisson",
            8,
            {"low": "u4", "high": "u4", "peak": "f4", "scale": "f4", "planes": "i4"},
        ),
        (
            "salt_pepper",
            9,
            {"low": "u4", "high": "u4", "white": "f4", "black": "f4", "planes": "i4"},
        ),
        ("jpeg", 10, {"quality": "i4", "v": "i4", "h": "i4"}),
        ("quantize", 11, {"levels": "f4"}),
        ("clip", 12, {}),
    )
}


class Batch:
    """Images of a batch on a canvas, and a program in the making."""

    def __init__(self, channels: int, device: torch.device, sizes: Any = SIZES) -> None:
        self.hr = np.array(sizes)
        images = [picture(h, w, channels, i) for i, (h, w) in enumerate(self.hr)]
        self.canvas = Canvas.of([image.to(device) for image in images])
        self.target = self.hr
        self.channels = channels
        self.data = Data()
        self.calls: list[Call] = []
        self.target_calls = 0
        self.sizes = self.hr.copy()
        self.key = Key.of(3, np.arange(len(self.hr)))

    def add(self, name: str, sizes: Any = None, of: Any = None, **arguments: Any) -> None:
        """A call for all samples, or of some."""
        of = np.arange(len(self.hr)) if of is None else np.array(of)
        now = self.sizes[of]
        samples = Samples(of, now, now, now, self.channels, self.data)
        call = KERNELS[name].call(samples, sizes, **arguments)
        self.calls.append(call)
        self.sizes[of] = call.words[:, 4:6]

    def keys(self) -> dict[str, Any]:
        return {"low": self.key.words & 0xFFFFFFFF, "high": self.key.words >> np.uint64(32)}

    def run(self) -> list[torch.Tensor]:
        lr, _ = cuda.run(program(self), self.canvas.pixels)
        return [image[:, :h, :w].cpu() for image, (h, w) in zip(lr, self.sizes, strict=True)]


def program(batch: Any) -> Any:
    return SimpleNamespace(**vars(batch))


def picture(height: int, width: int, channels: int, seed: int) -> torch.Tensor:
    """Smooth, with edges, on the grid of 8 bits and a little off it; partly beyond [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y * a + x * b) for a, b in generator.uniform(0, 1, (channels, 2))]
    pixels = 0.5 + 0.4 * np.stack(waves) + 0.2 * (generator.random((channels, height, width)) > 0.8)
    pixels[:, ::2] = np.round(pixels[:, ::2] * 255) / 255
    return torch.from_numpy(pixels.astype(np.float32))


def check(batch: Batch, expected: Canvas, tolerance: float = 0.0) -> None:
    """Images equal to a tolerance in grey levels."""
    for i, (image, other) in enumerate(zip(batch.run(), expected.images(), strict=True)):
        assert image.shape == other.shape
        error = (image - other.cpu()).abs().max().item() / GREY_LEVEL
        assert error <= tolerance, f"image {i} {tuple(image.shape)}: {error} grey levels"


@pytest.fixture(params=[3, 1], ids=["colour", "grey"])
def batch(request: pytest.FixtureRequest, device: torch.device) -> Batch:
    return Batch(request.param, device)


def torch_form(work: Callable[[], Any]) -> Any:
    with use_backend("torch"):
        return work()


# --- convolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("border", ["reflect", "replicate"])
def test_correlate(batch: Batch, border: Any) -> None:
    """Each image with its own kernel, some wider than the image."""
    generator = np.random.default_rng(1)
    shapes = [(5, 3), (3, 5), (7, 7), (9, 5), (7, 3)]
    kernels = np.zeros((COUNT, 9, 9))
    starts = []
    for kernel, (h, w) in zip(kernels, shapes, strict=True):
        taps = generator.random((h, w))
        taps /= taps.sum()
        kernel[4 - h // 2 : 5 + h // 2, 4 - w // 2 : 5 + w // 2] = taps
        starts.append(batch.data.add(taps.astype(np.float32)))
    rows, columns = np.array(shapes).T
    code = ["reflect", "replicate"].index(border)
    batch.add("correlate", taps=starts, rows=rows, columns=columns, border=code)
    expected = torch_form(lambda: convolve(batch.canvas, kernels, border))
    check(batch, expected, 5e-3)


@pytest.mark.parametrize("border", ["reflect", "replicate"])
def test_separable(batch: Batch, border: Any) -> None:
    down = psf.gaussian(np.array([5, 9, 3, 13, 21]), np.array([1, 2, 0.5, 3, 2.0]))
    across = psf.gaussian(np.array([7, 3, 21, 13, 5]), np.array([1.5, 1, 4, 2, 1.0]))
    tall, wide = ((taps > 1e-7).sum(1) for taps in (down, across))
    starts = [
        [
            batch.data.add(row[row > 1e-7].astype(np.float32))
            for row in taps
        ]
        for taps in (down, across)
    ]
    batch.add(
        "separable",
        down=starts[0],
        tall=tall,
        across=starts[1],
        wide=wide,
        border=["reflect", "replicate"].index(border),
    )
    expected = torch_form(lambda: convolve_separable(batch.canvas, across, down, border))
    check(batch, expected, 5e-3)


def test_unsharp(batch: Batch) -> None:
    taps = psf.gaussian(np.array([5, 9, 3, 13, 21]), np.array([1, 2, 0.5, 3, 2.0]))
    amount, threshold = np.array([0.5, 1, 2, 0.5, 0.7]), np.full(COUNT, 10 / 255)
    starts = [batch.data.add(row[row > 1e-7].astype(np.float32)) for row in taps]
    count = (taps > 1e-7).sum(1)
    batch.add("unsharp", taps=starts, count=count, amount=amount, threshold=threshold)
    columns = (torch.tensor(x, dtype=torch.float32) for x in (amount, threshold))
    columns = [x.to(batch.canvas.pixels.device)[:, None, None, None] for x in columns]
    pixels = torch_form(lambda: unsharp(batch.canvas, taps, *columns))
    check(batch, batch.canvas.with_pixels(pixels), 5e-3)


# --- resampling ----------------------------------------------------------------------------------

AFTER = np.array([(9, 31), (3, 2), (1, 5), (12, 8), (40, 33)])


def add_resample(batch: Batch, name: str, filters: list[str], antialias: list[bool]) -> None:
    words = np.zeros((COUNT, 6), np.int32)
    precision = np.float64 if name == "matlab" else np.float32
    for i in range(COUNT):
        for axis in range(2):
            matrix = band(
                int(batch.sizes[i, axis]), int(AFTER[i, axis]), filters[i], antialias[i]
            )
            words[i, 3 * axis] = batch.data.add(matrix.index.astype(np.int32))
            words[i, 3 * axis + 1] = batch.data.add(matrix.weight.astype(precision))
            words[i, 3 * axis + 2] = matrix.index.shape[1]
    batch.add(name, AFTER, words=words)


@pytest.mark.parametrize("first", [0, 4])
def test_resample(batch: Batch, first: int) -> None:
    names = [name for name in FILTERS if name != "matlab"]
    filters = [names[(first + i) % len(names)] for i in range(COUNT)]
    antialias = [i % 2 == 0 for i in range(COUNT)]
    add_resample(batch, "resample", filters, antialias)
    expected = torch_form(lambda: resample(batch.canvas, AFTER, filters, antialias))
    check(batch, expected, 5e-3)


def test_matlab(batch: Batch) -> None:
    filters, antialias = ["matlab"] * COUNT, [True] * COUNT
    add_resample(batch, "matlab", filters, antialias)
    check(batch, torch_form(lambda: resample(batch.canvas, AFTER, filters, antialias)))


def test_decimate(device: torch.device) -> None:
    batch = Batch(3, device, [(18, 24), (2, 3), (4, 70)])
    after, first = np.array([(9, 8), (1, 1), (2, 35)]), np.array([(1, 2), (0, 1), (1, 0)])
    batch.add("decimate", after, first=first, step=batch.sizes // after)
    check(batch, torch_form(lambda: decimate(batch.canvas, after, first)))


# --- noise ---------------------------------------------------------------------------------------


def fields(batch: Batch, field: Any, planes: Any) -> torch.Tensor:
    """(B, C, H, W); a sample of one plane has it in all channels."""
    _, channels, height, width = batch.canvas.pixels.shape
    own = field(batch.key, channels, height, width, batch.canvas.pixels.device)
    grey = torch.tensor(planes == 1, device=own.device)[:, None, None, None]
    return torch.where(grey, own[:, :1], own)


@pytest.mark.parametrize("times", [0, 1], ids=["normal", "speckle"])
def test_normal(batch: Batch, times: int) -> None:
    planes = np.where(np.arange(COUNT) % 2, 1, batch.channels)
    mixed = np.array([1, 0, 0, 0, 1]) * (planes == 3)
    mixing = np.random.default_rng(0).random((COUNT, 3, 3))
    mixing[mixed == 0] = np.eye(3)
    sigma = np.linspace(5, 30, COUNT) / 255
    arguments = {"mixed": mixed, "mixing": mixing.reshape(COUNT, 9)}
    batch.add("normal", **batch.keys(), sigma=sigma, planes=planes, times=times, **arguments)
    noise = fields(batch, normal_field, planes)
    matrix = torch.tensor(mixing, dtype=torch.float32, device=noise.device)
    mixed_noise = mix(noise, matrix) if batch.channels == 3 else noise
    noise = mixed_noise * torch.tensor(sigma, dtype=torch.float32, device=noise.device)[
        :, None, None, None
    ]
    pixels = batch.canvas.pixels
    expected = (pixels + (pixels * noise if times else noise)).clamp(0, 1)
    check(batch, batch.canvas.with_pixels(expected), 5e-3)


def test_poisson(batch: Batch) -> None:
    """All but a few counts in a million are equal: float rounding decides the rest."""
    planes = np.where(np.arange(COUNT) % 2, 1, batch.channels)
    peak, scale = np.array([0, 0, 5, 300, 0]), np.linspace(0.5, 2, COUNT)
    batch.add("poisson", **batch.keys(), peak=peak, scale=scale, planes=planes)
    pixels = batch.canvas.pixels
    grey = torch.tensor(planes == 1, device=pixels.device)[:, None, None, None]
    source = torch.where(grey, luma(pixels), pixels)
    level = (source * 255).round().clamp(0, 255)
    column = torch.tensor(peak, dtype=torch.float32, device=pixels.device)
    found = [
        gray_levels(level[i : i + 1, : planes[i]], batch.sizes[i : i + 1], False)[0]
        for i in range(COUNT)
    ]
    column = torch.where(column == 0, torch.stack(found), column)[:, None, None, None]
    u = fields(batch, uniform_field, planes)
    noise = poisson_quantile(level / 255 * column, u) / column - level / 255
    noise *= torch.tensor(scale, dtype=torch.float32, device=pixels.device)[:, None, None, None]
    expected = batch.canvas.with_pixels((pixels + noise).clamp(0, 1)).images()
    unequal = 0
    for image, other in zip(batch.run(), expected, strict=True):
        unequal += ((image - other.cpu()).abs() > 5e-3 * GREY_LEVEL).sum().item()
    assert unequal <= 1


def test_salt_pepper(batch: Batch) -> None:
    planes = np.where(np.arange(COUNT) % 2, 1, batch.channels)
    white, black = np.linspace(0.05, 0.2, COUNT), np.linspace(0.9, 0.8, COUNT)
    batch.add("salt_pepper", **batch.keys(), white=white, black=black, planes=planes)
    u = fields(batch, uniform_field, planes)
    low, high = (
        torch.tensor(x, dtype=torch.float32, device=u.device)[:, None, None, None]
        for x in (white, black)
    )
    expected = torch.where(u < low, 1.0, torch.where(u > high, 0.0, batch.canvas.pixels))
    check(batch, batch.canvas.with_pixels(expected))


# --- JPEG and pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(3))
def test_jpeg(batch: Batch, first: int) -> None:
    names = [list(CHROMA)[(first + i) % 3] for i in range(COUNT)]
    quality = np.array([[30, 75, 95, 50, 10], [100, 1, 49, 90, 60], [5, 51, 20, 80, 98]])[first]
    v, h = np.array([CHROMA[name] for name in names]).T
    batch.add("jpeg", quality=quality, v=v, h=h)
    check(batch, torch_form(lambda: jpeg(batch.canvas, quality, names)))


@pytest.mark.parametrize("last", [True, False], ids=["on the way out", "in place"])
def test_quantize(batch: Batch, last: bool) -> None:
    bits = [8, 4, 1, 16, 8]
    batch.add("quantize", levels=[2**n - 1 for n in bits])
    if not last:
        batch.add("clip")
    pixels = [quantize(image, n) for image, n in zip(batch.canvas.images(), bits, strict=True)]
    check(batch, Canvas.of(pixels))


def test_clip(batch: Batch) -> None:
    batch.add("clip")
    check(batch, batch.canvas.with_pixels(batch.canvas.pixels.clamp(0, 1)))


# --- batches -------------------------------------------------------------------------------------


def a_program(batch: Batch, order: Any) -> list[torch.Tensor]:
    """LR and targets of samples ``order`` out of a batch that do not all go the same way: blur,
    resize, noise and JPEG, in one or another order.
    """
    order = np.array(order)
    part = Batch(batch.channels, batch.canvas.pixels.device, batch.hr[order])
    part.canvas = Canvas.of([batch.canvas.image(i) for i in order])
    part.key = Key(batch.key.words[order])
    place = np.arange(len(order))
    taps = part.data.add(np.full((3, 3), 1 / 9, np.float32))
    line = part.data.add(np.full(5, 0.2, np.float32))
    part.add("unsharp", taps=line, count=5, amount=0.5, threshold=10 / 255)
    part.target_calls = 1
    some = place[order % 2 == 0]
    part.add("correlate", of=some, taps=taps, rows=3, columns=3)
    words = np.zeros((len(order), 6), np.int32)
    after = np.maximum(part.sizes // 2 + order[:, None] % 2, 1)
    for i, (size, new) in enumerate(zip(part.sizes, after, strict=True)):
        for axis in range(2):
            matrix = band(int(size[axis]), int(new[axis]), "bicubic", True)
            words[i, 3 * axis] = part.data.add(matrix.index.astype(np.int32))
            words[i, 3 * axis + 1] = part.data.add(matrix.weight.astype(np.float32))
            words[i, 3 * axis + 2] = matrix.index.shape[1]
    part.add("resample", after, words=words)
    keys = {name: values[some] for name, values in part.keys().items()}
    part.add("poisson", of=some, **keys, peak=0, scale=1, planes=batch.channels)
    others = place[order % 2 == 1]
    part.add("jpeg", of=others, quality=40 + order[others], v=2, h=2)
    keys = {name: values[others] for name, values in part.keys().items()}
    part.add("normal", of=others, **keys, sigma=0.1, planes=1)
    part.add("separable", of=others, down=line, tall=5, across=line, wide=5, border=1)
    part.add("jpeg", of=some, quality=40 + order[some], v=1, h=2)
    part.add("quantize", levels=255)
    lr, target = cuda.run(program(part), part.canvas.pixels)
    images = [image[:, :h, :w] for image, (h, w) in zip(lr, part.sizes, strict=True)]
    images += [image[:, :h, :w] for image, (h, w) in zip(target, part.hr, strict=True)]
    return [image.cpu() for image in images]


def test_batch_independence(batch: Batch) -> None:
    """A sample has the same bits alone, in another order, and in another company."""
    whole = a_program(batch, [0, 1, 2, 3, 4])
    for order in ([4, 2, 0], [3], [0]):
        part = a_program(batch, order)
        for i, sample in enumerate(order):
            assert torch.equal(part[i], whole[sample])
            assert torch.equal(part[len(order) + i], whole[COUNT + sample])


def test_bytes_are_read_exactly(device: torch.device) -> None:
    """8-bit images of any layout come in as k / 255."""
    batch = Batch(3, device, [(16, 16)])
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    levels = torch.cat([levels, levels.flip(2), levels.flip(3)], 1).to(device)
    levels = levels.contiguous(memory_format=torch.channels_last)
    lr, target = cuda.run(program(batch), levels)
    expected = levels.cpu().numpy().astype(np.float32) / np.float32(255)
    assert (lr.cpu().numpy() == expected).all()
    assert (target.cpu().numpy() == expected).all()


def test_sizes_of_their_own(device: torch.device) -> None:
    """What is outside an image of a batch is zero."""
    batch = Batch(3, device)
    lr, target = cuda.run(program(batch), batch.canvas.pixels)
    assert torch.equal(lr, batch.canvas.pixels)
    assert target is batch.canvas.pixels


def test_python_calls(device: torch.device) -> None:
    """Operators in Python work between launches, on the samples that they are for."""
    batch = Batch(3, device)
    batch.add("quantize", levels=255)
    seen: list[Any] = []

    def work(canvas: Canvas, places: Any) -> Canvas:
        seen.append((len(canvas), places.tolist()))
        return canvas.with_pixels(1 - canvas.pixels)

    batch.add("clip", of=[1, 3, 4])
    call = batch.calls.pop()
    call.words[:, 0] = 0
    batch.calls.append(SimpleNamespace(words=call.words, rows=call.rows, work=work))  # type: ignore[arg-type]  # PythonCall
    batch.add("clip")
    images = batch.run()
    assert seen == [(3, [0, 1, 2])]
    for i, image in enumerate(images):
        expected = quantize(batch.canvas.image(i)).cpu()
        assert torch.equal(image, 1 - expected if i in (1, 3, 4) else expected)


def test_schedule() -> None:
    """Samples that wait for the same kernel share a launch; what is uploaded is one buffer."""
    batch = Batch(3, torch.device("cpu"))
    taps = batch.data.add(np.full((3, 3), 1 / 9, np.float32))
    batch.add("correlate", of=[0, 2, 4], taps=taps, rows=3, columns=3)
    batch.add("jpeg", quality=50, v=2, h=2)
    batch.add("correlate", of=[1, 3], taps=taps, rows=3, columns=3)
    batch.add("quantize", levels=255)
    launches = cuda.dry_run(program(batch), target=False)
    names = [(step.name, step.samples) for step in launches.steps]
    assert names == [
        ("load", 5),
        ("correlate", 3),
        ("sample", 5),
        ("code", 5),
        ("rebuild", 5),
        ("output", 3),
        ("correlate", 2),
        ("output", 2),
    ]
    assert launches.bytes < 8000


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
        from degrade.kernels.triton.launch import TILES

        types = {"words": "*i32", "pixels": "*fp32", "images": "*u8"}
        for name, function in cuda.kernels().items():
            constants = {"GREY": False, "BYTES": True, "BLOCKS": TILES[name][1]}
            constants |= {"ROWS": TILES[name][0], "COLUMNS": TILES[name][1]}
            names = function.arg_names
            source = ASTSource(
                fn=function,
                signature={n: "constexpr" if n in constants else types.get(n, "i32") for n in names},
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
