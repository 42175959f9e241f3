"""Discriminator of SRGAN: a VGG-like net that tells photographs from super-resolved images, one
logit an image.

Eight convolutions of size 3, from 64 to 512 channels, every second with stride 2, then two dense
layers. Its one constraint departs from the paper: features are averaged to 6 x 6 before the dense
layers, which is no change for the paper's 96 x 96 patches and admits any other size.

References:
    | Photo-realistic single image super-resolution using a generative adversarial network (Ledig et al., CVPR 2017),
    | figure 4
    | Spectral normalization for generative adversarial networks (Miyato et al., 2018) https://arxiv.org/abs/1802.05957
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Discriminator"]

WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)
"""Channels of the convolutions over those of the first."""
GRID = 6
"""Side of the features before the dense layers: 96 / 2**4."""


class Discriminator(nn.Module):
    """HR (B, 3, H, W) in [0, 1] -> logits (B, 1); positive means photograph. The sigmoid is part
    of the loss.

    Args:
        channels: Channels of the first convolution.
        dense: Width of the hidden dense layer.
        spectral: Whether spectral normalisation of the weights takes the place of batch
            normalisation.
    """

    def __init__(self, channels: int = 64, dense: int = 1024, spectral: bool = False) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels, "dense": dense, "spectral": spectral}

        def bound(layer: nn.Module) -> nn.Module:
            return spectral_norm(layer) if spectral else layer

        layers: list[nn.Module] = []
        before = 3
        for place, width in enumerate(WIDTHS):
            after = width * channels
            normalised = place > 0 and not spectral
            layers.append(
                bound(
                    nn.Conv2d(
                        before, after, 3, stride=1 + place % 2, padding=1, bias=not normalised
                    )
                )
            )
            layers += [nn.BatchNorm2d(after)] if normalised else []
            layers.append(nn.LeakyReLU(0.2))
            before = after
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.hidden = bound(nn.Linear(before * GRID**2, dense))
        self.act = nn.LeakyReLU(0.2)
        self.logit = bound(nn.Linear(dense, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.logit(self.act(self.hidden(self.pool(self.features(image)).flatten(1))))
