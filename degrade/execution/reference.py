"""The reference executor: a program's calls one after the other, each in torch on a canvas.

It runs on any device, in any floating dtype, with gradients, and holds what every kernel means:
the other executors are tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from degrade.canvas import Canvas
from degrade.kernels.base import Call, Data
from degrade.program import Program

__all__ = ["Watch", "run", "run_calls"]

Watch = Callable[[str, Canvas], None]
"""Called with an operator's address and the canvas that it left; for previews and benchmarks."""


def run(program: Program, hr: Tensor, watch: Watch | None = None) -> tuple[Tensor, Tensor]:
    """The LR and the target images of a batch.

    Args:
        program: What to do.
        hr: (B, C, H, W) float in [0, 1].
        watch: Sees the canvas after every operator.
    """
    canvas = Canvas(Canvas.of(hr).pixels, program.hr, program.target, program.hr)
    target = canvas.pixels
    for i, step in enumerate(program.steps):
        canvas = run_calls(canvas, program.calls[step.calls], program.data)
        if watch is not None:
            watch(step.address, _taken(canvas, step.rows))
        if i + 1 == program.target_steps:
            target = canvas.pixels
    height, width = program.target.max(0).tolist()
    return canvas.pixels[:, :, :height, :width], target


def run_calls(canvas: Canvas, calls: Iterable[Call], data: Data) -> Canvas:
    """The canvas that some calls leave; samples that a call does not work stay as they are."""
    for call in calls:
        if len(call.rows) == len(canvas):
            canvas = call.run(canvas, data)
        else:
            canvas = canvas.put(call.rows, call.run(canvas.take(call.rows), data))
    return canvas


def _taken(canvas: Canvas, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Canvas:
    return canvas if len(rows) == len(canvas) else canvas.take(rows)
