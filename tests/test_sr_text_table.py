"""Tables on the terminal: no number is cut, whatever the width."""

from __future__ import annotations

import io
import re

import pytest
from rich.box import HEAVY_HEAD, SIMPLE, Box
from rich.text import Text

from degrade.console import Console
from sr.text_table import Column, print_table

NAMES = ["a.png", "below/a folder/of some length/b.png", "深い/写真.png"]


@pytest.mark.parametrize("box", [HEAVY_HEAD, SIMPLE])
@pytest.mark.parametrize("count", [1, 4, 13])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_numbers_are_whole(width: int, count: int, box: Box) -> None:
    columns = [
        Column(f"metric {i} ↑", [f"{1000 * i + row}.{i:04d}" for row in range(len(NAMES))])
        for i in range(count)
    ]
    file = io.StringIO()
    console = Console(file=file, width=width)
    print_table(console, Column("image", NAMES), columns, "title [b]", box, sections=[2])
    text = file.getvalue()
    lines = text.splitlines()
    assert lines[0] == "title [b]"
    assert "…" not in text
    for column in columns:
        for part in (column.name, *column.cells):
            assert len(re.findall(rf"(?<!\S){re.escape(str(part))}(?!\S)", text)) == 1
    # Every part of the table has the names, which are whole where there is room.
    parts = text.count("image")
    assert parts == 1 or count > 1
    assert text.count("a.png") >= parts
    assert text.count(NAMES[1]) == parts or width < 80


def test_cells_have_styles() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True)
    print_table(console, Column("", ["row"]), [Column("x", [Text("1.00", "bold")])])
    assert "\x1b[1m1.00" in file.getvalue()
