"""Models of spandrel, which knows some 45 architectures by their tensors, if it is installed."""

# spandrel has no types here.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from degrade.extras import optional
from sr.models.external import ExternalModel

__all__ = ["INSTALL", "SpandrelModel", "load_by_spandrel"]

INSTALL = "pip install spandrel torchvision, both for your build of torch"


class SpandrelModel(ExternalModel):
    """A model that spandrel has built; its weights move with ``to``.

    Args:
        found: Its ``ImageModelDescriptor``, which pads images as the architecture needs it.

    Raises:
        ValueError: If it is not from RGB to RGB.
    """

    def __init__(self, found: Any) -> None:
        channels = found.input_channels, found.output_channels
        if channels != (3, 3):
            raise ValueError(f"{channels[0]} to {channels[1]} channels, not RGB")
        network: Callable[[Tensor], Tensor] = found
        super().__init__(network, found.architecture.name, int(found.scale))
        self.network: nn.Module = found.model.eval()


def load_by_spandrel(tensors: Mapping[str, Tensor]) -> SpandrelModel | None:
    """Build the model of tensors; None if spandrel does not know their architecture.

    Raises:
        ImportError: If spandrel is not installed, or cannot be imported.
        Exception: Whatever the code of 45 architectures raises for damaged tensors.
    """
    spandrel = optional("spandrel", INSTALL)
    try:
        found: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except spandrel.UnsupportedModelError:
        return None
    return SpandrelModel(found)
