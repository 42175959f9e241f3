"""Noise over pixels: Gaussian, Poisson, speckle, salt and pepper.

Every kind is a function of the image and of a hashed field (:mod:`degrade.rng`), hence of (key,
channel, y, x) alone:

.. math:: y = \\mathrm{clip}(x + n(x), 0, 1)

and the clip is part of each operator, as in the reference (Real-ESRGAN clips after each noise,
without rounding).

A grey sample (``gray``) takes *one* plane of noise, channel 0 of its own field,
for all of its channels. The plane is that sample's; in the reference a whole batch shared it.

References:
    | Real-ESRGAN (Wang et al., 2021) | https://arxiv.org/abs/2107.10833
    | Designing a practical degradation model (Zhang et al., 2021) | https://arxiv.org/abs/2103.14006
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from degrade.base import Draw, Operator
from degrade.distributions import Const, Dist
from degrade.fields import Probability, Range
from degrade.kernels.base import Call, Samples
from degrade.kernels.noise import add_normal, add_poisson, add_salt_pepper

__all__ = ["GaussianNoise", "PoissonNoise", "SaltPepper", "SpeckleNoise"]


class _Normal(Operator):
    """The fields that Gaussian and speckle noise share."""

    sigma: Annotated[Dist, Range(0, 255, unit="grey levels", worse="high")] = Const(0)
    """Standard deviation."""
    gray: Annotated[Dist, Probability()] = Const(0)
    """Whether all channels take the same noise."""
    correlated: Annotated[Dist, Probability()] = Const(0)
    """Whether noise that is not grey is mixed over the channels."""

    multiplies: ClassVar[bool]
    """Whether the noise is multiplied by the image."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        gray, correlated = draw.host("gray") > 0, draw.host("correlated") > 0
        sigma = draw.host("sigma") / 255
        yield add_normal(samples, draw.key, sigma, gray, correlated, self.multiplies)


class GaussianNoise(_Normal):
    """Adds normal noise of standard deviation sigma: y = clip(x + n).

    White over the channels; or, with probability ``gray``, the same in all of them; or else, with
    probability ``correlated``, mixed over the channels by
    :func:`degrade.kernels.noise.channel_mixing` (KAIR's 0.4 / 0.4 / 0.2 reads gray 0.4, correlated
    1/3; its correlated noise has sigma 25 whatever the sigma of the rest). Grey images take white
    noise.
    """

    name = "gaussian_noise"
    multiplies = False


class SpeckleNoise(_Normal):
    """Multiplies by normal noise of standard deviation sigma: y = clip(x + x n).

    ``gray`` and ``correlated`` as in :class:`GaussianNoise`.
    """

    name = "speckle_noise"
    multiplies = True


class PoissonNoise(Operator):
    """Shot noise: y = clip(x + scale (K / v - r)), K ~ Poisson(v r), r = x rounded to 8 bits.

    v, the photons at white, is ``peak``; 0 takes the number of grey levels of the image, rounded
    up to a power of two (:func:`degrade.kernels.noise.gray_levels`), as the reference does. The
    variance is scale^2 r / v. With probability ``gray`` the noise is that of the luma, with its
    own v, and the same in all channels. Gradients pass as if the noise were constant.

    References:
        | BasicSR, degradations.generate_poisson_noise_pt | https://github.com/XPixelGroup/BasicSR
    """

    name = "poisson_noise"
    scale: Annotated[Dist, Range(0, 100, worse="high")] = Const(1)
    """What the noise is multiplied by."""
    peak: Annotated[
        Dist, Range(0, 1e6, unit="photons at white (0: the number of grey levels)", worse="low")
    ] = Const(0)
    """How many photons make white: the fewer, the noisier."""
    gray: Annotated[Dist, Probability()] = Const(0)
    """Whether all channels take the noise of the luma."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        scale, peak, gray = draw.host("scale"), draw.host("peak"), draw.host("gray") > 0
        yield add_poisson(samples, draw.key, scale, peak, gray)


class SaltPepper(Operator):
    """Sets a fraction ``amount`` of the pixels to white (a share ``salt`` of them) or to black.

    With probability ``gray`` (1 by default) a pixel is hit in all its channels; else each channel
    is hit by itself.
    """

    name = "salt_pepper"
    amount: Annotated[Dist, Range(0, 1, unit="of all pixels", worse="high")] = Const(0)
    """Share of the pixels that are hit."""
    salt: Annotated[Dist, Range(0, 1, unit="of those")] = Const(0.5)
    """Share of those that become white; the rest become black."""
    gray: Annotated[Dist, Probability()] = Const(1)
    """Whether a pixel is hit in all channels at once."""

    def lower(self, draw: Draw, samples: Samples) -> Iterator[Call]:
        amount, salt, gray = draw.host("amount"), draw.host("salt"), draw.host("gray") > 0
        yield add_salt_pepper(samples, draw.key, amount, salt, gray)
