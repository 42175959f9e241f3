"""SRCNN: three convolutions on the bicubic enlargement, read as patch extraction, non-linear
mapping, reconstruction.

.. math:: F(Y) = W_3 * \\max(0, W_2 * \\max(0, W_1 * Y + b_1) + b_2) + b_3

with Y the enlarged image, f1-f2-f3 = 9-1-5 or 9-5-5 and n1, n2 = 64, 32. Its one constraint: the
enlargement belongs to the model, so that it is an ordinary xN model from LR to SR.

References:
    | Learning a deep convolutional network for image super-resolution (Dong et al., ECCV 2014)
    | Image super-resolution using deep convolutional networks (Dong et al., TPAMI 2015)
    | https://arxiv.org/abs/1501.00092
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.models.base import Model, check_scale, coarsen
from sr.models.interpolation import Bicubic

__all__ = ["SRCNN", "on_luma"]

Color = Literal["y", "rgb"]
Padding = Literal["same", "valid"]
Init = Literal["gaussian", "kaiming"]

LAST_RATE = 0.1
"""Learning rate of the last layer over that of the others: 1e-5 against 1e-4 in the papers."""


class SRCNN(Model):
    """SRCNN with its enlargement inside.

    Weights are ``conv1``, ``conv2``, ``conv3``; 8,032 of them for 9-1-5 on Y and 57,184 for 9-5-5
    (biases apart).

    Args:
        scale: 1, 2, 3, 4 or 8.
        kernels: Sizes f1, f2, f3, odd.
        filters: Numbers n1, n2.
        color: ``y`` maps BT.601 luma and leaves chroma bicubic; ``rgb`` maps the three channels
            together. A ``y`` model also takes (B, 1, h, w), which it reads as the Y plane:
            training needs no more.
        padding: ``same`` pads each convolution with zeros; ``valid`` pads none, so that in
            training mode the output lacks ``margin`` HR pixels on each side (crop the target
            alike), and repeats the edge of the enlargement in eval mode.
        residual: Whether the network gives the difference to the enlargement instead of the image.
            The paper: no.
        init: ``gaussian`` is the paper's N(0, 0.001); ``kaiming`` keeps the variance through the
            ReLUs, its first filters without mean: with one, grey drives every unit alike, and Adam
            at 2e-3 kills them all within ten steps. A residual's last layer is gaussian either
            way, so that it starts as bicubic.
    """

    def __init__(
        self,
        scale: int = 2,
        kernels: Sequence[int] = (9, 1, 5),
        filters: Sequence[int] = (64, 32),
        color: Color = "y",
        padding: Padding = "same",
        residual: bool = False,
        init: Init = "gaussian",
    ) -> None:
        if len(kernels) != 3 or any(size < 1 or size % 2 == 0 for size in kernels):
            raise ValueError(
                f"kernels {list(kernels)}: must be three odd sizes, such as [9, 1, 5]"
            )
        if len(filters) != 2 or min(filters) < 1:
            raise ValueError(
                f"filters {list(filters)}: must be two positive numbers, such as [64, 32]"
            )
        for name, value, known in (
            ("color", color, Color),
            ("padding", padding, Padding),
            ("init", init, Init),
        ):
            if value not in get_args(known):
                raise ValueError(f"{name} {value!r}: must be one of {', '.join(get_args(known))}")
        radius = sum(size // 2 for size in kernels)
        enlargement = Bicubic(check_scale(scale, (1, 2, 3, 4, 8)))
        config: dict[str, Any] = {
            "scale": scale,
            "kernels": list(kernels),
            "filters": list(filters),
            "color": color,
            "padding": padding,
            "residual": residual,
            "init": init,
        }
        super().__init__(scale, coarsen(radius, scale) + (enlargement.reach or 0), config)
        self.margin = radius if padding == "valid" else 0
        self.enlarge = enlargement
        channels = [1 if color == "y" else 3, *filters, 1 if color == "y" else 3]
        layers = [
            nn.Conv2d(
                channels[i],
                channels[i + 1],
                kernels[i],
                padding=kernels[i] // 2 if padding == "same" else 0,
            )
            for i in range(3)
        ]
        self.conv1, self.conv2, self.conv3 = layers
        for layer in layers:
            if init == "gaussian" or (residual and layer is self.conv3):
                nn.init.normal_(layer.weight, std=1e-3)
            else:
                nn.init.kaiming_normal_(
                    layer.weight, nonlinearity="linear" if layer is self.conv3 else "relu"
                )
                if layer is self.conv1:
                    with torch.no_grad():
                        layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]  # these layers have a bias

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale - 2 m, w scale - 2 m), m = ``margin`` in training
        mode, else 0.
        """
        enlarged = self.enlarge(image)
        return (
            on_luma(self.restore, enlarged)
            if self.config["color"] == "y"
            else self.restore(enlarged)
        )

    def restore(self, enlarged: Tensor) -> Tensor:
        """The three convolutions on an enlarged image or plane."""
        if self.margin and not self.training:
            enlarged = F.pad(enlarged, [self.margin] * 4, mode="replicate")
        out = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(enlarged)))))
        if self.config["residual"]:
            out = out + crop(enlarged, self.margin)
        return out

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The paper's rates: ``lr`` for the first two layers, a tenth of it for the last."""
        first = [*self.conv1.parameters(), *self.conv2.parameters()]
        return [
            {"params": first, "lr": lr},
            {"params": list(self.conv3.parameters()), "lr": LAST_RATE * lr},
        ]


def crop(image: Tensor, margin: int) -> Tensor:
    """``image`` without ``margin`` pixels on each side."""
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]


def on_luma(restore: Callable[[Tensor], Tensor], enlarged: Tensor) -> Tensor:
    """Applies ``restore`` to the Y plane of RGB, the chroma kept; one channel is taken as a Y
    plane itself.

    If the result is smaller, the chroma is cropped about its centre.
    """
    if enlarged.shape[1] == 1:
        return restore(enlarged)
    ycbcr = rgb_to_ycbcr(enlarged)
    y = restore(ycbcr[:, :1])
    chroma = crop(ycbcr[:, 1:], (ycbcr.shape[-1] - y.shape[-1]) // 2)
    return ycbcr_to_rgb(torch.cat([y, chroma], 1))
