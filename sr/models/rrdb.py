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

ENLARGEMENTS = {1: 0, 2: 1, 4: 2, 8: 3}
"""Enlargements by 2 by the factor of the network itself."""


class RRDBNet(Model):
    """ESRGAN's generator. The network itself is x4; for x2 and x1 its input is pixel-unshuffled.
    Older models have as many enlargements by 2 as their scale needs, and no unshuffling.

    Sides that the unshuffling does not divide are padded at the right and bottom by repeating the
    edge, and the result is cropped.

    Args:
        scale: 1, 2, 4 or 8.
        channels: Width of the body (BasicSR: ``num_feat``).
        blocks: Number of RRDBs (``num_block``); 23 in ESRGAN, 6 in Real-ESRGAN's anime model.
        growth: Channels that each dense convolution adds (``num_grow_ch``).
        unshuffle: Factor of the unshuffling; by default 4 / scale, as in BasicSR.
    """

    def __init__(
        self,
        scale: int = 4,
        channels: int = 64,
        blocks: int = 23,
        growth: int = 32,
        unshuffle: int | None = None,
    ) -> None:
        config = {"scale": scale, "channels": channels, "blocks": blocks, "growth": growth}
        if unshuffle is None:
            unshuffle = 4 // check_scale(scale, (1, 2, 4))
        else:
            check_scale(scale, (1, 2, 4, 8))
            config["unshuffle"] = unshuffle
        doublings = ENLARGEMENTS.get(scale * unshuffle)
        if doublings is None:
            raise ValueError(f"unshuffle {unshuffle}: times the scale it must be 1, 2, 4 or 8")
        top = 2
        for _ in range(doublings):
            top = coarsen(top + 1, 2)
        super().__init__(scale, (1 + 15 * blocks + 1 + top + 1) * unshuffle - 1, config)
        self.multiple, self.doublings = unshuffle, doublings
        self.conv_first = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        for i in range(1, doublings + 1):
            self.add_module(f"conv_up{i}", nn.Conv2d(channels, channels, 3, padding=1))
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
        for i in range(1, self.doublings + 1):
            doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = leaky(self.get_submodule(f"conv_up{i}")(doubled))
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
