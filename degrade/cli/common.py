"""What the commands share: the application, its consoles, options that recur, and how errors
end it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from degrade.recipe import Recipe

__all__ = [
    "Changes",
    "Device",
    "Modules",
    "RecipeName",
    "Scale",
    "Seed",
    "app",
    "check_device",
    "err",
    "fail",
    "import_modules",
    "main",
    "out",
    "read_changes",
    "read_recipe",
]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Degradation pipelines and paired data for super-resolution: every draw per sample, every pair replayable.",
)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="A recipe's name (see [b]degrade list[/b]) or file.")
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="ADDRESS=VALUE", help="Override a value: first.jpeg.quality=[60,95]."
    ),
]
Scale = Annotated[int | None, typer.Option(help="HR size / LR size, instead of the recipe's.")]
Seed = Annotated[int, typer.Option(help="With a pair's index, the key of all its draws.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Modules = Annotated[
    list[str],
    typer.Option("--import", metavar="MODULE", help="Import a module that defines operators."),
]


def main() -> None:
    """Runs the command line. What a user can mend ends with a message and exit code 2."""
    from degrade.errors import UserError

    try:
        app()
    except UserError as error:
        fail(str(error))
    except OSError as error:  # a full disk, a folder that may not be written
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        err.print("\n[yellow]stopped[/yellow]; run the same command again to go on")
        sys.exit(130)


def fail(message: str) -> NoReturn:
    """Prints an error and ends with exit code 2."""
    err.print("[red]error:[/red] ", end="")
    err.print(message, markup=False, soft_wrap=True)
    sys.exit(2)


def version(wanted: bool) -> None:
    if wanted:
        from degrade import __version__

        out.print(f"degrade {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """``address=value`` with YAML values."""
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
    """Imports plug-ins, which may lie in the working directory."""
    import importlib

    from degrade.errors import UserError

    if modules:
        sys.path.insert(0, str(Path.cwd()))  # stays, so that worker processes find them too
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"--import {module}: {error}") from None


def read_recipe(recipe: str, scale: int | None, changes: list[str], modules: list[str]) -> Recipe:
    """Loads a recipe, plug-in modules first."""
    from degrade.recipe import Recipe

    import_modules(modules)
    return Recipe.load(recipe, scale, read_changes(changes))


def check_device(device: str) -> str:
    """Refuses a device that is not there."""
    import torch

    from degrade.errors import UserError

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from None
    return device
