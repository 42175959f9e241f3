"""Convert pixels between integers, floats, tensors and PNG files; channels; reflection padding."""

# cv2, torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import mirror
from degrade.images.decode import read_image
from degrade.images.image import Image, Pixels, Uint8
from degrade.images.pillow import from_pillow

__all__ = [
    "Uint8",
    "as_pixels",
    "batch_of",
    "channel_notes",
    "encode_png",
    "in_channels",
    "reflected",
    "to_float",
    "to_tensor",
    "to_uint8",
]

# --- dtypes --------------------------------------------------------------------------------------


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Scale integer levels to [0, 1]: levels / 255, or / 65535.

    >>> to_float(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_uint8(pixels: Pixels) -> Uint8:
    """Round 16 bits to the nearest of 8, round(v / 257); 8 bits are returned as they are.

    >>> to_uint8(np.array([0, 128, 129, 65535], np.uint16)).tolist()
    [0, 0, 1, 255]
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_tensor(image: Image | Pixels) -> Tensor:
    """Return (C, h, w) float32 in [0, 1], its memory channels-last as on a CPU canvas.

    >>> to_tensor(np.zeros((4, 5, 3), np.uint8)).shape
    torch.Size([3, 4, 5])
    """
    pixels = image.pixels if isinstance(image, Image) else image
    return torch.as_tensor(to_float(pixels)).permute(2, 0, 1)


def as_pixels(images: Tensor) -> Uint8:
    """(B, C, h, w) in [0, 1] -> (B, h, w, C) uint8, rounded and clamped.

    >>> as_pixels(torch.tensor([-1, 0.5, 2]).reshape(1, 3, 1, 1)).tolist()
    [[[[0, 128, 255]]]]
    """
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def encode_png(pixels: Pixels) -> bytes:
    """Encode (h, w, C) pixels, C = 1 grey, 3 RGB or 4 RGBA, uint8 or uint16, as a PNG file: the
    same pixels give the same bytes.

    OpenCV's default settings (horizontal differences, run-length matching): on a 1000 x 872
    photograph 28 ms, where Pillow takes 83 ms at its fastest level and 183 ms at its usual one,
    for files of 1673, 1728 and 1622 kB.

    >>> encode_png(np.zeros((2, 3, 3), np.uint8))[1:4]
    b'PNG'
    """
    import cv2

    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(pixels.shape[-1])
    done, data = cv2.imencode(".png", pixels if order is None else cv2.cvtColor(pixels, order))
    if not done:
        raise ValueError(f"cannot encode {pixels.dtype} pixels of shape {pixels.shape} as PNG")
    return data.tobytes()


# --- batches -------------------------------------------------------------------------------------


def batch_of(image: Any) -> Tensor:
    """Return one image, or several of one size, as a (B, C, H, W) tensor, uint8 or float.

    A PIL image or an array has the pixels of the same image given as a file: PIL images are turned
    upright, 16 bits are rounded to 8.

    Args:
        image: A path; a PIL image; an (H, W), (H, W, C) or (B, H, W, C) array, uint8, uint16 (of
            either byte order) or float in [0, 1]; or a (C, H, W) or (B, C, H, W) tensor, uint8 or
            float in [0, 1]. Alpha is dropped.

    Raises:
        ImageError: A file that cannot be read, or a PIL image of a mode without an 8 or 16-bit
            form.
        ValueError: Another type, shape, dtype or range.

    >>> batch_of(np.zeros((4, 5), np.uint8)).shape
    torch.Size([1, 1, 4, 5])
    """
    if isinstance(image, str | os.PathLike):
        return _to_batch(to_uint8(read_image(image).pixels))
    if isinstance(image, Tensor):
        batch = image[None] if image.ndim == 3 else image
        if batch.ndim != 4 or batch.shape[1] not in (1, 3, 4):
            shapes = "(C, H, W) or (B, C, H, W), C = 1 or 3"
            raise ValueError(f"a tensor of shape {tuple(image.shape)}; it should be {shapes}")
        return _in_range(batch[:, :3] if batch.shape[1] == 4 else batch)
    if isinstance(image, PIL.Image.Image):
        # Mode F has no range of its own: as a float array.
        floating = image.mode == "F"
        image = np.asarray(image) if floating else from_pillow(image).pixels
    if not isinstance(image, np.ndarray):
        kinds = "a path, a PIL image, an array or a tensor"
        raise ValueError(f"{type(image).__name__} is not an image; give {kinds}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim not in (3, 4) or image.shape[-1] not in (1, 3, 4) or not image.size:
        shapes = "(H, W), (H, W, C) or (B, H, W, C), C = 1 or 3"
        raise ValueError(f"an array of shape {image.shape}; it should be {shapes}")
    return _in_range(_to_batch(image[..., :3] if image.shape[-1] == 4 else image))


def _to_batch(pixels: NDArray[Any]) -> Tensor:
    """(h, w, C) or (B, h, w, C) -> (B, C, h, w); 16 bits become 8."""
    dtype = pixels.dtype.newbyteorder("=")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ValueError(f"pixels of {dtype}; they should be uint8, uint16, or float in [0, 1]")
    if dtype == np.uint16:
        pixels = to_uint8(pixels)
    batch = pixels[None] if pixels.ndim == 3 else pixels
    # A copy: decoded images are read-only, which PyTorch's tensors cannot be.
    return torch.from_numpy(batch.astype(batch.dtype.newbyteorder("="))).permute(0, 3, 1, 2)


def _in_range(batch: Tensor) -> Tensor:
    """Return uint8 unchanged and floats as float32; raise ValueError for any other value."""
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


# --- size and channels ---------------------------------------------------------------------------


def reflected(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    """Pad at the bottom and the right until no side is below ``size``, reflected as often as
    needed (abc|baba).

    >>> reflected(np.array([[[1], [2]]]), 3)[..., 0].tolist()
    [[1, 2, 1], [1, 2, 1], [1, 2, 1]]
    """
    height, width = pixels.shape[:2]
    if height >= size and width >= size:
        return pixels
    rows = mirror(np.arange(max(height, size), dtype=np.int64), np.array(height, np.int64))
    columns = mirror(np.arange(max(width, size), dtype=np.int64), np.array(width, np.int64))
    return pixels[rows[:, None], columns]


def in_channels(image: Image, channels: Literal[1, 3]) -> Uint8:
    """Return (h, w, channels) 8-bit pixels: grey is repeated, RGB is converted to BT.601 luma."""
    pixels = to_uint8(image.pixels)
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def channel_notes(image: Image, channels: Literal[1, 3]) -> str:
    """Return the image's notes and those of :func:`in_channels`, joined by "; ".

    >>> channel_notes(Image(np.zeros((2, 2, 1), np.uint16)), 3)
    'rounded to 8 bits; grey repeated in 3 channels'
    """
    notes = list(image.notes)
    if image.pixels.dtype != np.uint8:
        notes.append("rounded to 8 bits")
    if image.alpha is not None:
        notes.append("alpha dropped")
    if image.pixels.shape[-1] != channels:
        notes.append("grey repeated in 3 channels" if channels == 3 else "RGB reduced to grey")
    return "; ".join(notes)
