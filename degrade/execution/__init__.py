"""Execution: a program is run by one of three executors, chosen in one place.

The reference runs torch on any device, with gradients; ``native`` runs C on a CPU, one call a
sample; ``triton`` runs a batch on a CUDA device in a few dozen launches. They agree: bit for bit
where integers decide (JPEG, rounding), else to 5e-3 grey levels. A sample's result never depends
on its batch-mates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from degrade.canvas import Canvas
from degrade.execution import cpu, reference
from degrade.execution.backend import BACKENDS, Backend, choose, choose_for
from degrade.kernels.base import Call, Samples
from degrade.kernels.validation import validate

__all__ = ["BACKENDS", "Backend", "choose", "choose_for", "execute"]

Arguments = TypeVar("Arguments")


def execute(
    lower: Callable[[Arguments, Samples], Iterable[Call]],
    canvas: Canvas,
    arguments: Arguments,
    backend: Backend | None = None,
) -> Canvas:
    """Run the calls that ``lower(arguments, samples)`` makes for the images of a canvas.

    Args:
        lower: An operator's :meth:`~degrade.base.Operator.lower`, or a function like it.
        canvas: The images.
        arguments: What ``lower`` takes before the samples.
        backend: ``reference`` or ``native``; by default what fits the canvas.

    Raises:
        ValueError: A call does not fit the images.
        UserError: The backend cannot work this canvas.
    """
    samples = Samples.of(canvas)
    calls = list(lower(arguments, samples))
    for call in calls:
        validate(call, samples.data, samples.channels)
    if backend is None and canvas.pixels.dtype != torch.float32:
        backend = "reference"
    if choose(canvas.pixels, backend) == "native":
        return cpu.run_calls(canvas, calls, samples.data)
    return reference.run_calls(canvas, calls, samples.data)
