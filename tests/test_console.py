"""Foreign strings on the console: any name, in anything that is printed, by every command."""

from __future__ import annotations

import ast
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text

import degrade.cli
import sr.cli
from degrade.cli.progress import show_progress, track
from degrade.console import Console, printable
from degrade.storage.names import escape

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
    ticks = iter([0.0, 40.0, 40.0, 50.0, 50.0])
    with show_progress(console, "pairs", lambda: next(ticks)) as update:
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


@pytest.mark.parametrize(
    ("main", "command"), COMMANDS, ids=lambda value: getattr(value, "__module__", str(value)[:60])
)
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
            for parts in (
                map(printable, lines),
                [printable(known)],
                [printable(repr(known))],
                [escape(known)],
            )
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


# --- progress ------------------------------------------------------------------------------------


def lines(seconds: list[float], updates: list[tuple[int, int, str]]) -> list[str]:
    """What progress prints where there is no terminal."""
    clock = iter([0.0, *(tick for second in seconds for tick in (second, second)), 1e3, 1e3])
    console = Console(file=io.StringIO())
    with show_progress(console, "pairs", lambda: next(clock)) as update:
        for one in updates:
            update(*one)
    return console.file.getvalue().splitlines()


def test_plain_lines_of_progress() -> None:
    found = lines([31.0], [(11, 310, "a/0010")])
    assert found[0] == "11 of 310 pairs, 0.0323 pairs/s, 2:34:29 left  a/0010"
    assert found[1].startswith("11 of 310 pairs, ")


def test_what_was_made_before_has_no_rate() -> None:
    assert lines([40.0], [(1001, 2000, "x")])[0].startswith("1001 of 2000 pairs, 0.025 pairs/s")


def test_short_work_prints_nothing_elsewhere() -> None:
    console = Console(file=io.StringIO())
    assert list(track(console, [3, 4], 2, "images")) == [3, 4]
    assert console.file.getvalue() == ""


def test_a_terminal_has_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    assert list(track(console, range(3), 3, "images")) == [0, 1, 2]
    assert "3/3" in console.file.getvalue()


MANY = ("--workers", "2", "--per-image", "2000")


@pytest.mark.skipif(os.name == "nt", reason="no signal to a group of processes")
def test_ctrl_c_prints_one_line(tmp_path: Path) -> None:
    """Even while workers start, which takes seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "degrade", "synth", "-o", str(tmp_path / "x"), *MANY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert "pairs from" in process.stdout.readline()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "stopped; run again to go on"
