"""Shared by the commands: the application, consoles, common options, and error handling."""

from __future__ import annotations

import math
import os
import struct
import sys
import traceback
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from degrade.console import Console, encode_always

if TYPE_CHECKING:
    from degrade.execution import Backend
    from degrade.recipe import Recipe

__all__ = [
    "BackendName",
    "Changes",
    "Device",
    "Force",
    "Modules",
    "RecipeName",
    "Scale",
    "Seed",
    "app",
    "check_backend",
    "check_device",
    "check_new",
    "err",
    "fail",
    "finite",
    "import_modules",
    "main",
    "out",
    "read_changes",
    "read_recipe",
    "restored_import_path",
    "run",
    "signed",
    "write_new",
]


UsageError: Any = typer.BadParameter.__base__
"""Of typer's own copy of click, or of click, by typer's version."""


class StoppedError(Exception):
    """Ctrl-C. Of a KeyboardInterrupt typer would make an exit without a word."""


class Commands(TyperGroup):
    """Commands that Ctrl-C stops with :class:`StoppedError`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise StoppedError from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Degradation pipelines and paired data for super-resolution:"
    " every draw per sample, every pair replayable.",
)
out, err = Console(), Console(stderr=True)

RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="Name (see [b]degrade list[/b]) or file of a recipe. Default: realesrgan.",
    ),
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="ADDRESS=VALUE",
        help="Override a value of the recipe: 'first.jpeg.quality=[60, 95]', quoted for the shell;"
        " repeatable.",
    ),
]
Scale = Annotated[int | None, typer.Option(help="HR size / LR size. Default: the recipe's.")]
Seed = Annotated[int, typer.Option(help="Seed of all random draws.")]
Device = Annotated[str, typer.Option(help="PyTorch device: cpu, cuda, cuda:1, mps.")]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="reference, native (C) or triton. Default: the fastest that the device has.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file of that name.")]
Modules = Annotated[
    list[str],
    typer.Option("--import", metavar="MODULE", help="Import a module with custom operators."),
]


def main() -> None:
    """Run the command line."""
    run(app, "run again to go on")


def run(application: typer.Typer, hint: str) -> None:
    """Run a command line. User errors print a message and exit with code 2, Ctrl-C prints
    ``hint`` and exits with code 130.
    """
    from degrade.errors import UserError
    from degrade.extras import missing

    encode_always()
    try:
        code = application(standalone_mode=False)
    except UsageError as error:
        if not (message := error.format_message()):
            sys.exit(2)  # no arguments; the help is already printed
        command = error.ctx.command_path if error.ctx else ""
        fail(f"{message.rstrip('.')}; see {command} --help")
    except UserError as error:
        fail(str(error))
    except ImportError as error:
        if (advice := missing(error)) is None:
            raise
        fail(advice)
    except OSError as error:  # a full disk, a folder that may not be written
        what = error.filename or "standard output"  # files are opened by name
        fail(f"{what}: {error.strerror or error}")
    except (StoppedError, KeyboardInterrupt):
        err.print("\nstopped", style="yellow", end="")
        err.print(f"; {hint}")
        sys.exit(130)
    if code:
        sys.exit(code)


def fail(message: str) -> NoReturn:
    """Print an error and exit with code 2."""
    err.print("error: ", style="red", end="")
    err.print(message, soft_wrap=True)
    sys.exit(2)


def version(wanted: bool) -> None:
    """Print the version and exit, if wanted."""
    if wanted:
        from degrade import __version__

        out.print(f"degrade {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    context.with_resource(restored_import_path())


@contextmanager
def restored_import_path() -> Generator[None]:
    """Restore ``sys.path`` on exit: a command may extend it for its plug-in modules."""
    before = sys.path.copy()
    try:
        yield
    finally:
        sys.path[:] = before


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """Return the overrides ``ADDRESS=VALUE``, with YAML values."""
    from degrade.errors import UserError
    from degrade.loading.positions import compose

    changes: dict[str, Any] = {}
    for pair in pairs:
        address, equals, text = pair.partition("=")
        if not equals or not address.strip():
            raise UserError(
                f"--set {pair}: should be ADDRESS=VALUE, for example 'first.jpeg.quality=[60, 95]'"
            )
        changes[address.strip()] = compose(
            text if text.strip() else "null", f"--set {address}"
        ).data
    return changes


def import_modules(modules: list[str]) -> None:
    """Import plug-in modules, from the working directory too.

    The directory stays on ``sys.path`` until the command ends, for imports that a module defers;
    see :func:`restored_import_path`. Worker processes are told where each module was found; see
    :func:`degrade.synthesis.worker.plugins`.
    """
    import importlib

    from degrade.errors import UserError

    if modules:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
            name = Path(module).stem
            raise UserError(
                f"--import {module}: should be the name of a module, such as"
                f" {name if name.isidentifier() else 'my_module'}, not a file"
            )
        try:
            importlib.import_module(module)
        except Exception as error:  # of any kind: the code is the user's
            kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
            at = traceback.extract_tb(error.__traceback__)[-1]
            own = "" if "importlib" in at.filename else f" ({at.filename}:{at.lineno})"
            raise UserError(f"--import {module}: {kind}{error}{own}") from None


def read_recipe(recipe: str, scale: int | None, changes: list[str], modules: list[str]) -> Recipe:
    """Import the plug-in modules, then load the recipe."""
    from degrade.recipe import Recipe

    import_modules(modules)
    return Recipe.load(recipe, scale, read_changes(changes))


def finite(value: float) -> float:
    """Refuse NaN, which no bound of an option excludes."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def write_new(path: Path, data: bytes, force: bool) -> None:
    """Write a file, over another one only if ``force`` is set. Raises UserError."""
    from degrade.storage.files import write_atomic

    check_new(path, force)
    write_atomic(path, data)


def check_new(path: Path, force: bool) -> None:
    """Raise UserError, before long work, if a file is there that is not an earlier picture or page
    of ours, and ``force`` is not set.
    """
    from degrade.errors import UserError

    if os.path.lexists(path) and not force and not _is_ours(path):
        raise UserError(f"{path}: is already there; give another --output, or --force")


MARK = b"tEXtSoftware\0degrade"
"""A chunk of a PNG file: its type and its text."""


def signed(png: bytes) -> bytes:
    """Return a PNG file with :data:`MARK` after its header."""
    chunk = struct.pack(">I", len(MARK) - 4) + MARK + struct.pack(">I", zlib.crc32(MARK))
    return png[:33] + chunk + png[33:]


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return MARK in head or b"<title>degrade " in head


def check_backend(device: str, backend: str | None) -> Backend | None:
    """Return the backend, if it works on the device. Raises UserError."""
    from degrade.errors import UserError
    from degrade.execution import BACKENDS, choose_for

    found: Backend | None = next((name for name in BACKENDS if name == backend), None)
    if backend is not None and found is None:
        raise UserError(f"--backend {backend}: should be one of {', '.join(BACKENDS)}")
    if found is not None:
        choose_for(device.split(",")[0], found)
    return found


def check_device(device: str) -> str:
    """Return the device, if it is available. Raises UserError."""
    import torch

    from degrade.errors import UserError

    try:
        torch.zeros(1, device=device).item()  # which a device without memory, meta, refuses
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from None
    return device
