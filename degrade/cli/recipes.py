"""Commands about recipes: ``check``, ``list``, ``schema``, ``import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from degrade.cli.common import (
    Changes,
    Force,
    Modules,
    Scale,
    app,
    err,
    import_modules,
    out,
    read_recipe,
    write_new,
)


@app.command()
def check(
    recipes: Annotated[list[str], typer.Argument(help="Names or files of recipes.")],
    scale: Scale = None,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Check recipes and print all errors, each with file, line and remedy.

    Exit code 2 if there are errors.
    """
    from degrade.errors import RecipeError

    wrong = 0
    for recipe in recipes:
        try:
            loaded = read_recipe(recipe, scale, changes, modules)
        except RecipeError as error:
            wrong += len(error.problems)
            out.print(str(error), soft_wrap=True)
        else:
            count = len(loaded.columns)
            out.print(
                f"{recipe}: fine, x{loaded.scale}, {count} random variables, {loaded.hash[:12]}",
                soft_wrap=True,
            )
    if wrong:
        err.print(f"{wrong} problem{'s' if wrong > 1 else ''}")
        raise typer.Exit(2)


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="Show one operator or recipe in full.")
    ] = None,
    modules: Modules = [],  # noqa: B006
) -> None:
    """List recipes, and operators with their fields, ranges and units."""
    from degrade.inspection.listing import print_listing

    import_modules(modules)
    print_listing(out, what)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    To use it, begin a recipe with `# yaml-language-server: $schema=FILE`.
    """
    import json

    from degrade.loading.json_schema import recipe_schema

    out.print(json.dumps(recipe_schema(), indent=2), soft_wrap=True)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="Option file of Real-ESRGAN, traiNNer-redux, OSEDiff or neosr.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write the recipe to. Default: stdout."),
    ] = None,
    force: Force = False,
    dialect: Annotated[
        str | None, typer.Option(help="basicsr, redux, params or neosr. Default: detected.")
    ] = None,
) -> None:
    """Convert another project's option file to a recipe, and report doubtful settings.

    Exit code 2 on errors.
    """
    from degrade.importers import read_options

    imported = read_options(file, dialect)
    colours = {"note": "cyan", "warning": "yellow", "error": "red"}
    for finding in imported.findings:
        err.print(f"{finding.severity}: ", style=colours[finding.severity], end="")
        err.print(str(finding), soft_wrap=True)
    err.print(
        f"{imported.dialect}: findings: {len(imported.findings)},"
        f" keys of training ignored: {imported.ignored}"
    )
    if imported.recipe is None:
        raise typer.Exit(2)
    if output is None:
        sys.stdout.write(imported.to_yaml())
    else:
        write_new(output, imported.to_yaml().encode(), force)
        err.print(f"Look at {output}", soft_wrap=True)
