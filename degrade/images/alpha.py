"""Colour beside transparency: fill what does not show, so that filters do not bring it out.

The colour of a transparent pixel is arbitrary: black, white, whatever an editor left. A filter
that sees only colour mixes it into the pixels that show. For a linear filter F, premultiplied
colour is the remedy, F(c a) / F(a); noise, JPEG and networks are not linear. So colour is extended
from where it shows to where it does not, before anything is filtered.

References:
    | The Lumigraph (Gortler et al., 1996), section 3.3: pull-push
      | https://doi.org/10.1145/237170.237200
"""

# cv2: types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from degrade.images.image import Pixels

__all__ = ["fill_transparent"]

Plane = NDArray[np.float32]
STEEPNESS = 16
"""A pixel keeps its colour if it is at least 1 / 16 as opaque as its most opaque neighbour."""


def fill_transparent(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Return (h, w, C) colours that continue under transparent pixels.

    With alpha a and c the colour, on a pyramid of premultiplied means of 2 x 2 pixels:

    .. math::
        c' = t \\, c + (1 - t) \\, c'_{\\text{half size}}, \\qquad
        t = \\min(1, 16 a / \\max_{3 \\times 3} a)

    The result does not depend on colours where a = 0. It is c where a is constant, and in an image
    that is transparent everywhere.

    Args:
        pixels: Colours, not premultiplied.
        alpha: (h, w), 0 transparent.

    >>> colour, alpha = np.array([[[9], [200]]], np.uint8), np.array([[255, 0]], np.uint8)
    >>> fill_transparent(colour, alpha).tolist()
    [[[9], [9]]]
    """
    weight = alpha.astype(np.float32)
    trust = _trust(weight)
    if trust.min() == 1 or not alpha.any():
        return pixels
    colour = _filled(pixels.astype(np.float32) * weight[:, :, None], weight)
    levels = np.rint(colour).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return np.where(trust[:, :, None] == 1, pixels, levels)


def _trust(weight: Plane) -> Plane:
    import cv2

    strongest = np.asarray(cv2.dilate(weight, np.ones((3, 3), np.uint8)), np.float32)
    share = np.divide(weight, strongest, out=np.zeros_like(weight), where=strongest > 0)
    return np.minimum(np.float32(STEEPNESS) * share, np.float32(1))


def _filled(premultiplied: Plane, weight: Plane) -> Plane:
    """Fill (h, w, C) premultiplied colour of (h, w) weights; returns plain colour."""
    known = np.broadcast_to(weight[:, :, None] > 0, premultiplied.shape)
    colour = np.zeros_like(premultiplied)
    np.divide(premultiplied, weight[:, :, None], out=colour, where=known)
    height, width = weight.shape
    trust = _trust(weight)[:, :, None]
    if height * width == 1 or trust.min() == 1:
        return colour
    half = -(-height // 2), -(-width // 2)
    coarse = _filled(_resized(premultiplied, half, area=True), _resized(weight, half, area=True))
    coarse = _resized(coarse, (height, width), area=False)
    return np.asarray(coarse + trust * (colour - coarse), np.float32)


def _resized(image: Plane, size: tuple[int, int], area: bool) -> Plane:
    import cv2

    way = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size[::-1], interpolation=way), np.float32)
    return resized.reshape(*size, *image.shape[2:])
