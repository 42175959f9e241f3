"""Checkpoints: a model in one self-describing safetensors file, a run's state in another file.

``NAME.safetensors`` holds the weights and, as metadata, the model's name and config, the recipe
with its hash, and versions: enough to build and use the model anywhere. ``NAME.state.pt`` holds
everything that a run needs to resume. Reading a file never runs code, and writes are atomic.
"""

# torch, safetensors: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.storage.files import write_atomic
from degrade.versions import package_versions
from sr.foreign import MODEL_ERRORS, assemble, check_plausible, load_foreign
from sr.models import MODELS, Model, build, name_of
from sr.models.external import external_label, is_external, open_external
from sr.pretrained import read_tensors

__all__ = [
    "BICUBIC",
    "ZOO",
    "describe",
    "label",
    "load",
    "load_state",
    "read_metadata",
    "save",
    "save_state",
    "versions",
    "weights_file",
]

BICUBIC = "bicubic"
"""Name of the model that has no file."""
ZOO = Path(__file__).parent / "zoo"
"""Trained weights that come with the package."""
FORMAT = "sr-1"
"""``format`` in the metadata."""
PACKAGES = (
    *("degrade", "torch", "numpy"),
    *("opencv-python-headless", "lightning-fabric", "safetensors"),
)
"""Packages whose versions are recorded."""


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return package_versions(PACKAGES)


# --- weights -------------------------------------------------------------------------------------


def save(path: str | Path, model: Model, notes: Mapping[str, Any] | None = None) -> None:
    """Write a model.

    Args:
        path: A ``.safetensors`` file.
        model: Its weights must be finite, so that a diverged model never replaces a good one.
        notes: More metadata; values that are not strings are written as JSON.

    Raises:
        UserError: If the weights are not finite, or the disk is full.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    check_finite(tensors, path)
    metadata = {
        "format": FORMAT,
        "name": name_of(model),
        "config": model.config,
        "scale": model.scale,
        "versions": versions(),
        **(notes or {}),
    }
    text = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    write(path, encode(tensors, text))


def encode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file with sorted metadata; the library's order differs between
    processes.
    """
    from safetensors.torch import save as serialize

    data = serialize(tensors, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]


def load(model: str | Path, scale: int | None = None, device: torch.device | str = "cpu") -> Model:
    """Load a model in eval mode.

    >>> load("bicubic", scale=3)
    Bicubic(scale=3)

    Args:
        model: A file of ours, or of weights of another program (:mod:`sr.foreign`); the name of a
            packaged model (``srcnn_x4``); a run's folder, see :func:`weights_file`; ``bicubic``;
            or ``onnx:FILE``, ``python:module:function``, ``command:PROGRAM``
            (:mod:`sr.models.external`).
        scale: The scale that it must have. For ``bicubic`` the scale to build; by default 4.
        device: Device of the model.

    Raises:
        UserError: The file is missing, damaged, of an unknown architecture or of another scale.
    """
    if str(model) == BICUBIC:
        try:
            return build(BICUBIC, scale=4 if scale is None else scale).to(device).eval()
        except ValueError as error:
            raise UserError(str(error)) from None
    if is_external(str(model)):
        return open_external(str(model), scale).to(device).eval()
    path = weights_file(model)
    built = _load_own(path) if is_own(path) else load_foreign(path)
    if scale is not None and scale != built.scale:
        raise UserError(f"{path}: is for scale {built.scale}, not for {scale}")
    return built.to(device).eval()


def _load_own(path: Path) -> Model:
    metadata, tensors = read_metadata(path), _read_tensors(path)
    try:
        MODELS.find(metadata.get("name", ""))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        config = json.loads(metadata["config"])
        check_plausible(config, tensors)
        return assemble(metadata["name"], config, tensors)
    except MODEL_ERRORS as error:
        raise UserError(f"{path}: its weights do not fit the model it names: {error}") from None


def is_own(path: Path) -> bool:
    """Whether a file is a checkpoint of ours, as far as its metadata say."""
    try:
        read_metadata(path)
    except UserError:
        return False
    return True


def describe(model: str | Path) -> dict[str, str]:
    """Return the metadata of a model by the name that :func:`load` takes; of bicubic and of a
    model that is not ours only ``name`` and ``scale``. Raises UserError.
    """
    has_file = str(model) != BICUBIC and not is_external(str(model))
    if has_file and is_own(path := weights_file(model)):
        return read_metadata(path)
    loaded = load(model)
    return {
        "name": type(loaded).__name__ if has_file else str(model),
        "scale": str(loaded.scale),
    }


