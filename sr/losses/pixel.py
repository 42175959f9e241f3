"""Pixel losses. Each is a mean over batch, channels and pixels, so that none depends on the patch
size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["charbonnier", "l1", "mse", "total_variation"]


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean of abs(sr - hr)."""
    return F.l1_loss(sr, hr)


def mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean of (sr - hr)^2."""
    return F.mse_loss(sr, hr)


def charbonnier(sr: Tensor, hr: Tensor, eps: float = 1e-3) -> Tensor:
    """Return the mean of sqrt((sr - hr)^2 + eps^2), an L1 loss that is smooth at 0.

    >>> charbonnier(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5))
    tensor(0.5000)

    References:
        Deep Laplacian pyramid networks (Lai et al., CVPR 2017), section 3.3.
    """
    return torch.sqrt((sr - hr).square() + eps**2).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of vertical plus that of horizontal neighbours of
    (B, C, H, W), H and W at least 2.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor(1.)
    """
    vertical = image[..., 1:, :] - image[..., :-1, :]
    horizontal = image[..., 1:] - image[..., :-1]
    return vertical.abs().mean() + horizontal.abs().mean()
