"""Image files: found, read, written. A PNG file appears whole or not at all; its bytes follow from its pixels.

Decoding has its own module, :mod:`degrade.images.decode`, whose names are repeated here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from degrade.images.decode import LIMIT, Image, ImageError, Pixels, image_size, read_image
from degrade.storage import remote

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LIMIT",
    "SUFFIXES",
    "Image",
    "ImageError",
    "Pixels",
    "batch_of",
    "encode_png",
    "find_images",
    "find_sources",
    "image_size",
    "list_images",
    "read_image",
    "sha256",
    "sweep",
    "to_float",
    "to_tensor",
    "to_uint8",
    "write_atomic",
]

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
    }
)
"""What :func:`find_images` takes for an image, in lower case."""

# --- pixels ----------------------------------------------------------------------------------------------------------


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Whole levels -> [0, 1]: levels / 255, or / 65535."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """16 bits rounded to the nearest of 8, round(v / 257); 8 bits as they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_tensor(image: Image | Pixels) -> Tensor:
    """(C, h, w) float32 in [0, 1], its memory channels-last as on a CPU canvas."""
    import torch

    pixels = image.pixels if isinstance(image, Image) else image
    return torch.as_tensor(to_float(pixels)).permute(2, 0, 1)


def encode_png(pixels: Pixels) -> bytes:
    """A PNG file of (h, w, C) pixels, C = 1 grey, 3 RGB or 4 RGBA, uint8 or uint16: the same pixels, the same bytes.

    OpenCV's default settings (horizontal differences, run-length matching): on a 1000 x 872 photograph 28 ms, where
    Pillow takes 83 ms at its fastest level and 183 ms at its usual one, for files of 1673, 1728 and 1622 kB.
    """
    import cv2

    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(pixels.shape[-1])
    done, data = cv2.imencode(".png", pixels if order is None else cv2.cvtColor(pixels, order))
    if not done:
        raise ValueError(f"cannot encode {pixels.dtype} pixels of shape {pixels.shape}")
    return data.tobytes()


# --- files -----------------------------------------------------------------------------------------------------------


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """The images that ``source`` names, sorted by path.

    Args:
        source: A file (taken whatever its suffix), a folder (searched to its leaves), or a glob (``**`` for any depth).
            Hidden files and folders, and files whose suffix is not in ``SUFFIXES``, are passed over.

    Raises:
        ImageError: Nothing there, nothing usable there, or a folder that cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(_walk(path))
    elif has_magic(str(path)):
        found = [Path(match) for match in glob(str(path), recursive=True) if os.path.isfile(match)]
    else:
        raise ImageError(path, "does not exist")
    images = [file for file in found if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not images:
        raise ImageError(path, f"no images here, of {len(found)} files; looked for {' '.join(sorted(SUFFIXES))}")
    return sorted(images, key=lambda image: image.as_posix())


def find_sources(source: str | os.PathLike[str]) -> list[Path | str]:
    """The images that a path or a URL names, as paths or URLs; see :func:`find_images` and :func:`list_images`."""
    if isinstance(source, str) and remote.is_url(source):
        root, names = list_images(source)
        return [remote.join(root, name) for name in names]
    return [*find_images((isinstance(source, str) and remote.local(source)) or source)]


def list_images(url: str) -> tuple[str, list[str]]:
    """As :func:`find_images`, for a URL: that of the folder that holds the images, and their paths in it.

    Raises:
        ImageError: Nothing usable there.
        UserError: Nothing there, or a store that cannot be read.
    """
    root, found = remote.list_files(url)
    images = [name for name in found if not any(part.startswith(".") for part in name.split("/"))]
    images = [name for name in images if len(found) == 1 or PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not images:
        raise ImageError(url, f"no images here, of {len(found)} files; looked for {' '.join(sorted(SUFFIXES))}")
    return root, images


def _walk(root: Path) -> Iterator[Path]:
    def blame(error: OSError) -> None:
        raise ImageError(error.filename or root, (error.strerror or str(error)).lower()) from None

    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=blame, followlinks=True):
        # Links are followed, so a folder may lie within itself.
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if real not in seen)
        seen.add(real)


def write_atomic(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Writes a file so that under its own name it is whole or absent, whenever the process is killed.

    A hidden file beside it (``.HEX.tmp``) is written and renamed. A failed write leaves neither.

    Args:
        path: Its folder must exist. A file of that name is replaced.
        data: The contents.
        sync: Whether to wait for the disk, so that this holds for a power cut too.

    Raises:
        OSError: With the file's name.
    """
    path = Path(path)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # Of a write, unlike an open, the system does not say which file it was.
        raise error if error.filename is not None else OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def sweep(paths: Iterable[Path]) -> None:
    """Removes those of the paths that killed processes left unfinished, ``.HEX.tmp``; nothing else is called so."""
    for path in [path for path in paths if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sha256(source: bytes | str | os.PathLike[str]) -> str:
    """The SHA-256 of some bytes, or of the file at a path, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def batch_of(image: Any) -> Tensor:
    """One image, or several of one size, as a (B, C, H, W) tensor, uint8 or float.

    Args:
        image: A path; a PIL image; an (H, W), (H, W, C) or (B, H, W, C) array, or a (C, H, W) or (B, C, H, W) tensor,
            uint8 or float in [0, 1]. Alpha is dropped.

    Raises:
        ImageError: a file that cannot be read.
        ValueError: another type, shape, dtype or range.
    """
    import torch

    if isinstance(image, str | os.PathLike):
        return _planes(to_uint8(read_image(image).pixels))
    if isinstance(image, torch.Tensor):
        batch = image[None] if image.ndim == 3 else image
        if batch.ndim != 4 or batch.shape[1] not in (1, 3, 4):
            raise ValueError(
                f"a tensor of shape {tuple(image.shape)}; it should be (C, H, W) or (B, C, H, W), C = 1 or 3"
            )
        return _in_range(batch[:, :3] if batch.shape[1] == 4 else batch)
    if hasattr(image, "getbands"):
        grey = image.mode in ("L", "1", "LA", "I;16")
        image = np.asarray(image.convert("L" if grey else "RGB"))
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{type(image).__name__} is no image; give a path, a PIL image, an array or a tensor")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim not in (3, 4) or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an array of shape {image.shape}; it should be (H, W), (H, W, C) or (B, H, W, C), C = 1 or 3")
    return _in_range(_planes(image[..., :3] if image.shape[-1] == 4 else image))


def _planes(pixels: NDArray[Any]) -> Tensor:
    import torch

    if pixels.dtype == np.uint16:
        pixels = pixels.astype(np.float32) / 65535
    batch = pixels[None] if pixels.ndim == 3 else pixels
    # A copy: decoded images are read-only, which PyTorch's tensors cannot be.
    return torch.from_numpy(batch.copy()).permute(0, 3, 1, 2)


def _in_range(batch: Tensor) -> Tensor:
    import torch

    if batch.dtype == torch.uint8:
        return batch
    if not batch.is_floating_point():
        raise ValueError(f"pixels of {batch.dtype}; they should be uint8, or float in [0, 1]")
    low, high = (float(edge) for edge in batch.aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"float pixels from {low:g} to {high:g}; they should be in [0, 1]: divide by 255?")
    return batch.float()
