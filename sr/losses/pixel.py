"""Losses: what training makes small. Each is a mean over batch, channels and pixels, so none
depends on the patch size.

The perceptual loss needs weights and has its own module, :mod:`sr.losses.perceptual`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PIXEL", "charbonnier", "discriminator_loss", "generator_loss", "total_variation"]


def charbonnier(sr: Tensor, hr: Tensor, eps: float = 1e-3) -> Tensor:
    """Mean of sqrt((sr - hr)^2 + eps^2): L1 with a round bottom.

    References:
        Deep Laplacian pyramid networks (Lai et al., CVPR 2017), section 3.3.
    """
    return torch.sqrt((sr - hr).square() + eps**2).mean()


PIXEL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
}
"""Pixel losses of (sr, hr) by name."""


def generator_loss(fake: Tensor) -> Tensor:
    """The adversarial loss of the generator, mean of -log D(G(x)), from the logits of its images.

    SRGAN weighs it by 1e-3.

    References:
        Photo-realistic single image super-resolution using a GAN (Ledig et al., 2017), equation 6.
    """
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of the discriminator: mean of -log D(hr) plus mean of -log(1 -
    D(G(x))).

    Args:
        real: Logits of photographs.
        fake: Logits of super-resolved images, detached from the generator.
        smoothing: Photographs are labelled 1 - smoothing, which keeps the logits small (one-sided
            label smoothing).

    References:
        Improved techniques for training GANs (Salimans et al., 2016), section 3.4.

    Raises:
        ValueError: If smoothing is outside [0, 0.5).
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(
            f"smoothing {smoothing}: must be in [0, 0.5), or photographs are labelled as fakes"
        )
    truth = torch.full_like(real, 1 - smoothing)
    return F.binary_cross_entropy_with_logits(real, truth) + F.softplus(fake).mean()


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down plus across, of (B, C, H, W) with H, W >= 2."""
    down = image[..., 1:, :] - image[..., :-1, :]
    across = image[..., 1:] - image[..., :-1]
    return down.abs().mean() + across.abs().mean()
