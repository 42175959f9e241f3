"""The passes of a batch on a GPU: what kernels in Triton do to each sample, before any order.

Every record of a program becomes one to four *passes*, each a kernel in Triton with a record of
its own; images come in and go out by passes too. A sample's passes stand in a line.

A sample has two slots in the buffer of pixels, each as large as the largest image that the sample
ever is, and a third of the size of what is unsharp masked. Passes that cannot work in place go
from one slot to the other and, where they come in pairs, back: only ``correlate`` and ``decimate``
leave the image in the other slot, and where an image is when is known here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from degrade.kernels.base import WORDS
from degrade.kernels.jpeg import DCT, quantization_table
from degrade.program import Lines

__all__ = ["LEVELS", "PASSES", "TABLES", "TILES", "UNIT", "WARPS", "Ints", "Passes", "passes"]

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
UNIT = 64
"""Floats of a unit of slots' addresses."""
_SOURCE, _OUT, _SIDE, _EXTRA = 24, 25, 26, 27
_PYTHON, _CORRELATE, _SEPARABLE, _UNSHARP, _RESAMPLE, _MATLAB, _DECIMATE = range(7)
_NORMAL, _POISSON, _SALT_PEPPER, _JPEG, _QUANTIZE, _CLIP = range(7, 13)
LEVELS = 256
"""Flags of an image whose levels Poisson noise counts."""
_STRIDE = 8
"""Places that a record has for its passes in a sample's line: one before them, and up to seven."""
TABLES = np.concatenate(
    [DCT, *(quantization_table(50, chroma) for chroma in (False, True))]
).astype(np.int32)
"""Of JPEG, uploaded with every batch."""


class Passes(NamedTuple):
    """The passes of a batch.

    Args:
        records: (n, 32)
        kinds: (n,) positions in :data:`PASSES`.
        places: (n,) where each stands in its sample's line.
        tiles: (n,) how many tiles it works.
        sizes: (B, 2) sizes of the LR images.
        targets: (B, 2) sizes of the targets.
        flags: Images whose levels are counted.
        floats: Length of the buffer of pixels.
    """

    records: Ints
    kinds: Ints
    places: Ints
    tiles: Ints
    sizes: Ints
    targets: Ints
    flags: int
    floats: int


def passes(lines: Lines, target: bool) -> Passes:
    """The passes of all records; those that write targets if ``target``."""
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
    finals = _of_images(line, records, slots, sizes, count, start, target_after, wanted, levels)
    rest = ~last
    found = slots[:, : len(records)][:, rest]
    flags = _of_records(line, records[rest], step[rest], number[rest], found, len(data), channels)
    records, kinds, places, tiles = (
        np.concatenate(parts) for parts in (line.words, line.kinds, line.places, line.tiles)
    )
    return Passes(records, kinds, places, tiles, *finals, flags, floats)


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


def _of_images(
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


def _of_records(
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
    flags = end + TABLES.size + LEVELS * earlier
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
