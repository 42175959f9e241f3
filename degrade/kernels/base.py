"""Kernel: the unit of work of a program, and the record of its arguments.

A kernel does one thing to one sample. What it is told is a *record* of 128 bytes: a header that
all kernels share, then its own arguments, as 32-bit words. Arrays that do not fit (taps, the
indices and weights of a resampling matrix) lie in the program's :class:`Data`, and the record
holds their offset in words. Records are plain memory: C reads them as a struct, a GPU as 32
integers.

A kernel's definition, record and torch reference lie in the module that is named after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from degrade.canvas import Canvas, Sizes

__all__ = ["Call", "Data", "Kernel", "PythonCall", "Records", "Samples", "address"]

WORDS = 32
"""Words of a record."""
HEADER = ("kernel", "sample", "height", "width", "out_height", "out_width")
"""The kernel's code, the row of the batch, the image's size before and after."""

Records = NDArray[Any]
"""(n,) structured array of a kernel's record."""
Rows = NDArray[np.intp]
Reference = Callable[["Canvas", Records, "Data"], "Canvas"]
"""From a canvas, the records of its samples in order, and the program's data, to what is left.
Pure torch: any device, any floating dtype, with gradients."""


def address(array: NDArray[Any]) -> int:
    """Where an array lies in memory. (``array.ctypes.data`` says it too, and takes longer.)"""
    return array.__array_interface__["data"][0]


class Data:
    """The arrays of a program, one after the other in one buffer of 32-bit words."""

    def __init__(self, capacity: int = 1 << 14) -> None:
        self._words = np.empty(capacity, np.int32)
        self.used = 0

    @property
    def capacity(self) -> int:
        """Words that there is room for."""
        return len(self._words)

    @property
    def address(self) -> int:
        """Of the first word in memory; until the buffer grows."""
        return address(self._words)

    @property
    def words(self) -> NDArray[np.int32]:
        """All words in use."""
        return self._words[: self.used]

    @property
    def floats(self) -> NDArray[np.float32]:
        """The same memory as float32."""
        return self.words.view(np.float32)

    def reserve(self, count: int) -> int:
        """Make room for ``count`` words, aligned to 8 bytes; return their offset in words."""
        start = self.used + self.used % 2
        self.used = start + count
        if self.used > len(self._words):
            grown = np.empty(2 * self.used, np.int32)
            grown[:start] = self._words[:start]
            self._words = grown
        return start

    def room(self, count: int) -> tuple[NDArray[np.int32], int]:
        """As :meth:`reserve`, with the words that the offset is in."""
        start = self.reserve(count)
        return self._words, start

    def add(self, array: NDArray[Any]) -> int:
        """Append an array of 32-bit or 64-bit values; return its offset in words."""
        words = np.ascontiguousarray(array).reshape(-1).view(np.int32)
        start = self.reserve(len(words))
        self._words[start : self.used] = words
        return start

    def read(self, start: int, count: int, dtype: Any = np.float32) -> NDArray[Any]:
        """``count`` values of ``dtype`` from ``start`` on; a view."""
        size = np.dtype(dtype).itemsize // 4
        return self._words[start : start + count * size].view(dtype)


