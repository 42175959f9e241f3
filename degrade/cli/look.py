"""Commands that show what recipes do: ``show``, ``preview``, ``diff``, ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degrade.cli.common import (
    BackendName,
    Changes,
    Device,
    Force,
    Modules,
    Scale,
    Seed,
    app,
    check_backend,
    check_device,
    check_new,
    err,
    finite,
    out,
    read_recipe,
    signed,
    write_new,
)

MOST_PIXELS = 2**26
"""Of a batch of ``bench``: 64 patches of 1024 x 1024, or 1 GiB of HR and LR and work memory."""


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    image: Annotated[
        Path | None, typer.Argument(help="HR image. Default: a sample photograph.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file. Default: RECIPE.png.")
    ] = None,
    scale: Scale = None,
    force: Force = False,
    draws: Annotated[
        int, typer.Option(min=1, max=240, help="Number of random draws to show.")
    ] = 12,
    crop: Annotated[
        int, typer.Option(min=32, max=2048, help="Side of the HR crop in pixels.")
    ] = 256,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Draw a contact sheet: a crop at rising severity and with random draws, and their values."""
    from degrade.errors import UserError
    from degrade.images.files import read_image
    from degrade.images.pixels import encode_png
    from degrade.images.samples import sample_images
    from degrade.inspection.gallery import show_recipe

    loaded = read_recipe(recipe, scale, changes, modules)
    path = output or Path(f"{loaded.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: should end in .png")
    check_new(path, force)
    picture = read_image(image or sample_images()[1])
    sheet = show_recipe(loaded, picture, draws, crop, seed)
    write_new(path, signed(encode_png(sheet)), force)
    out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def preview(
    recipe: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    images: Annotated[
        str, typer.Argument(help="HR images: a folder, file or glob. Default: sample photographs.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", "--html", help="HTML file. Default: RECIPE.html."),
    ] = None,
    force: Force = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Serve the page on this machine; reload it when the recipe is saved."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --live; 0 for a free one.")
    ] = 0,
    scale: Scale = None,
    draws: Annotated[
        int, typer.Option(min=1, max=240, help="Number of random draws to show.")
    ] = 24,
    crop: Annotated[
        int, typer.Option(min=32, max=1024, help="Side of the HR crop in pixels.")
    ] = 192,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Write one HTML page: rising severity, every step, random draws, histograms of values.

    The page needs no network.
    """
    from degrade.inspection.metrics import input_images
    from degrade.inspection.preview import PreviewSettings, preview_data, render
    from degrade.inspection.preview_server import serve
    from degrade.loading.search_path import locate

    files = input_images(images)
    # Fewer draws for a live page, so that it appears at once.
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
        path = output or Path(f"{read_recipe(recipe, scale, changes, modules).name}.html")
        check_new(path, force)
        data = build()
        for reason in data["skipped"]:
            err.print(f"skipped {reason}", soft_wrap=True)
        write_new(path, render(data).encode(), force)
        out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    b: Annotated[str, typer.Argument(help="Name or file of another recipe.")],
    images: Annotated[
        str, typer.Argument(help="HR images: a folder, file or glob. Default: sample photographs.")
    ] = "",
    scale: Scale = None,
    draws: Annotated[
        int, typer.Option(min=2, max=4096, help="Number of LR images to measure.")
    ] = 64,
    crop: Annotated[
        int, typer.Option(min=64, max=1024, help="Side of the HR crops in pixels.")
    ] = 256,
    every: Annotated[bool, typer.Option("--all", help="List equal parameters too.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="HTML file to write, with pictures and distributions. Default: only tables.",
        ),
    ] = None,
    force: Force = False,
    seed: Seed = 0,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Compare two recipes: their parameters, and measurements with equal images and keys."""
    from degrade.inspection.diff import changes, effects, print_diff
    from degrade.inspection.diff_page import diff_page
    from degrade.inspection.metrics import input_images

    if output is not None:
        check_new(output, force)
    one, other = (read_recipe(recipe, scale, [], modules) for recipe in (a, b))
    files, found = input_images(images), changes(one, other)
    measured = effects(one, other, files, draws, crop, seed)
    print_diff(out, one, other, found, measured, every)
    if output is not None:
        page = diff_page(one, other, found, measured, files, crop, seed)
        write_new(output, page.encode(), force)
        out.print(f"Look at {output}", soft_wrap=True)


@app.command()
def bench(
    recipe: Annotated[str, typer.Argument(help="Name or file of a recipe.")],
    device: Device = "cpu",
    backend: BackendName = None,
    input: Annotated[
        str,
        typer.Option(
            "--input", "-i", help="HR images: a folder, file or glob. Default: sample photographs."
        ),
    ] = "",
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Pairs in a batch.")] = 16,
    size: Annotated[
        int, typer.Option(min=16, max=4096, help="Side of HR patches in pixels.")
    ] = 256,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=600,
            callback=finite,
            help="Duration of each measurement in seconds.",
        ),
    ] = 2.0,
    scale: Scale = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Measure pairs per second, in all and by step; find the bottleneck and workers needed."""
    import json

    from degrade.errors import UserError
    from degrade.inspection.bench import BenchSettings, benchmark
    from degrade.inspection.bench_table import print_benchmark

    if batch * size**2 > MOST_PIXELS:
        raise UserError(
            f"--batch {batch} of --size {size}: more than {MOST_PIXELS} pixels; lower one of them"
        )
    used = check_backend(check_device(device), backend)
    settings = BenchSettings(device, batch, seconds, seed, used, input, size)
    loaded = read_recipe(recipe, scale, changes, modules)
    found = benchmark(loaded, settings, lambda what: err.print(f"measuring {what}", style="dim"))
    if as_json:
        out.print(json.dumps(found.data(), indent=2), soft_wrap=True)
    else:
        print_benchmark(out, found)
