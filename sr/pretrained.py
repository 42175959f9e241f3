"""Published weights of networks and parameters of metrics, for losses and metrics.

:func:`fetch` is the only function of the package that uses the network; :func:`locate` finds a
file, or says how to get it. Files are read with ``weights_only=True``, and a download whose
SHA-256 does not begin with the known digits is deleted.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "URLS",
    "MissingWeightsError",
    "cache",
    "features",
    "fetch",
    "has_weights",
    "locate",
    "read_tensors",
]

URLS = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "alexnet": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "niqe": "https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/"
    "niqe_pris_params.npz",
}
"""torchvision's ImageNet weights (BSD-3), and the parameters of NIQE's authors (12 kB; permission
to use and distribute with their notice, see http://live.ece.utexas.edu/research/quality)."""
SHA256 = {
    "vgg19": "dcbb9e9d",
    "vgg16": "397923af",
    "alexnet": "7be5be79",
    "niqe": "2a7c182a68c9e7f1",
}
"""The first digits of the files' hashes."""
EXPANSION = 4
"""How many times as large as the file its tensors may be. PyTorch does not compress; those who
pack its files again do.
"""


class MissingWeightsError(RuntimeError):
    """Weights are missing on this machine, or are damaged."""


def cache() -> Path:
    """Return the folder of downloaded weights: ``$SR_CACHE``, else ``sr`` under
    ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    given = os.environ.get("SR_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sr"


def fetch(name: str) -> Path:
    """Download the weights ``name`` into :func:`cache`, unless they are there, and check their
    hash.

    Raises:
        ValueError: If the name is unknown.
        MissingWeightsError: If the download fails or has another hash.
    """
    if name not in URLS:
        raise ValueError(f"weights {name!r}: unknown; they must be one of {', '.join(URLS)}")
    path = _cached(name)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URLS[name], str(path), SHA256[name])
    except (OSError, RuntimeError) as error:
        raise MissingWeightsError(
            f"{URLS[name]}: {error}; download it elsewhere and pass the file, "
            f"or copy it into {cache()}"
        ) from error
    return path


def locate(name: str, file: str | Path | None = None) -> Path:
    """Return the file of the weights ``name``: ``file`` if given, else the one in :func:`cache`.

    Raises:
        MissingWeightsError: If it does not exist.
    """
    path = _cached(name) if file is None else Path(file)
    if not path.is_file():
        raise MissingWeightsError(
            f"{path}: no weights of {name}; run `sr fetch {name}`, "
            f"or pass a file from {URLS[name]}"
        )
    return path


def has_weights(name: str) -> bool:
    """Return whether the weights ``name`` are in :func:`cache`."""
    return _cached(name).is_file()


def features(name: str, file: str | Path | None = None) -> dict[str, Tensor]:
    """Load the convolutions of the weights ``name``: torchvision's keys ``features.*`` without
    that prefix.

    Raises:
        MissingWeightsError: If the file does not exist, or does not hold such weights.
    """
    path = locate(name, file)
    try:
        state = read_tensors(path)
        keys = [key for key in state if key.startswith("features.")]
        return {key.removeprefix("features."): state[key] for key in keys}
    except Exception as error:  # torch.load raises whatever a damaged or hostile file provokes
        raise MissingWeightsError(
            f"{path}: not a file of {name} weights ({error}); run `sr fetch {name}`"
        ) from error


def read_tensors(path: str | Path) -> Any:
    """Read tensors and plain containers from a file of PyTorch, with no more memory than
    :data:`EXPANSION` times its size on disk.

    Raises:
        Exception: torch.load raises whatever a damaged or hostile file provokes.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        packed = os.path.getsize(path)
        if size > EXPANSION * packed:
            raise ValueError(
                f"its {packed} bytes are compressed and expand to {size}; weights shrink by a "
                f"tenth, and at most {EXPANSION}-fold is read"
            )
    return torch.load(path, map_location="cpu", weights_only=True)


def _cached(name: str) -> Path:
    return cache() / URLS[name].rsplit("/", 1)[-1]
