"""Lens: blurs that a camera makes, by motion and by defocus.

Both are correlations with kernels that sum to 1; lengths are in pixels, angles in degrees. The
border is mirrored, the edge pixel not repeated, so that a flat image stays flat: a black border
would darken its edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from degrade.base import Draw, Operator
from degrade.distributions import Const, Dist
from degrade.fields import Range
from degrade.kernels import psf
from degrade.kernels.base import Call, Samples
from degrade.kernels.convolve import correlate

__all__ = ["Lens", "Motion"]


class Motion(Operator):
    """Motion blur along a straight line.

    The kernel is kornia's ``get_motion_kernel2d`` (bilinear), drawn per sample with its own
    length. Length 1 is the identity.
    """

    name: ClassVar[str] = "motion"

    length: Annotated[Dist, Range(1, 201, unit="px", worse="high", odd=True)] = Const(7)
    """Number of taps along the line."""
    angle: Annotated[Dist, Range(-360, 360, unit="degrees")] = Const(0)
    """Direction of the line, counter-clockwise from the x axis as displayed."""
    direction: Annotated[Dist, Range(-1, 1)] = Const(0)
    """Slope of the weights along the line: 0 is even, 1 and -1 fall to zero at one end or the
    other.
    """

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        kernels = psf.motion(draw.host("length"), draw.host("angle"), draw.host("direction"))
        yield correlate(samples, kernels)


class Lens(Operator):
    """Defocus of an ideal lens: a uniform disk with an edge one pixel wide.

    k(r) = clip(radius + 1/2 - r, 0, 1), scaled to sum to 1. Radius 0 is the identity.
    """

    name: ClassVar[str] = "lens"

    radius: Annotated[Dist, Range(0, 50, unit="px", worse="high")] = Const(2)
    """Radius of the disk."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        yield correlate(samples, psf.disk(draw.host("radius")))
