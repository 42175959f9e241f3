"""Real codecs: what an image file of some format leaves of the pixels.

Codecs run on the CPU, one image at a time, in OpenCV. Pixels are 8-bit on both sides, k / 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from degrade.canvas import Canvas, Sizes

__all__ = ["check", "codec"]


def codec(canvas: Canvas, extension: str, settings: Sequence[Sequence[int]]) -> Canvas:
    """Each row encoded by OpenCV and decoded again. Gradients stop here; pixels of another device
    come to the host.

    Pixels are first clamped to [0, 1] and rounded to 8 bits, half to even; the result is on the
    same grid.

    Args:
        canvas: (B, C, H, W) in [0, 1]; C is 3 (RGB) or 1 (grey).
        extension: Of the file format, with its dot.
        settings: For each row, its encoder's parameters: ``cv2.IMWRITE_*``, value, ...
    """
    import cv2

    grey = canvas.pixels.shape[1] == 1
    pixels = canvas.pixels.detach().float().cpu().contiguous(memory_format=torch.channels_last)
    result = canvas.with_pixels(torch.zeros_like(pixels))
    for row, (h, w), out, setting in zip(
        pixels, canvas.sizes, result.images(), settings, strict=True
    ):
        image = row[:, :h, :w].permute(1, 2, 0).numpy()
        # Saturates above and, after the threshold, has nothing negative to take the absolute value
        # of.
        image = cv2.convertScaleAbs(cv2.threshold(image, 0, 0, cv2.THRESH_TOZERO)[1], alpha=255)
        _, stream = cv2.imencode(
            extension, image if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR), setting
        )
        image = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED if grey else cv2.IMREAD_COLOR)
        assert image is not None, "OpenCV reads what it wrote"
        if not grey:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        elif image.ndim == 2:
            image = image[:, :, None]
        else:
            # A format without grey holds three equal channels; OpenCV may round their weighted sum
            # to another value.
            image = image[:, :, :1]
        np.divide(image, np.float32(255), out=out.permute(1, 2, 0).numpy())
    return canvas.with_pixels(result.pixels.to(canvas.pixels))


def check(
    name: str, sizes: Sizes, channels: int, quality: ArrayLike, longest: int
) -> NDArray[Any]:
    """(B,) qualities that format ``name`` can code images of these sizes at.

    Raises:
        ValueError: if a quality, the number of channels, or an image's longest side is out of
        range.
    """
    if channels not in (1, 3):
        raise ValueError(f"{name}: {channels} channels; it takes RGB (3) or grey (1) images")
    side = sizes.max(initial=0)
    if side > longest:
        raise ValueError(
            f"{name}: an image side of {side}; the format's limit is {longest}, crop first"
        )
    quality = np.asarray(quality)
    if (quality < 1).any() or (quality > 100).any() or (quality % 1).any():
        wrong = quality[(quality < 1) | (quality > 100) | (quality % 1 != 0)]
        raise ValueError(f"{name}: quality {wrong[0]:g}; it must be a whole number in [1, 100]")
    return quality
