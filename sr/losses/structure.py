"""MS-SSIM as a loss.

.. math:: L = 1 - \\overline{\\mathrm{MS\\text{-}SSIM}(SR, HR)}

on R, G and B, not rounded. A patch that is smaller than five sizes need has as many as fit, with
the exponents of those, scaled to the same sum. The usual mix (alpha = 0.84) is L1 with this loss
at 0.84 / 0.16: ``loss: l1``, ``losses: {ms_ssim: 5.25}``.

References:
    | Loss functions for image restoration with neural networks (Zhao et al., 2017)
    | https://arxiv.org/abs/1511.08861
"""

from __future__ import annotations

from torch import Tensor

from sr.metrics.psnr_ssim import PEAK, SCALE_WEIGHTS, WINDOW, multi_scale

__all__ = ["ms_ssim_loss"]

LEAST = 1e-4
"""Smallest mean of a size: at 0 its power has no gradient."""


def ms_ssim_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of (B, C, H, W) in [0, 1], a mean over the batch.

    >>> import torch
    >>> ms_ssim_loss(torch.full((1, 3, 24, 24), 0.5), torch.full((1, 3, 24, 24), 0.5))
    tensor(0.)

    Raises:
        ValueError: A side is below 11.
    """
    side = min(sr.shape[-2:])
    if side < WINDOW:
        raise ValueError(f"MS-SSIM of {side} pixels: each side must be at least {WINDOW}")
    weights = SCALE_WEIGHTS[: (side // WINDOW).bit_length()]
    total = sum(weights) / sum(SCALE_WEIGHTS)
    scaled = [weight / total for weight in weights]
    return 1 - multi_scale(PEAK * sr, PEAK * hr, scaled, LEAST).mean()
