"""Pixels of decoded images: between integers, floats, tensors and PNG files; channels; growing
by reflection.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import mirror
from degrade.images.decode import Image, Pixels, read_image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["as_pixels", "reflected"]


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
    """A PNG file of (h, w, C) pixels, C = 1 grey, 3 RGB or 4 RGBA, uint8 or uint16: the same
    pixels, the same bytes.

    OpenCV's default settings (horizontal differences, run-length matching): on a 1000 x 872
    photograph 28 ms, where Pillow takes 83 ms at its fastest level and 183 ms at its usual one,
    for files of 1673, 1728 and 1622 kB.
    """
    import cv2

    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(pixels.shape[-1])
    done, data = cv2.imencode(".png", pixels if order is None else cv2.cvtColor(pixels, order))
    if not done:
        raise ValueError(f"cannot encode {pixels.dtype} pixels of shape {pixels.shape}")
    return data.tobytes()


def batch_of(image: Any) -> Tensor:
    """One image, or several of one size, as a (B, C, H, W) tensor, uint8 or float.

    Args:
        image: A path; a PIL image; an (H, W), (H, W, C) or (B, H, W, C) array, or a (C, H, W) or
            (B, C, H, W) tensor, uint8 or float in [0, 1]. Alpha is dropped.

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
        raise ValueError(
            f"{type(image).__name__} is no image; give a path, a PIL image, an array or a tensor"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim not in (3, 4) or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"an array of shape {image.shape}; it should be (H, W), (H, W, C) or (B, H, W, C), C = 1 or 3"
        )
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
        raise ValueError(
            f"float pixels from {low:g} to {high:g}; they should be in [0, 1]: divide by 255?"
        )
    return batch.float()


def as_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """(B, C, h, w) in [0, 1] -> (B, h, w, C) uint8."""
    return (
        (images * 255)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
        .contiguous()
        .cpu()
        .numpy()
    )


Uint8 = NDArray[np.uint8]
"""(h, w, C) 8-bit levels."""


def reflected(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    """Grown at the bottom and the right until no side is below ``size``, mirrored as often as
    needed (abc|baba).
    """
    height, width = pixels.shape[:2]
    if height >= size and width >= size:
        return pixels
    rows = mirror(np.arange(max(height, size), dtype=np.int64), np.array(height, np.int64))
    columns = mirror(np.arange(max(width, size), dtype=np.int64), np.array(width, np.int64))
    return pixels[rows[:, None], columns]


def in_channels(image: Image, channels: Literal[1, 3]) -> Uint8:
    pixels = to_uint8(image.pixels)
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def channel_notes(image: Image, channels: Literal[1, 3]) -> str:
    notes = list(image.notes)
    if image.pixels.dtype != np.uint8:
        notes.append("rounded to 8 bits")
    if image.alpha is not None:
        notes.append("alpha dropped")
    if image.pixels.shape[-1] != channels:
        notes.append("grey repeated in 3 channels" if channels == 3 else "RGB reduced to grey")
    return "; ".join(notes)
