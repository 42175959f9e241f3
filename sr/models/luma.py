"""Functions of Y planes as functions of RGB images, as the literature evaluates them: the network
restores BT.601 Y, and the chroma is enlarged by bicubic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from degrade.errors import UserError
from sr.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.models.interpolation import enlarge

__all__ = ["OfLuma"]


@dataclass(frozen=True)
class OfLuma:
    """A function of RGB images, by one of Y planes.

    Args:
        function: (B, 1, h, w) -> (B, 1, h N, w N), values in [16, 235] / 255.
    """

    function: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h N, w N). Raises UserError if the function's result has
        another shape.
        """
        given = rgb_to_ycbcr(image)[:, :1]
        y = self.function(given).to(image.device)
        scale = y.shape[-1] // given.shape[-1]
        if y.shape != (len(given), 1, *(scale * side for side in given.shape[-2:])):
            raise UserError(
                f"made {list(y.shape)} of {list(given.shape)}; "
                "should be one Y plane, an integer times larger"
            )
        chroma = rgb_to_ycbcr(enlarge(image, scale))[:, 1:]
        return ycbcr_to_rgb(torch.cat([y, chroma], 1))
