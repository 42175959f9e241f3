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

from degrade.canvas import Canvas, Sizes
from degrade.execution import threads
from degrade.execution.reference import Watch
from degrade.kernels import native
from degrade.kernels.base import WORDS, Call, Data, PythonCall, address
from degrade.kernels.convolve import BORDERS, CORRELATE, SEPARABLE, correlate_in_frequency
from degrade.kernels.noise import poisson_tables
from degrade.kernels.quantize import CLIP
from degrade.program import Lines, Program

__all__ = ["run", "run_calls", "run_watched"]

Array = NDArray[Any]
"""An image (h, w, C), float32 or uint8, of any strides."""

KEPT = 64 << 20
"""Bytes of scratch that a thread keeps; what whole photographs need beyond is given back."""
DIRECT_TAPS = 21 * 21
"""Kernels of more taps are multiplied as spectra, which is then faster at any image size."""


def run(lines: Lines, hr: Tensor) -> tuple[Tensor, Tensor]:
    """The LR and the target images of a batch, float32 and planar.

    Args:
        lines: What to do.
        hr: (B, C, H, W) uint8, or float32 in [0, 1].
    """
    same = not lines.has_targets and hr.dtype == torch.float32
    lr, target, images, out, kept = _arrays(lines.target, hr, same)
    python = _python(lines)
    if not python.any():
        before = lines.before_target
        jobs = _jobs(lines.words, lines.start, lines.data, images, out, kept, before)
        if len(hr) == 1:  # another thread would cost more than a small image
            _run(jobs, 0)
        else:
            threads.each(lambda i: _run(jobs, i), _longest_first(lines))
        return lr, target

    def work(i: int) -> None:
        first, stop = lines.start[i : i + 2].tolist()
        middle = first + int(lines.before_target[i])
        image = _line(lines, python, i, _as_float(images[i]), first, middle)
        if kept is not None:
            kept[i] = image
        out[i] = _line(lines, python, i, image, middle, stop)

    threads.each(work, _longest_first(lines))
    return lr, target


def run_watched(program: Program, hr: Tensor, watch: Watch) -> tuple[Tensor, Tensor]:
    """:func:`run`, and ``watch`` sees each sample's canvas after every operator."""
    lines = program.lines
    same = not lines.has_targets and hr.dtype == torch.float32
    lr, target, images, out, kept = _arrays(lines.target, hr, same)
    python = _python(lines)
    assert lines.call is not None, "a program keeps its calls"
    call = lines.call

    def work(i: int) -> None:
        image: Array = _as_float(images[i])
        if kept is not None:
            kept[i] = image
        first, stop = lines.start[i : i + 2].tolist()
        for n, step in enumerate(program.steps):
            if i in step.rows:
                ends = call[first:stop].searchsorted([step.calls.start, step.calls.stop])
                image = _line(lines, python, i, image, *(first + ends).tolist())
                watch(step.address, _canvas(image, lines.target[i], lines.hr[i]))
            if kept is not None and n + 1 == program.target_steps:
                kept[i] = image
        out[i] = image

    threads.each(work, range(len(hr)))
    return lr, target


def run_calls(canvas: Canvas, calls: Sequence[Call], data: Data) -> Canvas:
    """The canvas that some calls leave; samples that a call does not work stay as they are."""
    if not calls:
        return canvas
    channels = canvas.pixels.shape[1]
    lines = Lines.of(calls, data, canvas.hr, canvas.target, channels)
    python = _python(lines)
    ends = lines.start.tolist()
    images = [
        _line(lines, python, i, canvas.hwc(i), ends[i], ends[i + 1]) for i in range(len(canvas))
    ]
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    sizes = np.array([image.shape[:2] for image in images], np.int64)
    pixels = tensors[0][None] if len(tensors) == 1 else Canvas.of(tensors).pixels
    return canvas.resized(pixels, sizes)


def _arrays(
    sizes: Sizes, hr: Tensor, same: bool
) -> tuple[Tensor, Tensor, Array, Array, Array | None]:
    """LR and target images to be filled, and as arrays HR, LR and target; the last is None where
    it is the HR image itself.
    """
    height, width = sizes[0].tolist()
    lr = empty_unaligned(*hr.shape[:2], height, width)
    target = hr if same else empty_unaligned(*hr.shape)
    images, out, kept = (x.numpy().transpose(0, 2, 3, 1) for x in (hr, lr, target))
    return lr, target, images, out, None if same else kept


