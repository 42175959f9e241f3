"""Images of any size through a function of one size, as networks for accelerators are exported.

The image is covered with overlapping windows of that size; smaller images are first extended at
the bottom and the right by their last pixels. Each window gives the part of the result that lies
at least ``share`` pixels from its borders, except where they are the image's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Windowed", "share_of", "starts"]

MOST = 32
"""Most pixels at a window's border that are left out."""


def starts(length: int, window: int, share: int) -> list[int]:
    """Return where windows begin that cover a length, of which neighbours overlap by at least
    ``2 share``.

    >>> starts(100, 64, 8), starts(64, 64, 8)
    ([0, 36], [0])
    """
    return [*range(0, length - window, window - 2 * share), length - window]


@dataclass(frozen=True)
class Windowed:
    """A function of images of any size, by one of images of one size.

    Args:
        function: (B, 3, height, width) -> (B, 3, height N, width N).
        height: None if it takes any.
        width: None if it takes any.
    """

    function: Callable[[Tensor], Tensor]
    height: int | None = None
    width: int | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h N, w N)."""
        given = image.shape[-2:]
        height, width = self.height or given[0], self.width or given[1]
        below, right = max(0, height - given[0]), max(0, width - given[1])
        image = F.pad(image, (0, right, 0, below), mode="replicate")
        out: Tensor | None = None
        scale = 1
        for top in starts(image.shape[-2], height, share_of(height)):
            for left in starts(image.shape[-1], width, share_of(width)):
                part = self.function(image[..., top : top + height, left : left + width])
                if out is None:
                    scale = part.shape[-1] // width
                    size = (side * scale for side in image.shape[-2:])
                    out = part.new_empty((*part.shape[:2], *size))
                y, x = (share_of(height) if top else 0), (share_of(width) if left else 0)
                rows = slice((top + y) * scale, (top + height) * scale)
                columns = slice((left + x) * scale, (left + width) * scale)
                out[..., rows, columns] = part[..., y * scale :, x * scale :]
        assert out is not None
        return out[..., : given[0] * scale, : given[1] * scale]

    def describe(self) -> str:
        """Return how images are cut, in words."""
        height, width = self.height or "any", self.width or "any"
        share = max(share_of(side) for side in (self.height, self.width) if side)
        return (
            f"windows of {width} x {height} LR pixels, the model's only size, of which "
            f"{share} at their borders are left out inside the image"
        )


def share_of(window: int) -> int:
    """Return how many pixels at each border of a window are left out.

    >>> share_of(64), share_of(1024)
    (8, 32)
    """
    return min(MOST, window // 8)
