"""Models from elsewhere: an ONNX file, a Python function, a program.

.. code-block:: text

    onnx:FILE                    input (B, 3, h, w) RGB in [0, 1], output (B, 3, h N, w N);
                                 (B, 1, h, w) is the Y plane, as in the literature: the chroma is
                                 enlarged by bicubic; for one h and w images are cut into windows
    python:module:function       (B, 3, h, w) -> (B, 3, h N, w N), torch tensors
    command:PROGRAM ARGUMENTS    a folder of PNG files in, a folder of PNG files out

Their scale N is that of a result: a small image is upscaled once, unless the scale is given.
"""

# onnxruntime: types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import inspect
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.extras import optional
from degrade.images.files import find_images, read_image
from degrade.images.pixels import as_pixels, encode_png, to_tensor
from sr.models.base import Model
from sr.models.luma import OfLuma
from sr.models.windows import Windowed
from sr.registry import import_named

__all__ = ["EXTERNAL", "ExternalModel", "external_label", "is_external", "open_external"]

PROBE = (24, 40)
"""Height and width of the image whose result shows the scale."""
INPUT, OUTPUT = "{in}", "{out}"
"""Where a command's folders stand."""
LINES = 5
"""Last lines of a failed command that its error repeats."""

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Types of the ONNX inputs that take images."""

Function = Callable[[Tensor], Tensor]


class ExternalModel(Model):
    """A function of images as a model. Its receptive field is unknown.

    Args:
        function: (B, 3, h, w) -> (B, 3, h N, w N), RGB in [0, 1].
        name: In messages.
        scale: N; by default that of a small image's result.

    Raises:
        UserError: If the function fails on a small image, or its result has another shape.
    """

    anchor: Tensor

    def __init__(self, function: Function, name: str, scale: int | None = None) -> None:
        super().__init__(scale or 1, None, {})
        self.function, self.name = function, name
        self.register_buffer("anchor", torch.empty(0), persistent=False)  # has the device
        self.scale = scale or self._probe()

    @property
    def windows(self) -> str | None:
        """How images are cut for a function of one size, in words; None for any size."""
        function = self.function.function if isinstance(self.function, OfLuma) else self.function
        return function.describe() if isinstance(function, Windowed) else None

    def _probe(self) -> int:
        height, width = PROBE
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        size = tuple(self._call(image).shape[-2:])
        scale = size[0] // height
        if scale < 1 or size != (height * scale, width * scale):
            raise UserError(
                f"{self.name}: made {size[1]} x {size[0]} pixels of {width} x {height}; "
                "should be an integer multiple"
            )
        return scale

    def _call(self, image: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                result: Any = self.function(image)
        except UserError:
            raise
        except Exception as error:  # whatever the code of others raises
            raise UserError(f"{self.name}: {type(error).__name__}: {error}") from error
        if not isinstance(result, Tensor) or result.ndim != 4 or result.shape[1] != 3:
            what = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise UserError(f"{self.name}: returned {what}; should be a tensor (B, 3, h N, w N)")
        return result.to(image.device, torch.float32)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h scale, w scale). Raises UserError."""
        result = self._call(image)
        wanted = [size * self.scale for size in image.shape[-2:]]
        if list(result.shape[-2:]) != wanted:
            raise UserError(
                f"{self.name}: made {list(result.shape[-2:])} of {list(image.shape[-2:])} pixels "
                f"(height, width); at x{self.scale} it should be {wanted}"
            )
        return result

    def extra_repr(self) -> str:
        return f"{self.name}, scale={self.scale}"


# --- what there is -------------------------------------------------------------------------------