def _python(lines: Lines) -> NDArray[np.bool_]:
    """(N,) which records C does not know, or does slower than a Fourier transform."""
    code, rows, columns = lines.words[:, 0], lines.words[:, 7], lines.words[:, 8]
    wide = (code == CORRELATE.code) & (rows * columns > DIRECT_TAPS)
    return (code == 0) | (code > CLIP.code) | wide


def _longest_first(lines: Lines) -> list[int]:
    """The samples in the order in which threads should begin them, so that they end together.

    What a record costs is near its image's pixels times one, and a 64th for each tap of a kernel.
    """
    words = lines.words.astype(np.float64)
    code, pixels = words[:, 0], (words[:, 2:6:2] * words[:, 3:6:2]).max(1)
    taps = np.where(code == CORRELATE.code, words[:, 7] * words[:, 8], 0)
    taps += np.where(code == SEPARABLE.code, words[:, 7] + words[:, 9], 0)
    total = np.concatenate([[0.0], np.cumsum(pixels * (1 + taps / 64))])
    return np.argsort(-np.diff(total[lines.start]), kind="stable").tolist()


def _line(
    lines: Lines, python: NDArray[np.bool_], i: int, image: Array, first: int, stop: int
) -> Array:
    """What records ``first`` to ``stop`` leave of the image of sample ``i``, (h, w, C) float32."""
    while first < stop:
        if python[first]:
            image = _in_python(lines, first, image, lines.target[i], lines.hr[i])
            first += 1
        else:
            others = np.flatnonzero(python[first:stop])
            end = first + int(others[0]) if len(others) else stop
            image = _in_c(lines, first, end, image)
            first = end
    return image


def _in_c(lines: Lines, first: int, stop: int, image: Array) -> Array:
    words = lines.words[first:stop]
    height, width = words[-1, 4:6].tolist()
    out = np.empty((height, width, image.shape[2]), np.float32)
    every = np.array([0, len(words)])
    _run(_jobs(words, every, lines.data, image[None], out[None]), 0)
    return out


def _in_python(
    lines: Lines, n: int, image: Array, target: NDArray[Any], hr: NDArray[Any]
) -> Array:
    words = lines.words[n]
    if words[0] == CORRELATE.code:
        start, rows, columns, border = words[6:10].tolist()
        kernel = lines.data.read(start, rows * columns).reshape(rows, columns)
        return correlate_in_frequency(np.ascontiguousarray(image), kernel, BORDERS[border])
    assert lines.call is not None, "native code lowers no Python calls"
    call = lines.calls[lines.call[n]]
    canvas = _canvas(image, target, hr)
    if isinstance(call, PythonCall):
        canvas = call.work(canvas, np.flatnonzero(call.rows == words[1]))
    else:  # a plug-in's kernel
        canvas = call.kernel.reference(canvas, words.view(call.kernel.dtype), lines.data)
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
    jobs[:, 0] = address(words) + 4 * WORDS * start[:-1]
    jobs[:, 1] = np.diff(start)
    jobs[:, 2], jobs[:, 3] = address(data.words), address(poisson_tables())
    jobs[:, 4], jobs[:, 5:7] = images.shape[3], images.shape[1:3]
    jobs[:, 8] = images.dtype == np.float32
    jobs[:, 12] = -1 if target is None else before_target
    for place, strides, array in ((7, 9, images), (13, 14, target), (17, 18, out)):
        if array is not None:
            batch, row, pixel, channel = array.strides
            jobs[:, place] = address(array) + batch * np.arange(len(array))
            jobs[:, strides : strides + 3] = np.array([channel, row, pixel]) // array.itemsize
    return jobs


class _Work(threading.local):
    """The scratch memory that a thread keeps from program to program, at most :data:`KEPT`."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)
        self.address = address(self.buffer)


_WORK = _Work()


def _run(jobs: NDArray[np.int64], i: int) -> None:
    job = address(jobs) + 256 * i
    need = native.run_at(job, _WORK.address, _WORK.buffer.nbytes)
    if need > 0:
        buffer = np.empty(need, np.uint8)
        if need <= KEPT:
            _WORK.buffer, _WORK.address = buffer, address(buffer)
        need = native.run_at(job, address(buffer), need)
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
