"""ONNX export of a model, for any batch and image size.

ONNX Runtime's output is compared with torch's before the file is written.
"""

# torch, onnxruntime: types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from degrade.errors import UserError
from degrade.extras import install
from sr.checkpoint import write
from sr.models import Model

__all__ = ["onnx_bytes", "to_onnx"]

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch, of pixels in [0, 1]."""
SIZES = ((16, 24), (21, 13))
"""Sizes at which they are compared; not that of the export."""


def to_onnx(model: Model, path: str | Path) -> float:
    """Write a model with input ``lr`` (B, 3, h, w) and output ``sr``, RGB in [0, 1].

    Returns:
        The largest difference between ONNX Runtime and torch.

    Raises:
        UserError: If packages are missing, the model cannot be exported, or the difference is
            larger than 1e-4.
    """
    data = onnx_bytes(model)
    worst = max(difference(model, data, *size) for size in SIZES)
    if not worst <= TOLERANCE:
        raise UserError(
            f"{path}: not written, ONNX Runtime differs from torch by {worst:.2g}, "
            f"more than {TOLERANCE:g}"
        )
    write(path, data)
    return worst


def onnx_bytes(model: Model) -> bytes:
    """Return an ONNX file, not compared yet. Raises UserError."""
    try:
        for package in ("onnx", "onnxscript"):
            import_module(package)
    except ImportError as error:
        raise UserError(f"export to ONNX: {error}; {install('export')}") from None
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
        reason = str(error).splitlines()[0]
        raise UserError(f"{type(model).__name__}: cannot be exported to ONNX: {reason}") from None
    assert program is not None
    return program.model_proto.SerializeToString()


def difference(model: Model, data: bytes, height: int, width: int) -> float:
    """Return the largest difference between ONNX Runtime and torch on random pixels."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"export to ONNX: {error}; {install('export')}") from None
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"lr": image.numpy()})
    with torch.no_grad():
        return float(np.abs(found - model(image).numpy()).max())
