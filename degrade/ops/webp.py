"""WebP compression: VP8's intra prediction and 4x4 transform, smoother than JPEG and without its
8x8 grid.

It is the real codec (libwebp), which runs on the CPU; other devices' pixels come to the host.

References:
    | RFC 6386, VP8 data format and decoding guide (Bankoski et al., 2011) | https://www.rfc-editor.org/rfc/rfc6386
    | RFC 9649, WebP image format (Zern et al., 2024) | https://www.rfc-editor.org/rfc/rfc9649
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.distributions import Const, Dist
from degrade.fields import Range
from degrade.kernels.codec import check, codec

__all__ = ["WebP", "webp"]

_LONGEST = 16383  # the longest side of the format: 14 bits


def webp(canvas: Canvas, quality: ArrayLike) -> Canvas:
    """Each row encoded to lossy WebP (4:2:0, libwebp's method 4) and decoded again, on the 8-bit
    grid k / 255.

    The same pixels on every device; gradients stop here. A grey image is coded as a colour image
    of equal channels, and comes back as one of them.

    Args:
        canvas: (B, C, H, W) in [0, 1]; C is 3 (RGB) or 1 (grey).
        quality: (B,) whole numbers in [1, 100], on the host.

    Raises:
        ValueError: if a quality, the number of channels or a side is out of range.
    """
    import cv2

    channels = canvas.pixels.shape[1]
    quality = check("webp", canvas.sizes, channels, quality, _LONGEST)
    settings = [[cv2.IMWRITE_WEBP_QUALITY, int(q)] for q in quality]
    return codec(canvas, ".webp", settings)


class WebP(Operator):
    """WebP encoding and decoding by libwebp; see :func:`webp`.

    Args:
        quality: In [1, 100]; a drawn number is rounded to the nearest whole number. Not on JPEG's
            scale.
    """

    name = "webp"
    differentiable: ClassVar[bool] = False
    quality: Annotated[Dist, Range(1, 100, worse="low")] = Const(75)

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        return webp(canvas, np.rint(draw.host("quality")))
