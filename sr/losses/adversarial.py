"""Adversarial losses on logits: binary cross-entropy of a discriminator, and the non-saturating
loss of its generator. Each is a mean over the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["discriminator_loss", "generator_loss"]


def generator_loss(fake: Tensor) -> Tensor:
    """Return the mean of -log D(G(x)), from the logits of super-resolved images.

    SRGAN weighs it by 1e-3.

    >>> generator_loss(torch.zeros(2, 1))
    tensor(0.6931)

    References:
        Photo-realistic single image super-resolution using a GAN (Ledig et al., 2017), equation 6.
    """
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy: mean of -log D(hr) plus mean of -log(1 - D(G(x))).

    >>> discriminator_loss(torch.zeros(2, 1), torch.zeros(2, 1))
    tensor(1.3863)

    Args:
        real: Logits of photographs.
        fake: Logits of super-resolved images, detached from the generator.
        smoothing: The label of photographs is 1 - smoothing, which keeps the logits small
            (one-sided label smoothing).

    References:
        Improved techniques for training GANs (Salimans et al., 2016), section 3.4.

    Raises:
        ValueError: If smoothing is outside [0, 0.5).
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(
            f"smoothing {smoothing}: must be in [0, 0.5); from 0.5 on photographs count as fakes"
        )
    label = torch.full_like(real, 1 - smoothing)
    return F.binary_cross_entropy_with_logits(real, label) + F.softplus(fake).mean()
