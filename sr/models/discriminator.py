"""Discriminators: classifiers of photographs and super-resolved images, of SRGAN, ESRGAN,
Real-ESRGAN and pix2pix.

SRGAN's has eight convolutions of size 3, from 64 to 512 channels, every second with stride 2, then
two dense layers; ESRGAN's ten, those with stride of size 4. Other than in the papers, the features
are average-pooled to a fixed size before the dense layers: the same for the papers' patches of 96
and 128, and any other size is possible. Real-ESRGAN's is a U-Net, with a logit for each pixel;
pix2pix's PatchGAN has one for each patch of 70 x 70.

References:
    | Image-to-image translation with conditional adversarial networks (Isola et al., CVPR 2017),
    | pix2pix, whose layers have the names of its authors' PyTorch code
    | ESRGAN (Wang et al., 2018), Real-ESRGAN (Wang et al., 2021); BasicSR
    | ``archs/discriminator_arch.py``, whose names the layers have
    | Photo-realistic single image super-resolution using a generative adversarial network (Ledig
    | et al., CVPR 2017), figure 4
    | Spectral normalization for generative adversarial networks (Miyato et al., 2018)
    | https://arxiv.org/abs/1802.05957
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Discriminator", "ESRGANDiscriminator", "PatchDiscriminator", "UNetDiscriminator"]

WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)
"""Channels of the convolutions relative to the first."""
GRID = 6
"""Side of the features before the dense layers: 96 / 2**4."""


class Discriminator(nn.Module):
    """HR (B, 3, H, W) in [0, 1] -> logits (B, 1); positive means photograph. The loss applies the
    sigmoid.

    Args:
        channels: Channels of the first convolution.
        dense: Width of the hidden dense layer.
        spectral: Whether to use spectral normalization of the weights instead of batch
            normalization.
    """

    def __init__(self, channels: int = 64, dense: int = 1024, spectral: bool = False) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels, "dense": dense, "spectral": spectral}

        def normalize(layer: nn.Module) -> nn.Module:
            return spectral_norm(layer) if spectral else layer

        layers: list[nn.Module] = []
        before = 3
        for i, width in enumerate(WIDTHS):
            after = width * channels
            batch_norm = i > 0 and not spectral
            conv = nn.Conv2d(before, after, 3, stride=1 + i % 2, padding=1, bias=not batch_norm)
            layers.append(normalize(conv))
            if batch_norm:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
            before = after
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.hidden = normalize(nn.Linear(before * GRID**2, dense))
        self.act = nn.LeakyReLU(0.2)
        self.logit = normalize(nn.Linear(dense, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.logit(self.act(self.hidden(self.pool(self.features(image)).flatten(1))))


class ESRGANDiscriminator(nn.Module):
    """HR (B, 3, H, W) in [0, 1] -> logits (B, 1).

    Args:
        channels: Channels of the first convolution.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels}
        before = 3
        for i, width in enumerate((1, 2, 4, 8, 8)):
            after = width * channels
            self.add_module(f"conv{i}_0", nn.Conv2d(before, after, 3, padding=1, bias=i == 0))
            if i > 0:
                self.add_module(f"bn{i}_0", nn.BatchNorm2d(after))
            self.add_module(f"conv{i}_1", nn.Conv2d(after, after, 4, 2, 1, bias=False))
            self.add_module(f"bn{i}_1", nn.BatchNorm2d(after))
            before = after
        self.linear1 = nn.Linear(before * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for name, layer in self.named_children():
            if name.startswith("linear"):
                continue
            x = layer(x)
            if name.startswith("bn") or name == "conv0_0":
                x = leaky(x)
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.linear2(leaky(self.linear1(x)))


class PatchDiscriminator(nn.Module):
    """HR (B, 3, H, W) in [0, 1], sides of at least 24 -> logits (B, 1, H / 8 - 2, W / 8 - 2), one
    for each patch of 70 x 70: pix2pix's PatchGAN, without a condition.

    Args:
        channels: Channels of the first convolution.
        layers: Convolutions of stride 2: 1, 2 and 3 see patches of 16, 34 and 70.
    """

    def __init__(self, channels: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels, "layers": layers}
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        before = channels
        for i in range(1, layers + 1):
            after = channels * min(2**i, 8)
            stride = 2 if i < layers else 1
            parts += [
                nn.Conv2d(before, after, 4, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
            before = after
        self.model = nn.Sequential(*parts, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class UNetDiscriminator(nn.Module):
    """HR (B, 3, H, W) in [0, 1], sides multiples of 8 -> logits (B, 1, H, W), with spectral
    normalization.

    Args:
        channels: Channels of the first convolution.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels}
        c = channels
        self.conv0 = nn.Conv2d(3, c, 3, padding=1)
        self.conv1, self.conv2, self.conv3 = (
            spectral_norm(nn.Conv2d(c * k, c * 2 * k, 4, 2, 1, bias=False)) for k in (1, 2, 4)
        )
        self.conv4, self.conv5, self.conv6 = (
            spectral_norm(nn.Conv2d(c * 2 * k, c * k, 3, padding=1, bias=False)) for k in (4, 2, 1)
        )
        self.conv7, self.conv8 = (
            spectral_norm(nn.Conv2d(c, c, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.conv9 = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if any(side % 8 for side in image.shape[2:]):
            raise ValueError(
                f"patches of {list(image.shape[2:])}: this discriminator needs multiples of 8"
            )
        x0 = leaky(self.conv0(image))
        x1 = leaky(self.conv1(x0))
        x2 = leaky(self.conv2(x1))
        x = leaky(self.conv4(twice(leaky(self.conv3(x2))))) + x2
        x = leaky(self.conv5(twice(x))) + x1
        x = leaky(self.conv6(twice(x))) + x0
        return self.conv9(leaky(self.conv8(leaky(self.conv7(x)))))


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
