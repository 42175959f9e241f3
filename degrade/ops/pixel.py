"""Pixel-wise operators: rounding to few bits, and clipping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from degrade.base import Draw, Operator
from degrade.kernels.base import Call, Samples
from degrade.kernels.quantize import CLIP, QUANTIZE

__all__ = ["Clip", "Quantize"]


class Quantize(Operator):
    """Rounds to ``bits`` bits, as writing a file does: y = clip(round(255 x), 0, 255) / 255."""

    name = "quantize"
    bits: Annotated[int, Field(ge=1, le=16)] = 8
    """Bits a channel."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        yield QUANTIZE.call(samples, levels=2**self.bits - 1)


class Clip(Operator):
    """Clips to [0, 1]."""

    name = "clip"

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        yield CLIP.call(samples)
