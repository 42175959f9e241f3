"""Figures: curves of a run, and LR | SR | HR side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.inspection.contact_sheet import Cell, draw_contact_sheet
from sr.models.interpolation import enlarge

__all__ = ["busiest", "curves", "levels", "triplets"]

Pixels = NDArray[np.uint8]
ZOOM = 4
"""A zoom shows a square of a quarter of the shorter side."""


def levels(image: Tensor) -> Pixels:
    """(1, 3, H, W) or (3, H, W) in [0, 1] -> (H, W, 3) 8-bit levels."""
    image = image[0] if image.ndim == 4 else image
    return np.ascontiguousarray(
        (image.clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    )


def busiest(hr: Tensor, side: int) -> tuple[int, int]:
    """Top left corner of the (side, side) square of (1, 3, H, W) with the most detail, on a
    grid of half its side.
    """
    grey = hr.mean(1)
    slope = (grey[:, 1:, :-1] - grey[:, :-1, :-1]).abs() + (
        grey[:, :-1, 1:] - grey[:, :-1, :-1]
    ).abs()
    step = max(1, side // 2)
    found = torch.nn.functional.avg_pool2d(slope, side - 1, step)[0]
    y, x = divmod(int(found.argmax()), found.shape[1])
    return y * step, x * step


def triplets(
    rows: Sequence[tuple[str, Tensor, Tensor, Tensor]], heading: str, width: int = 256
) -> Pixels:
    """Rows of LR, bicubic, SR and HR, each whole and zoomed into where HR has most detail.

    Args:
        rows: Name, LR (1, 3, h, w), SR and HR (1, 3, H, W).
        heading: Above all.
        width: Largest side of a picture.
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
        y, x = busiest(hr, side)
        cells.append([Cell(levels(picture), title) for title, picture in pictures.items()])
        zoom = max(1, width // side)
        closer = [picture[..., y : y + side, x : x + side] for picture in pictures.values()]
        cells.append(
            [
                Cell(levels(part).repeat(zoom, 0).repeat(zoom, 1), title)
                for part, title in zip(closer, pictures, strict=True)
            ]
        )
    return draw_contact_sheet(cells, heading, width)


def curves(history: Sequence[Mapping[str, float]], heading: str) -> bytes:
    """A PNG of every column of a run's history against the step, one panel each."""
    from matplotlib.figure import Figure

    names = [
        name
        for name in dict.fromkeys(name for row in history for name in row)
        if name not in ("step", "seconds")
    ]
    figure = Figure(figsize=(8, 2.2 * max(1, len(names))), layout="constrained")
    panels = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(heading)
    for panel, name in zip(panels, names, strict=False):
        points = [(row["step"], row[name]) for row in history if name in row]
        panel.plot([x for x, _ in points], [y for _, y in points], linewidth=1)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        if min(y for _, y in points) > 0 and not name.startswith(("psnr", "ssim")):
            panel.set_yscale("log")
    panels[-1].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
