"""Locally discriminative learning: an L1 loss where a GAN makes artifacts rather than details.

.. math:: L = \\overline{M |SR - HR|}, \\qquad
          M = \\sigma(R)^{2/5} \\, \\sigma_7^2(R) \\, [R \\ge R_{ema}], \\qquad
          R = \\sum_c |HR_c - SR_c|

:math:`\\sigma_7^2` is the variance in a window of 7 x 7, :math:`\\sigma^2` that of the patch, and
:math:`R_{ema}` the residual of the model with averaged weights: where the average is closer to HR,
what the model adds is an artifact. M has no gradient.

References:
    | Details or artifacts: a locally discriminative learning approach to realistic image
    | super-resolution (Liang et al., CVPR 2022); BasicSR ``losses/loss_util.py``
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LocalDiscriminativeLoss", "artifact_map"]

WINDOW = 7


@torch.no_grad()
def artifact_map(sr: Tensor, hr: Tensor, average: Tensor) -> Tensor:
    """Return M (B, 1, H, W) of the images (B, C, H, W) of the model and of its average. Sides of
    at least 4.
    """
    residual = (hr - sr).abs().sum(1, keepdim=True)
    of_average = (hr - average).abs().sum(1, keepdim=True)
    padded = F.pad(residual, [WINDOW // 2] * 4, mode="reflect")
    local = padded.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1).var((-2, -1))
    return residual.var((-3, -2, -1), keepdim=True) ** (1 / 5) * local * (residual >= of_average)


class LocalDiscriminativeLoss(nn.Module):
    """The loss ``ldl`` of SR, HR and the image of the averaged weights."""

    needs_average = True

    def forward(self, sr: Tensor, hr: Tensor, average: Tensor) -> Tensor:
        return (artifact_map(sr, hr, average) * (sr - hr).abs()).mean()
