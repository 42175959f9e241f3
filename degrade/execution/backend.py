"""Backends: which executor runs a program."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from torch import Tensor

from degrade.errors import UserError
from degrade.kernels import native

__all__ = ["BACKENDS", "Backend", "choose"]

Backend = Literal["reference", "native", "triton"]
BACKENDS: tuple[Backend, ...] = ("reference", "native", "triton")
"""torch on any device, with gradients; C on a CPU; Triton on a CUDA device."""


def choose(pixels: Tensor, backend: Backend | None = None) -> Backend:
    """The backend that runs programs on such pixels.

    Args:
        pixels: The HR images.
        backend: One that is asked for; by default the fastest that is there.

    Raises:
        UserError: The one that is asked for is unknown, is not there, or cannot work these pixels.
    """
    device, grad = pixels.device.type, pixels.requires_grad
    if backend is None:
        fits = not grad and pixels.shape[1] in (1, 3)
        if fits and device == "cpu" and native.available():
            return "native"
        if fits and device == "cuda" and find_spec("triton"):
            return "triton"
        return "reference"
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r}: should be one of {', '.join(BACKENDS)}")
    if backend == "reference":
        return backend
    wanted = "cpu" if backend == "native" else "cuda"
    if backend == "native" and not native.available():
        raise UserError(
            "backend native: was not built; install degrade with a C compiler, or use reference"
        )
    if backend == "triton" and not find_spec("triton"):
        raise UserError("backend triton: is not installed; pip install triton, or use reference")
    if device != wanted:
        raise UserError(f"backend {backend}: works {wanted} tensors, not {device}; use reference")
    if grad:
        raise UserError(f"backend {backend}: has no gradients; use reference")
    if pixels.shape[1] not in (1, 3):
        raise UserError(
            f"backend {backend}: works 1 or 3 channels, not {pixels.shape[1]}; use reference"
        )
    return backend
