"""Resize and decimate: change the size of the image.

``resize`` makes n -> max(1, floor(n_base factor + 1/2)) on each axis with one of the filters of
:mod:`degrade.kernels.resample`. Sizes are integers and the two frames coincide, so HR and LR stay
registered whatever the factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np

from degrade.base import Draw, Operator, Size
from degrade.distributions import Choice, Const, Dist
from degrade.errors import UserError
from degrade.fields import Categorical, Probability, Range
from degrade.kernels.base import Call, Samples
from degrade.kernels.resample import FILTERS, keep_every, resize
from degrade.limits import PATCH, VARIABLE, max_pixels

__all__ = ["Decimate", "Resize"]


class Resize(Operator):
    """Resizes to a drawn factor of the present, the final LR or the HR size.

    The new size is max(1, floor(base factor + 1/2)). Overshoot of ``bicubic``, ``lanczos`` and
    their like stays, as in the torch pipelines, which clip at a later step; so does a recipe, with
    ``clip``.
    """

    name: ClassVar[str] = "resize"

    factor: Annotated[Dist, Range(0.01, 100, worse="low")] = Const(1)
    """What ``of`` is multiplied by."""
    of: Literal["input", "target", "hr"] = "input"
    """The base: the present size, the final LR size, or the HR size."""
    filter: Annotated[Dist, Categorical(FILTERS)] = Choice(("bicubic",), (1.0,))
    """The resampling kernel."""
    antialias: Annotated[Dist, Probability()] = Const(0)
    """Whether the kernel is stretched where the image shrinks (``matlab`` always; area,
    coverage, nearest never).
    """

    def lower(self, draw: Draw, samples: Samples) -> list[Call]:
        bases = {"input": samples.sizes, "target": samples.target, "hr": samples.hr}
        base = bases[self.of]
        sizes = np.maximum(np.floor(base * draw.host("factor")[:, None] + 0.5), 1).astype(np.int64)
        height, width = (int(n) for n in sizes[sizes.prod(1).argmax()])
        if height * width > max_pixels():
            raise UserError(
                f"{draw.address}: would make an image of {width} x {height} pixels, more than the "
                f"limit of {max_pixels():,}; give smaller patches, lower its factor, or set "
                f"{VARIABLE}"
            )
        return resize(samples, sizes, draw.host("filter"), draw.host("antialias"))

    def size_after(self, before: Size, scale: int) -> Size:
        base = {"input": before, "target": 1, "hr": scale}[self.of]
        if base is None or not isinstance(self.factor, Const):
            return None
        times = base * self.factor.value
        return round(times) if round(times) > 0 and abs(times - round(times)) < 1e-9 else None

    def side_after(self, before: int, scale: int) -> int:
        base = {"input": before, "target": PATCH // scale, "hr": PATCH}[self.of]
        return max(math.floor(base * self.factor.support[1] + 0.5), 1)


class Decimate(Operator):
    """Keeps every s-th pixel, down to the final LR size; s = size / LR size must be whole.

    With ``phase: centre`` it keeps pixel floor((s - 1) / 2) of each block of s, the middle one
    where s is odd. Where s is even the middle lies half a pixel further right and down, so the
    blur before must be centred there, as a MATLAB kernel of even size is, for HR and LR to be
    registered. With ``phase: corner`` it keeps pixel 0, and the blur must be centred (s - 1) / 2
    further right and down.

    Source: ``centre`` is RCAN's Prepare_TestData_HR_LR.m (x3: the middle pixel; even scales:
    s/2:s:end, counted from 1, after a kernel of even size; https://github.com/yulunzhang/RCAN),
    ``corner`` is KAIR's ``[0::sf]`` after a shifted kernel (utils_blindsr.py,
    https://github.com/cszn/KAIR).
    """

    name: ClassVar[str] = "decimate"

    phase: Annotated[Dist, Categorical(("centre", "corner"))] = Choice(("centre",), (1.0,))
    """Which pixel of a block is kept."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        centred = np.array([name == "centre" for name in draw.names("phase")])[:, None]
        steps = samples.sizes // samples.target
        yield keep_every(samples, samples.target, np.where(centred, (steps - 1) // 2, 0))

    def side_after(self, before: int, scale: int) -> int:
        return PATCH // scale

    def size_after(self, before: Size, scale: int) -> Size:
        if before is None:
            raise ValueError(
                "the size here may not be a whole multiple of the final LR size;"
                " use  resize: {of: target}"
            )
        return 1
