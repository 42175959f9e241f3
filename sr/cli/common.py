"""Shared by the commands: the application, consoles and common options."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from degrade.cli import Commands, restored_import_path, run
from degrade.console import Console

__all__ = [
    "AnyDevice",
    "Device",
    "ModelName",
    "Modules",
    "Overlap",
    "Tile",
    "app",
    "check_new",
    "err",
    "main",
    "out",
    "split_commas",
]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train super-resolution models on degradation recipes, and evaluate them.",
)
out, err = Console(), Console(stderr=True)

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Checkpoint of sr, run folder, name from [b]sr list[/b], bicubic, weights of "
        "another program (.pth, .safetensors), onnx:FILE, python:MODULE:FUNCTION, or "
        "command:PROGRAM.",
    ),
]
Modules = Annotated[
    list[str],
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Import a module with models, losses, metrics, trainers or operators of your own; "
        "repeatable.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")]
AnyDevice = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. Default: auto.")
]
Tile = Annotated[int, typer.Option(min=0, help="Side of the tiles in LR pixels; 0: no tiling.")]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="LR pixels that a tile has more on each side. Default: the radius of the model's "
        "receptive field, at most 32; models of unknown radius are not tiled.",
    ),
]


def main() -> None:
    """Run the command line."""
    run(app, "sr train goes on with --resume, sr compare when it is run again")


def print_version(requested: bool) -> None:
    if requested:
        from degrade import __version__

        out.print(f"sr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    context.with_resource(restored_import_path())


def check_new(path: Path | None, force: bool, mark: bytes = b"") -> None:
    """Raise UserError, before long work, if a file is there and ``force`` is not set. One that has
    ``mark`` in its first KiB is an earlier one of ours, and may be written over.
    """
    from degrade.errors import UserError

    if path is None or force or not os.path.lexists(path):
        return
    if mark and path.is_file():
        with path.open("rb") as file:
            if mark in file.read(1024):
                return
    raise UserError(f"{path}: is already there; give another name, or --force")


def split_commas(text: str | None) -> tuple[str, ...] | None:
    """Split a comma-separated flag; None if it was not given.

    >>> split_commas("bicubic, pairs:lr=a,hr=b")
    ('bicubic', 'pairs:lr=a,hr=b')
    """
    if text is None:
        return None
    parts = re.split(r",(?!(?:hr|gt|hq)=)", text)  # of pairs:lr=DIR,hr=DIR
    return tuple(part.strip() for part in parts if part.strip()) or None
