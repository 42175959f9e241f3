"""The command ``ablate``: recipes with one operator left out each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degrade.cli.common import Modules, Scale, app, err, out, read_recipe


@app.command()
def ablate(
    recipe: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write the recipes to.")
    ] = Path("ablations"),
    by: Annotated[
        str, typer.Option(help="What to leave out, one at a time: operator or step.")
    ] = "operator",
    scale: Scale = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite other files there.")] = False,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Write a recipe with one operator left out each, to train or to test on with sr compare.

    All other draws stay the same: under one seed the recipes differ in that operator alone.
    """
    from degrade.errors import UserError
    from degrade.inspection.ablation import ablations
    from degrade.storage.files import write_atomic

    if by not in ("operator", "step"):
        raise UserError(f"--by {by}: should be operator or step")
    found = ablations(
        read_recipe(recipe, scale, [], modules), "step" if by == "step" else "operator"
    )
    files = {
        output / f"{one.recipe.name}.yaml": one.recipe.to_yaml()
        for one in found
        if one.recipe is not None
    }
    foreign = [
        str(file)
        for file, text in files.items()
        if file.exists() and (not file.is_file() or file.read_bytes() != text.encode())
    ]
    if foreign and not force:
        raise UserError(
            f"{', '.join(foreign)}: exists with other content; choose another --output, or --force"
        )
    output.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        write_atomic(file, text.encode())
        out.print(str(file), soft_wrap=True, markup=False)
    for one in found:
        if one.recipe is None:
            words = f"{one.left_out} cannot be left out: {one.problem}"
            err.print(words, markup=False, soft_wrap=True)
    err.print(
        f"Compare with: sr compare --train {recipe},{','.join(map(str, files))} --test {recipe}",
        markup=False,
        soft_wrap=True,
    )
