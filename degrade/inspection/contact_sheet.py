"""Draw contact sheets: pictures side by side, with the values drawn for them as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from degrade.console import printable
from degrade.images.image import Uint8

__all__ = ["Cell", "draw_contact_sheet", "enlarge"]

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

    pixels: Uint8 | None
    title: str
    lines: tuple[str, ...] = ()


def draw_contact_sheet(rows: Sequence[Sequence[Cell]], heading: str, width: int = 256) -> Uint8:
    """Draw rows of cells, every picture scaled to at most ``width`` pixels square.

    Args:
        rows: The cells, row by row.
        heading: A line above all rows.
        width: Of a column, in pixels.

    Returns:
        (H, W, 3) uint8.
    """
    font, small = ImageFont.load_default(size=13), ImageFont.load_default(size=11)
    columns = max(len(row) for row in rows)
    wrapped = [[wrap(cell.lines, width) for cell in row] for row in rows]
    heights = [_row_height(row, texts, width) for row, texts in zip(rows, wrapped, strict=True)]
    top = 2 * MARGIN + LINE
    sheet = PIL.Image.new("RGB", (MARGIN + columns * (width + MARGIN), top + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), printable(heading), INK, ImageFont.load_default(size=15))
    for row, texts, height in zip(rows, wrapped, heights, strict=True):
        for i, (cell, lines) in enumerate(zip(row, texts, strict=True)):
            x, y = MARGIN + i * (width + MARGIN), top
            pen.text((x, y), printable(cell.title), INK, font)
            y += LINE + 6
            if cell.pixels is not None:
                picture = _resized(cell.pixels, width)
                sheet.paste(picture, (x, y))
                y += picture.height + 4
            for line in lines:
                pen.text((x, y), line, FAINT, small)
                y += LINE
        top += height
    return np.asarray(sheet)


def _row_height(row: Sequence[Cell], texts: Sequence[Sequence[str]], width: int) -> int:
    """Title, tallest picture with its text, and margins."""
    cells = zip(row, texts, strict=True)
    tallest = max(fitted(cell.pixels, width)[1] + LINE * len(text) for cell, text in cells)
    return LINE + 10 + tallest + 2 * MARGIN


def _resized(pixels: Uint8, width: int) -> PIL.Image.Image:
    """Shrink by area averaging, or enlarge by repeating pixels."""
    picture = PIL.Image.fromarray(pixels)
    size = fitted(pixels, width)
    shrinks = size[0] < picture.width
    return picture.resize(
        size, PIL.Image.Resampling.BOX if shrinks else PIL.Image.Resampling.NEAREST
    )


def enlarge(lr: Uint8, scale: int) -> Uint8:
    """Repeat each LR pixel to a square, at HR size.

    >>> enlarge(np.zeros((2, 3, 3), np.uint8), 4).shape
    (8, 12, 3)
    """
    return lr.repeat(scale, 0).repeat(scale, 1)


def fitted(pixels: Uint8 | None, width: int) -> tuple[int, int]:
    """Return (width, height) of a picture shrunk, or enlarged by an integer factor, to fit a
    square of ``width``.

    >>> fitted(np.zeros((100, 200, 3), np.uint8), 100)
    (100, 50)
    >>> fitted(np.zeros((20, 30, 3), np.uint8), 100)
    (90, 60)
    """
    if pixels is None:
        return width, 0
    height, across = pixels.shape[:2]
    longest = max(height, across)
    ratio = width / longest if longest > width else width // longest
    return max(1, round(across * ratio)), max(1, round(height * ratio))


def wrap(lines: Sequence[str], width: int) -> list[str]:
    """Wrap lines to a column; 11-pixel letters are about 5.6 pixels wide."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(printable(line), int(width / 5.6), subsequent_indent="   ")
    ]
