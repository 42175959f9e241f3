"""SRResNet and MSRResNet: residual blocks at LR, then sub-pixel convolutions.

.. math:: SR = C_9(U(h + B_n(C(R^{16}(h))))), \\quad h = \\mathrm{PReLU}(C_9(LR))

with R a residual block, B_n batch normalization and U a sequence of pixel shuffles by 2 (or 3).

References:
    | Photo-realistic single image super-resolution using a generative adversarial network (Ledig
    | et al., CVPR 2017) https://arxiv.org/abs/1609.04802
    | Without normalization: BasicSR ``archs/srresnet_arch.py`` (Wang et al.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.models.base import Model, check_scale, coarsen

__all__ = ["MSRResNet", "SRResNet", "scaled_kaiming"]

STAGES: dict[int, list[int]] = {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
"""Pixel shuffles by scale."""


class SRResNet(Model):
    """The generator of SRGAN as published: kernel size 9 at both ends, batch normalization, PReLU;
    1.55 M parameters at x4.

    The paper's HR is in [-1, 1]; here LR and SR are both in [0, 1]. The output is linear.

    Args:
        scale: 1, 2, 3, 4 or 8.
        channels: Width of the body.
        blocks: Number of residual blocks.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 16) -> None:
        stages = STAGES[check_scale(scale, STAGES)]
        reach = 4
        for factor in reversed(stages):
            reach = coarsen(reach, factor) + 1
        config = {"scale": scale, "channels": channels, "blocks": blocks}
        super().__init__(scale, reach + 1 + 2 * blocks + 4, config)
        self.head = Head(channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.conv_mid = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_mid = nn.BatchNorm2d(channels)
        self.up = nn.Sequential(*(SubPixel(channels, factor) for factor in stages))
        self.conv_out = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale, w scale)."""
        head = self.head(image)
        return self.conv_out(self.up(head + self.bn_mid(self.conv_mid(self.blocks(head)))))


class Head(nn.Module):
    """Convolution of size 9, then PReLU: RGB to features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 9, padding=4)
        self.act = nn.PReLU()

    def forward(self, image: Tensor) -> Tensor:
        return self.act(self.conv(image))


class ResidualBlock(nn.Module):
    """x + BN(C(PReLU(BN(C(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class SubPixel(nn.Module):
    """Convolution onto ``factor**2`` phases, pixel shuffle, PReLU."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * factor**2, 3, padding=1)
        self.factor = factor
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(F.pixel_shuffle(self.conv(x), self.factor))


class MSRResNet(Model):
    """SRResNet without normalization, added to a bilinear enlargement. The keys are BasicSR's, so
    its weights load unchanged.

    Args:
        scale: 2, 3 or 4.
        channels: Width of the body (BasicSR: ``num_feat``).
        blocks: Number of residual blocks (``num_block``).
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 16) -> None:
        stages = STAGES[check_scale(scale, (2, 3, 4))]
        reach = 2
        for factor in reversed(stages):
            reach = coarsen(reach, factor) + 1
        config = {"scale": scale, "channels": channels, "blocks": blocks}
        super().__init__(scale, reach + 2 * blocks + 1, config)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(channels, channels * stages[0] ** 2, 3, padding=1)
        if len(stages) == 2:
            self.upconv2 = nn.Conv2d(channels, channels * stages[1] ** 2, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)
        scaled_kaiming(self, 0.1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale, w scale)."""
        out = self.body(leaky(self.conv_first(image)))
        for i, factor in enumerate(STAGES[self.scale], 1):
            out = leaky(F.pixel_shuffle(self.get_submodule(f"upconv{i}")(out), factor))
        out = self.conv_last(leaky(self.conv_hr(out)))
        scale = self.scale
        return out + F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)


class PlainBlock(nn.Module):
    """x + C(ReLU(C(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def scaled_kaiming(module: nn.Module, gain: float) -> None:
    """Initialize every convolution by Kaiming's normal times ``gain``, biases zero, so that deep
    residual networks start near the identity.

    References:
        ESRGAN (Wang et al., 2018), section 3.1; BasicSR ``default_init_weights``.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            with torch.no_grad():
                part.weight.mul_(gain)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
