"""The executor of CUDA devices: a program's kernels in Triton, one upload a batch, no wait.

The host schedules the batch (:mod:`degrade.execution.launches`), uploads what kernels need to
know from one pinned buffer, and launches them: sizes, arguments and the order of launches are
known before any pixel is, so nothing is asked of the device. Buffers are PyTorch's: its allocators
keep and reuse them, and know which stream still reads them; lengths are rounded up, so that
batches that are nearly alike reuse one block. There is no state here: any thread may run, on its
own current stream.

Images of a batch may have sizes of their own. No gradient flows through: a caller that wants one
takes the reference. In Triton's interpreter (``TRITON_INTERPRET=1``) tensors are on a CPU.
"""

from __future__ import annotations

import contextlib
import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import Canvas
from degrade.errors import UserError
from degrade.execution.launches import Launch, Launches, schedule
from degrade.execution.passes import TILES, UNIT, WARPS
from degrade.kernels.base import WORDS, PythonCall

if TYPE_CHECKING:
    from degrade.program import Lines

__all__ = ["dry_run", "kernels", "run"]

_BLOCK = 1 << 22
"""Floats: lengths of the buffer of pixels are multiples of 16 MiB."""
_WORDS = 1 << 16
"""Lengths of the uploaded buffer are multiples of 256 KiB."""

# Module and function of each pass.
_FUNCTIONS = {
    "load": "pixel.load",
    "target": "pixel.store",
    "output": "pixel.store",
    "convert": "pixel.convert",
    "correlate": "convolve.correlate",
    "down": "convolve.down",
    "across": "convolve.across",
    "residual": "unsharp.residual",
    "mask": "unsharp.mask",
    "blend": "unsharp.blend",
    "resample_down": "resample.resample_down",
    "resample_across": "resample.resample_across",
    "matlab_down": "resample.matlab_down",
    "matlab_across": "resample.matlab_across",
    "decimate": "resample.decimate",
    "normal": "noise.normal",
    "find_levels": "noise.find_levels",
    "poisson": "noise.poisson",
    "salt_pepper": "noise.salt_pepper",
    "sample": "jpeg.sample",
    "code": "jpeg.code",
    "rebuild": "jpeg.rebuild",
}
# Sums gain from fused multiply-add; everything else is to equal the reference.
_FUSED = (
    *("correlate", "down", "across", "residual", "mask", "blend"),
    *("resample_down", "resample_across"),
)


def kernels() -> dict[str, Any]:
    """Triton's function of each pass.

    Raises:
        UserError: Triton is not installed.
    """
    if not _LOADED:
        found: dict[str, Any] = {}
        try:
            for name, place in _FUNCTIONS.items():
                module, function = place.split(".")
                found[name] = getattr(import_module(f"degrade.kernels.triton.{module}"), function)
        except ModuleNotFoundError as error:
            if error.name != "triton":
                raise
            raise UserError(
                "backend triton: Triton is not installed; install it with 'pip install triton' "
                "(on Windows 'triton-windows'), or use the backend 'reference'"
            ) from None
        _LOADED.update(found)
    return _LOADED


_LOADED: dict[str, Any] = {}


def dry_run(lines: Lines, target: bool = True) -> Launches:
    """What :func:`run` would launch and upload. Needs neither a GPU nor Triton."""
    return schedule(lines, target)


