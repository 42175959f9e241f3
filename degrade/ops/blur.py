"""Blur: correlation with the elliptic kernels and the sinc of the blind super-resolution
pipelines.

Lengths are in pixels, angles in radians. The border is mirrored, the edge pixel not repeated. A
kernel's size is odd; taps outside it are cut off and the rest is scaled to sum to 1.

References:
    | Real-ESRGAN (Wang et al., 2021), ``realesrgan/data/realesrgan_dataset.py`` | https://github.com/xinntao/Real-ESRGAN
    | BSRGAN (Zhang et al., 2021), ``utils/utils_blindsr.py`` | https://github.com/cszn/KAIR
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from degrade.base import Draw, Operator
from degrade.distributions import Choice, Const, Dist
from degrade.fields import Categorical, Range
from degrade.kernels import taps
from degrade.kernels.base import Call, Data, Samples
from degrade.kernels.convolve import Border, Taps, correlate, correlate_separable

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

    def idle(self, drawn: Mapping[str, str]) -> Iterator[str]:
        """The second axis and rotation of isotropic kernels, the shapes of other families."""
        kernel = drawn.get("kernel") or str(self.kernel.dump())
        if not kernel.endswith("aniso"):
            yield from ("sigma_y", "angle")
        for family in ("generalized", "plateau"):
            if not kernel.startswith(family):
                yield f"beta_{family}"

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        separable = draw.host("kernel") == KERNELS.index("iso")
        if separable.any():
            some = samples.take(separable)
            size, sigma = draw.host("size")[separable], draw.host("sigma")[separable]
            row = taps.gaussian(samples.data, size, sigma, self.shift)
            yield correlate_separable(some, row, row, self.border)
        if not separable.all():
            kernels = self._kernels(draw, ~separable, samples.data)
            yield correlate(samples.take(~separable), kernels, self.border)

    def _kernels(self, draw: Draw, which: NDArray[np.bool_], data: Data) -> Taps:
        family, anisotropic = np.divmod(draw.host("kernel")[which].astype(np.int64), 2)
        generalized, plateau = (
            draw.host(name)[which] for name in ("beta_generalized", "beta_plateau")
        )
        sigma = draw.host("sigma")[which]
        return taps.elliptic(
            data,
            draw.host("size")[which],
            sigma,
            np.where(anisotropic, draw.host("sigma_y")[which], sigma),
            draw.host("angle")[which] * anisotropic,
            np.where(family == 1, generalized, np.where(family == 2, plateau, 1)),
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

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        yield correlate(samples, taps.sinc(samples.data, draw.host("size"), draw.host("cutoff")))
