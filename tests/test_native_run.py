"""Programs in C: a record does what its kernel's Python function does, to the bit; a program is
the composition of its records; on any instruction set, whatever lies in its memory.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import native_programs as p
import numpy as np
import pytest
import torch

from degrade.canvas import Canvas
from degrade.kernels import native, psf
from degrade.kernels.base import Data
from degrade.kernels.convolve import CORRELATE, SEPARABLE, _core, _reach, _without_tails
from degrade.kernels.jpeg import JPEG
from degrade.kernels.native.targets import SOURCES, targets
from degrade.kernels.noise import NORMAL, POISSON, SALT_PEPPER, poisson_tables
from degrade.kernels.quantize import CLIP, QUANTIZE
from degrade.kernels.resample import DECIMATE, FILTERS, MATLAB, RESAMPLE, band
from degrade.kernels.unsharp import UNSHARP

pytestmark = pytest.mark.skipif(not native.available(), reason="no native code here")

TABLES = np.ascontiguousarray(poisson_tables())


KERNELS = {
    kernel.code: kernel
    for kernel in (
        *(CORRELATE, SEPARABLE, UNSHARP, RESAMPLE, MATLAB, DECIMATE),
        *(NORMAL, POISSON, SALT_PEPPER, JPEG, QUANTIZE, CLIP),
    )
}
EXACT = (p.MATLAB, p.DECIMATE, p.SALT_PEPPER, p.JPEG, p.QUANTIZE, p.CLIP)
"""Kernels in which integers or comparisons decide; the others round sums in another order."""


def reference(program: p.Program, image: p.Array) -> p.Array:
    """What the references of a program's kernels make of an (h, w, C) image."""
    words, arrays = program.lower()
    data = Data()
    data.add(arrays)
    canvas = Canvas.of(torch.from_numpy(image).permute(2, 0, 1)[None])
    for record in words:
        kernel = KERNELS[int(record[0])]
        canvas = kernel.reference(canvas, record.view(kernel.dtype), data)
    return canvas.image(0).permute(1, 2, 0).numpy()


def bits(image: p.Array) -> p.Array:
    return np.ascontiguousarray(image).view(np.int32)


@pytest.mark.parametrize("code", p.CODES)
def test_a_record_equals_its_reference(code: int) -> None:
    """Bit for bit, or to 5e-3 grey levels; of Poisson counts 1 in 1000 may differ by one."""
    rng = np.random.default_rng(code)
    sizes = [(1, 1), (1, 40), (33, 1), (2, 3)] + [p.random_size(rng) for _ in range(30)]
    far = total = 0
    for size in sizes:
        for channels in (1, 3):
            step = p.random_step(rng, code, size, channels)
            image = p.random_image(rng, size, channels)
            program = p.Program(channels, size, [step])
            made = p.execute(native.run, program, image, TABLES)
            wanted = reference(program, image)
            if code in EXACT:
                np.testing.assert_array_equal(made, wanted, f"{size} {channels}")
            else:
                far += np.count_nonzero(np.abs(made - wanted) > 5e-3 / 255)
                total += made.size
    assert far <= (1e-3 * total if code == p.POISSON else 0)


def test_a_program_is_the_composition_of_its_records() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        program = p.random_program(rng, int(rng.integers(0, 10)))
        image = p.random_image(rng, program.size, program.channels)
        wanted = image
        for step, size in zip(program.steps, program.sizes, strict=False):
            alone = p.Program(program.channels, size, [step])
            wanted = p.execute(native.run, alone, wanted, TABLES)
        np.testing.assert_array_equal(
            bits(p.execute(native.run, program, image, TABLES)), bits(wanted)
        )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_strides_and_a_target_anywhere(channels: int, dtype: type) -> None:
    """Planes, interleaved pixels and views of larger images, in and out."""
    rng = np.random.default_rng(channels)
    height, width = 9, 21
    levels = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    pixels = levels if dtype == np.uint8 else levels / np.float32(255)
    step = p.random_step(rng, p.SEPARABLE, (height, width), channels)
    program = p.Program(channels, (height, width), [step, p.Step(p.CLIP, step.out, [])])
    lowered = program.lower()
    work = np.empty(1 << 20, np.uint8)
    whole = np.float32(1) * levels / np.float32(255)
    first = p.execute(native.run, p.Program(channels, program.size, [step]), whole, TABLES)
    states = [whole, first, first.clip(0, 1)]

    def layouts(dtype: type) -> list[p.Array]:
        """(h, w, C) views of memory of several layouts."""
        return [
            np.zeros((height, width, channels), dtype),
            np.zeros((channels, height, width), dtype).transpose(1, 2, 0),
            np.zeros((channels, height + 3, width + 5), dtype).transpose(1, 2, 0)[2:-1, 1:-4],
            np.zeros((height, width + 2, channels), dtype)[:, 1:-1],
            np.zeros((width, height, channels + 1), dtype).transpose(1, 0, 2)[..., :channels],
        ]

    for image in layouts(dtype):
        image[:] = pixels
        for after in (-1, 0, 1, 2):
            for out, target in zip(layouts(np.float32), layouts(np.float32)[::-1], strict=True):
                job = p.job_of(program, image, out, lowered, TABLES, target, after)
                assert native.run(job, 0, work) == 0
                np.testing.assert_array_equal(out, states[2])
                np.testing.assert_array_equal(target, states[after] if after >= 0 else 0)


