"""Canvas: images of different sizes on one dense tensor.

Row ``i`` of ``pixels`` holds image ``i`` in its top left ``sizes[i] = (h, w)`` corner. Sizes live
on the host, so that no operator ever asks the device for a shape. Pixels are RGB (or grey) floats
in [0, 1].

Pixels outside an image's own size are finite and are never read. An operator that reads neighbours
asks for :meth:`Canvas.extend` (mirror border) or
:meth:`Canvas.replicate` (repeated edge) instead.
"""

# cv2, torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Canvas", "Sizes"]

Sizes = NDArray[np.int64]
"""(B, 2) heights and widths on the host."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A ragged batch of images.

    Args:
        pixels: (B, C, H, W) float tensor in [0, 1].
        sizes: (B, 2) height and width of each image.
        target: (B, 2) height and width of each final LR image.
        hr: (B, 2) height and width of each HR image.
    """

    pixels: Tensor
    sizes: Sizes
    target: Sizes
    hr: Sizes

    @staticmethod
    def of(images: Sequence[Tensor] | Tensor, scale: int = 1) -> Canvas:
        """Lays (C, H, W) images, or a (B, C, H, W) batch, on a canvas; the target is HR size /
        ``scale``.
        """
        if isinstance(images, Tensor):
            pixels = images
            sizes = np.tile(np.array(images.shape[-2:], np.int64), (len(images), 1))
        else:
            sizes = np.array([image.shape[-2:] for image in images], np.int64).reshape(-1, 2)
            first = images[0]
            height, width = (int(n) for n in sizes.max(0))
            pixels = first.new_zeros((len(images), first.shape[0], height, width))
            for row, image in zip(pixels, images, strict=True):
                row[:, : image.shape[-2], : image.shape[-1]] = image
        pixels = to_channels_last(pixels)
        pixels = as_float(pixels) if pixels.dtype == torch.uint8 else pixels
        return Canvas(pixels, sizes, sizes // scale, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def dense(self) -> bool:
        """Whether every image fills the tensor."""
        height, width = self.pixels.shape[-2:]
        return all(h == height and w == width for h, w in self.sizes.tolist())

    def image(self, i: int) -> Tensor:
        """Image ``i``, a (C, h, w) view."""
        h, w = self.sizes[i]
        return self.pixels[i, :, : int(h), : int(w)]

    def images(self) -> list[Tensor]:
        """All images, as (C, h, w) views."""
        return [self.image(i) for i in range(len(self))]

    def hwc(self, i: int) -> NDArray[np.float32]:
        """Image ``i`` of a CPU canvas as an (h, w, C) array that shares its memory, for OpenCV
        and native code.
        """
        h, w = self.sizes[i].tolist()
        return self.pixels.permute(0, 2, 3, 1).numpy()[i, :h, :w]

    def with_pixels(self, pixels: Tensor) -> Canvas:
        """The same sizes with other pixels."""
        return Canvas(pixels, self.sizes, self.target, self.hr)

    def to(self, device: torch.device | str) -> Canvas:
        """The same on another device."""
        return self.with_pixels(self.pixels.to(device))

    def resized(self, pixels: Tensor, sizes: Sizes) -> Canvas:
        """Other pixels of other sizes, on their way to the same target."""
        return Canvas(pixels, sizes, self.target, self.hr)

    def take(self, rows: NDArray[np.intp]) -> Canvas:
        """The canvas of some rows, cropped to the largest of them."""
        sizes = self.sizes[rows]
        height, width = (int(n) for n in sizes.max(0))
        index = torch.from_numpy(rows).to(self.pixels.device, non_blocking=True)
        pixels = self.pixels[:, :, :height, :width].index_select(0, index)
        return Canvas(to_channels_last(pixels), sizes, self.target[rows], self.hr[rows])

    def put(self, rows: NDArray[np.intp], other: Canvas) -> Canvas:
        """This canvas with ``rows`` replaced by those of ``other``, grown or shrunk as their
        sizes ask.
        """
        sizes = self.sizes.copy()
        sizes[rows] = other.sizes
        height, width = (int(n) for n in sizes.max(0))
        pixels = crop_or_pad(self.pixels, height, width).clone()
        index = torch.from_numpy(rows).to(pixels.device, non_blocking=True)
        pixels.index_copy_(0, index, crop_or_pad(other.pixels, height, width))
        return self.resized(to_channels_last(pixels), sizes)

    def extend(self, radius: int) -> Tensor:
        """Pixels with a border of ``radius``, mirrored at each image's own edges (d c b | a b c d
        | c b a).

        Returns:
            (B, C, H + 2 radius, W + 2 radius); image ``i`` starts at (radius, radius).
        """
        height, width = self.pixels.shape[-2:]
        y = mirror(np.arange(-radius, height + radius)[None], self.sizes[:, :1])
        x = mirror(np.arange(-radius, width + radius)[None], self.sizes[:, 1:])
        return self._gather(y, x)

    def replicate(self, height: int, width: int) -> Tensor:
        """Pixels on a (height, width) tensor, each image's last row and column repeated
        outward.
        """
        y = np.minimum(np.arange(height)[None], self.sizes[:, :1] - 1)
        x = np.minimum(np.arange(width)[None], self.sizes[:, 1:] - 1)
        return self._gather(y, x)

    def _gather(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> Tensor:
        device = self.pixels.device
        rows = torch.arange(len(self), device=device)[:, None, None]
        ty = torch.from_numpy(y).to(device, non_blocking=True)[:, :, None]
        tx = torch.from_numpy(x).to(device, non_blocking=True)[:, None, :]
        return self.pixels.permute(0, 2, 3, 1)[rows, ty, tx].permute(0, 3, 1, 2)


def divided(x: Tensor, divisor: float) -> Tensor:
    """x / divisor, rounded once on every device: by a number CUDA multiplies with its reciprocal,
    and the last bit of k / 255 is another.
    """
    return x / x.new_full((), divisor)


def as_float(images: Tensor) -> Tensor:
    """uint8 / 255, or the floats themselves as float32."""
    return divided(images.float(), 255) if images.dtype == torch.uint8 else images.float()


def to_channels_last(pixels: Tensor) -> Tensor:
    """CPU canvases are channels-last, so that a row is an OpenCV image without a copy."""
    if pixels.device.type != "cpu":
        return pixels.contiguous()
    if (
        pixels.is_contiguous(memory_format=torch.channels_last)
        or pixels.shape[1] == 1
        or pixels.requires_grad
    ):
        return pixels.contiguous(memory_format=torch.channels_last)
    import cv2

    # OpenCV interleaves planes four times as fast as a strided copy of torch does.
    out = torch.empty_like(pixels, memory_format=torch.channels_last)
    for planes, image in zip(
        pixels.detach().numpy(), out.permute(0, 2, 3, 1).numpy(), strict=True
    ):
        cv2.merge(list(planes), image)
    return out


def crop_or_pad(pixels: Tensor, height: int, width: int) -> Tensor:
    """Crops or zero-pads at the bottom and the right."""
    pixels = pixels[:, :, :height, :width]
    h, w = pixels.shape[-2:]
    if (h, w) == (height, width):
        return pixels
    return torch.nn.functional.pad(pixels, (0, width - w, 0, height - h))


def mirror(index: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reflects indices into [0, size), the edge pixel not repeated, as often as it takes."""
    period = np.maximum(2 * (size - 1), 1)
    folded = np.abs(index) % period
    return np.where(folded < size, folded, period - folded)
