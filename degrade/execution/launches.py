"""The schedule of a batch on a GPU: which kernel is launched for which samples, in what order.

One launch works all samples whose lines of passes (:mod:`degrade.execution.passes`) wait for the
same. All of it is NumPy or C on the host: nothing here needs a GPU or Triton.

What is uploaded, once a batch: the program's data, the tables of JPEG, flags for the levels that
Poisson noise counts, then the passes' records in the order of their launches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from degrade.execution.passes import LEVELS, PASSES, TABLES, TILES, Ints, Passes, passes
from degrade.kernels import native
from degrade.kernels.base import WORDS, address
from degrade.kernels.noise import POISSON
from degrade.program import Lines

__all__ = ["Launch", "Launches", "schedule"]

_ONE_PLANE = ("sample", "rebuild")
"""Passes whose instances work all channels."""
_OUTPUT = PASSES.index("output")
_PATIENCE = 12
"""How many passes a sample may have left beyond others' and still wait for them: as measured."""
_TILES = np.array(list(TILES.values()), np.int32)
_MOST_PASSES = 4
"""Of a record."""


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
    flags = int((lines.words[:, 0] == POISSON.code).sum())
    words = empty(len(data) + TABLES.size + LEVELS * flags + WORDS * (most + 2))
    steps, sizes = np.empty((most, 5), np.int64), np.empty((2, batch, 2), np.int64)
    records, hr = np.ascontiguousarray(lines.words), np.ascontiguousarray(lines.hr)
    call = 0 if lines.call is None else address(lines.call)
    job = np.array(
        [
            *(address(records), address(lines.start), address(lines.before_target), call),
            *(address(hr), batch, lines.channels, target, address(data), len(data)),
            *(address(TABLES), TABLES.size, address(_TILES), address(words), address(steps)),
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
    found = passes(lines, target)
    data = lines.data.words
    steps, taken = _launches(found, len(lines), lines.channels)
    tables = len(data) + len(data) % 2
    end = tables + TABLES.size + found.flags * LEVELS
    begin = -(-end // WORDS) * WORDS
    words = empty(begin + found.records.size)
    words[: len(data)] = data
    words[len(data) : tables] = 0
    words[tables : tables + TABLES.size] = TABLES.ravel()
    words[tables + TABLES.size : begin] = 0
    words[begin:] = found.records[taken].ravel()
    return Launches(steps, words, begin, found.floats, found.sizes, found.targets)


def _launches(found: Passes, batch: int, channels: int) -> tuple[list[Launch], Ints]:
    """The launches, and the passes in their order.

    Launched next is the pass that the sample with most passes left waits for, unless many samples
    will wait for it after the one that they wait for now: then it is better to launch that first.
    LR images are written last. The fewest launches are a shortest common supersequence of the
    samples' lines, which is hard to find; this took 36 for ``realesrgan`` at batch 16, and always
    launching what most samples wait for took 58.
    """
    samples = found.records[:, 1]
    order = np.lexsort((found.places, samples))
    # Behind each sample's line stand two passes that nobody launches.
    lengths = np.bincount(samples, minlength=batch)
    ends = np.cumsum(lengths + 2) - 2
    now = ends - lengths
    at = np.arange(len(order)) + 2 * samples[order]
    line = np.full(len(order) + 2 * batch, len(PASSES))
    line[at] = found.kinds[order]
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
        steps.append(
            Launch(PASSES[chosen], first, len(rows), int(found.tiles[some].max()), planes)
        )
        taken.append(some)
        first += len(rows)
        now[rows] += 1
    return steps, np.concatenate(taken)
