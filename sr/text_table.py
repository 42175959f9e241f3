"""Tables of numbers on the terminal, of which no number is cut.

Where a table is wider than the terminal, or than the 80 columns of a file, its columns go to
several tables below each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import HEAVY_HEAD, Box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from degrade.console import Console, printable

__all__ = ["Column", "print_table"]

FRAME = 3
"""Width of a column's padding and of the line beside it."""
LABELS = 0.6
"""Most of the console's width that the labels of rows take in one line."""


@dataclass(frozen=True)
class Column:
    """A column: its name, and the text of each of its cells."""

    name: str
    cells: Sequence[str | Text]

    @property
    def width(self) -> int:
        return max(cell_len(printable(str(text))) for text in (self.name, *self.cells))


def print_table(
    console: Console,
    labels: Column,
    columns: Sequence[Column],
    title: str = "",
    box: Box = HEAVY_HEAD,
    sections: Sequence[int] = (),
) -> None:
    """Print a table, in parts where it is too wide.

    Args:
        console: Where to.
        labels: The first column, of every part; long labels are wrapped.
        columns: The others, one at least.
        title: A line above.
        box: Lines of the table.
        sections: Rows before which there is a line.
    """
    if title:
        console.print(Text(title, "italic"), soft_wrap=True)
    for part in _parts(console.width, labels, columns):
        table = Table(box=box)
        table.add_column(Text(labels.name), overflow="fold")
        for column in part:
            table.add_column(Text(column.name), justify="right", no_wrap=True)
        for row, label in enumerate(labels.cells):
            if row in sections:
                table.add_section()
            cells = (column.cells[row] for column in part)
            table.add_row(
                *(Text(text) if isinstance(text, str) else text for text in (label, *cells))
            )
        console.print(table)


def _parts(width: int, labels: Column, columns: Sequence[Column]) -> Iterator[list[Column]]:
    """The columns of each table: as many as fit, one at least."""
    room = width - 1 - FRAME - min(labels.width, int(width * LABELS))
    part: list[Column] = []
    used = 0
    for column in columns:
        needed = column.width + FRAME
        if part and used + needed > room:
            yield part
            part, used = [], 0
        part.append(column)
        used += needed
    yield part
