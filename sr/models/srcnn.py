"""SRCNN: three convolutions on the bicubic enlargement: patch extraction, non-linear mapping,
reconstruction.

.. math:: F(Y) = W_3 * \\max(0, W_2 * \\max(0, W_1 * Y + b_1) + b_2) + b_3

with Y the enlarged image, f1-f2-f3 = 9-1-5 or 9-5-5 and n1, n2 = 64, 32. The enlargement is part
of the model, which therefore maps LR to SR as the others do.

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

__all__ = ["SRCNN", "crop", "restore_y"]

Color = Literal["y", "rgb"]
Padding = Literal["same", "valid"]
Init = Literal["gaussian", "kaiming"]

SCALES = (1, 2, 3, 4, 8)

LAST_LR = 0.1
"""Learning rate of the last layer relative to the others: 1e-5 and 1e-4 in the papers."""


class SRCNN(Model):
    """SRCNN with its enlargement inside.

    Weights are ``conv1``, ``conv2``, ``conv3``; 8,032 of them for 9-1-5 on Y and 57,184 for 9-5-5
    (biases apart).

    Args:
        scale: 1, 2, 3, 4 or 8.
        kernels: Sizes f1, f2, f3, odd.
        filters: Numbers n1, n2.
        color: ``y`` restores BT.601 Y, with bicubic chroma; ``rgb`` restores the three channels.
            A ``y`` model also takes a Y plane (B, 1, h, w), as in training.
        padding: ``same`` pads each convolution with zeros; ``valid`` pads none: in training mode
            the output lacks ``margin`` HR pixels on each side (crop the target equally), in eval
            mode the enlargement is padded by repeating its edge.
        residual: Whether the network predicts the difference to the enlargement instead of the
            image. Not in the paper.
        init: ``gaussian`` is the paper's N(0, 0.001). ``kaiming`` preserves the variance through
            the ReLUs, with first filters of zero mean: otherwise a grey image activates all units
            equally, and Adam at 2e-3 kills them all within ten steps. With ``residual`` the last
            layer is gaussian in any case, so that the model starts as bicubic.
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
        check_sizes(kernels, filters)
        check_choices(color=(color, Color), padding=(padding, Padding), init=(init, Init))
        radius = sum(size // 2 for size in kernels)
        enlarge = Bicubic(check_scale(scale, SCALES))
        config: dict[str, Any] = {
            "scale": scale,
            "kernels": list(kernels),
            "filters": list(filters),
            "color": color,
            "padding": padding,
            "residual": residual,
            "init": init,
        }
        super().__init__(scale, coarsen(radius, scale) + (enlarge.reach or 0), config)
        self.margin = radius if padding == "valid" else 0
        self.enlarge = enlarge
        channels = 1 if color == "y" else 3
        widths = [channels, *filters, channels]
        pads = [size // 2 if padding == "same" else 0 for size in kernels]
        self.conv1 = nn.Conv2d(widths[0], widths[1], kernels[0], padding=pads[0])
        self.conv2 = nn.Conv2d(widths[1], widths[2], kernels[1], padding=pads[1])
        self.conv3 = nn.Conv2d(widths[2], widths[3], kernels[2], padding=pads[2])
        self._initialize(init, residual)

    def _initialize(self, init: Init, residual: bool) -> None:
        for layer in (self.conv1, self.conv2, self.conv3):
            if init == "gaussian" or (residual and layer is self.conv3):
                nn.init.normal_(layer.weight, std=1e-3)
            else:
                activation = "linear" if layer is self.conv3 else "relu"
                nn.init.kaiming_normal_(layer.weight, nonlinearity=activation)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]  # these layers have a bias
        if init == "kaiming":
            with torch.no_grad():
                self.conv1.weight -= self.conv1.weight.mean((1, 2, 3), keepdim=True)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale - 2 m, w scale - 2 m), m = ``margin`` in training
        mode, else 0.
        """
        enlarged = self.enlarge(image)
        if self.config["color"] == "rgb":
            return self.restore(enlarged)
        return restore_y(self.restore, enlarged)

    def restore(self, enlarged: Tensor) -> Tensor:
        """Apply the three convolutions to an enlarged image or Y plane."""
        if self.margin and not self.training:
            enlarged = F.pad(enlarged, [self.margin] * 4, mode="replicate")
        out = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(enlarged)))))
        if self.config["residual"]:
            out = out + crop(enlarged, self.margin)
        return out

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the paper's groups: ``lr`` for the first two layers, a tenth for the last."""
        first = [*self.conv1.parameters(), *self.conv2.parameters()]
        return [
            {"params": first, "lr": lr},
            {"params": list(self.conv3.parameters()), "lr": LAST_LR * lr},
        ]


def check_choices(**settings: tuple[str, Any]) -> None:
    """Raises ValueError if a setting is not among the values of its Literal."""
    for name, (value, literal) in settings.items():
        if value not in get_args(literal):
            raise ValueError(f"{name} {value!r}: must be one of {', '.join(get_args(literal))}")


def check_sizes(kernels: Sequence[int], filters: Sequence[int]) -> None:
    """Raises ValueError unless there are three odd kernel sizes and two numbers of filters."""
    if len(kernels) != 3 or any(size < 1 or size % 2 == 0 for size in kernels):
        raise ValueError(f"kernels {list(kernels)}: must be three odd sizes, such as [9, 1, 5]")
    if len(filters) != 2 or min(filters) < 1:
        raise ValueError(
            f"filters {list(filters)}: must be two positive numbers, such as [64, 32]"
        )


def crop(image: Tensor, margin: int) -> Tensor:
    """Return an image without ``margin`` pixels on each side.

    >>> crop(torch.zeros(1, 3, 8, 9), 2).shape
    torch.Size([1, 3, 4, 5])
    """
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]


def restore_y(restore: Callable[[Tensor], Tensor], enlarged: Tensor) -> Tensor:
    """Apply ``restore`` to the Y plane of RGB (B, 3, H, W) and keep the chroma, centre-cropped if
    the result is smaller. (B, 1, H, W) is a Y plane.
    """
    if enlarged.shape[1] == 1:
        return restore(enlarged)
    ycbcr = rgb_to_ycbcr(enlarged)
    y = restore(ycbcr[:, :1])
    chroma = crop(ycbcr[:, 1:], (ycbcr.shape[-1] - y.shape[-1]) // 2)
    return ycbcr_to_rgb(torch.cat([y, chroma], 1))
