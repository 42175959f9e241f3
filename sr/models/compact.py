"""SRVGGNetCompact: plain convolutions at LR, then one pixel shuffle; Real-ESRGAN's small models.

.. math:: SR = \\mathrm{shuffle}(C_n(\\phi(C_{n-1}(.. \\phi(C_0(LR)))))) + \\mathrm{nearest}(LR)

with C_i convolutions of size 3 and phi a PReLU of one slope a channel. The keys are BasicSR's, so
its weights load unchanged.

References:
    | BasicSR ``archs/srvgg_arch.py``
    | Real-ESRGAN: training real-world blind super-resolution with pure synthetic data (Wang et
    | al., 2021) https://arxiv.org/abs/2107.10833
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sr.models.base import Model, check_scale

__all__ = ["SRVGGNetCompact"]


class SRVGGNetCompact(Model):
    """Real-ESRGAN's compact generator.

    Args:
        scale: 1, 2, 3, 4 or 8.
        channels: Width of the body (BasicSR: ``num_feat``).
        convolutions: Number in the body (``num_conv``): 16 in animevideov3, 32 in general-x4v3.
    """

    def __init__(self, scale: int = 4, channels: int = 64, convolutions: int = 16) -> None:
        check_scale(scale, (1, 2, 3, 4, 8))
        config = {"scale": scale, "channels": channels, "convolutions": convolutions}
        super().__init__(scale, convolutions + 2, config)
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.PReLU(channels)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.PReLU(channels)]
        layers.append(nn.Conv2d(channels, 3 * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale, w scale)."""
        nearest = F.interpolate(image, scale_factor=float(self.scale), mode="nearest")
        return F.pixel_shuffle(self.body(image), self.scale) + nearest
