"""Blur: correlation with the elliptic kernels and the sinc of the blind super-resolution
pipelines.

Lengths are in pixels, angles in radians. The border is mirrored, the edge pixel not repeated. The
one constraint: a kernel's size is odd, and what its width would put outside is cut off, the rest
scaled to sum to 1.

References:
    | Real-ESRGAN (Wang et al., 2021), ``realesrgan/data/realesrgan_dataset.py`` | https://github.com/xinntao/Real-ESRGAN
    | BSRGAN (Zhang et al., 2021), ``utils/utils_blindsr.py`` | https://github.com/cszn/KAIR
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.distributions import Choice, Const, Dist
from degrade.fields import Categorical, Range
from degrade.kernels import psf
from degrade.kernels.convolve import Border, convolve, convolve_separable

__all__ = ["KERNELS", "Blur", "Sinc"]

# Three families, each isotropic and then not.
KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


class Blur(Operator):
    """Blurs with a kernel of the elliptic family: Gaussian, generalised Gaussian or plateau,
    isotropic or not.

    With q = c^T Sigma^-1 c, the profile is exp(-q / 2), exp(-q^beta / 2) or 1 / (1 + q^beta); see
    :func:`degrade.kernels.psf.elliptic`. Isotropic kernels use ``sigma`` alone. Width 0 or size 1
    is the identity.
    """

    name: ClassVar[str] = "blur"

    kernel: Annotated[Dist, Categorical(KERNELS)] = Choice(("iso",), (1.0,))
    """The profile, and whether it is isotropic."""
    size: Annotated[Dist, Range(1, 201, unit="px", odd=True)] = Const(21)
    """Width of the kernel's square."""
    sigma: Annotated[Dist, Range(0, 50, unit="px", worse="high")] = Const(1)
    """Standard deviation; along the first axis if the kernel is anisotropic."""
    sigma_y: Annotated[Dist, Range(0, 50, unit="px", worse="high")] = Const(1)
    """Standard deviation along the second axis. Left out, it is distributed as ``sigma``, and
    drawn on its own.
    """
    angle: Annotated[Dist, Range(-math.pi, math.pi, unit="rad")] = Const(0)
    """Rotation of anisotropic kernels, from x towards y (downwards)."""
    beta_generalized: Annotated[Dist, Range(0.1, 20)] = Const(1)
    """Shape of the generalised Gaussians; 1 is Gaussian, less is heavy-tailed, more is flat."""
    beta_plateau: Annotated[Dist, Range(0.1, 20)] = Const(1)
    """Shape of the plateaus; more is flatter."""
    shift: Annotated[float, Field(ge=-10, le=10)] = 0
    """Offset of the kernel's centre on both axes, in pixels to the right and below. Before a
    decimation that keeps pixel 0 of every s, (s - 1) / 2 keeps HR and LR registered."""
    border: Border = "reflect"
    """What lies outside an image: its mirror image, or its last pixel repeated."""

    @property
    def anisotropic(self) -> bool:
        """Whether a kernel with a second axis may be drawn."""
        return isinstance(self.kernel, Choice) and any(
            "aniso" in str(kernel) for kernel in self.kernel.values
        )

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Left out as a default, a second axis would be read back as distributed like the first.
        return {**handler(self), **({"sigma_y": self.sigma_y.dump()} if self.anisotropic else {})}

    @model_validator(mode="after")
    def _second_axis(self) -> Blur:
        if "sigma_y" not in self.model_fields_set and self.anisotropic:
            # The model is frozen to its users; this is still its construction.
            object.__setattr__(self, "sigma_y", self.sigma)
        return self

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        separable = draw.host("kernel") == KERNELS.index("iso")
        if separable.all():
            taps = psf.gaussian(draw.host("size"), draw.host("sigma"), self.shift)
            return convolve_separable(canvas, taps, taps, self.border)
        if not separable.any():
            return convolve(canvas, self.kernels(draw), self.border)
        rows, others = np.flatnonzero(separable), np.flatnonzero(~separable)
        taps = psf.gaussian(draw.host("size")[rows], draw.host("sigma")[rows], self.shift)
        blurred = canvas.put(rows, convolve_separable(canvas.take(rows), taps, taps, self.border))
        return blurred.put(
            others, convolve(canvas.take(others), self.kernels(draw)[others], self.border)
        )

    def kernels(self, draw: Draw) -> psf.Real:
        """The drawn kernels, (B, K, K)."""
        family, anisotropic = np.divmod(draw.host("kernel").astype(np.int64), 2)
        sigma = draw.host("sigma")
        beta = np.where(
            family == 1,
            draw.host("beta_generalized"),
            np.where(family == 2, draw.host("beta_plateau"), 1),
        )
        return psf.elliptic(
            draw.host("size"),
            sigma,
            np.where(anisotropic, draw.host("sigma_y"), sigma),
            draw.host("angle") * anisotropic,
            beta,
            family == 2,
            self.shift,
        )


class Sinc(Operator):
    """Rings and overshoots, as sharpening and sloppy resampling do: a truncated circular low-pass
    filter.

    k(r) = w J1(w r) / (2 pi r) with w = pi cutoff, scaled to sum to 1. Values may leave [0, 1].
    Size 1 is the identity; a cut-off of 1 is not, since the pass band is a circle and the corners
    of the spectrum lie outside.
    """

    name: ClassVar[str] = "sinc"

    size: Annotated[Dist, Range(1, 201, unit="px", odd=True)] = Const(21)
    """Width of the kernel's square."""
    cutoff: Annotated[Dist, Range(0.01, 1, unit="of Nyquist", worse="low")] = Const(1)
    """Cut-off frequency as a fraction of the Nyquist frequency (1 is pi radians a pixel)."""

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        return convolve(canvas, psf.sinc(draw.host("size"), draw.host("cutoff")))
