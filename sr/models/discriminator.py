"""Discriminator of SRGAN: a VGG-like classifier of photographs and super-resolved images.

Eight convolutions of size 3, from 64 to 512 channels, every second with stride 2, then two dense
layers. Other than in the paper, the features are average-pooled to 6 x 6 before the dense layers:
the same for the paper's 96 x 96 patches, and any other size is possible.

References:
    | Photo-realistic single image super-resolution using a generative adversarial network (Ledig
    | et al., CVPR 2017), figure 4
    | Spectral normalization for generative adversarial networks (Miyato et al., 2018)
    | https://arxiv.org/abs/1802.05957
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Discriminator"]

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
