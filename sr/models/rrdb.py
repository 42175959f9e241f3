"""RRDBNet: ESRGAN's generator, residual in residual dense blocks.

.. math::
    x_i = \\phi(C_i[x, x_1, .., x_{i-1}]), \\quad D(x) = x + 0.2 C_5[x, x_1, .., x_4], \\quad
    R(x) = x + 0.2 (D_3(D_2(D_1(x))))

The keys are BasicSR's (the "new" ESRGAN layout), so that weights are interchangeable with BasicSR,
Real-ESRGAN and spandrel.

References:
    | ESRGAN: enhanced super-resolution generative adversarial networks (Wang et al., 2018)
    | https://arxiv.org/abs/1809.00219
    | BasicSR ``archs/rrdbnet_arch.py``
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.models.base import Model, check_scale, coarsen
from sr.models.srresnet import scaled_kaiming

__all__ = ["RRDBNet"]


class RRDBNet(Model):
    """ESRGAN's generator. The network itself is x4; for x2 and x1 its input is pixel-unshuffled.

    Sides that the unshuffling does not divide are padded at the right and bottom by repeating the
    edge, and the result is cropped.

    Args:
        scale: 1, 2 or 4.
        channels: Width of the body (BasicSR: ``num_feat``).
        blocks: Number of RRDBs (``num_block``); 23 in ESRGAN, 6 in Real-ESRGAN's anime model.
        growth: Channels that each dense convolution adds (``num_grow_ch``).
    """

    def __init__(
        self, scale: int = 4, channels: int = 64, blocks: int = 23, growth: int = 32
    ) -> None:
        unshuffle = 4 // check_scale(scale, (1, 2, 4))
        top = coarsen(coarsen(2 + 1, 2) + 1, 2)
        reach = (1 + 15 * blocks + 1 + top + 1) * unshuffle - 1
        config = {"scale": scale, "channels": channels, "blocks": blocks, "growth": growth}
        super().__init__(scale, reach, config)
        self.multiple = unshuffle
        self.conv_first = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale, w scale)."""
        height, width = image.shape[2:]
        if self.multiple > 1:
            padding = (0, -width % self.multiple, 0, -height % self.multiple)
            image = F.pixel_unshuffle(F.pad(image, padding, mode="replicate"), self.multiple)
        x = self.conv_first(image)
        x = x + self.conv_body(self.body(x))
        x = leaky(self.conv_up1(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        x = leaky(self.conv_up2(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        x = self.conv_last(leaky(self.conv_hr(x)))
        return x[..., : height * self.scale, : width * self.scale]


class RRDB(nn.Module):
    """Three dense blocks with a residual connection."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth)
        self.rdb2 = DenseBlock(channels, growth)
        self.rdb3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class DenseBlock(nn.Module):
    """Five convolutions, each of the concatenated outputs of all before it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(channels + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(channels + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(channels + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)
        scaled_kaiming(self, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            dense = torch.cat([dense, leaky(conv(dense))], 1)
        return x + 0.2 * self.conv5(dense)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
