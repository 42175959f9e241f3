"""Commands that show what recipes do: ``show``, ``preview``, ``diff``, ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degrade.cli.common import (
    Changes,
    Device,
    Modules,
    Scale,
    Seed,
    app,
    check_device,
    err,
    out,
    read_recipe,
)


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    image: Annotated[
        Path | None, typer.Argument(help="An image. Default: a sample photograph.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: RECIPE.png here.")
    ] = None,
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=1, help="Random draws to show.")] = 12,
    crop: Annotated[int, typer.Option(min=32, help="Side of the HR crop to look at.")] = 256,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """A contact sheet: the same crop at rising severity and at random draws, the drawn values
    under each picture.
    """
    from degrade.errors import UserError
    from degrade.images.files import read_image
    from degrade.images.pixels import encode_png
    from degrade.images.samples import sample_images
    from degrade.inspection.gallery import show_recipe
    from degrade.storage.files import write_atomic

    loaded = read_recipe(recipe, scale, changes, modules)
    picture = read_image(image or sample_images()[1])
    path = output or Path(f"{loaded.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: should end in .png")
    write_atomic(path, encode_png(show_recipe(loaded, picture, draws, crop, seed)))
    out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def preview(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    images: Annotated[
        str, typer.Argument(help="A folder, file or glob. Default: sample photographs.")
    ] = "",
    html: Annotated[
        Path | None, typer.Option(help="Where to write the page. Default: RECIPE.html here.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Serve it on this machine, anew when the recipe is saved."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --live. Default: a free one.")
    ] = 0,
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=1, help="Random draws to show.")] = 24,
    crop: Annotated[
        int, typer.Option(min=32, max=1024, help="Side of the HR crop to look at.")
    ] = 192,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """One HTML page: rising severity, every step, random draws, what is drawn how often. Needs
    no network.
    """
    from degrade.inspection.metrics import input_images
    from degrade.inspection.preview import PreviewSettings, preview_data, render
    from degrade.inspection.preview_server import serve
    from degrade.loading.search_path import locate
    from degrade.storage.files import write_atomic

    files = input_images(images)
    # Live, a page should not keep one waiting.
    measured, views = (draws, 1) if live else (10 * draws, 3)
    settings = PreviewSettings(draws, measured, size=crop, views=views, seed=seed)

    def build() -> dict[str, Any]:
        return preview_data(read_recipe(recipe, scale, changes, modules), files, settings)

    if live:
        locate(recipe)
        serve(
            recipe,
            build,
            port,
            lambda url: out.print(f"Look at {url} (Ctrl-C stops it)", soft_wrap=True),
        )
    else:
        data = build()
        path = html or Path(f"{data['name']}.html")
        write_atomic(path, render(data).encode())
        out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    images: Annotated[
        str, typer.Argument(help="A folder, file or glob. Default: sample photographs.")
    ] = "",
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=2, help="LR images to measure.")] = 64,
    crop: Annotated[int, typer.Option(min=64, max=1024, help="Side of the HR crops.")] = 256,
    every: Annotated[bool, typer.Option("--all", help="List equal parameters too.")] = False,
    seed: Seed = 0,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Two recipes side by side: parameter by parameter, and measured on the same images with
    the same keys.
    """
    from degrade.inspection.diff import changes, effects, print_diff
    from degrade.inspection.metrics import input_images

    one, other = (read_recipe(recipe, scale, [], modules) for recipe in (a, b))
    print_diff(
        out,
        one,
        other,
        changes(one, other),
        effects(one, other, input_images(images), draws, crop, seed),
        every,
    )


@app.command()
def bench(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    device: Device = "cpu",
    input: Annotated[
        str,
        typer.Option("--input", "-i", help="HR images: a folder, file or glob. Default: samples."),
    ] = "",
    batch: Annotated[int, typer.Option(min=1, help="Pairs at a time.")] = 16,
    size: Annotated[int, typer.Option(min=16, help="Side of HR patches.")] = 256,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of each measurement.")] = 2.0,
    scale: Scale = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Pairs a second end to end and step by step, whether loader or degradation is the limit,
    and how many workers.
    """
    import json

    from degrade.inspection.bench import BenchSettings, benchmark
    from degrade.inspection.bench_table import print_benchmark

    settings = BenchSettings(check_device(device), batch, seconds, seed, input, size)
    loaded = read_recipe(recipe, scale, changes, modules)
    found = benchmark(loaded, settings, lambda what: err.print(f"[dim]measuring {what}[/dim]"))
    if as_json:
        out.print(json.dumps(found.data(), indent=2), markup=False, soft_wrap=True)
    else:
        print_benchmark(out, found)