class Samples:
    """What is known of some samples of a batch before any pixel is.

    Args:
        rows: (n,) their places in the batch, ascending.
        sizes: (n, 2) present height and width.
        target: (B, 2) size of the final LR image of every sample of the batch.
        hr: (B, 2) size of every HR image.
        channels: 1 or 3.
        data: Takes the arrays of calls.
    """

    __slots__ = ("_hr", "_target", "channels", "data", "rows", "sizes")

    def __init__(
        self, rows: Rows, sizes: Sizes, target: Sizes, hr: Sizes, channels: int, data: Data
    ) -> None:
        self.rows, self.sizes, self.channels, self.data = rows, sizes, channels, data
        self._target, self._hr = target, hr

    @staticmethod
    def of(canvas: Canvas) -> Samples:
        """All images of a canvas."""
        rows = np.arange(len(canvas))
        channels = canvas.pixels.shape[1]
        return Samples(rows, canvas.sizes, canvas.target, canvas.hr, channels, Data())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def target(self) -> Sizes:
        """(n, 2) size of the final LR image."""
        return self._target[self.rows]

    @property
    def hr(self) -> Sizes:
        """(n, 2) size of the HR image."""
        return self._hr[self.rows]

    def take(self, which: NDArray[Any]) -> Samples:
        """Some of them, by index or mask."""
        rows, sizes = self.rows[which], self.sizes[which]
        return Samples(rows, sizes, self._target, self._hr, self.channels, self.data)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel's name, code and record, and its reference in torch.

    Args:
        name: Its name, for people.
        code: Its number in records, the same in ``kernels/native/run.c`` and ``kernels/triton``.
        fields: Name and NumPy type of its own arguments; ``9f4`` are nine floats in a row.
        reference: What it computes.
        on_cpu_for: Types of devices that lack what the reference needs: there it runs on the CPU.
    """

    name: str
    code: int
    fields: dict[str, str]
    reference: Reference
    on_cpu_for: tuple[str, ...] = ()

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The record: header, arguments, padding up to 128 bytes."""
        own: list[Any] = [(name, "<i4") for name in HEADER] + list(self.fields.items())
        missing = WORDS * 4 - np.dtype(own).itemsize
        return np.dtype([*own, ("padding", f"V{missing}")] if missing else own)

    def call(self, samples: Samples, sizes: Sizes | None = None, **arguments: Any) -> Call:
        """One call of this kernel for each sample.

        Args:
            samples: What it works on.
            sizes: (n, 2) sizes that it leaves; by default the present ones.
            arguments: A scalar or (n,) values for each of its fields.
        """
        words = np.zeros((len(samples), WORDS), np.int32)
        words[:, 0] = self.code
        words[:, 1] = samples.rows
        words[:, 2:4] = samples.sizes
        words[:, 4:6] = samples.sizes if sizes is None else sizes
        views = {"i": words, "f": words.view(np.float32), "u": words.view(np.uint32)}
        for name, values in arguments.items():
            kind, place = self._places[name]
            views[kind][:, place] = values
        return Call(self, samples.rows, words)

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Of each argument its kind (``i``, ``u`` or ``f``) and its word."""
        fields: Any = self.dtype.fields
        return {name: (fields[name][0].base.kind, fields[name][1] // 4) for name in self.fields}


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel, called once for each of some samples.

    Args:
        kernel: The kernel.
        rows: (n,) the samples' places in the batch.
        words: (n, 32) its records.
    """

    kernel: Kernel
    rows: Rows
    words: NDArray[np.int32]

    @property
    def records(self) -> Records:
        """(n,) the records by field; the same memory."""
        return self.words.view(self.kernel.dtype)[:, 0]

    def run(self, canvas: Canvas, data: Data) -> Canvas:
        """Work the canvas of its samples with the reference."""
        device = canvas.pixels.device
        if device.type in self.kernel.on_cpu_for:
            return self.kernel.reference(canvas.to("cpu"), self.records, data).to(device)
        return self.kernel.reference(canvas, self.records, data)


@dataclass(frozen=True, eq=False)
class PythonCall(Call):
    """A call of Python code: an operator that works a canvas by itself, or a codec.

    Args:
        work: From a canvas and the places of its images among the call's samples to what is left.
    """

    work: Callable[[Canvas, Rows], Canvas]

    @staticmethod
    def of(samples: Samples, sizes: Sizes, work: Callable[[Canvas, Rows], Canvas]) -> PythonCall:
        """A call for all samples, of which ``work`` leaves the ``sizes``, (n, 2)."""
        call = PYTHON.call(samples, sizes)
        return PythonCall(PYTHON, call.rows, call.words, work)

    def run(self, canvas: Canvas, data: Data) -> Canvas:
        return self.work(canvas, np.arange(len(canvas)))


def _not_a_kernel(canvas: Canvas, records: Records, data: Data) -> Canvas:
    raise AssertionError("a Python call is run by PythonCall.run")


PYTHON = Kernel("python", 0, {}, _not_a_kernel)
