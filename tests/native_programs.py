"""Random programs for ``run`` of ``degrade/kernels/native/run.c``, with NumPy alone.

Run as a script with the path of a library, it fuzzes that library:
``python native_programs.py LIBRARY COUNT``.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = tuple[int, int]
Run = Callable[[Array, int, Array], int]
"""``degrade.kernels.native.run``."""

CORRELATE, SEPARABLE, UNSHARP, RESAMPLE, MATLAB, DECIMATE = 1, 2, 3, 4, 5, 6
NORMAL, POISSON, SALT_PEPPER, JPEG, QUANTIZE, CLIP = 7, 8, 9, 10, 11, 12
CODES = range(CORRELATE, CLIP + 1)
PEAKS = [2**k for k in range(9)]
SIDES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 21, 31, 33, 40, 64, 67]


@dataclass
class Step:
    """One kernel call: its code, the size it leaves, and its arguments in the record's order.

    Arrays stand for their offset in the program's data.
    """

    code: int
    out: Size
    arguments: list[Any]


@dataclass
class Program:
    """Records of one sample, and their data."""

    channels: int
    size: Size
    steps: list[Step] = field(default_factory=list[Step])

    @property
    def sizes(self) -> list[Size]:
        """Before each step, and after the last."""
        return [self.size, *[step.out for step in self.steps]]

    def lower(self) -> tuple[Array, Array]:
        """Records (n, 32) and data words."""
        records = np.zeros((len(self.steps), 32), np.int32)
        words: list[Array] = []
        used = 0
        for record, step, size in zip(records, self.steps, self.sizes, strict=False):
            record[:6] = step.code, 0, *size, *step.out
            at = 6
            for value in step.arguments:
                if isinstance(value, np.ndarray):
                    array = np.ascontiguousarray(value).reshape(-1).view(np.int32)
                    array = np.append(array, np.zeros(len(array) % 2, np.int32))
                    words.append(array)
                    record[at], used = used, used + len(array)
                elif isinstance(value, float):
                    record[at] = np.float32(value).view(np.int32)
                else:
                    record[at] = np.uint32(value % 2**32).view(np.int32)
                at += 1
        return records, np.concatenate([*words, np.zeros(2, np.int32)])


def strides(array: Array) -> list[int]:
    """Of an (h, w, C) view, in elements: channel, row, pixel."""
    row, pixel, channel = (stride // array.itemsize for stride in array.strides)
    return [channel, row, pixel]


def job_of(
    program: Program,
    image: Array,
    out: Array,
    lowered: tuple[Array, Array],
    tables: Array,
    target: Array | None = None,
    target_after: int = -1,
) -> Array:
    """(1, 32): the job of a program on an (h, w, C) image."""
    records, data = lowered
    job = np.zeros((1, 32), np.int64)
    job[0, :4] = records.ctypes.data, len(records), data.ctypes.data, tables.ctypes.data
    job[0, 4:9] = program.channels, *program.size, image.ctypes.data, image.dtype == np.float32
    job[0, 9:13] = *strides(image), target_after
    if target is not None:
        job[0, 13:17] = target.ctypes.data, *strides(target)
    job[0, 17:21] = out.ctypes.data, *strides(out)
    return job


def execute(run: Run, program: Program, image: Array, tables: Array) -> Array:
    """(h, w, C) what a program leaves of an image, with just the memory it asks for."""
    out = np.full((*program.sizes[-1], program.channels), np.nan, np.float32)
    lowered = program.lower()
    job = job_of(program, image, out, lowered, tables)
    needed = run(job, 0, np.empty(0, np.float32))
    assert needed > 0, needed
    assert np.isnan(out).all()
    work = np.full(needed, 0xFF, np.uint8)  # not a number, where it is read before it is written
    assert run(job, 0, work) == 0
    return out


# --- random steps --------------------------------------------------------------------------------


def random_size(rng: np.random.Generator) -> Size:
    return int(rng.choice(SIDES)), int(rng.choice(SIDES))


def random_taps(rng: np.random.Generator, *shape: int) -> Array:
    taps = rng.normal(size=shape) * (rng.random(shape) < 0.7)
    return (taps / max(float(np.abs(taps).sum()), 0.1)).astype(np.float32)


def random_band(rng: np.random.Generator, n_in: int, n_out: int, dtype: Any) -> list[Any]:
    count = int(rng.integers(1, 7))
    index = rng.integers(0, n_in, (n_out, count)).astype(np.int32)
    weight = rng.random((n_out, count))
    return [index, (weight / weight.sum(1, keepdims=True)).astype(dtype), count]


def random_step(rng: np.random.Generator, code: int, size: Size, channels: int) -> Step:
    """A valid call of a kernel."""
    odd = [1, 3, 5, 7, 9, 21]
    words = [int(word) for word in rng.integers(0, 2**32, 2)]
    planes = int(rng.choice([1, channels]))
    if code == CORRELATE:
        taps = random_taps(rng, int(rng.choice(odd)), int(rng.choice(odd)))
        return Step(code, size, [taps, *taps.shape, int(rng.integers(2))])
    if code == SEPARABLE:
        down, across = (random_taps(rng, int(rng.choice([*odd, 51]))) for _ in range(2))
        return Step(code, size, [down, len(down), across, len(across), int(rng.integers(2))])
    if code == UNSHARP:
        taps = np.abs(random_taps(rng, int(rng.choice([*odd, 51]))))
        return Step(code, size, [taps, len(taps), float(rng.random()), float(rng.random() / 10)])
    if code in (RESAMPLE, MATLAB):
        out = random_size(rng)
        dtype = np.float64 if code == MATLAB else np.float32
        bands = [random_band(rng, n, m, dtype) for n, m in zip(size, out, strict=True)]
        return Step(code, out, [*bands[0], *bands[1]])
    if code == DECIMATE:
        steps = [int(rng.integers(1, min(n, 5) + 1)) for n in size]
        first = [int(rng.integers(step)) for step in steps]
        out = tuple((n - f + s - 1) // s for n, s, f in zip(size, steps, first, strict=True))
        return Step(code, (out[0], out[1]), [*first, *steps])
    if code == NORMAL:
        mixed = int(channels == 3 and planes == 3 and rng.random() < 0.5)
        mixing = [float(x) for x in rng.random(9)]
        sigma, times = float(rng.random() / 5), int(rng.integers(2))
        return Step(code, size, [*words, sigma, planes, times, mixed, *mixing])
    if code == POISSON:
        peak = float(rng.choice([0.0, 2.0, 30.0, 4000.0]))
        if not peak:
            return Step(code, size, [*words, peak, float(rng.random() * 3), planes, -1, 0])
        steps = poisson_steps(peak)
        scale = float(rng.random() * 3)
        return Step(code, size, [*words, peak, scale, planes, steps, len(steps)])
    if code == SALT_PEPPER:
        white = float(rng.random() / 3)
        return Step(code, size, [*words, white, 1 - float(rng.random() / 3), planes])
    if code == JPEG:
        spans = [(2, 2), (1, 2), (1, 1)][int(rng.integers(3))]
        return Step(code, size, [int(rng.integers(1, 101)), *spans])
    if code == QUANTIZE:
        return Step(code, size, [float(2 ** int(rng.integers(1, 17)) - 1)])
    return Step(code, size, [])


def poisson_steps(peak: float) -> Array:
    """(dark, 28) distribution functions of the levels of means below 8, roughly."""
    means = np.arange(256) / np.float32(255) * np.float32(peak)
    means = means[means < 8].astype(np.float64)
    terms = [np.exp(-means)]
    for k in range(1, 28):
        terms.append(terms[-1] * means / k)
    return np.ascontiguousarray(np.cumsum(terms, 0).T, np.float32)


def random_image(rng: np.random.Generator, size: Size, channels: int) -> Array:
    """(h, w, C) float32, some of it flat, some a little outside [0, 1]."""
    image = rng.random((*size, channels)) * 1.1 - 0.05
    few = rng.random() < 0.3
    return (np.round(image * 3) / 3 if few else image).astype(np.float32)


def random_program(rng: np.random.Generator, length: int) -> Program:
    program = Program(int(rng.choice([1, 3])), random_size(rng))
    for _ in range(length):
        code = int(rng.choice(CODES))
        step = random_step(rng, code, program.sizes[-1], program.channels)
        program.steps.append(step)
    return program


def run_of(library: ctypes.CDLL) -> Run:
    """``degrade.kernels.native.run`` of a library."""
    library.run.restype = ctypes.c_long
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]

    def run(jobs: Array, i: int, work: Array) -> int:
        return library.run(jobs.ctypes.data + 256 * i, work.ctypes.data, work.nbytes)

    return run


def main(path: str, count: int) -> None:
    """Runs random programs through a library."""
    library = ctypes.CDLL(path)
    run = run_of(library)
    tables = np.concatenate([poisson_steps(peak).ravel() for peak in PEAKS])
    for seed in range(count):
        rng = np.random.default_rng(seed)
        program = random_program(rng, int(rng.integers(0, 9)))
        image = random_image(rng, program.size, program.channels)
        if rng.random() < 0.3:
            image = (np.clip(image, 0, 1) * 255).astype(np.uint8)
        out = execute(run, program, image, tables)
        assert np.isfinite(out).all(), seed
        lowered(library, rng)
        drawn(library, rng)
    helpers(library)
    sys.stdout.write(f"done {count}\n")


FIELDS = {
    0: ((0, 6), (1, 22), (0, 4), (0, 4), (-3, 3), (0.5, 4), (0.5, 4)),
    1: ((1, 22), (0.2, 1)),
    2: ((0, 1), (0, 9), (1, 52), (0, 20)),
    3: ((0.2, 2), (0, 10), (0, 2)),
    4: ((0, 2),),
    5: ((0, 30), (0, 2), (0, 2)),
    6: ((0, 3), (0, 90), (0, 2)),
    7: ((0, 1), (0, 1), (0, 2)),
    8: ((1, 100), (0, 3)),
    9: (),
    10: (),
}
"""By operator of lower.c, the ranges of its fields; beyond them are whole numbers."""
WHOLE = {(0, 0), (3, 1), (3, 2), (4, 0), (5, 1), (5, 2), (6, 2), (7, 2), (8, 1)}
ODD = {(0, 1), (1, 0), (2, 2)}
SETTINGS = {0: 2, 3: 2, 5: 1, 8: 1, 9: 1}


def random_code(rng: np.random.Generator, depth: int = 0) -> list[int]:
    """Words of a recipe for ``lower``, all fields constant but guards and orders: column 0, 1."""
    if depth < 3 and rng.random() < 0.4:
        bodies = [random_code(rng, depth + 1) for _ in range(int(rng.integers(1, 4)))]
        if rng.random() < 0.5:
            heads = [word for body in bodies for word in (int(rng.integers(2)), len(body))]
            return [1, 1, len(bodies), *heads, *(word for body in bodies for word in body)]
        words: list[int] = []
        for body in bodies:
            low, high = np.array([rng.random() / 2, rng.random() / 2 + 0.5]).view(np.int64)
            words += [0, 0, int(low), int(high), len(body), *body]
        return words
    operator = int(rng.choice([o for o in FIELDS if o != 4]))
    values = [rng.uniform(low, high) for low, high in FIELDS[operator]]
    for i, value in enumerate(values):
        if (operator, i) in WHOLE:
            values[i] = float(int(value))
        if (operator, i) in ODD:
            values[i] = float(int(value) // 2 * 2 + 1)
    settings = rng.integers(0, 2, SETTINGS.get(operator, 0)).astype(np.float64)
    pairs = [word for v in values for word in (-1, int(np.float64(v).view(np.int64)))]
    head = [2, operator, int(rng.integers(1 << 62)), len(values), *pairs]
    return [*head, len(settings), *settings.view(np.int64).tolist()]


def lowered(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    """Lowers and schedules a random recipe, in memory that is just large enough."""
    body = [word for _ in range(int(rng.integers(1, 5))) for word in random_code(rng)]
    code = np.array([*random_code(rng), 3, *body], np.int64)
    batch, channels = int(rng.integers(1, 4)), int(rng.choice([1, 3]))
    values = np.stack([rng.random(batch), rng.integers(0, 24, batch)], 1)
    keys = rng.integers(0, 1 << 62, batch).astype(np.uint64)
    hr = rng.integers(1, 30, (batch, 2))
    steps = len(code)  # more than there are
    records = np.zeros((batch * steps, 32), np.int32)
    start, before, sizes = (np.zeros(shape, np.int64) for shape in (batch + 1, batch, (batch, 2)))
    arrays = code, values, keys, hr, records, start, before, sizes
    at = [array.ctypes.data for array in arrays]
    library.lower.restype = library.schedule.restype = ctypes.c_long
    used, data = 1, np.zeros(0, np.int32)
    while used > len(data):
        data = np.zeros(used, np.int32)
        job = [at[0], len(code), at[1], 2, at[2], batch, at[3], 1, channels, 1 << 20, *at[4:]]
        words = np.array([*job, data.ctypes.data, len(data)], np.int64)
        used = library.lower(ctypes.c_void_p(words.ctypes.data))
    if used < 0:
        return
    total = int(start[-1])
    poisson = int((records[:total, 0] == POISSON).sum())
    tables, tiles = np.zeros(6, np.int32), np.full((23, 2), 8, np.int32)
    most = 4 * total + 3 * batch
    uploaded = np.zeros(used + 1 + 6 + 256 * poisson + 32 * (most + 1), np.int32)
    launches, ends = np.zeros((most, 5), np.int64), np.zeros((2, batch, 2), np.int64)
    job = [*at[4:7], 0, at[3], batch, channels, int(rng.integers(2)), data.ctypes.data, used]
    job += [x.ctypes.data for x in (tables,)] + [6, tiles.ctypes.data, uploaded.ctypes.data]
    job += [launches.ctypes.data, ends.ctypes.data, ends[1].ctypes.data, 0, 0, 0]
    count = library.schedule(ctypes.c_void_p(np.array(job, np.int64).ctypes.data))
    assert launches[:count, 2].sum() >= 2 * batch


def random_distribution(rng: np.random.Generator, depth: int = 0) -> list[int]:
    """Words of a distribution for ``plan``."""

    def words(*numbers: float) -> list[int]:
        return np.array(numbers, np.float64).view(np.int64).tolist()

    kind = int(rng.choice(9 if depth < 3 else 4))
    if kind in (4, 5):  # a root, a reciprocal
        return [kind, *random_distribution(rng, depth + 1)]
    edges = [*np.sort(rng.random(int(rng.integers(0, 5)))).tolist(), np.inf]
    if kind == 6:  # a choice
        return [kind, len(edges), *(word for edge in edges for word in words(edge, rng.random()))]
    if kind == 7:  # a mixture
        bodies = [random_distribution(rng, depth + 1) for _ in edges]
        heads = [[*words(edge, 0, 1), len(body)] for edge, body in zip(edges, bodies, strict=True)]
        return [kind, len(edges), *(word for part in (*heads, *bodies) for word in part)]
    if kind == 8:
        return [kind, int(rng.integers(2))]  # given
    return [kind, *words(*rng.random(1 if kind < 2 else 2))]


def drawn(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    """Draws a random plan, in memory that is just large enough."""
    batch, columns, conditions = (int(n) for n in rng.integers((0, 1, 0), (4, 5, 4)))
    code: list[int] = []
    for column in range(columns):
        body = random_distribution(rng)
        when = int(rng.integers(0, min(column, conditions) + 1))
        code += [0, int(rng.integers(1 << 62)), column, when, len(body), *body]
        if column < conditions:
            low, high = np.array([rng.random() / 2, rng.random() / 2 + 0.5]).view(np.int64)
            code += [1, column + 1, int(low), int(high)]
    given, values = rng.random((batch, 2)), np.zeros((batch, columns))
    keys = rng.integers(0, 1 << 62, batch).astype(np.uint64)
    words, met = np.array(code, np.int64), np.zeros(conditions + 1, np.uint8)
    at = [array.ctypes.data for array in (words, keys, given, met, values)]
    job = [at[0], len(words), at[1], batch, at[2], 2, at[3], at[4], columns]
    library.plan(ctypes.c_void_p(np.array(job, np.int64).ctypes.data))
    assert not np.isnan(values[:, 0]).any()


def helpers(library: ctypes.CDLL) -> None:
    """Kernels and matrices of every kind, into memory that is just large enough."""
    pointer = ctypes.c_void_p
    for size in (1, 3, 21, 51, 401):
        rows = np.zeros(2, np.int32)
        offset = np.zeros(1, np.int64)
        for name, *arguments in (
            ("psf_elliptic", size, 3, 1, 0.4, 1, 0, 0),
            ("psf_elliptic", size, 50, 50, 0.4, 0.5, 1, 0.5),
            ("psf_sinc", size, 0.7),
            ("psf_gaussian", size, 0.0, 0.0),
        ):
            given = np.array(arguments, np.float64)
            room = np.zeros(size if name == "psf_gaussian" else size * size, np.float32)
            arrays = [pointer(x.ctypes.data) for x in (given, room, offset, rows, rows[1:])]
            assert getattr(library, name)(ctypes.c_long(1), *arrays) == 0
    library.band.restype = ctypes.c_long
    for n_in, n_out in ((1, 1), (1, 9), (9, 1), (40, 17), (17, 40)):
        for filter in range(10):
            for antialias in (0, 1):
                sizes = (ctypes.c_long(n_in), ctypes.c_long(n_out), filter, antialias)
                taps = library.band(*sizes, None, None, None)
                index = np.zeros(n_out * taps, np.int32)
                weight, double = np.zeros(n_out * taps, np.float32), np.zeros(n_out * taps)
                arrays = [pointer(x.ctypes.data) for x in (index, weight, double)]
                assert library.band(*sizes, *arrays) == taps
                assert 0 <= index.min() <= index.max() < n_in


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
