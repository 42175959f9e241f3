"""Backends: which executor runs a program.

Triton's kernels run on a CPU too, slowly, where ``TRITON_INTERPRET=1`` is set: for tests.
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Literal

from torch import Tensor

from degrade.errors import UserError
from degrade.kernels import native

__all__ = ["BACKENDS", "Backend", "choose", "choose_for"]

Backend = Literal["reference", "native", "triton"]
BACKENDS: tuple[Backend, ...] = ("reference", "native", "triton")
"""torch on any device, with gradients; C on a CPU; Triton on a CUDA device."""


def choose(pixels: Tensor, backend: Backend | None = None) -> Backend:
    """The backend that runs programs on such pixels.

    Args:
        pixels: The HR images, (B, C, H, W).
        backend: One that is asked for; by default the fastest that is there.

    Raises:
        UserError: The one that is asked for is unknown, is not there, or cannot work these pixels.
    """
    used = choose_for(pixels.device.type, backend)
    works = not pixels.requires_grad and pixels.shape[1] in (1, 3)
    if used == "reference" or works:
        return used
    if backend is None:
        return "reference"
    if pixels.requires_grad:
        raise UserError(f"backend {backend}: has no gradients; use reference")
    channels = pixels.shape[1]
    raise UserError(f"backend {backend}: works 1 or 3 channels, not {channels}; use reference")


def choose_for(device: str, backend: Backend | None = None) -> Backend:
    """The backend for images on a device (``cpu``, ``cuda:1``, ...), as :func:`choose`."""
    kind = device.partition(":")[0]
    here = {"native": bool(native.available()), "triton": _has_triton()}
    if backend is None:
        if kind == "cpu" and here["native"]:
            return "native"
        return "triton" if kind == "cuda" and here["triton"] else "reference"
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r}: should be one of {', '.join(BACKENDS)}")
    if backend == "reference":
        return backend
    if not here[backend]:
        remedy = {
            "native": "was not built; install degrade with a C compiler, or use reference",
            "triton": "is not installed; pip install triton, or use reference",
        }
        raise UserError(f"backend {backend}: {remedy[backend]}")
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    wanted = "cpu" if backend == "native" or interpreted else "cuda"
    if kind != wanted:
        raise UserError(f"backend {backend}: works {wanted} tensors, not {kind}; use reference")
    return backend


@functools.cache
def _has_triton() -> bool:
    """Whether Triton is installed; looked for once, since that takes longer than a small batch."""
    return find_spec("triton") is not None
