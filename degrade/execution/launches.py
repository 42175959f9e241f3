"""The schedule of a batch on a GPU: which kernel is launched for which samples, in what order.

Every record of a program becomes one to four *passes*, each a kernel in Triton with a record of
its own; images come in and go out by passes too. A sample's passes stand in a line, and one launch
works all samples that wait for the same. All of it is NumPy on the host: nothing here needs a GPU
or Triton.

A sample has two slots in the buffer of pixels, each as large as the largest image that the sample
ever is, and a third of the size of what is unsharp masked. Passes that cannot work in place go
from one slot to the other and, where they come in pairs, back: only ``correlate`` and ``decimate``
leave the image in the other slot, and where an image is when is known here.

What is uploaded, once a batch: the program's data, the tables of JPEG, flags for the levels that
Poisson noise counts, then the passes' records in the order of their launches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from degrade.kernels import native
from degrade.kernels.base import WORDS, address
from degrade.kernels.jpeg import DCT, quantization_table
from degrade.program import Lines

__all__ = ["PASSES", "TILES", "UNIT", "WARPS", "Launch", "Launches", "schedule"]

Ints = NDArray[Any]
"""int32 or int64."""

TILES = {
    "load": (8, 128),
    "target": (8, 128),
    "output": (8, 128),
    "python": (8, 128),
    "correlate": (4, 64),
    "down": (4, 64),
    "across": (4, 32),
    "residual": (4, 32),
    "mask": (8, 32),
    "blend": (4, 32),
    "resample_down": (8, 128),
    "resample_across": (8, 128),
    "matlab_down": (8, 64),
    "matlab_across": (8, 64),
    "decimate": (8, 64),
    "normal": (8, 64),
    "find_levels": (8, 64),
    "poisson": (8, 64),
    "salt_pepper": (8, 64),
    "sample": (4, 64),
    "code": (1, 4),
    "rebuild": (8, 64),
    "convert": (8, 128),
}
"""Rows and columns of the tile that an instance works; of ``code``, in blocks of 8 x 8. ``python``
is not launched: the host does the work of :class:`degrade.kernels.base.PythonCall`."""
WARPS = {
    **dict.fromkeys(("correlate", "down", "across", "residual", "blend", "resample_down"), 2),
    **dict.fromkeys(("mask", "code"), 1),
}
"""Warps of an instance, where not 4. Tiles and warps are the fastest of those tried on an H100."""
PASSES = tuple(TILES)
_ONE_PLANE = ("sample", "rebuild")
"""Passes whose instances work all channels."""

UNIT = 64
"""Floats of a unit of slots' addresses."""
_SOURCE, _OUT, _SIDE, _EXTRA = 24, 25, 26, 27
_PYTHON, _CORRELATE, _SEPARABLE, _UNSHARP, _RESAMPLE, _MATLAB, _DECIMATE = range(7)
_NORMAL, _POISSON, _SALT_PEPPER, _JPEG, _QUANTIZE, _CLIP = range(7, 13)
_LEVELS = 256
_OUTPUT = PASSES.index("output")
_PATIENCE = 12
"""How many passes a sample may have left beyond others' and still wait for them: as measured."""
_STRIDE = 8
"""Places that a record has for its passes in a sample's line: one before them, and up to seven."""
_TILES = np.array(list(TILES.values()), np.int32)
_MOST_PASSES = 4
"""Of a record."""
_TABLES = np.concatenate(
    [DCT, *(quantization_table(50, chroma) for chroma in (False, True))]
).astype(np.int32)


class Launch(NamedTuple):
    """One launch of a kernel.

    Args:
        name: Its pass.
        first: The place of its first record among all.
        samples: How many records it works.
        tiles: Tiles of the largest image.
        planes: 1, or one for each channel.
    """

    name: str
    first: int
    samples: int
    tiles: int
    planes: int


