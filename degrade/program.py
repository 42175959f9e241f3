"""Program: what will be done to each sample, as calls of kernels; on the host, before any pixel.

.. math:: \\text{recipe} \\to \\text{plan} \\to \\text{program} \\to \\text{pair}

A sample's part of a program is a straight line of calls, each with its arguments and the size that
it leaves. The calls of a batch stand in an order in which every sample meets its own in theirs; an
executor (:mod:`degrade.execution`) may run them in any other order that keeps each sample's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degrade.canvas import Sizes
from degrade.kernels.base import Call, Data, Samples
from degrade.kernels.validation import validate

__all__ = ["Program", "Step"]

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Step:
    """The calls that one operator made of some samples.

    Args:
        address: The operator's, ``stage.label``.
        rows: The samples' places in the batch.
        calls: Which of the program's calls are its own.
    """

    address: str
    rows: Rows
    calls: slice


class Program:
    """The calls of a batch, in the making and made.

    Args:
        sizes: (B, 2) height and width of each HR image, multiples of the scale.
        scale: HR size / LR size.
        channels: 1 or 3.

    Attributes:
        calls: All calls.
        steps: The calls by operator.
        data: Their arrays.
        sizes: (B, 2) what the calls so far leave of each sample.
        target_steps: How many of the steps make the HR target; the rest make the LR image of it.
    """

    def __init__(self, sizes: Sizes, scale: int, channels: int) -> None:
        self.hr, self.target, self.channels = sizes, sizes // scale, channels
        self.sizes = sizes.copy()
        self.calls: list[Call] = []
        self.steps: list[Step] = []
        self.data = Data()
        self.target_steps = 0

    def __len__(self) -> int:
        return len(self.hr)

    @property
    def target_calls(self) -> int:
        """How many of the calls make the HR target."""
        return self.steps[self.target_steps - 1].calls.stop if self.target_steps else 0

    def samples(self, rows: Rows) -> Samples:
        """Some samples as an operator meets them now."""
        sizes = self.sizes[rows]
        return Samples(rows, sizes, self.target, self.hr, self.channels, self.data)

    def add(self, address: str, rows: Rows, calls: Iterable[Call], check: bool = True) -> None:
        """Append the calls that an operator made of the samples ``rows``.

        Raises:
            ValueError: ``check``, and a call does not fit this program.
        """
        first = len(self.calls)
        for call in calls:
            if check:
                self._check(address, call)
            self.calls.append(call)
            self.sizes[call.rows] = call.words[:, 4:6]
        self.steps.append(Step(address, rows, slice(first, len(self.calls))))

    def _check(self, address: str, call: Call) -> None:
        try:
            validate(call, self.data, self.channels)
            if (call.words[:, 2:4] != self.sizes[call.rows]).any():
                raise ValueError(f"{call.kernel.name}: its sizes are not those that came before")
        except ValueError as error:
            raise ValueError(f"{address}: {error}") from None
