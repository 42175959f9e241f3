"""DISTS: deep image structure and texture similarity.

.. math::
    d = 1 - \\sum_{l,c} \\left( \\alpha_{lc}
        \\frac{2 \\mu_x \\mu_y + \\epsilon}{\\mu_x^2 + \\mu_y^2 + \\epsilon} + \\beta_{lc}
        \\frac{2 \\sigma_{xy} + \\epsilon}{\\sigma_x^2 + \\sigma_y^2 + \\epsilon} \\right)

with means and covariances over the pixels of channel c of the image itself (l = 0) and of five
layers of VGG16 (ImageNet weights) whose pools are L2, and the published alpha and beta, which the
wheel of torchmetrics contains.

References:
    | Image quality assessment: unifying structure and texture similarity (Ding et al., 2020)
    | https://arxiv.org/abs/2004.07728
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from degrade.storage.files import sha256
from sr.metrics.base import Metric, as_rgb
from sr.metrics.lpips import Layers, published, vgg16
from sr.pretrained import MissingWeightsError, features, locate

__all__ = ["DISTS", "dists_metric", "load_dists", "similarity"]

CHANNELS = (3, 64, 128, 256, 512, 512)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOOR = 1e-6
MIN_SIDE = 16
"""Smallest side for which every layer has a pixel."""
WEIGHTS = "dists_models/weights.pt"


class L2Pool(nn.Module):
    """Root of the local mean square, window hann(5) without its zeros, stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        side = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        window = torch.outer(side, side).expand(x.shape[1], 1, 3, 3)
        square = F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1])
        return (square + 1e-12).sqrt()


def similarity(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return one layer's term (B,) of features (B, C, H, W) with weights (C,)."""
    mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
    var_x, var_y = ((z - z.mean((2, 3), keepdim=True)).square().mean((2, 3)) for z in (x, y))
    covariance = (x * y).mean((2, 3)) - mean_x * mean_y
    texture = (2 * mean_x * mean_y + FLOOR) / (mean_x**2 + mean_y**2 + FLOOR)
    structure = (2 * covariance + FLOOR) / (var_x + var_y + FLOOR)
    return (alpha * texture + beta * structure).sum(1)


class DISTS(nn.Module):
    """Distance (B,) of SR and HR, (B, 3, H, W) RGB in [0, 1]; 0 for equal images.

    Args:
        body: VGG16's convolutions with their weights.
        alpha: Weights (1475,) of the means.
        beta: Weights (1475,) of the covariances; all 2950 sum to 1 after scaling.
    """

    def __init__(self, body: Layers, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        layers = [L2Pool() if isinstance(part, nn.MaxPool2d) else part for part in body.body]
        body = Layers(nn.Sequential(*layers), body.ends)
        self.body = body.eval().requires_grad_(False)
        total = alpha.sum() + beta.sum()
        self.alpha = nn.Parameter(alpha / total, requires_grad=False)
        self.beta = nn.Parameter(beta / total, requires_grad=False)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        if min(sr.shape[2:]) < MIN_SIDE:
            raise ValueError(
                f"DISTS of {list(sr.shape[2:])} pixels: each side must be at least {MIN_SIDE}"
            )
        layers = zip(
            self._features(sr),
            self._features(hr),
            self.alpha.split(CHANNELS),
            self.beta.split(CHANNELS),
            strict=True,
        )
        return 1 - torch.stack([similarity(*layer) for layer in layers]).sum(0)

    def _features(self, image: Tensor) -> Sequence[Tensor]:
        image = image.clamp(0, 1)
        mean, deviation = (image.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, DEVIATION))
        layers = self.body((image - mean) / deviation)
        # Under autocast too: variances in bfloat16 have few digits.
        return [image, *(layer.to(image.dtype) for layer in layers)]


def load_dists(file: str | Path | None = None) -> DISTS:
    """Load DISTS.

    Args:
        file: torchvision's ImageNet weights of VGG16; by default where ``sr fetch vgg16`` stores
            them.

    Raises:
        MissingWeightsError: If weights are not on this machine.
    """
    with torch.device("meta"):
        body = vgg16()
    try:
        body.body.load_state_dict(features("vgg16", file), assign=True)
    except RuntimeError as error:
        if isinstance(error, MissingWeightsError):
            raise
        raise MissingWeightsError(
            f"{file or 'vgg16'}: not the weights of vgg16: {error}"
        ) from error
    state = torch.load(published("DISTS", WEIGHTS), map_location="cpu", weights_only=True)
    return DISTS(body, state["alpha"].flatten(), state["beta"].flatten())


def dists_metric() -> Metric:
    """Return DISTS as a metric. Nothing is shaved. Raises MissingWeightsError."""
    measure = load_dists()
    hashes = [sha256(path)[:8] for path in (locate("vgg16"), published("DISTS", WEIGHTS))]
    return Metric(
        lambda sr, hr, _shave: float(measure.to(sr.device)(as_rgb(sr), as_rgb(hr))),
        f"DISTS on VGG16, of RGB at full size, nothing shaved; weights {hashes[0]}, "
        f"alpha and beta {hashes[1]}",
        window=MIN_SIDE,
        lower=True,
    )
