"""Point spread functions: the kernels of every blur, a batch at a time, on the host in float64.

A kernel is an array over offsets (y, x) from its centre, its taps summing to 1. Kernels of
different sizes share one array: row ``i`` is zero outside its own ``size[i]``. Gaussians and
plateaus are one elliptic family, profiles of

.. math:: q(c) = (c - s)^T \\Sigma^{-1} (c - s), \\qquad
          \\Sigma = R(\\theta) \\, \\mathrm{diag}(\\sigma_x^2, \\sigma_y^2) \\, R(\\theta)^T,
          \\qquad c = (x, y)

Sizes are odd, so that a kernel has a centre. Kernels are used by correlation: a shift ``s`` of the
kernel makes each pixel a mean around the point ``s`` to its right and below.

References:
    | Real-ESRGAN (Wang et al., 2021), ``basicsr/data/degradations.py`` | https://github.com/XPixelGroup/BasicSR
    | BSRGAN (Zhang et al., 2021), ``utils/utils_blindsr.py`` | https://github.com/cszn/KAIR
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["disk", "elliptic", "gaussian", "motion", "sinc"]

Real = NDArray[np.float64]

# Sigma 0 is replaced by this value, and exponents are clamped, so that exp() cannot overflow.
_NARROWEST = 1e-150
_LARGEST = 700


def gaussian(size: Real, sigma: Real, shift: float = 0) -> Real:
    """One axis of an isotropic Gaussian: exp(-(x - s)^2 / (2 sigma^2)); the kernel is its outer
    square.

    Args:
        size: (B,) odd numbers of taps.
        sigma: (B,) standard deviations in pixels; 0 is the identity.
        shift: Offset of the centre in pixels.

    Returns:
        (B, K), K the largest size.
    """
    x, inside = _axis(size)
    return _normalised(-0.5 * ((x - shift) / _column(sigma, 1)) ** 2, inside)


def elliptic(
    size: Real,
    sigma_x: Real,
    sigma_y: Real,
    angle: Real,
    beta: Real,
    plateau: NDArray[np.bool_],
    shift: float = 0,
) -> Real:
    """The elliptic family: generalised Gaussian exp(-q^beta / 2) or plateau 1 / (1 + q^beta).

    Args:
        size: (B,) odd widths.
        sigma_x: (B,) standard deviations along the first axis, in pixels; 0 is the identity.
        sigma_y: (B,) the same along the second axis.
        angle: (B,) rotation of the first axis from x towards y (downwards) in radians.
        beta: (B,) shape; 1 is the plain Gaussian.
        plateau: (B,) whether the profile is the plateau.
        shift: Offset of the centre in pixels, on both axes.

    Returns:
        (B, K, K), K the largest size.
    """
    y, x, inside = _grid(size)
    y, x = y - shift, x - shift
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = (cos * x + sin * y) / _column(sigma_x, 2), (cos * y - sin * x) / _column(sigma_y, 2)
    # Clamp the squared radius at the centre to 1e-300 before the log; in logarithms neither q^beta
    # nor the profile overflows.
    power = np.exp(
        np.minimum(beta[:, None, None] * np.log(np.maximum(u * u + v * v, 1e-300)), _LARGEST)
    )
    return _normalised(np.where(plateau[:, None, None], -np.log1p(power), -0.5 * power), inside)


def sinc(size: Real, cutoff: Real) -> Real:
    """The circular ideal low-pass, truncated: w J1(w r) / (2 pi r), w = pi cutoff; it rings.

    Args:
        size: (B,) odd widths.
        cutoff: (B,) cut-off frequency as a fraction of Nyquist, in (0, 1].

    Returns:
        (B, K, K), K the largest size.
    """
    from scipy.special import j1

    y, x, inside = _grid(size)
    w = np.pi * cutoff[:, None, None]
    r = np.hypot(y, x)
    centre = r == 0
    r = np.where(centre, 1, r)
    kernel = np.where(centre, w * w / (4 * np.pi), w * j1(w * r) / (2 * np.pi * r)) * inside
    return kernel / kernel.sum((1, 2), keepdims=True)


def disk(radius: Real) -> Real:
    """The uniform disk of a defocused lens: clip(radius + 1/2 - r, 0, 1), an edge one pixel wide.

    Args:
        radius: (B,) radii in pixels; up to 1/2 is the identity.

    Returns:
        (B, K, K), K the width of the largest disk.
    """
    y, x, inside = _grid(2 * np.ceil(radius + 0.5) - 1)
    kernel = np.clip(radius[:, None, None] + 0.5 - np.hypot(y, x), 0, 1) * inside
    return kernel / kernel.sum((1, 2), keepdims=True)


def motion(length: Real, angle: Real, direction: Real) -> Real:
    """A line of ``length`` taps through the centre, rotated with bilinear interpolation.

    Along the line the weight is a ramp, from 1 + direction at its start (left, at angle 0) to 1 -
    direction at its end. Equals kornia's ``get_motion_kernel2d(length, angle, direction,
    mode="bilinear")``, which makes one size at a time.

    Args:
        length: (B,) odd lengths in pixels; 1 is the identity.
        angle: (B,) angles in degrees, counter-clockwise as displayed.
        direction: (B,) from -1 to 1; 0 is a uniform line.

    Returns:
        (B, K, K), K the greatest length.
    """
    y, x, inside = _grid(length)
    radians = np.deg2rad(angle)
    cos, sin = np.cos(radians)[:, None, None], np.sin(radians)[:, None, None]
    along, across = cos * x - sin * y, sin * x + cos * y
    half = (length[:, None, None] - 1) / 2
    slope = direction[:, None, None] / np.maximum(half, 1)
    # Interpolating a ramp gives the ramp; past its last tap it falls to the zero next to it.
    ramp = 1 - slope * np.clip(along, -half, half)
    end = np.clip(1 + half - np.abs(along), 0, 1)
    kernel = ramp * end * np.clip(1 - np.abs(across), 0, 1) * inside
    return kernel / kernel.sum((1, 2), keepdims=True)


def _axis(size: Real) -> tuple[Real, NDArray[np.bool_]]:
    """Offsets (1, K) from the centre of the largest size, and which of them (B, K) lie inside
    each size.
    """
    half = (size[:, None] - 1) / 2
    far = float(half.max())
    x = np.arange(-far, far + 1)[None]
    return x, np.abs(x) <= half


def _grid(size: Real) -> tuple[Real, Real, NDArray[np.bool_]]:
    """Offsets y (1, K, 1) and x (1, 1, K), and which of them (B, K, K) lie inside each size."""
    x, inside = _axis(size)
    return x[:, :, None], x[:, None, :], inside[:, :, None] & inside[:, None, :]


def _column(sigma: Real, axes: int) -> Real:
    return np.maximum(sigma, _NARROWEST).reshape(-1, *[1] * axes)


def _normalised(logarithm: Real, inside: NDArray[np.bool_]) -> Real:
    """Weights that sum to 1, given their logarithms, inside."""
    axes = tuple(range(1, logarithm.ndim))
    logarithm = np.where(inside, logarithm, -np.inf)
    kernel = np.exp(logarithm - logarithm.max(axes, keepdims=True))
    return kernel / kernel.sum(axes, keepdims=True)
