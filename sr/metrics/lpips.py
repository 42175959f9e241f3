"""LPIPS: learned perceptual image patch similarity.

.. math:: d = \\sum_l \\frac{1}{H_l W_l} \\sum_{h,w} \\sum_c
          w_{lc} (\\hat\\phi_l(SR) - \\hat\\phi_l(HR))_{hwc}^2

with features normalized to unit length over channels and the published weights w ("heads",
version 0.1), which the wheel of torchmetrics contains. The backbone is AlexNet or VGG16 with
ImageNet weights; only these weights may be reported as LPIPS.

References:
    | The unreasonable effectiveness of deep features as a perceptual metric (Zhang et al., CVPR
    | 2018) https://arxiv.org/abs/1801.03924
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from degrade.extras import install
from degrade.storage.files import sha256
from sr.metrics.base import Metric, as_rgb
from sr.pretrained import MissingWeightsError, features, locate

__all__ = [
    "LPIPS",
    "Layers",
    "distance",
    "heads",
    "load_lpips",
    "lpips_metric",
    "vgg16",
]

Net = Literal["alexnet", "vgg16"]

HEADS: dict[Net, str] = {"alexnet": "alex.pth", "vgg16": "vgg.pth"}
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Mean and standard deviation of images in [-1, 1], by channel."""
MIN_SIDE = 32
"""Smallest side for which every layer has a pixel."""


class Layers(nn.Module):
    """Layers numbered from 1 as in torchvision; returns the outputs of layers ``ends``."""

    def __init__(self, body: nn.Sequential, ends: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.ends = tuple(ends)

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for number, layer in enumerate(self.body, 1):
            image = layer(image)
            if number in self.ends:
                features.append(image)
        return features


def alexnet() -> Layers:
    """Return AlexNet's convolutions, with the output of each ReLU."""
    first = [
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
    ]
    then = [(192, 384), (384, 256), (256, 256)]
    rest = [layer for a, b in then for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    return Layers(nn.Sequential(*first, nn.MaxPool2d(3, 2), *rest), [2, 5, 8, 10, 12])


def convolutions(depths: Sequence[int]) -> nn.Sequential:
    """Return the convolutions of a VGG with so many before each pool, and a ReLU after each; the
    last pool is left out.
    """
    layers: list[nn.Module] = []
    before = 3
    for width, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers[:-1])


def vgg16() -> Layers:
    """Return VGG16's convolutions, with the input of each pool."""
    return Layers(convolutions((2, 2, 3, 3, 3)), [4, 9, 16, 23, 30])


NETS: dict[Net, Callable[[], Layers]] = {"alexnet": alexnet, "vgg16": vgg16}


def distance(a: Sequence[Tensor], b: Sequence[Tensor], heads: Sequence[Tensor]) -> Tensor:
    """Return LPIPS (B,) of two lists of features (B, C_l, H_l, W_l) with heads (C_l,)."""
    terms = [
        (_unit(x) - _unit(y)).square().mul(head.view(1, -1, 1, 1)).sum(1).mean((1, 2))
        for x, y, head in zip(a, b, heads, strict=True)
    ]
    return torch.stack(terms).sum(0)


def _unit(x: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().sum(1, keepdim=True) + 1e-8)


class LPIPS(nn.Module):
    """Distance (B,) of SR and HR, (B, 3, H, W) RGB in [0, 1], sides of at least 32; 0 for equal
    images. :func:`load_lpips` builds it with its weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, body: Layers, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        if min(sr.shape[2:]) < MIN_SIDE:
            raise ValueError(
                f"LPIPS of {list(sr.shape[2:])} pixels: each side must be at least {MIN_SIDE}"
            )
        return distance(self._features(sr), self._features(hr), list(self.heads))

    def _features(self, image: Tensor) -> list[Tensor]:
        layers = self.body((2 * image.clamp(0, 1) - 1 - self.shift) / self.scale)
        # Under autocast too: differences of like features in bfloat16 have few digits.
        return [layer.to(image.dtype) for layer in layers]


def load_lpips(net: Net = "alexnet", file: str | Path | None = None) -> LPIPS:
    """Load LPIPS 0.1 on a backbone; the literature reports AlexNet.

    Args:
        net: ``alexnet`` or ``vgg16``.
        file: torchvision's ImageNet weights of ``net``; by default where ``sr fetch`` stores them.

    Raises:
        ValueError: If the net is unknown.
        MissingWeightsError: If the backbone's weights or the heads are not on this machine.
    """
    if net not in NETS:
        raise ValueError(f"LPIPS net {net!r}: must be one of {', '.join(NETS)}")
    with torch.device("meta"):
        body = NETS[net]()
    try:
        body.body.load_state_dict(features(net, file), assign=True)
    except RuntimeError as error:
        if isinstance(error, MissingWeightsError):
            raise
        raise MissingWeightsError(f"{file or net}: not the weights of {net}: {error}") from error
    return LPIPS(body, heads(net))


def lpips_metric() -> Metric:
    """Return LPIPS on AlexNet as a metric. Nothing is shaved, as in the literature. Raises
    MissingWeightsError.
    """
    measure = load_lpips()
    hashes = [sha256(path)[:8] for path in (locate("alexnet"), published("LPIPS", HEADS_PATH))]
    return Metric(
        lambda sr, hr, _shave: float(measure.to(sr.device)(as_rgb(sr), as_rgb(hr))),
        f"LPIPS 0.1 on AlexNet, of RGB, nothing shaved; weights {hashes[0]}, heads {hashes[1]}",
        window=MIN_SIDE,
        lower=True,
    )


HEADS_PATH = f"lpips_models/{HEADS['alexnet']}"


def heads(net: Net) -> list[Tensor]:
    """Load the published heads, (C_l,) for each layer. Raises MissingWeightsError."""
    path = published("LPIPS", f"lpips_models/{HEADS[net]}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[key].flatten() for key in sorted(state)]


def published(metric: str, file: str) -> Path:
    """Return a file of published weights in torchmetrics' wheel. Raises MissingWeightsError."""
    spec = find_spec("torchmetrics")
    path = Path(spec.origin or "").parent / "functional/image" / file if spec else Path()
    if not path.is_file():
        raise MissingWeightsError(
            f"the weights of {metric} come with torchmetrics: {install('train')}"
        )
    return path
