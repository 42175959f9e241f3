"""Our models in spandrel, the loader of chaiNNer and others: ``sr.export.spandrel.install()``,
then load as usual.

Spandrel sees keys and tensors, nothing else, and the shapes of SRCNN do not tell its scale. So a
file for spandrel has one tensor more, ``sr_config``: the model's name and config as JSON in bytes.
RRDBNet of the usual growth needs none of this, for its keys are ESRGAN's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sr.models import Model, build, name_of

__all__ = ["KEY", "from_state", "install", "to_state"]

KEY = "sr_config"
GROWTH = 32
"""Of ESRGAN's dense layers; spandrel takes it for granted."""


def to_state(model: Model) -> dict[str, Tensor]:
    """The weights, and :data:`KEY` where spandrel needs it."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    name = name_of(model)
    if name != "rrdb" or model.config["growth"] != GROWTH:
        text = json.dumps({"name": name, "config": model.config}).encode()
        state[KEY] = torch.tensor(list(text), dtype=torch.uint8)
    return state


def from_state(state: Mapping[str, Tensor]) -> Model:
    """The model of :func:`to_state`, in eval mode. Raises ValueError or RuntimeError if the
    weights do not fit.
    """
    said: dict[str, Any] = json.loads(bytes(state[KEY].to(torch.uint8).tolist()))
    model = build(said["name"], **said["config"])
    model.load_state_dict({name: tensor for name, tensor in state.items() if name != KEY})
    return model.eval()


def install() -> None:
    """Teaches spandrel to load our files. Does nothing the second time. Raises ImportError
    without spandrel.
    """
    spandrel: Any = import_module("spandrel")  # not a dependency: it pulls torchvision

    class Ours(spandrel.Architecture):
        def __init__(self) -> None:
            super().__init__(id="sr", name="sr", detect=lambda state: KEY in state)

        def load(self, state_dict: Mapping[str, Tensor]) -> Any:
            model = from_state(state_dict)
            return spandrel.ImageModelDescriptor(
                model,
                model.state_dict(),
                architecture=self,
                purpose="Restoration" if model.scale == 1 else "SR",
                tags=[name_of(model)],
                supports_half=False,
                supports_bfloat16=False,
                scale=model.scale,
                input_channels=3,
                output_channels=3,
            )

    registry = spandrel.MAIN_REGISTRY
    if "sr" not in registry:
        # First of all, because others detect by keys such as conv1.weight alone.
        before = tuple(
            support.architecture.id for support in registry.architectures("detection")[:1]
        )
        registry.add(spandrel.ArchSupport.from_architecture(Ours(), before=before))
