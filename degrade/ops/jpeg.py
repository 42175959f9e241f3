"""JPEG compression, as libjpeg does it: blocking, ringing and colour bleeding.

Real encoders take integer qualities, so a drawn quality is rounded to the nearest integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np

from degrade.base import Draw, Operator
from degrade.distributions import Choice, Const, Dist
from degrade.fields import Categorical, Range
from degrade.kernels.base import Call, Samples
from degrade.kernels.jpeg import CHROMA, compress

__all__ = ["Jpeg"]


class Jpeg(Operator):
    """JPEG encoding and decoding, bit for bit libjpeg-turbo's; see
    :func:`degrade.kernels.jpeg.jpeg`.

    Args:
        quality: In [1, 100]. ``[30, 95]`` draws a real number, as Real-ESRGAN does, which is
            rounded to the nearest whole number: the two ends come half as often as the rest. For
            equal shares write ``{integers: [30, 95]}``.
        chroma: Subsampling of the two colour planes; 4:2:0 halves them in both directions, 4:2:2
            in width, 4:4:4 not at all. Without effect on grey images.
        straight_through: Whether gradients pass, the roundings replaced by the identity; the
            pixels stay the same. If not, gradients stop here.
    """

    name = "jpeg"
    differentiable: ClassVar[bool] = False
    quality: Annotated[Dist, Range(1, 100, worse="low")] = Const(75)
    chroma: Annotated[Dist, Categorical(tuple(CHROMA))] = Choice(("4:2:0",), (1.0,))
    straight_through: bool = False

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        quality = np.rint(draw.host("quality"))
        yield compress(samples, quality, draw.host("chroma"), self.straight_through)
