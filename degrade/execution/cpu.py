"""The CPU executor: one C call a sample, ``kernels/native/run.c``, on a few threads.

A sample's records are contiguous in memory, so that a call of ``run`` works all of them without
Python in between. What C does not know (operators in Python, codecs, kernels so wide that Fourier
transforms are faster) splits a sample's records in parts.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas
from degrade.execution import threads
from degrade.execution.reference import Watch
from degrade.kernels import native
from degrade.kernels.base import WORDS, Call, Data, PythonCall
from degrade.kernels.convolve import BORDERS, CORRELATE, correlate_in_frequency
from degrade.kernels.noise import poisson_tables
from degrade.kernels.quantize import CLIP
from degrade.program import Program

__all__ = ["run", "run_calls"]

Array = NDArray[Any]
"""An image (h, w, C), float32 or uint8, of any strides."""

KEPT = 64 << 20
"""Bytes of scratch that a thread keeps; what whole photographs need beyond is given back."""
DIRECT_TAPS = 21 * 21
"""Kernels of more taps are multiplied as spectra, which is then faster at any image size."""


def run(program: Program, hr: Tensor, watch: Watch | None = None) -> tuple[Tensor, Tensor]:
    """The LR and the target images of a batch, float32 and planar.

    Args:
        program: What to do.
        hr: (B, C, H, W) uint8, or float32 in [0, 1].
        watch: Sees each sample's canvas after every operator.
    """
    height, width = program.target[0].tolist()
    lr = empty_unaligned(len(hr), program.channels, height, width)
    same = not program.target_calls and hr.dtype == torch.float32
    target = hr if same else empty_unaligned(*hr.shape)
    lines = Lines(program.calls, program.data, len(hr))
    images, out = hr.numpy().transpose(0, 2, 3, 1), lr.numpy().transpose(0, 2, 3, 1)
    kept = None if same else target.numpy().transpose(0, 2, 3, 1)
    if watch is None and not lines.python.any():
        jobs = lines.jobs(images, out, kept, program.target_calls)
        threads.each(lambda i: _run(jobs, i), range(len(hr)))
        return lr, target

    def work(i: int) -> None:
        image: Array = _as_float(images[i])
        if kept is not None and not program.target_steps:
            kept[i] = image
        for n, step in enumerate(program.steps):
            if i in step.rows:
                image = lines.work(i, image, step.calls, program.target[i], program.hr[i])
                if watch is not None:
                    watch(step.address, _canvas(image, program.target[i], program.hr[i]))
            if kept is not None and n + 1 == program.target_steps:
                kept[i] = image
        out[i] = image

    threads.each(work, range(len(hr)))
    return lr, target


def run_calls(canvas: Canvas, calls: Sequence[Call], data: Data) -> Canvas:
    """The canvas that some calls leave; samples that a call does not work stay as they are."""
    if not calls:
        return canvas
    lines = Lines(calls, data, len(canvas))
    every = slice(0, len(calls))
    images = [
        lines.work(i, canvas.hwc(i), every, canvas.target[i], canvas.hr[i])
        for i in range(len(canvas))
    ]
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    sizes = np.array([image.shape[:2] for image in images], np.int64)
    pixels = tensors[0][None] if len(tensors) == 1 else Canvas.of(tensors).pixels
    return canvas.resized(pixels, sizes)


class Lines:
    """The records of some calls, sample by sample.

    Args:
        calls: In an order in which every sample meets its own in theirs.
        data: Their arrays.
        count: Samples.
    """

    def __init__(self, calls: Sequence[Call], data: Data, count: int) -> None:
        self._calls, self._data = calls, data
        words = np.concatenate([np.empty((0, WORDS), np.int32), *(call.words for call in calls)])
        order = words[:, 1].argsort(kind="stable")
        self._words = words[order]
        lengths = [len(call.rows) for call in calls]
        self._call = np.repeat(np.arange(len(calls)), lengths)[order]
        self._start = self._words[:, 1].searchsorted(np.arange(count + 1))
        taps = self._words[:, 7] * self._words[:, 8]
        code = self._words[:, 0]
        wide = (code == CORRELATE.code) & (taps > DIRECT_TAPS)
        self.python = (code == 0) | (code > CLIP.code) | wide
        """(N,) which records C does not know."""

    def jobs(
        self, images: Array, out: Array, target: Array | None, target_calls: int
    ) -> NDArray[np.int64]:
        """(B, 32) the arguments of ``run`` for each sample; see :func:`_jobs`."""
        made = np.concatenate([[0], np.cumsum(self._call < target_calls)])
        before = np.diff(made[self._start])
        return _jobs(self._words, self._start, self._data, images, out, target, before)

    def work(
        self, i: int, image: Array, calls: slice, target: NDArray[Any], hr: NDArray[Any]
    ) -> Array:
        """What some of the calls leave of the image of sample ``i``, (h, w, C) float32."""
        own = self._call[self._start[i] : self._start[i + 1]]
        first, stop = self._start[i] + own.searchsorted([calls.start, calls.stop])
        while first < stop:
            if self.python[first]:
                image = self._in_python(int(first), image, target, hr)
                first += 1
            else:
                others = np.flatnonzero(self.python[first:stop])
                end = first + others[0] if len(others) else stop
                image = self._in_c(int(first), int(end), image)
                first = end
        return image

    def _in_c(self, first: int, stop: int, image: Array) -> Array:
        words = self._words[first:stop]
        height, width = words[-1, 4:6].tolist()
        out = np.empty((height, width, image.shape[2]), np.float32)
        every = np.array([0, len(words)])
        _run(_jobs(words, every, self._data, image[None], out[None]), 0)
        return out

    def _in_python(self, n: int, image: Array, target: NDArray[Any], hr: NDArray[Any]) -> Array:
        call, sample = self._calls[self._call[n]], self._words[n, 1]
        if call.kernel is CORRELATE:
            start, rows, columns, border = self._words[n, 6:10].tolist()
            kernel = self._data.read(start, rows * columns).reshape(rows, columns)
            return correlate_in_frequency(np.ascontiguousarray(image), kernel, BORDERS[border])
        canvas = _canvas(image, target, hr)
        if isinstance(call, PythonCall):
            canvas = call.work(canvas, np.flatnonzero(call.rows == sample))
        else:  # a plug-in's kernel
            record = self._words[n].view(call.kernel.dtype)
            canvas = call.kernel.reference(canvas, record, self._data)
        if canvas.pixels.shape[1] != image.shape[2]:
            raise ValueError(
                f"an operator made {canvas.pixels.shape[1]} channels of {image.shape[2]}; it "
                "should keep their number"
            )
        return canvas.hwc(0)


def _jobs(
    words: NDArray[np.int32],
    start: NDArray[np.int64],
    data: Data,
    images: Array,
    out: Array,
    target: Array | None = None,
    before_target: NDArray[np.int64] | int = -1,
) -> NDArray[np.int64]:
    """(B, 32) the arguments of ``run`` for each sample, as ``run.c`` lists them.

    Args:
        words: (N, 32) records by sample.
        start: (B + 1,) where each sample's begin.
        data: Their arrays.
        images: (B, h, w, C) uint8 or float32.
        out: (B, h, w, C) takes what the records leave.
        target: (B, h, w, C) takes the images in between.
        before_target: (B,) after how many records they are taken.
    """
    jobs = np.zeros((len(images), 32), np.int64)
    jobs[:, 0] = _address(words) + 4 * WORDS * start[:-1]
    jobs[:, 1] = np.diff(start)
    jobs[:, 2], jobs[:, 3] = _address(data.words), _address(poisson_tables())
    jobs[:, 4], jobs[:, 5:7] = images.shape[3], images.shape[1:3]
    jobs[:, 8] = images.dtype == np.float32
    jobs[:, 12] = -1 if target is None else before_target
    for place, strides, array in ((7, 9, images), (13, 14, target), (17, 18, out)):
        if array is not None:
            batch, row, pixel, channel = array.strides
            jobs[:, place] = _address(array) + batch * np.arange(len(array))
            jobs[:, strides : strides + 3] = np.array([channel, row, pixel]) // array.itemsize
    return jobs


def _address(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]


class _Work(threading.local):
    """The scratch memory that a thread keeps from program to program, at most :data:`KEPT`."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)
        self.address = _address(self.buffer)


_WORK = _Work()


def _run(jobs: NDArray[np.int64], i: int) -> None:
    job = _address(jobs) + 256 * i
    need = native.run_at(job, _WORK.address, _WORK.buffer.nbytes)
    if need > 0:
        buffer = np.empty(need, np.uint8)
        if need <= KEPT:
            _WORK.buffer, _WORK.address = buffer, _address(buffer)
        need = native.run_at(job, _address(buffer), need)
    if need:
        raise AssertionError(f"native code refused a program: {need}")


def _as_float(image: Array) -> Array:
    return image / np.float32(255) if image.dtype == np.uint8 else image


def _canvas(image: Array, target: NDArray[Any], hr: NDArray[Any]) -> Canvas:
    """One image as a canvas that shares its memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return Canvas(pixels, np.array([image.shape[:2]], np.int64), target[None], hr[None])


def empty_unaligned(*shape: int) -> Tensor:
    """An uninitialised float32 tensor, allocated by NumPy.

    PyTorch asks glibc for aligned memory, which does not fit the hole that an equal block left:
    after a hundred batches of 16 the heap was 1361 MiB, of which 111 were in use. Memory of
    NumPy's fits, and the heap stays at 135.
    """
    return torch.from_numpy(np.empty(shape, np.float32))
