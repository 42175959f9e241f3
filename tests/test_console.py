"""Foreign strings on the console: any name, in anything that is printed, by every command."""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text

import degrade.cli
import sr.cli
from degrade.cli.progress import pair_progress
from degrade.console import Console, printable

ROOT = Path(__file__).parent.parent
NAMES = [
    "[b]",
    "x [red]",
    "[link]y",
    ":smile:",
    "e\x1b[31mred",
    "c\rr",
    "line\nbreak",
    "b\x07\x08\x7f\x9b31m",
    "l\udce9",
    "\u202eright to left",
    "[/b]",
]
"""The last is no name of a file."""


def said(render: Callable[[Console], object]) -> str:
    console = Console(width=100, file=io.StringIO())
    render(console)
    return console.file.getvalue()


def table(heading: str, cell: str) -> Table:
    made = Table(heading, title=heading)
    made.add_row(cell)
    return made


def progress(console: Console, name: str) -> None:
    with pair_progress(console) as update:
        update(1, 2, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "render",
    [
        lambda console, name: console.print(name),
        lambda console, name: console.print("red", Text("x"), name, style="red"),
        lambda console, name: console.print(table("", name)),
        lambda console, name: console.print(table(name, "")),
        progress,
    ],
    ids=["print", "styled", "cell", "heading", "progress"],
)
def test_strings_are_shown_as_they_are(
    render: Callable[[Console, str], object], name: str
) -> None:
    text = said(lambda console: render(console, name))
    for part in name.split("\n"):
        assert printable(part) in text
    assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    text.encode()


def test_no_text_escapes_it() -> None:
    """A ``Text`` is escaped too, although after it was measured."""
    text = said(lambda console: console.print(Text("".join(map(chr, range(160))) + "\udce9")))
    assert all(c.isprintable() or c in "\n\t" for c in text)
    assert "\\x1b" in text


def test_printable_is_printable() -> None:
    assert printable("Zoë 日本 \U0001f600 [b] \\") == "Zoë 日本 \U0001f600 [b] \\"
    for code in [*range(0x3000), 0xD800, 0xDFFF, 0xFEFF, 0xE000, 0x10FFFF]:
        assert printable(chr(code)).isprintable()
        assert printable(printable(chr(code))) == printable(chr(code))


@pytest.mark.parametrize("package", ["degrade", "sr"])
def test_everything_goes_through_it(package: str) -> None:
    """No other console, no print, no markup."""
    for path in (ROOT / package).rglob("*.py"):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("rich", "rich.console", "rich.markup"), path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.echo", "Text.from_markup"), path
                if called == "TextColumn":
                    assert "markup=False" in ast.unparse(node), path


COMMANDS = [
    (degrade.cli.main, command)
    for command in (
        ("check", "NAME"),
        ("check", "NAME.yaml"),
        ("show", "NAME"),
        ("show", "bicubic", "NAME.png"),
        ("show", "bicubic", "--set", "NAME=1"),
        ("preview", "bicubic", "NAME"),
        ("diff", "bicubic", "NAME"),
        ("bench", "NAME"),
        ("list", "NAME"),
        ("import", "NAME.yml"),
        ("synth", "-r", "NAME"),
        ("synth", "-i", "NAME"),
        ("synth", "--import", "NAME"),
        ("synth", "--device", "NAME"),
        ("synth", "-i", "bad"),
        ("replay", "NAME"),
        ("NAME",),
    )
] + [
    (sr.cli.main, command)
    for command in (
        ("train", "NAME"),
        ("train", "srcnn", "--recipe", "NAME"),
        ("train", "srcnn", "--config", "NAME.yaml"),
        ("train", "srcnn", "--set", "NAME=1"),
        ("eval", "-m", "NAME", "--data", "x"),
        ("eval", "-m", "bicubic", "--data", "NAME"),
        ("upscale", "NAME.png", "-m", "bicubic"),
        ("compare", "--config", "NAME.yaml"),
        ("fetch", "NAME"),
    )
]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")

    def run(main: Callable[[], None], *args: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["x", *args])
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
        read = capfd.readouterr()
        return code, read.out + read.err

    return run


@pytest.mark.parametrize(("main", "command"), COMMANDS, ids=lambda value: str(value)[:60])
def test_every_command_names_what_is_wrong(
    run: Callable[..., tuple[Any, str]],
    main: Callable[[], None],
    command: tuple[str, ...],
    tmp_path: Path,
) -> None:
    (tmp_path / "bad").mkdir()
    for name in NAMES:
        if "/" not in name and "\udce9" not in name:
            (tmp_path / f"bad/{name}.png").write_bytes(b"no image")
    for name in NAMES:
        code, text = run(main, *(part.replace("NAME", name) for part in command))
        assert code == 2, text
        assert all(c.isprintable() or c in "\n\t" for c in text), repr(text)
        assert "Traceback" not in text
        known = name if "NAME" in " ".join(command) else "[b].png"
        lines = known.split("\n")
        assert any(
            all(part in text for part in parts)
            for parts in (map(printable, lines), [printable(known)], [printable(repr(known))])
        ), (known, text)


@pytest.mark.parametrize("command", [("show", "a", "b", "NAME"), ("synth", "--workers", "NAME")])
def test_usage_errors(run: Callable[..., tuple[Any, str]], command: tuple[str, ...]) -> None:
    """Whose words are those of the library that reads the arguments."""
    for name in NAMES:
        code, text = run(degrade.cli.main, *(part.replace("NAME", name) for part in command))
        assert code == 2
        assert text.startswith("error: ")
        assert all(c.isprintable() or c == "\n" for c in text), repr(text)


def test_broken_images_are_named(run: Callable[..., tuple[Any, str]], tmp_path: Path) -> None:
    for name in NAMES[:-1]:
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.bad.png").write_bytes(b"no image")
    code, text = run(degrade.cli.main, "doctor", ".")
    assert code == 0, text
    assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    assert ":smile:.png" in text