def open_onnx(path: str) -> Function:
    """Open an ONNX file on a CPU. Raises UserError."""
    try:
        onnxruntime = optional("onnxruntime", "pip install onnxruntime")
    except ImportError as error:
        raise UserError(f"onnx:{path}: {error}") from None
    if not Path(path).is_file():
        raise UserError(f"onnx:{path}: no such file")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
    except Exception as error:  # ONNX Runtime has its own exceptions
        raise UserError(f"onnx:{path}: not a model that ONNX Runtime reads: {error}") from None
    if len(inputs) != 1 or not _takes_images(inputs[0].type, inputs[0].shape):
        shapes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise UserError(
            f"onnx:{path}: its inputs are {shapes}; should be one of floats, (B, 3, h, w) for "
            "RGB or (B, 1, h, w) for Y"
        )
    dtype = DTYPES[inputs[0].type]
    name: str = inputs[0].name
    batch, channels, height, width = (
        size if isinstance(size, int) else None for size in inputs[0].shape
    )
    batch = batch or 1

    def run(image: Tensor) -> Tensor:
        results: list[Tensor] = []
        for start in range(0, len(image), batch):
            images = image[start : start + batch]
            missing = batch - len(images)
            full = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])
            result = session.run(None, {name: full.cpu().numpy().astype(dtype)})[0]
            results.append(torch.from_numpy(result.astype(np.float32))[: len(images)])
        return torch.cat(results)

    function = Windowed(run, height, width) if height or width else run
    return OfLuma(function) if channels == 1 else function


def _takes_images(kind: str, shape: Sequence[int | str | None]) -> bool:
    """Whether an input is (B, 3, h, w) or (B, 1, h, w) floats; what is no number is free."""
    return (
        kind in DTYPES
        and len(shape) == 4
        and (shape[1] in (1, 3) or not isinstance(shape[1], int))
    )


def open_function(text: str) -> Function:
    """Import ``module:function``, from the working directory too; a class is built without
    arguments. Raises UserError.
    """
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise UserError(f"python:{text}: should be python:module:function")
    import_named([module])
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if inspect.isclass(found):
        found = found()
    if found is None or not hasattr(found, "__call__"):  # noqa: B004
        raise UserError(f"python:{text}: {module} has no function {name}")
    function: Function = found.eval() if isinstance(found, nn.Module) else found
    return function


def open_command(command: str) -> Function:
    """Return the function that runs a program on a folder of one 8-bit PNG file for each image,
    and reads the folder that it writes. Raises UserError.

    Args:
        command: Program and arguments, split as a shell does, but run without one. ``{in}`` and
            ``{out}`` stand for the folders; without them they are the last two arguments.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"command:{command}: {error}") from None
    if not words:
        raise UserError("command: should be command:PROGRAM ARGUMENTS")
    if INPUT not in command and OUTPUT not in command:
        words += [INPUT, OUTPUT]

    def run(image: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory(prefix="sr-") as folder:
            low, high = Path(folder, "in"), Path(folder, "out")
            low.mkdir()
            high.mkdir()
            for i, pixels in enumerate(as_pixels(image.clamp(0, 1))):
                (low / f"{i:06d}.png").write_bytes(encode_png(pixels))
            _run([word.replace(INPUT, str(low)).replace(OUTPUT, str(high)) for word in words])
            files = find_images(high)
            if len(files) != len(image):
                raise UserError(
                    f"command:{command}: wrote {len(files)} images of {len(image)}; "
                    "should be one for each"
                )
            return torch.stack([to_tensor(read_image(file)).expand(3, -1, -1) for file in files])

    return run


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise UserError(f"command:{words[0]}: {error.strerror or error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).splitlines()[-LINES:]
        raise UserError("\n".join([f"command:{words[0]}: ended with {done.returncode}", *said]))


# --- by name -------------------------------------------------------------------------------------

EXTERNAL: dict[str, Callable[[str], Function]] = {
    "onnx:": open_onnx,
    "python:": open_function,
    "command:": open_command,
}
"""What opens each kind, by prefix."""


def is_external(model: str) -> bool:
    """Whether a model's name has one of the prefixes.

    >>> is_external("onnx:x4.onnx"), is_external("srcnn_x4")
    (True, False)
    """
    return model.startswith(tuple(EXTERNAL))


def open_external(model: str, scale: int | None = None) -> ExternalModel:
    """Open a model by its name with prefix. Raises UserError."""
    kind, _, rest = model.partition(":")
    return ExternalModel(EXTERNAL[f"{kind}:"](rest), model, scale)


def external_label(model: str) -> str:
    """Return a short name for tables and files.

    >>> [external_label(name) for name in ("onnx:a/x4.onnx", "python:m:f", "command:b/waifu -n 2")]
    ['x4', 'f', 'waifu']
    """
    kind, _, rest = model.partition(":")
    if kind == "python":
        return rest.rpartition(":")[2]
    if kind == "command":
        rest = (shlex.split(rest) or [""])[0]
    return os.path.splitext(os.path.basename(rest))[0]
