"""The heavy work: convolve, resample, jpeg. Each has one batched torch form and, for CPU tensors, one OpenCV form per
image.

The choice between the two is made here and nowhere else; operators never know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Literal

from degrade.canvas import Canvas

__all__ = ["Form", "form_of", "use_form"]

Form = Literal["torch", "opencv"]
_FORCED: ContextVar[Form | None] = ContextVar("form", default=None)


def form_of(canvas: Canvas) -> Form:
    """Which form works this canvas: OpenCV for CPU pixels that no gradient flows through, else torch."""
    forced = _FORCED.get()
    if forced is not None:
        return forced
    return "opencv" if canvas.pixels.device.type == "cpu" and not canvas.pixels.requires_grad else "torch"


@contextlib.contextmanager
def use_form(form: Form | None) -> Generator[None]:
    """Forces a form inside a ``with`` block: tests hold the two equal, benchmarks race them."""
    token = _FORCED.set(form)
    try:
        yield
    finally:
        _FORCED.reset(token)
