"""Contact sheets: pictures side by side with what was drawn for them, because people look
rather than read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from degrade.plan import Plan

__all__ = ["Cell", "contact_sheet", "enlarge", "story"]

Pixels = NDArray[np.uint8]
MARGIN, LINE = 12, 15
PAPER, INK, FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 116)


@dataclass(frozen=True)
class Cell:
    """A picture with a title above and lines of text below.

    Args:
        pixels: (h, w, 3) uint8; None for text alone.
        title: One line.
        lines: What was drawn.
    """

    pixels: Pixels | None
    title: str
    lines: tuple[str, ...] = ()


def contact_sheet(rows: Sequence[Sequence[Cell]], heading: str, width: int = 256) -> Pixels:
    """Lays out rows of cells, every picture scaled to at most ``width`` pixels square.

    Returns:
        (H, W, 3) uint8.
    """
    font, small = ImageFont.load_default(size=13), ImageFont.load_default(size=11)
    columns = max(len(row) for row in rows)
    wrapped = [[wrap(cell.lines, width) for cell in row] for row in rows]
    heights = [
        LINE
        + 10
        + max(
            fitted(cell.pixels, width)[1] + LINE * len(text)
            for cell, text in zip(row, texts, strict=True)
        )
        + 2 * MARGIN
        for row, texts in zip(rows, wrapped, strict=True)
    ]
    top = 2 * MARGIN + LINE
    sheet = Image.new("RGB", (MARGIN + columns * (width + MARGIN), top + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), heading, INK, ImageFont.load_default(size=15))
    for row, texts, height in zip(rows, wrapped, heights, strict=True):
        for i, (cell, lines) in enumerate(zip(row, texts, strict=True)):
            x, y = MARGIN + i * (width + MARGIN), top
            pen.text((x, y), cell.title, INK, font)
            y += LINE + 6
            if cell.pixels is not None:
                size = fitted(cell.pixels, width)
                picture = Image.fromarray(cell.pixels)
                filter = (
                    Image.Resampling.BOX if size[0] < picture.width else Image.Resampling.NEAREST
                )
                sheet.paste(picture.resize(size, filter), (x, y))
                y += size[1] + 4
            for line in lines:
                pen.text((x, y), line, FAINT, small)
                y += LINE
        top += height
    return np.asarray(sheet)


def story(plan: Plan, i: int) -> tuple[str, ...]:
    """What was drawn for row ``i``, a line a step: ``first.jpeg: quality 62``. Steps that did
    not run are left out.
    """
    cells = plan.row(i, precise=False)
    lines: dict[str, list[str]] = {}
    for address, value in cells.items():
        step, _, field = address.rpartition(".")
        if field == "p":
            continue
        if step in cells or "." not in step:
            step, field = address, ""
        lines.setdefault(step, []).append(f"{field} {value}".strip())
    return tuple(f"{step}: {', '.join(values)}" for step, values in lines.items())


def enlarge(lr: Pixels, scale: int) -> Pixels:
    """LR pixels shown as squares, at HR size."""
    return lr.repeat(scale, 0).repeat(scale, 1)


def fitted(pixels: Pixels | None, width: int) -> tuple[int, int]:
    """(width, height) of a picture shrunk, or enlarged by a whole factor, to a square of
    ``width``.
    """
    if pixels is None:
        return width, 0
    height, across = pixels.shape[:2]
    longest = max(height, across)
    ratio = width / longest if longest > width else width // longest
    return max(1, round(across * ratio)), max(1, round(height * ratio))


def wrap(lines: Sequence[str], width: int) -> list[str]:
    """Breaks lines to a column; 11-pixel letters are some 5.6 pixels wide."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, int(width / 5.6), subsequent_indent="   ")
    ]
