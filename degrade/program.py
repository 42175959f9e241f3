"""Program: what will be done to each sample, as calls of kernels; on the host, before any pixel.

.. math:: \\text{recipe} \\to \\text{plan} \\to \\text{program} \\to \\text{pair}

A sample's part of a program is a straight line of calls, each with its arguments and the size that
it leaves. The calls of a batch stand in an order in which every sample meets its own in theirs; an
executor (:mod:`degrade.execution`) may run them in any other order that keeps each sample's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degrade.canvas import Sizes
from degrade.kernels.base import WORDS, Call, Data, Samples
from degrade.kernels.validation import validate

__all__ = ["Lines", "Program", "Step"]

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


@dataclass(frozen=True, eq=False)
class Lines:
    """A program sample by sample, as executors run it.

    Args:
        words: (N, 32) records, those of a sample one after the other.
        start: (B + 1,) where each sample's begin.
        before_target: (B,) how many of them make its HR target.
        data: Their arrays.
        hr: (B, 2) sizes of the HR images.
        target: (B, 2) sizes of the final LR images.
        channels: 1 or 3.
        calls: The calls that the records are of; none where native code wrote them.
        call: (N,) which of them each record is of.
    """

    words: NDArray[np.int32]
    start: NDArray[np.int64]
    before_target: NDArray[np.int64]
    data: Data
    hr: Sizes
    target: Sizes
    channels: int
    calls: Sequence[Call] = ()
    call: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.before_target)

    @property
    def has_targets(self) -> bool:
        """Whether some target is not the HR image itself."""
        return bool(self.before_target.any())

    @staticmethod
    def of(
        calls: Sequence[Call], data: Data, hr: Sizes, target: Sizes, channels: int, first: int = 0
    ) -> Lines:
        """Of calls in an order in which every sample meets its own in theirs; the ``first`` ones
        make the HR targets.
        """
        words = np.concatenate([np.empty((0, WORDS), np.int32), *(call.words for call in calls)])
        order = words[:, 1].argsort(kind="stable")
        words = words[order]
        call = np.repeat(np.arange(len(calls)), [len(call.rows) for call in calls])[order]
        start = words[:, 1].searchsorted(np.arange(len(hr) + 1))
        before = np.diff(np.concatenate([[0], np.cumsum(call < first)])[start])
        return Lines(words, start, before, data, hr, target, channels, calls, call)


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

    @property
    def lines(self) -> Lines:
        """The same, sample by sample."""
        sizes = self.hr, self.target, self.channels
        return Lines.of(self.calls, self.data, *sizes, first=self.target_calls)

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