@dataclass(frozen=True, eq=False)
class Launches:
    """A batch's schedule.

    Args:
        steps: The launches in order.
        words: (n,) int32, what is uploaded; records start at word ``records``.
        records: A multiple of 32.
        floats: Length of the buffer of pixels.
        sizes: (B, 2) sizes of the LR images.
        targets: (B, 2) sizes of the targets.
    """

    steps: list[Launch]
    words: NDArray[np.int32]
    records: int
    floats: int
    sizes: Ints
    targets: Ints

    def record(self, i: int) -> NDArray[np.int32]:
        """Record ``i`` of the launches."""
        return self.words[self.records + WORDS * i :][:WORDS]

    @property
    def bytes(self) -> int:
        """How much is uploaded."""
        return self.words.nbytes


class _Line:
    """Collects passes."""

    def __init__(self) -> None:
        self.words: list[Ints] = []
        self.kinds: list[Ints] = []
        self.places: list[Ints] = []
        self.tiles: list[Ints] = []

    def add(
        self,
        name: str,
        records: Ints,
        place: Ints | int,
        height: Ints,
        width: Ints,
        **words: Any,
    ) -> None:
        """Add a pass for some records, over images of a height and a width.

        Args:
            name: The pass.
            records: (n, 32) copied.
            place: (n,) place in the sample's line.
            height: (n,) of what the pass works, in the units of its tiles.
            width: (n,)
            words: Values of words 24 and on, by ``w24``.
        """
        if not len(records):
            return
        own = records.copy()
        for word, values in words.items():
            own[:, int(word[1:])] = values
        rows, columns = TILES[name]
        self.words.append(own)
        self.kinds.append(np.full(len(own), PASSES.index(name)))
        self.places.append(np.broadcast_to(place, len(own)))
        self.tiles.append(-(-height // rows) * -(-width // columns))


Empty = Callable[[int], NDArray[np.int32]]


def schedule(
    lines: Lines,
    target: bool = True,
    empty: Empty = lambda count: np.empty(count, np.int32),
) -> Launches:
    """Schedule a batch; in native code where it is built.

    Args:
        lines: What to do.
        target: Whether targets are written.
        empty: Makes the memory of what is uploaded.
    """
    found = schedule_in_c(lines, target, empty) if native.available() else None
    return found or schedule_in_numpy(lines, target, empty)


def schedule_in_c(lines: Lines, target: bool, empty: Empty) -> Launches | None:
    """The same as :func:`schedule_in_numpy`, twenty times faster; None where memory is short."""
    batch, data = len(lines), lines.data.words
    most = _MOST_PASSES * len(lines.words) + 3 * batch
    flags = int((lines.words[:, 0] == _POISSON).sum())
    words = empty(len(data) + _TABLES.size + _LEVELS * flags + WORDS * (most + 2))
    steps, sizes = np.empty((most, 5), np.int64), np.empty((2, batch, 2), np.int64)
    records, hr = np.ascontiguousarray(lines.words), np.ascontiguousarray(lines.hr)
    call = 0 if lines.call is None else address(lines.call)
    job = np.array(
        [
            *(address(records), address(lines.start), address(lines.before_target), call),
            *(address(hr), batch, lines.channels, target, address(data), len(data)),
            *(address(_TABLES), _TABLES.size, address(_TILES), address(words), address(steps)),
            *(address(sizes), address(sizes) + sizes.nbytes // 2, 0, 0, 0),
        ],
        np.int64,
    )
    count = native.schedule(job)
    if count < 0:
        return None
    first, floats, used = job[-3:].tolist()
    made = [Launch(PASSES[kind], *rest) for kind, *rest in steps[:count].tolist()]
    return Launches(made, words[:used], first, floats, *sizes)


def schedule_in_numpy(lines: Lines, target: bool, empty: Empty) -> Launches:
    """The definition of a schedule."""
    records, sizes, channels, data = lines.words, lines.hr, lines.channels, lines.data.words
    number = np.zeros(len(records), np.int64) if lines.call is None else lines.call
    sample = records[:, 1]
    count, target_after = np.diff(lines.start), lines.before_target
    start = np.cumsum(count) - count
    step = np.arange(len(records)) - start[sample]
    slots, floats = _slots(records, step, sizes, channels)
    line = _Line()
    # What quantises or clips at the very end does so on the way out.
    rounds = (records[:, 0] == _QUANTIZE) | (records[:, 0] == _CLIP)
    last = (step == count[sample] - 1) & rounds
    last &= (not target) | (target_after[sample] != count[sample])
    levels = np.full(len(sizes), -1, np.float32)
    levels[sample[last]] = _levels(records[last])
    wanted = np.full(len(sizes), target)
    finals = _images(line, records, slots, sizes, count, start, target_after, wanted, levels)
    rest = ~last
    found = slots[:, : len(records)][:, rest]
    flags = _passes(line, records[rest], step[rest], number[rest], found, len(data), channels)
    return _ordered(line, data, flags, channels, floats, *finals, empty)


def _levels(records: NDArray[np.int32]) -> NDArray[np.float32]:
    """The levels that ``quantize`` leaves; 0 for ``clip``."""
    levels = np.ascontiguousarray(records[:, 6]).view(np.float32)
    return np.where(records[:, 0] == _QUANTIZE, levels, 0).astype(np.float32)


def _slots(records: NDArray[np.int32], step: Ints, sizes: Ints, channels: int) -> tuple[Ints, int]:
    """Where each record finds its image, the other slot and the third, then the two slots of each
    sample as it comes: (3, N + B), and the length of the buffer in floats.
    """
    wide = records.astype(np.int64)
    code, sample, height, width, tall, across = wide.T[:6]
    need: Ints = np.maximum(height * width, tall * across)
    banded = (code == _RESAMPLE) | (code == _MATLAB)
    need = channels * np.where(banded, np.maximum(need, tall * width), need)
    padded = (height + 15) // 16 * (width + 15) // 16 * 16 * 16
    need = np.where(code == _JPEG, np.maximum(need, channels * padded // 4), need)
    own = channels * sizes.prod(1)
    np.maximum.at(own, sample, need)
    own = -(-own // UNIT)
    third = np.zeros_like(own)
    masked = code == _UNSHARP
    np.maximum.at(third, sample[masked], -(-need[masked] // UNIT))
    both = 2 * own + third
    base = np.cumsum(both) - both
    moves = ((code == _CORRELATE) | (code == _DECIMATE)).astype(np.int64)
    before = np.cumsum(moves) - moves
    if len(records):
        before -= before[np.arange(len(records)) - step]
    odd = before % 2
    here, there = base[sample] + odd * own[sample], base[sample] + (1 - odd) * own[sample]
    found = np.stack([here, there, base[sample] + 2 * own[sample]])
    return np.concatenate([found, np.stack([base, base + own, base])], 1), int(both.sum()) * UNIT


def _images(
    line: _Line,
    records: NDArray[np.int32],
    slots: Ints,
    sizes: Ints,
    count: Ints,
    start: Ints,
    target_after: Ints,
    wanted: Ints,
    levels: NDArray[np.float32],
) -> tuple[Ints, Ints]:
    """The passes that read HR images and write targets and LR images; sizes of LR and targets."""
    batch = len(sizes)
    first = slots[0, len(records) :]
    moving = np.isin(records[:, 0], (_CORRELATE, _DECIMATE))
    after = np.where(moving, slots[1, : len(records)], slots[0, : len(records)])

    def state(taken: Ints) -> tuple[Ints, Ints]:
        """Size and slot after ``taken`` records."""
        size, slot = sizes.copy(), first.copy()
        some = taken > 0
        at = (start + taken - 1)[some]
        size[some], slot[some] = records[at, 4:6], after[at]
        return size, slot

    def blank(size: Ints) -> NDArray[np.int32]:
        own = np.zeros((batch, WORDS), np.int32)
        own[:, 1] = np.arange(batch)
        own[:, 2:4] = size
        return own

    line.add("load", blank(sizes), -1, *sizes.T, w25=first)
    target, slot = state(target_after)
    plain = np.full(batch, -1, np.float32).view(np.int32)
    line.add(
        "target",
        blank(target)[wanted],
        _STRIDE * target_after[wanted],
        *target[wanted].T,
        w24=slot[wanted],
        w27=plain[wanted],
    )
    size, slot = state(count)
    place = _STRIDE * count + 1
    line.add("output", blank(size), place, *size.T, w24=slot, w27=levels.view(np.int32))
    return size, target


def _passes(
    line: _Line,
    records: NDArray[np.int32],
    step: Ints,
    number: Ints,
    slots: Ints,
    end: int,
    channels: int,
) -> int:
    """The passes of records, whose tables will lie from word ``end`` on; how many images have
    their levels counted.
    """
    place = _STRIDE * step + 1
    here, there, third = slots
    end += end % 2
    code = records[:, 0]

    def some(which: Ints) -> tuple[NDArray[np.int32], Ints, Ints, Ints, Ints]:
        return records[which], place[which], here[which], there[which], third[which]

    def kind(border: Ints, *axes: tuple[Ints, Ints]) -> Ints:
        """How a border is met: see :func:`degrade.kernels.triton.convolve.border`."""
        often = np.any([count // 2 >= side for count, side in axes], axis=0)
        return np.where(border == 1, 1, np.where(often, 2, 0))

    python = (code == _PYTHON) | (code > _CLIP)  # of plug-ins: their references run
    r, at, x, *_ = some(python)
    line.add("python", r, at, r[:, 2], r[:, 3], w24=x, w27=number[python])

    r, at, x, y, _ = some(code == _CORRELATE)
    height, width = r[:, 2], r[:, 3]
    border = kind(r[:, 9], (r[:, 7], height), (r[:, 8], width))
    line.add("correlate", r, at, height, width, w24=x, w25=y, w27=border)

    r, at, x, y, _ = some(code == _SEPARABLE)
    height, width = r[:, 2], r[:, 3]
    border = kind(r[:, 10], (r[:, 7], height))
    line.add("down", r, at, height, width, w24=x, w25=y, w27=border, w28=r[:, 6], w29=r[:, 7])
    border = kind(r[:, 10], (r[:, 9], width))
    at = at + 1
    line.add("across", r, at, height, width, w24=y, w25=x, w27=border, w28=r[:, 8], w29=r[:, 9])

    r, at, x, y, z = some(code == _UNSHARP)
    height, width = r[:, 2], r[:, 3]
    mirrored = np.zeros_like(height)
    words: dict[str, Any] = {"w28": r[:, 6], "w29": r[:, 7]}
    borders = [kind(mirrored, (r[:, 7], side)) for side in (height, width)]
    line.add("down", r, at, height, width, w24=x, w25=y, w27=borders[0], **words)
    line.add("residual", r, at + 1, height, width, w24=y, w25=z, w26=x, w27=borders[1], **words)
    line.add("mask", r, at + 2, height, width, w24=z, w25=y, w27=borders[0], **words)
    line.add("blend", r, at + 3, height, width, w24=y, w25=x, w26=z, w27=borders[1], **words)

    for name, own in (("resample", _RESAMPLE), ("matlab", _MATLAB)):
        r, at, x, y, _ = some(code == own)
        line.add(f"{name}_down", r, at, r[:, 4], r[:, 3], w24=x, w25=y)
        line.add(f"{name}_across", r, at + 1, r[:, 4], r[:, 5], w24=y, w25=x)

    r, at, x, y, _ = some(code == _DECIMATE)
    line.add("decimate", r, at, r[:, 4], r[:, 5], w24=x, w25=y)

    r, at, x, *_ = some(code == _NORMAL)
    line.add("normal", r, at, r[:, 2], r[:, 3], w24=x)

    by_content = (code == _POISSON) & (records[:, 8] & 0x7FFFFFFF == 0)
    earlier = np.maximum(np.cumsum(by_content) - 1, 0)
    flags = end + _TABLES.size + _LEVELS * earlier
    r, at, x, *_ = some(by_content)
    line.add("find_levels", r, at, r[:, 2], r[:, 3], w24=x, w27=flags[by_content])
    r, at, x, *_ = some(code == _POISSON)
    line.add("poisson", r, at + 1, r[:, 2], r[:, 3], w24=x, w27=flags[code == _POISSON])

    r, at, x, *_ = some(code == _SALT_PEPPER)
    line.add("salt_pepper", r, at, r[:, 2], r[:, 3], w24=x)

    r, at, x, y, _ = some(code == _JPEG)
    r = r.copy()
    if channels == 1:
        r[:, 7:9] = 1
    height, width = (-(-r[:, side] // (8 * r[:, span])) for side, span in ((2, 7), (3, 8)))
    line.add("sample", r, at, 8 * height, 8 * width, w24=x, w25=y)
    tall, wide = height * r[:, 7], width * r[:, 8]
    line.add("code", r, at + 1, tall, wide, w24=y, w27=end)
    line.add("rebuild", r, at + 2, r[:, 2], r[:, 3], w24=y, w25=x)

    r, at, x, *_ = some((code == _QUANTIZE) | (code == _CLIP))
    line.add("convert", r, at, r[:, 2], r[:, 3], w24=x, w27=_levels(r).view(np.int32))
    return int(by_content.sum())


def _ordered(
    line: _Line,
    data: NDArray[np.int32],
    flags: int,
    channels: int,
    floats: int,
    sizes: Ints,
    targets: Ints,
    empty: Callable[[int], NDArray[np.int32]],
) -> Launches:
    """The passes of all samples in the order of their launches, in the memory to upload."""
    records, kinds, places, tiles = (
        np.concatenate(parts) for parts in (line.words, line.kinds, line.places, line.tiles)
    )
    steps, taken = _launches(kinds, records[:, 1], places, tiles, len(sizes), channels)
    tables = len(data) + len(data) % 2
    end = tables + _TABLES.size + flags * _LEVELS
    begin = -(-end // WORDS) * WORDS
    words = empty(begin + records.size)
    words[: len(data)] = data
    words[len(data) : tables] = 0
    words[tables : tables + _TABLES.size] = _TABLES.ravel()
    words[tables + _TABLES.size : begin] = 0
    words[begin:] = records[taken].ravel()
    return Launches(steps, words, begin, floats, sizes, targets)


def _launches(
    kinds: Ints, samples: Ints, places: Ints, tiles: Ints, batch: int, channels: int
) -> tuple[list[Launch], Ints]:
    """The launches, and the passes in their order.

    Launched next is the pass that the sample with most passes left waits for, unless many samples
    will wait for it after the one that they wait for now: then it is better to launch that first.
    LR images are written last. The fewest launches are a shortest common supersequence of the
    samples' lines, which is hard to find; this took 36 for ``realesrgan`` at batch 16, and always
    launching what most samples wait for took 58.
    """
    order = np.lexsort((places, samples))
    # Behind each sample's line stand two passes that nobody launches.
    lengths = np.bincount(samples, minlength=batch)
    ends = np.cumsum(lengths + 2) - 2
    now = ends - lengths
    at = np.arange(len(order)) + 2 * samples[order]
    line = np.full(len(order) + 2 * batch, len(PASSES))
    line[at] = kinds[order]
    place = np.zeros(len(line), np.int64)
    place[at] = order
    steps: list[Launch] = []
    taken: list[Ints] = []
    first = 0
    while True:
        kind = line[now]
        here = np.bincount(kind, minlength=len(PASSES) + 1)[:-1]
        if not here.any():
            break
        following = np.bincount(line[now + 1], minlength=len(PASSES) + 1)[:-1]
        longest = np.zeros(len(PASSES) + 1)
        np.maximum.at(longest, kind, ends - now)
        score = longest[:-1] - _PATIENCE * following / np.maximum(here + following, 1)
        score = np.where(here > 0, score, -np.inf)
        score[_OUTPUT] = min(score[_OUTPUT], -_PATIENCE - 1)
        chosen = int(score.argmax())
        rows = np.flatnonzero(kind == chosen)
        some = place[now[rows]]
        planes = 1 if PASSES[chosen] in _ONE_PLANE else channels
        steps.append(Launch(PASSES[chosen], first, len(rows), int(tiles[some].max()), planes))
        taken.append(some)
        first += len(rows)
        now[rows] += 1
    return steps, np.concatenate(taken)