def label(model: str | Path) -> str:
    """Return a model's name in tables and files: the file's name, of ``last`` and ``best`` that of
    the run.

    >>> [label(name) for name in ("runs/mine/last.safetensors", "4x.pth", "onnx:a/b.onnx")]
    ['mine', '4x', 'b']
    """
    if is_external(str(model)):
        return external_label(str(model))
    path = Path(model)
    if path.is_dir():
        return path.resolve().name
    if path.stem in CHECKPOINTS:
        return path.resolve().parent.name
    return path.stem if path.suffix in WEIGHTS else path.name


WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt")
CHECKPOINTS = ("best", "last")
"""Files of a run's folder, the one that stands for the run first."""
ADVERSARIAL = "gan"
"""Trainer of which no metric chooses: what is best by PSNR has hardly begun to be a GAN."""
FORMERLY_ADVERSARIAL = ("srgan", "gan")
"""Methods of checkpoints that do not name their trainer."""


def weights_file(model: str | Path) -> Path:
    """Return the file of a model's name, run folder or path.

    A run's folder stands for its best checkpoint, else its last; a run of an adversarial trainer
    for its last one, which holds the moving average of the generator.

    Raises:
        UserError: There is no such file; lists the packaged names.
    """
    path = Path(model)
    if path.is_dir():
        found = [path / f"{name}.safetensors" for name in CHECKPOINTS]
        found = [file for file in found if file.is_file()]
        if not found:
            raise UserError(f"{path}: no best.safetensors or last.safetensors in this folder")
        return found[-1] if is_adversarial(read_metadata(found[-1])) else found[0]
    if path.is_file():
        return path
    packaged = ZOO / f"{model}.safetensors"
    if path.name == str(model) and packaged.is_file():
        return packaged
    names = [BICUBIC, *sorted(file.stem for file in ZOO.glob("*.safetensors"))]
    raise UserError(f"model {model}: no such file, nor one of {', '.join(names)}")


def is_adversarial(metadata: Mapping[str, str]) -> bool:
    """Whether a checkpoint's trainer had a discriminator."""
    try:
        training = json.loads(metadata.get("training", "{}"))
        if "trainer" in training:
            return training["trainer"] == ADVERSARIAL
        return training.get("method") in FORMERLY_ADVERSARIAL
    except (ValueError, AttributeError):
        return False


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a checkpoint. Raises UserError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of sr; its metadata has no format {FORMAT}")
    return metadata


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


# --- state ---------------------------------------------------------------------------------------


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them. Raises UserError as :func:`save`
    does.
    """
    check_finite(state, path)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write(path, buffer.getvalue())


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a file of :func:`save_state`. Raises UserError."""
    try:
        _check_archive(path)
        state = read_tensors(path)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}")
        return {str(name): value for name, value in state.items()}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file, so there is no run to resume; leave out --resume"
        ) from None
    except Exception as error:  # zipfile and torch.load raise anything for a hostile file
        raise UserError(f"{path}: damaged or not a state of sr ({error})") from None


def _check_archive(path: str | Path) -> None:
    """Raises ValueError if a checksum is wrong; PyTorch writes checksums but does not read them.

    A flipped bit in ``external_attr`` turns a file into a folder, which PyTorch reads as empty.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        folders = [part.filename for part in archive.infolist() if part.external_attr]
    if damaged is not None or folders:
        raise ValueError(damaged or folders[0])


def check_finite(tree: Any, path: str | Path, place: str = "") -> None:
    """Raises UserError if a tensor in nested dicts and lists has a NaN or an infinity."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point() and not bool(tree.isfinite().all()):
            raise UserError(
                f"{path}: not written, {place.lstrip('.')} is not finite; "
                "the previous checkpoint is kept"
            )
    elif isinstance(tree, Mapping):
        for name, branch in tree.items():
            check_finite(branch, path, f"{place}.{name}")
    elif isinstance(tree, list | tuple):
        for i, branch in enumerate(tree):
            check_finite(branch, path, f"{place}.{i}")


def write(path: str | Path, data: bytes) -> None:
    """Write a file atomically. Raises UserError, such as for a full disk."""
    try:
        write_atomic(path, data)
    except OSError as error:
        kept = "; the previous file is intact" if os.path.exists(path) else ""
        raise UserError(
            f"{path}: {error.strerror or error}, writing {len(data):,} bytes{kept}"
        ) from None
