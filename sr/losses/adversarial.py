"""Adversarial losses of logits: of a discriminator, and of the generator that is to deceive it.

.. math::
    \\text{vanilla:}\\quad \\ell(z, +) = -\\log \\sigma(z),
    \\; \\ell(z, -) = -\\log(1 - \\sigma(z))
    \\qquad \\text{lsgan:}\\quad (z - 1)^2, \\; z^2
    \\qquad \\text{hinge:}\\quad \\max(0, 1 - z), \\; \\max(0, 1 + z)

    L_D = \\ell(D(HR), +) + \\ell(D(SR), -), \\qquad L_G = \\ell(D(SR), +)

The generator's hinge loss is -D(SR). Relativistic losses put D(HR) - mean D(SR) and
D(SR) - mean D(HR) in the places of D(HR) and D(SR), are halved, and the generator's has both terms
with the signs exchanged. Each is a mean over the batch and, of a discriminator with a map of
logits, over the map.

References:
    | Photo-realistic single image super-resolution using a GAN (Ledig et al., 2017), equation 6
    | Least squares generative adversarial networks (Mao et al., 2017)
    | Geometric GAN (Lim and Ye, 2017), of the hinge
    | The relativistic discriminator (Jolicoeur-Martineau, 2018), as in ESRGAN (Wang et al., 2018)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Objective", "discriminator_loss", "generator_loss"]

Objective = Literal["vanilla", "lsgan", "hinge"]


def generator_loss(
    fake: Tensor, real: Tensor | None = None, objective: Objective = "vanilla"
) -> Tensor:
    """Return L_G. SRGAN weighs it by 1e-3.

    >>> generator_loss(torch.zeros(2, 1))
    tensor(0.6931)

    Args:
        fake: Logits of super-resolved images.
        real: Logits of photographs, for the relativistic loss; without gradient.
        objective: The loss.
    """
    if real is None:
        return -fake.mean() if objective == "hinge" else _loss(fake, True, objective)
    return (
        _loss(real - fake.mean(), False, objective) + _loss(fake - real.mean(), True, objective)
    ) / 2


def discriminator_loss(
    real: Tensor,
    fake: Tensor,
    smoothing: float = 0.0,
    objective: Objective = "vanilla",
    relativistic: bool = False,
) -> Tensor:
    """Return L_D.

    >>> discriminator_loss(torch.zeros(2, 1), torch.zeros(2, 1))
    tensor(1.3863)

    Args:
        real: Logits of photographs.
        fake: Logits of super-resolved images, detached from the generator.
        smoothing: The label of photographs is 1 - smoothing, which keeps the logits small
            (one-sided label smoothing); vanilla only.
        objective: The loss.
        relativistic: Whether each side is compared with the mean of the other.

    References:
        Improved techniques for training GANs (Salimans et al., 2016), section 3.4.

    Raises:
        ValueError: If smoothing is outside [0, 0.5).
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(
            f"smoothing {smoothing}: must be in [0, 0.5); from 0.5 on photographs count as fakes"
        )
    if relativistic:
        # The means have no gradient, as in BasicSR: each side is its own reference.
        real, fake = real - fake.mean().detach(), fake - real.mean().detach()
    total = _loss(real, True, objective, smoothing) + _loss(fake, False, objective)
    return total / 2 if relativistic else total


def _loss(logits: Tensor, positive: bool, objective: Objective, smoothing: float = 0.0) -> Tensor:
    if objective == "hinge":
        return F.relu(1 - logits if positive else 1 + logits).mean()
    if objective == "lsgan":
        return (logits - 1 if positive else logits).square().mean()
    if smoothing:
        label = torch.full_like(logits, 1 - smoothing)
        return F.binary_cross_entropy_with_logits(logits, label)
    return F.softplus(-logits if positive else logits).mean()
