"""Export: a model for other programs. ONNX runs anywhere; spandrel's users load the safetensors;
OpenModelDB lists it.

The one constraint: what is exported is compared with the model before it is kept.
"""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degrade.errors import UserError
from degrade.storage.files import sha256
from sr.checkpoint import read_metadata, weights_file, write
from sr.models import Model, name_of

__all__ = ["onnx_bytes", "openmodeldb", "to_onnx", "to_spandrel"]

OPSET = 18
AGREE = 1e-4
"""Largest difference of ONNX Runtime and torch, of pixels in [0, 1]."""
SIZES = ((16, 24), (21, 13))
"""Sizes at which they are compared; neither is that of the export."""


def to_onnx(model: Model, path: str | Path) -> float:
    """Writes a model of any batch and image size: input ``lr`` (B, 3, h, w), output ``sr``, RGB in
    [0, 1].

    Returns:
        The largest difference to torch, as ONNX Runtime computes it.

    Raises:
        UserError: If packages are missing, the model cannot be exported, or the results differ by
        more than 1e-4.
    """
    data = onnx_bytes(model)
    worst = max(difference(model, data, *size) for size in SIZES)
    if not worst <= AGREE:
        raise UserError(f"{path}: not written, ONNX Runtime differs from torch by {worst:.2g}")
    write(path, data)
    return worst


def onnx_bytes(model: Model) -> bytes:
    """An ONNX file, not compared yet. Raises UserError."""
    try:
        for package in ("onnx", "onnxscript"):
            import_module(package)
    except ImportError as error:
        raise UserError(f"export to ONNX: {error}; run `pip install degrade[export]`") from None
    free = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height"),
        3: torch.export.Dim("width"),
    }
    try:
        program = torch.onnx.export(
            model,
            (torch.rand(2, 3, 32, 40),),
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=(free,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise UserError(
            f"{name_of(model)}: has no ONNX form: {str(error).splitlines()[0]}"
        ) from None
    assert program is not None
    return program.model_proto.SerializeToString()


def difference(model: Model, data: bytes, height: int, width: int) -> float:
    """Largest difference of ONNX Runtime and torch on random pixels."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"export to ONNX: {error}; run `pip install degrade[export]`") from None
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"lr": image.numpy()})
    with torch.no_grad():
        return float(np.abs(found - model(image).numpy()).max())


def to_spandrel(model: Model, path: str | Path) -> str:
    """Writes a file for spandrel (see :mod:`sr.export.spandrel`). Returns how to load it."""
    from safetensors.torch import save

    from sr.export.spandrel import KEY, to_state

    state = to_state(model)
    write(path, save(state))
    loader = "spandrel.ModelLoader().load_from_file(..)"
    return (
        f"import sr.export.spandrel; sr.export.spandrel.install(); {loader}"
        if KEY in state
        else loader
    )


ARCHITECTURES = {
    "rrdb": "esrgan",
    "srresnet": "sr-res-net",
    "msrresnet": "sr-res-net",
    "srcnn": "srcnn",
}
"""Our names -> OpenModelDB's ids; it has none for SRCNN yet."""


def openmodeldb(
    model: str | Path, author: str, license: str, url: str | None = None
) -> dict[str, Any]:
    """The JSON entry that OpenModelDB asks for, its images left to fill in.

    Args:
        model: A checkpoint or its name.
        author: OpenModelDB's id of the author.
        license: SPDX identifier.
        url: Where the file can be had.

    Raises:
        UserError: If the file is no checkpoint.
    """
    path = weights_file(model)
    metadata = read_metadata(path)
    config: dict[str, Any] = json.loads(metadata["config"])
    training: dict[str, Any] = json.loads(metadata.get("training", "{}"))
    made = time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    entry: dict[str, Any] = {
        "name": path.stem,
        "author": author,
        "license": license,
        "tags": ["general-upscaler"]
        if metadata.get("recipe") == "bicubic"
        else ["general-upscaler", "restoration"],
        "description": f"{metadata['name']} ({settings}) trained on degrade recipe {metadata.get('recipe')} "
        f"({metadata.get('hash', '')[:12]}).",
        "date": made,
        "architecture": ARCHITECTURES.get(metadata["name"], metadata["name"]),
        "size": [f"{config.get('channels', config.get('filters', ['?']))}"],
        "scale": int(metadata["scale"]),
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [
            {
                "platform": "pytorch",
                "type": "safetensors",
                "size": path.stat().st_size,
                "sha256": sha256(path),
                "urls": [url] if url else [],
            }
        ],
        "images": [],
    }
    if training:
        entry |= {
            "trainingIterations": int(metadata["step"]),
            "trainingBatchSize": training["batch"],
            "trainingHRSize": training["patch"],
            "trainingOTF": not str(training["recipe"]).startswith("pairs:"),
        }
    return entry
