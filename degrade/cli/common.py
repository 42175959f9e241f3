"""Shared by the commands: the application, consoles, common options, and error handling."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from degrade.execution import Backend
    from degrade.recipe import Recipe

__all__ = [
    "BackendName",
    "Changes",
    "Device",
    "Modules",
    "RecipeName",
    "Scale",
    "Seed",
    "app",
    "check_backend",
    "check_device",
    "err",
    "fail",
    "import_modules",
    "main",
    "out",
    "read_changes",
    "read_recipe",
    "restored_import_path",
]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Degradation pipelines and paired data for super-resolution:"
    " every draw per sample, every pair replayable.",
)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="Name (see [b]degrade list[/b]) or file of a recipe.")
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="ADDRESS=VALUE",
        help="Override a value of the recipe: first.jpeg.quality=[60,95].",
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
Modules = Annotated[
    list[str],
    typer.Option("--import", metavar="MODULE", help="Import a module with custom operators."),
]


def main() -> None:
    """Run the command line. User errors print a message and exit with code 2."""
    from degrade.errors import UserError

    try:
        app()
    except UserError as error:
        fail(str(error))
    except OSError as error:  # a full disk, a folder that may not be written
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        err.print("\n[yellow]stopped[/yellow]; run the same command again to resume")
        sys.exit(130)


def fail(message: str) -> NoReturn:
    """Print an error and exit with code 2."""
    err.print("[red]error:[/red] ", end="")
    err.print(message, markup=False, soft_wrap=True)
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
                f"--set {pair}: should be ADDRESS=VALUE, for example first.jpeg.quality=[60,95]"
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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from None
    return device
