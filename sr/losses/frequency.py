"""Focal frequency loss: the distance of two images' spectra, hard frequencies first.

.. math:: L = \\frac{1}{n} \\sum_{u,v} w(u,v) \\, |F_{SR}(u,v) - F_{HR}(u,v)|^2, \\qquad
          w = \\frac{|F_{SR} - F_{HR}|^\\alpha}{\\max_{u,v} |F_{SR} - F_{HR}|^\\alpha}

with the orthonormal Fourier transform F of each channel. The weight w has no gradient.

References:
    Focal frequency loss for image reconstruction and synthesis (Jiang et al., ICCV 2021).
"""

# torch.fft: types are unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

__all__ = ["focal_frequency"]


def focal_frequency(sr: Tensor, hr: Tensor, alpha: float = 1.0) -> Tensor:
    """Return the focal frequency loss of (B, C, H, W), a mean over batch, channels and
    frequencies.

    >>> focal_frequency(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    tensor(1.)
    """
    spectrum = cast(Tensor, torch.fft.fft2(sr.float() - hr.float(), norm="ortho"))
    power = torch.view_as_real(spectrum).square().sum(-1)
    weight = power.detach().pow(alpha / 2)
    most = weight.amax((-2, -1), keepdim=True)
    return (weight / most.clamp_min(torch.finfo(weight.dtype).tiny) * power).mean()
