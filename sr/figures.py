"""Figures: loss curves of a run, and sheets of LR, bicubic, SR and HR side by side."""

# torch, matplotlib: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.inspection.contact_sheet import Cell, draw_contact_sheet
from sr.models.interpolation import enlarge

__all__ = ["comparison_sheet", "most_detailed", "plot_curves", "to_pixels"]

ZOOM = 4
"""The shorter side over the side of the zoomed crop."""

FEW_POINTS = 50
"""Curves of at most this many points have them marked."""


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Convert (1, 3, H, W) or (3, H, W) in [0, 1] to (H, W, 3) 8-bit pixels.

    >>> to_pixels(torch.ones(1, 3, 2, 4)).shape
    (2, 4, 3)
    """
    image = image[0] if image.ndim == 4 else image
    return np.ascontiguousarray(
        (image.clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    )


def most_detailed(hr: Tensor, side: int) -> tuple[int, int]:
    """Return the top left corner (y, x) of the (side, side) square of (1, 3, H, W) with the
    largest mean gradient, on a grid of half its side.
    """
    grey = hr.mean(1)
    corner = grey[:, :-1, :-1]
    gradient = (grey[:, 1:, :-1] - corner).abs() + (grey[:, :-1, 1:] - corner).abs()
    step = max(1, side // 2)
    means = torch.nn.functional.avg_pool2d(gradient, side - 1, step)[0]
    y, x = divmod(int(means.argmax()), means.shape[1])
    return y * step, x * step


def comparison_sheet(
    rows: Sequence[tuple[str, Tensor, Tensor, Tensor]], heading: str, width: int = 256
) -> NDArray[np.uint8]:
    """Return a sheet of LR, bicubic, SR and HR, and of zooms where HR has most detail.

    Args:
        rows: Name, LR (1, 3, h, w), SR and HR (1, 3, H, W).
        heading: Title of the sheet.
        width: Largest side of a picture in pixels.
    """
    cells: list[list[Cell]] = []
    for name, lr, sr, hr in rows:
        scale = hr.shape[-1] // lr.shape[-1]
        pictures = {
            f"{name}: LR": lr.repeat_interleave(scale, -1).repeat_interleave(scale, -2),
            "bicubic": enlarge(lr, scale),
            "SR": sr,
            "HR": hr,
        }
        side = max(2, min(hr.shape[-2:]) // ZOOM)
        y, x = most_detailed(hr, side)
        cells.append([Cell(to_pixels(picture), title) for title, picture in pictures.items()])
        zoom = max(1, width // side)
        crops = [picture[..., y : y + side, x : x + side] for picture in pictures.values()]
        zoomed = [to_pixels(crop).repeat(zoom, 0).repeat(zoom, 1) for crop in crops]
        cells.append([Cell(crop, title) for crop, title in zip(zoomed, pictures, strict=True)])
    return draw_contact_sheet(cells, heading, width)


def plot_curves(history: Sequence[Mapping[str, float]], heading: str) -> bytes:
    """Return a PNG of every column of a run's history against the step, one panel each."""
    from matplotlib.figure import Figure

    columns = dict.fromkeys(name for row in history for name in row)
    names = [name for name in columns if name not in ("step", "seconds")]
    figure = Figure(figsize=(8, 2.2 * max(1, len(names))), layout="constrained")
    panels = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(heading)
    for panel, name in zip(panels, names, strict=False):
        points = [(row["step"], row[name]) for row in history if name in row]
        marker = "o" if len(points) <= FEW_POINTS else ""  # a line of one point is not seen
        panel.plot(*zip(*points, strict=True), linewidth=1, marker=marker, markersize=4)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        low, high = min(y for _, y in points), max(y for _, y in points)
        if 0 < 3 * low < high and not name.startswith(("psnr", "ssim", "d_")):
            panel.set_yscale("log")
    panels[-1].set_xlabel("step")
    panels[-1].set_xlim(left=0)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