def test_too_little_memory_and_unknown_kernels_leave_all_as_it_was() -> None:
    program = p.Program(3, (8, 8), [p.Step(p.CLIP, (8, 8), [])])
    image, out = np.ones((8, 8, 3), np.float32), np.zeros((8, 8, 3), np.float32)
    lowered = program.lower()
    job = p.job_of(program, image, out, lowered, TABLES)
    needed = native.run(job, 0, np.empty(10, np.uint8))
    assert needed >= 2 * image.nbytes
    assert native.run(job, 0, np.empty(needed - 1, np.uint8)) == needed
    for code in (0, 13, -1):
        lowered[0][0, 0] = code
        assert native.run(job, 0, np.empty(needed, np.uint8)) == -1
    assert (out == 0).all()
    lowered[0][0, 0] = p.CLIP
    assert native.run(job, 0, np.empty(needed, np.uint8)) == 0
    assert (out == 1).all()


def test_same_bits_on_every_instruction_set() -> None:
    digests: dict[str, str] = {}
    for path in Path(native.__file__).parent.glob("*.so"):
        if not native._runs(path.stem):
            continue
        library = ctypes.CDLL(str(path))
        total = hashlib.sha256()
        for seed in range(60):
            rng = np.random.default_rng(seed)
            program = p.random_program(rng, 4)
            image = p.random_image(rng, program.size, program.channels)
            total.update(p.execute(p.run_of(library), program, image, TABLES).tobytes())
        digests[path.stem] = total.hexdigest()
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("bits_", range(1, 17))
def test_levels_are_divided_exactly(bits_: int) -> None:
    """C has a product with 1 / m and a correction for k / m."""
    levels = np.float32(2**bits_ - 1)
    wanted = (np.arange(2**bits_, dtype=np.float32) / levels).reshape(1, -1, 1)
    step = p.Step(p.QUANTIZE, (1, 2**bits_), [float(levels)])
    program = p.Program(1, step.out, [step])
    np.testing.assert_array_equal(
        bits(p.execute(native.run, program, wanted, TABLES)), bits(wanted)
    )
    if bits_ == 8:
        image = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
        made = p.execute(native.run, p.Program(1, (1, 256)), image, TABLES)
        np.testing.assert_array_equal(bits(made), bits(wanted))


# --- kernels and matrices ------------------------------------------------------------------------


def cropped(kernel: p.Array) -> p.Array:
    """A kernel as :func:`degrade.kernels.convolve.convolve` uses it."""
    kernel = _without_tails(kernel)
    return _core(kernel, int(_reach(kernel, 1)[0]), int(_reach(kernel, 2)[0]))[0]


def assert_close(made: p.Array, wanted: p.Array, row: p.Array) -> None:
    assert made.shape == wanted.shape, row
    np.testing.assert_array_max_ulp(made, wanted.astype(np.float32), 1)


def test_elliptic_kernels() -> None:
    rng = np.random.default_rng(0)
    count = 300
    size = rng.choice([1, 3, 7, 9, 15, 21, 31, 51], count).astype(float)
    sigma = rng.choice([0, 0.2, 1, 3, 10, 50], (2, count)) * rng.uniform(0.5, 1, (2, count))
    sigma[1, ::3] = sigma[0, ::3]
    angle = rng.uniform(-np.pi, np.pi, count)
    angle[::3] = 0
    beta = np.where(rng.random(count) < 0.5, 1, rng.uniform(0.1, 20, count))
    plateau = (rng.random(count) < 0.4).astype(float)
    for shift in (0, 0.5, -1.5):
        rows = np.stack([size, *sigma, angle, beta, plateau, np.full(count, shift)], 1)
        area = (size**2).astype(np.int64)
        offset, data = np.cumsum(area) - area, np.zeros(area.sum(), np.float32)
        heights, widths = native.psf_elliptic(rows, data.view(np.int32), offset)
        for row, at, h, w in zip(rows, offset, heights, widths, strict=True):
            n, x, y, turn, power, flat, _ = (np.array([value]) for value in row)
            wanted = cropped(psf.elliptic(n, x, y, turn, power, flat > 0, shift))
            assert_close(data[at : at + h * w].reshape(h, w), wanted, row)


