"""Lowering in C: a recipe as the words that ``kernels/native/lower.c`` walks, and what it makes of
a plan.

A recipe's nodes lower themselves in Python (:meth:`degrade.nodes.Node.lower`): that is the
definition, and it serves every operator, also those of plug-ins. A recipe of degrade's own
operators alone is also written down as *code* (:meth:`degrade.nodes.Node.encode`), of which one C
call makes the records of a whole batch, a hundred times faster.
"""

# NumPy: the types of structured arrays are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.base import Operator, constants
from degrade.canvas import Sizes
from degrade.kernels import native
from degrade.kernels.base import WORDS, Data, address
from degrade.kernels.convolve import BORDERS
from degrade.kernels.noise import NORMAL, POISSON, add_steps, channel_mixing, keys_of
from degrade.kernels.resample import FILTERS
from degrade.limits import max_pixels
from degrade.plan import Plan
from degrade.program import Lines
from degrade.rng import address_hash

__all__ = ["KNOWN", "Code", "lower"]

_GUARD, _SHUFFLE, _STEP, _TARGET = range(4)
_BODIES = 20
"""The most steps that are shuffled together: 20! fits 64 bits."""


@dataclass(frozen=True)
class _Known:
    """An operator that ``lower.c`` knows.

    Args:
        code: Its number there.
        fields: Its random fields, in the order that C reads them.
        settings: The rest of what it needs.
    """

    code: int
    fields: tuple[str, ...] = ()
    settings: Callable[[Any], tuple[float, ...]] = lambda _: ()


_BASES = ("input", "target", "hr")
_BLUR = ("kernel", "size", "sigma", "sigma_y", "angle", "beta_generalized", "beta_plateau")
KNOWN = {
    "blur": _Known(0, _BLUR, lambda o: (o.shift, BORDERS.index(o.border))),
    "sinc": _Known(1, ("size", "cutoff")),
    "unsharp": _Known(2, ("amount", "sigma", "size", "threshold")),
    "resize": _Known(
        3,
        ("factor", "filter", "antialias"),
        lambda o: (_BASES.index(o.of), FILTERS.index("matlab")),
    ),
    "decimate": _Known(4, ("phase",)),
    "gaussian_noise": _Known(5, ("sigma", "gray", "correlated"), lambda o: (o.multiplies,)),
    "speckle_noise": _Known(5, ("sigma", "gray", "correlated"), lambda o: (o.multiplies,)),
    "poisson_noise": _Known(6, ("scale", "peak", "gray")),
    "salt_pepper": _Known(7, ("amount", "salt", "gray")),
    "jpeg": _Known(8, ("quality", "chroma"), lambda o: (o.straight_through,)),
    "quantize": _Known(9, (), lambda o: (2**o.bits - 1,)),
    "clip": _Known(10),
}
"""Operators by name."""


class Code:
    """A recipe in the making, as words of 64 bits; ``lower.c`` says what they mean.

    Args:
        places: The plan's columns by address.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        self._places = places
        self._words: list[int] = []
        self._steps = 0
        self._known = True

    def __contains__(self, address: str) -> bool:
        """Whether the variable is drawn."""
        return address in self._places

    @contextmanager
    def guard(self, address: str, low: float, high: float = math.inf) -> Generator[None]:
        """What is written within is for samples with a value in [low, high)."""
        bounds = native.word_of(low), native.word_of(high)
        self._words += [_GUARD, self._places[address], *bounds, 0]
        begin = len(self._words)
        yield
        self._words[begin - 1] = len(self._words) - begin

    def shuffle(
        self, address: str, kept: Sequence[bool], bodies: Sequence[Callable[[], None]]
    ) -> None:
        """Bodies in the order whose rank is drawn; those ``kept`` keep their relative order."""
        self._known &= len(bodies) <= _BODIES
        self._words += [_SHUFFLE, self._places[address], len(bodies)]
        heads = len(self._words)
        self._words += [0] * (2 * len(bodies))
        for i, write in enumerate(bodies):
            begin = len(self._words)
            write()
            self._words[heads + 2 * i : heads + 2 * i + 2] = kept[i], len(self._words) - begin

    def step(self, operator: Operator, scope: str, own: bool) -> None:
        """An operator, ``own`` if it comes with degrade."""
        known = KNOWN.get(operator.name) if own else None
        if known is None:
            self._known = False
            return
        values = dict(zip(operator.variables(), constants(operator).tolist(), strict=True))
        settings = known.settings(operator)
        self._words += [_STEP, known.code, _signed(address_hash(scope)), len(known.fields)]
        for name in known.fields:
            place = self._places.get(f"{scope}.{name}", -1)
            self._words += [place, native.word_of(values[name])]
        self._words += [len(settings), *map(native.word_of, settings)]
        self._steps += 1

    def target(self) -> None:
        """What is written so far makes the HR target."""
        self._words.append(_TARGET)

    def finish(self) -> NDArray[np.int64] | None:
        """The words; None if Python has to lower this recipe."""
        return np.array([self._steps, *self._words], np.int64) if self._known else None


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


# --- a batch -------------------------------------------------------------------------------------

_A_SAMPLE = 1 << 13
"""Words of data that a sample is given room for at first."""


def lower(
    code: NDArray[np.int64], plan: Plan, hr: Sizes, scale: int, channels: int
) -> Lines | None:
    """The records of a batch.

    Args:
        code: Of a recipe, :meth:`Code.finish`.
        plan: B rows.
        hr: (B, 2) sizes of the HR images.
        scale: HR size / LR size.
        channels: 1 or 3.

    Returns:
        None where Python has to lower, and says what is wrong.
    """
    batch, steps = len(plan), int(code[0])
    values, keys = np.ascontiguousarray(plan.values), np.ascontiguousarray(plan.key.words)
    words = np.empty((batch * steps, WORDS), np.int32)
    start, before_target = np.empty(batch + 1, np.int64), np.empty(batch, np.int64)
    sizes = np.empty((batch, 2), np.int64)
    data = Data(_A_SAMPLE * batch)
    job = np.array(
        [
            *(address(code) + 8, len(code) - 1, address(values), values.shape[1], address(keys)),
            *(batch, address(hr), scale, channels, max_pixels(), address(words), address(start)),
            *(address(before_target), address(sizes), 0, 0),
        ],
        np.int64,
    )
    used = native.lower(job, data.address, data.capacity)
    if used > data.capacity:
        data = Data(used)
        used = native.lower(job, data.address, data.capacity)
    if used < 0 or (sizes * scale != hr).any():
        return None
    data.used = used
    lines = Lines(words[: start[-1]], start, before_target, data, hr, hr // scale, channels)
    _fill_in(lines)
    return lines


def _fill_in(lines: Lines) -> None:
    """What C leaves to NumPy: how channels of noise mix, and the steps of a Poisson peak."""
    code = lines.words[:, 0]
    records = lines.words.view(NORMAL.dtype)[:, 0]
    mixed = np.flatnonzero((code == NORMAL.code) & (records["mixed"] > 0))
    if len(mixed):
        matrices = channel_mixing(keys_of(records[mixed]).fold("correlated"), lines.channels)
        records["mixing"][mixed, : lines.channels**2] = matrices.reshape(len(mixed), -1)
    poisson = lines.words[code == POISSON.code]
    if len(poisson):
        add_steps(poisson.view(POISSON.dtype)[:, 0], lines.data)
        lines.words[code == POISSON.code] = poisson
