"""The heavy work: convolve, resample, jpeg, and the noise and sharpening of :mod:`degrade.ops`.
Each has one batched torch backend, and for CPU tensors one that works image by image: ``native``
(C, :mod:`degrade.kernels.native`) where that was built and has the operation, else ``opencv``.

The choice is made here and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Literal

import torch

from degrade.canvas import Canvas
from degrade.kernels import native

__all__ = ["BACKENDS", "Backend", "backend_of", "use_backend"]

Backend = Literal["torch", "opencv", "native"]
BACKENDS: tuple[Backend, ...] = (
    ("torch", "opencv", "native") if native.available() else ("torch", "opencv")
)
"""Those that work here."""
_FORCED: ContextVar[Backend | None] = ContextVar("backend", default=None)


def backend_of(canvas: Canvas) -> Backend:
    """Which backend works this canvas: native or OpenCV for CPU pixels that no gradient flows
    through, else torch.

    Native code works float32 images of 1 or 3 channels: its noise knows no others.
    """
    forced = _FORCED.get()
    if forced == "torch" or canvas.pixels.device.type != "cpu" or canvas.pixels.requires_grad:
        return forced or "torch"
    fits = canvas.pixels.dtype == torch.float32 and canvas.pixels.shape[1] in (1, 3)
    return "native" if fits and forced != "opencv" and "native" in BACKENDS else "opencv"


@contextlib.contextmanager
def use_backend(backend: Backend | None) -> Generator[None]:
    """Forces a backend inside a ``with`` block: tests hold the two equal, benchmarks race them."""
    token = _FORCED.set(backend)
    try:
        yield
    finally:
        _FORCED.reset(token)