def run(lines: Lines, hr: Tensor) -> tuple[Tensor, Tensor]:
    """The LR and the target images of a batch, float32 and planar.

    Args:
        lines: What to do.
        hr: (B, C, H, W) uint8, or float32 in [0, 1], C 1 or 3; image ``i`` in the top left corner.

    Returns:
        (B, C, h, w) of the largest image's sides, zero where an image is not.

    Raises:
        UserError: Triton is not installed, hr is of another dtype, or a gradient is wanted.
    """
    if hr.dtype not in (torch.uint8, torch.float32):
        raise UserError(f"backend triton: hr is {hr.dtype}; should be uint8 or float32")
    if hr.requires_grad:
        raise UserError("backend triton: has no gradients; use reference")
    kernels()
    on_device = hr.device.type == "cuda"
    same = not lines.has_targets and hr.dtype == torch.float32
    with torch.cuda.device(hr.device) if on_device else contextlib.nullcontext():
        host = _Host(pinned=on_device)
        launches = schedule(lines, not same, host.empty)
        words = host.words[: len(launches.words)].to(hr.device, non_blocking=True)
        pixels = torch.empty(-(-launches.floats // _BLOCK) * _BLOCK, device=hr.device)
        lr = _images(hr, launches.sizes)
        target = hr if same else _images(hr, launches.targets)
        first = launches.records // WORDS
        images = {"load": hr, "output": lr, "target": target}
        kind = hr.shape[1] == 1, hr.dtype == torch.uint8
        stream = torch.cuda.current_stream().cuda_stream if on_device else 0
        for step in launches.steps:
            if step.name == "python":
                _in_python(lines, launches, step, pixels)
                continue
            tensor = images.get(step.name)
            strides = () if tensor is None else (tensor, *tensor.stride())
            arguments = words, pixels, first + step.first, *strides
            _launch(step, arguments, _constants(step.name, *kind), stream)
    return lr, target


def _launch(
    step: Launch, arguments: tuple[Any, ...], constants: dict[str, int], stream: int
) -> None:
    """Launch a kernel. Triton's dispatch, which looks at every argument anew, takes the host
    longer than the launch: what it compiled before is looked up here, by all that it compiles for.
    """
    words, _, _, *image = arguments
    key = (step.name, words.device.index, *constants.values())
    if image:
        strides = [(x % 16 == 0) + 2 * (x == 1) + 4 * (x >= 1 << 31) for x in image[1:]]
        key += (image[0].data_ptr() % 16, *strides)
    grid = (step.tiles, step.planes, step.samples)
    compiled = _COMPILED.get(key)
    if compiled is not None:
        compiled[grid](*arguments, *constants.values(), stream=stream)
        return
    made = kernels()[step.name][grid](
        *arguments,
        **constants,
        num_warps=WARPS.get(step.name, 4),
        enable_fp_fusion=step.name in _FUSED,
    )
    if made is not None:  # the interpreter compiles nothing
        _COMPILED[key] = made


_COMPILED: dict[tuple[Any, ...], Any] = {}
"""Kernels by what they were compiled for."""


@functools.cache
def _constants(name: str, grey: bool, uint8: bool) -> dict[str, int]:
    """What a pass is compiled for, in the order of its function's arguments."""
    rows, columns = TILES[name]
    if name == "code":
        return {"BLOCKS": columns}
    own = {"sample": {"GREY": grey}, "rebuild": {"GREY": grey}, "load": {"BYTES": uint8}}
    return {**own.get(name, {}), "ROWS": rows, "COLUMNS": columns}


def _in_python(lines: Lines, launches: Launches, step: Launch, pixels: Tensor) -> None:
    """Python calls, of samples that are taken from their slots and put back."""
    records = np.stack([launches.record(step.first + i) for i in range(step.samples)])
    numbers: list[int] = np.unique(records[:, 27]).tolist()
    for number in numbers:
        call, own = lines.calls[number], records[records[:, 27] == number]
        rows = own[:, 1]
        views = [
            _view(pixels, slot, lines.channels, size)
            for slot, size in zip(own[:, 24].tolist(), own[:, 2:4].tolist(), strict=True)
        ]
        sizes = own[:, 2:4].astype(np.int64)
        canvas = Canvas(Canvas.of(views).pixels, sizes, lines.target[rows], lines.hr[rows])
        places = np.searchsorted(call.rows, rows)
        if isinstance(call, PythonCall):
            left = call.work(canvas, places)
        else:  # a plug-in's kernel
            left = call.kernel.reference(canvas, call.records[places], lines.data)
        for slot, size, image in zip(
            own[:, 24].tolist(), own[:, 4:6].tolist(), left.images(), strict=True
        ):
            _view(pixels, slot, lines.channels, size).copy_(image)


def _view(pixels: Tensor, slot: int, channels: int, size: list[int]) -> Tensor:
    """The image of a size in a slot: (C, h, w)."""
    height, width = size
    return pixels[UNIT * slot :][: channels * height * width].view(channels, height, width)


class _Host:
    """Makes the host's memory of one upload."""

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self.words = torch.empty(0, dtype=torch.int32)

    def empty(self, count: int) -> NDArray[np.int32]:
        length = -(-count // _WORDS) * _WORDS
        # PyTorch's allocator keeps pinned memory, and does not give it out again before its copy
        # to the device is done.
        memory = torch.empty(length, dtype=torch.int32, pin_memory=self.pinned)
        self.words = memory
        return memory.numpy()[:count]


def _images(hr: Tensor, sizes: NDArray[Any]) -> Tensor:
    """Tensors of as many images and channels, of other sizes."""
    height, width = (int(n) for n in sizes.max(0))
    make = torch.empty if (sizes == (height, width)).all() else torch.zeros
    return make(*hr.shape[:2], height, width, device=hr.device)