def test_sinc_kernels() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.choice([1, 3, 7, 21, 51], 100), rng.uniform(0.01, 1, 100)], 1)
    area = (rows[:, 0] ** 2).astype(np.int64)
    offset, data = np.cumsum(area) - area, np.zeros(area.sum(), np.float32)
    heights, widths = native.psf_sinc(rows, data.view(np.int32), offset)
    for row, at, h, w in zip(rows, offset, heights, widths, strict=True):
        wanted = cropped(psf.sinc(row[:1], row[1:]))
        made = data[at : at + h * w].reshape(h, w)
        assert made.shape == wanted.shape, row
        # Next to a zero of J1 a tap is small, and its last bits are not the same.
        np.testing.assert_allclose(made, wanted, 2e-7, 1e-12)


def test_gaussian_kernels() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, -1.5):
        size = rng.choice([1, 3, 7, 21, 51, 401], 100).astype(float)
        sigma = rng.choice([0, 0.3, 1, 8, 50], 100) * rng.uniform(0.5, 1, 100)
        rows = np.stack([size, sigma, np.full(100, shift)], 1)
        offset = (np.cumsum(size) - size).astype(np.int64)
        data = np.zeros(int(size.sum()), np.float32)
        counts = native.psf_gaussian(rows, data.view(np.int32), offset)
        for row, at, count in zip(rows, offset, counts, strict=True):
            wanted = _without_tails(psf.gaussian(row[:1], row[1:2], shift))
            wanted = _core(wanted, int(_reach(wanted, 1)[0]))[0]
            assert_close(data[at : at + count], wanted, row)


@pytest.mark.parametrize("size", [0, 4, 403, -3])
def test_a_kernel_without_a_centre_is_refused(size: int) -> None:
    rows = np.array([[3, 0.5], [size, 0.5]], np.float64)
    with pytest.raises(ValueError, match=f"psf_sinc: row 1: size {size}; it must be odd"):
        native.psf_sinc(rows, np.zeros(9, np.int32), np.zeros(2, np.int64))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("antialias", [False, True])
def test_matrices(name: str, antialias: bool) -> None:
    code = FILTERS.index(name)
    for n_in in (1, 2, 7, 16, 61, 100):
        for n_out in (1, 3, 7, 15, 16, 61, 200):
            wanted = band(n_in, n_out, name, antialias)
            taps = native.band_taps(n_in, n_out, code, antialias)
            assert wanted.index.shape == (n_out, taps)
            count = n_out * taps
            data = np.zeros(4 * count + 1, np.int32)
            data = data[(-data.ctypes.data // 4) % 2 :]
            native.band(n_in, n_out, code, antialias, data, 0, count)
            weights = data[count : 2 * count].view(np.float32)
            np.testing.assert_array_equal(data[:count], wanted.index.ravel())
            np.testing.assert_allclose(weights, wanted.weight.ravel(), 2e-7, 1e-15)
            native.band(n_in, n_out, code, antialias, data, 2 * count, 0, double=True)
            weights = data[: 2 * count].view(np.float64)
            np.testing.assert_array_equal(data[2 * count : 3 * count], wanted.index.ravel())
            np.testing.assert_allclose(weights, wanted.weight.ravel(), 1e-12, 1e-14)


def test_filters_are_in_the_order_of_the_enumeration() -> None:
    """psf.c names them by position."""
    names = "area coverage nearest bilinear bicubic lanczos catmull_rom hermite mitchell matlab"
    assert " ".join(FILTERS) == names


# --- sanitizers ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_fuzzed_programs_under_sanitizers(tmp_path: Path) -> None:
    """Random programs, with AddressSanitizer between the arrays of an arena, and UBSan."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = Path(native.__file__).parent
    library = tmp_path / "sanitized.so"
    flags = ["-std=gnu11", "-O1", "-fPIC", "-shared", "-ffp-contract=off"]
    flags += targets(platform.machine())[native.available()]  # vectors of what runs here
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", '-DDIGEST=""']
    sources = [str(folder / name) for name in SOURCES]
    built = subprocess.run(
        [compiler, *flags, *sources, "-lm", "-o", str(library)], capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip("a compiler without sanitizers")
    asked = [compiler, "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).exists():
        pytest.skip("no AddressSanitizer that can be preloaded")
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, p.__file__, str(library), "300"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == ["done", "300"]
