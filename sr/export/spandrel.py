"""Plug-in for spandrel, the model loader of chaiNNer and others: call
``sr.export.spandrel.install()``, then load files as usual.

Spandrel detects a model by its keys and shapes, which for SRCNN do not determine the scale. So a
file for spandrel has one more tensor, ``sr_config``: the model's name and config as JSON bytes.
RRDBNet of ESRGAN's growth and SRVGGNetCompact do not need it, because spandrel knows their keys.
"""

# torch, safetensors, spandrel: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.extras import optional
from sr.checkpoint import write
from sr.foreign import CONFIG_KEY, MODEL_ERRORS, assemble, detect
from sr.models import Model, name_of
from sr.models.spandrel import INSTALL

__all__ = ["from_state", "install", "to_spandrel", "to_state"]

TOLERANCE = 1e-4
"""Largest difference of results, of pixels in [0, 1]."""
SIZES = ((16, 24), (21, 13))
"""Sizes at which they are compared."""
GROWTH = 32
"""Growth of ESRGAN's dense blocks, which spandrel assumes."""


def to_spandrel(model: Model, path: str | Path) -> tuple[str, float]:
    """Write a file for spandrel, after a model of these bytes, found by keys and shapes as
    spandrel does, has given the same results.

    Returns:
        The code that loads the file, and the largest difference of results.

    Raises:
        UserError: If the model cannot be written, or the difference is larger than 1e-4.
    """
    from safetensors.torch import load, save

    try:
        state = to_state(model)
        data = save(state)
        again = from_state(load(data))
    except MODEL_ERRORS as error:
        raise UserError(f"{path}: not written: {error}") from None
    worst = _difference(model, again)
    if not worst <= TOLERANCE:
        raise UserError(
            f"{path}: not written, what is read again differs by {worst:.2g}, "
            f"more than {TOLERANCE:g}"
        )
    write(path, data)
    loader = "spandrel.ModelLoader().load_from_file(..)"
    if CONFIG_KEY in state:
        loader = f"import sr.export.spandrel; sr.export.spandrel.install(); {loader}"
    return loader, worst


@torch.no_grad()
def _difference(model: Model, again: Model) -> float:
    """Largest difference of results, at two sizes."""
    model = model.eval()
    images = (
        torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) for size in SIZES
    )
    return max(float((model(lr) - again(lr)).abs().max()) for lr in images)


def to_state(model: Model) -> dict[str, Tensor]:
    """Return the weights, and :data:`CONFIG_KEY` if spandrel needs it."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    name = name_of(model)
    known = name == "compact" or (
        name == "rrdb" and model.config["growth"] == GROWTH and "unshuffle" not in model.config
    )
    if not known:
        text = json.dumps({"name": name, "config": model.config}).encode()
        state[CONFIG_KEY] = torch.tensor(list(text), dtype=torch.uint8)
    return state


def from_state(state: Mapping[str, Tensor]) -> Model:
    """Build the model of :func:`to_state`, found by keys and shapes as spandrel does, in eval
    mode. Raises an error of :data:`sr.foreign.MODEL_ERRORS` if it is of none, or the weights do
    not fit.
    """
    found = detect(state)
    if found is None:
        raise ValueError("its keys are of no known network")
    return assemble(*found).eval()


def install() -> None:
    """Register our architectures with spandrel; again is a no-op. Raises ImportError without
    spandrel.
    """
    spandrel = optional("spandrel", INSTALL)

    class SRArchitecture(spandrel.Architecture):
        def __init__(self) -> None:
            super().__init__(id="sr", name="sr", detect=lambda state: CONFIG_KEY in state)

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
        # First, because other architectures are detected by keys such as conv1.weight alone.
        first = registry.architectures("detection")[:1]
        before = tuple(support.architecture.id for support in first)
        registry.add(spandrel.ArchSupport.from_architecture(SRArchitecture(), before=before))
