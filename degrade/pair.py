"""Pair: a batch of LR images and their HR images, to train on, to look at and to save."""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import base64
import html
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import as_float
from degrade.images.pixels import as_pixels, encode_png
from degrade.plan import Plan
from degrade.storage.files import inside, place

__all__ = ["Pair"]

SHOWN = 4
"""Samples of a batch that are shown."""
SIDE = 320
"""Most HR pixels at each side that are shown, around the middle."""


@dataclass(frozen=True, eq=False, repr=False)
class Pair:
    """A batch of paired images. ``lr, hr = pair`` unpacks them.

    Args:
        lr: (B, C, H / scale, W / scale) float32 in [0, 1]: the network's input.
        hr: (B, C, H, W): the target, after the recipe's ``hr`` stage (sharpened, say).
        given: (B, C, H, W): the HR image as read, uint8 or float.
        plan: What was drawn.
        index: (B,) the samples' indices.
    """

    lr: Tensor
    hr: Tensor
    given: Tensor
    plan: Plan
    index: NDArray[np.int64] | None = None

    @cached_property
    def hr_raw(self) -> Tensor:
        """(B, C, H, W) float32 in [0, 1]: the HR image as read. Made when asked for: few losses
        look at it.
        """
        return as_float(self.given)

    @property
    def scale(self) -> int:
        """HR size / LR size."""
        return self.hr.shape[-1] // self.lr.shape[-1]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.lr, self.hr))

    def __repr__(self) -> str:
        lr, hr = (" x ".join(map(str, images.shape[1:])) for images in self)
        return f"Pair({len(self.lr)} of lr {lr}, hr {hr}, on {self.lr.device})"

    def trimmed(self, margin: int) -> Pair:
        """Return the pair without ``margin`` HR pixels at each side.

        Raises:
            ValueError: ``margin`` is not a multiple of the scale, or leaves nothing.
        """
        if not margin:
            return self
        scale, side = self.scale, min(self.hr.shape[-2:])
        if margin < 0 or margin % scale or 2 * margin >= side:
            raise ValueError(
                f"margin {margin} should be a multiple of the scale {scale}, and below half of"
                f" the image's side, {side}"
            )

        def cut(images: Tensor, n: int) -> Tensor:
            return images[..., n:-n, n:-n].contiguous()

        lr = cut(self.lr, margin // scale)
        return replace(self, lr=lr, hr=cut(self.hr, margin), given=cut(self.given, margin))

    def save(
        self, folder: str | os.PathLike[str], names: Sequence[str] | None = None
    ) -> list[tuple[Path, Path]]:
        """Write ``hr/NAME.png`` and ``lr/NAME.png``, 8-bit, as :class:`degrade.PairedFolder` reads
        them. ``plan.to_csv()`` is the text of what was drawn.

        Args:
            folder: Where; created if it is missing.
            names: A name each, without suffix; by default the samples' indices.

        Returns:
            The HR and the LR file of each sample.

        Raises:
            ValueError: Not a name for each sample, or a name that leads out of the folder.
            FileExistsError: A file is there already; nothing was written.
        """
        numbers = range(len(self.lr)) if self.index is None else self.index.tolist()
        stems = [f"{number:06d}" for number in numbers] if names is None else list(names)
        if len(set(stems)) != len(self.lr):
            raise ValueError(f"{len(self.lr)} samples need as many different names, not {stems}")
        sides = Path(folder, "hr"), Path(folder, "lr")
        files = [[inside(side, f"{stem}.png") for stem in stems] for side in sides]
        there = [str(path) for side in files for path in side if path.exists()]
        if there:
            raise FileExistsError(f"{there[0]}: exists; choose another folder, or other names")
        for paths, images in zip(files, (self.hr, self.lr), strict=True):
            for path, pixels in zip(paths, as_pixels(images.detach()), strict=True):
                place(path, encode_png(pixels))
        return list(zip(*files, strict=True))

    def show(self) -> None:
        """Show the first samples: in a notebook in place, elsewhere in the system's viewer.

        Raises:
            RuntimeError: There is no viewer; use :meth:`save`.
        """
        from PIL import Image, ImageShow

        ipython = sys.modules.get("IPython")
        if ipython is not None and ipython.get_ipython() is not None:
            ipython.display.display(self)
            return
        pixels = self._picture()
        if not ImageShow.show(
            Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        ):
            raise RuntimeError("there is no viewer for images here; use pair.save(folder)")

    def _shown(self) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Return the middles of the first samples, LR and HR pixels."""
        scale = self.scale
        side = max(SIDE // scale, 1)
        top, left = (max(n - side, 0) // 2 for n in self.lr.shape[-2:])
        lr = self.lr[:SHOWN, :, top : top + side, left : left + side]
        high = scale * side
        top, left = scale * top, scale * left
        hr = self.hr[:SHOWN, :, top : top + high, left : left + high]
        return list(zip(as_pixels(lr.detach()), as_pixels(hr.detach()), strict=True))

    def _picture(self) -> NDArray[np.uint8]:
        """Return one picture: a row a sample, LR enlarged without smoothing beside HR."""
        rows = [
            np.hstack([lr.repeat(self.scale, 0).repeat(self.scale, 1), hr])
            for lr, hr in self._shown()
        ]
        return np.vstack(rows)

    def _repr_html_(self) -> str:
        rows = [
            f'<tr><td style="vertical-align:top">{_image(lr, hr.shape[1])}</td>'
            f'<td style="vertical-align:top">{_image(hr, hr.shape[1])}</td>'
            f'<td style="vertical-align:top;text-align:left">{_values(self.plan.row(i, False))}'
            "</td></tr>"
            for i, (lr, hr) in enumerate(self._shown())
        ]
        more = len(self.lr) - len(rows)
        note = f"<p>and {more} more</p>" if more else ""
        head = "<tr><th>LR</th><th>HR</th><th>drawn</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{''.join(rows)}</table>{note}"


def _image(pixels: NDArray[np.uint8], width: int) -> str:
    data = base64.b64encode(encode_png(pixels)).decode()
    style = "image-rendering:pixelated;max-width:none"
    return f'<img src="data:image/png;base64,{data}" width="{width}" style="{style}">'


def _values(row: dict[str, str]) -> str:
    lines = (f"{html.escape(name)} = {html.escape(value)}" for name, value in row.items())
    return f'<small style="font-family:monospace">{"<br>".join(lines)}</small>'
