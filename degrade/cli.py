"""The command line: ``degrade COMMAND``; ``degrade --help`` lists them.

Commands import what they need when they run, so that ``degrade --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from degrade.recipe import Recipe

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Degradation pipelines and paired data for super-resolution: every draw per sample, every pair replayable.",
)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="A recipe's name (see [b]degrade list[/b]) or file.")]
Changes = Annotated[
    list[str], typer.Option("--set", metavar="ADDRESS=VALUE", help="Override a value: first.jpeg.quality=[60,95].")
]
Scale = Annotated[int | None, typer.Option(help="HR size / LR size, instead of the recipe's.")]
Seed = Annotated[int, typer.Option(help="With a pair's index, the key of all its draws.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Modules = Annotated[
    list[str], typer.Option("--import", metavar="MODULE", help="Import a module that defines operators.")
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
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """``address=value`` with YAML values."""
    from degrade.errors import UserError
    from degrade.marked import compose

    changes: dict[str, Any] = {}
    for pair in pairs:
        address, equals, text = pair.partition("=")
        if not equals or not address.strip():
            raise UserError(f"--set {pair}: should be ADDRESS=VALUE, for example first.jpeg.quality=[60,95]")
        changes[address.strip()] = compose(text if text.strip() else "null", f"--set {address}").data
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


# --- commands --------------------------------------------------------------------------------------------------------


@app.command()
def synth(
    recipe: RecipeName = "realesrgan",
    input: Annotated[
        str, typer.Option("--input", "-i", help="HR images: a folder, file, glob or URL. Default: samples.")
    ] = "",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A folder or URL. Default: synth/RECIPE.")
    ] = None,
    format: Annotated[str, typer.Option(help="folder, webdataset, lmdb or huggingface.")] = "folder",
    shard: Annotated[int, typer.Option(help="Pairs in a WebDataset shard.")] = 1000,
    scale: Scale = None,
    patch: Annotated[int | None, typer.Option(help="Side of HR patches. Default: whole images.")] = None,
    per_image: Annotated[int, typer.Option(help="Pairs made of each image.")] = 1,
    count: Annotated[int | None, typer.Option(help="Stop after this many pairs.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Annotated[int | None, typer.Option(help="Processes. Default: one a CPU core.")] = None,
    engine: Annotated[
        str, typer.Option(help="auto, inline, processes, or ray: a cluster ($RAY_ADDRESS), else one here.")
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Pairs degraded at a time on a device other than the CPU.")] = 16,
    small: Annotated[str, typer.Option(help="Images smaller than the patch: reflect or skip.")] = "reflect",
    alpha: Annotated[str, typer.Option(help="Alpha channels: drop or keep.")] = "drop",
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Make a paired dataset: HR images in; hr/, lr/, manifest and contact sheet out. Run again, it goes on."""

    from degrade import synth
    from degrade.engine import choose
    from degrade.errors import UserError
    from degrade.gallery import write_contact_sheet
    from degrade.progress import pair_progress

    for name, value, known in (("small", small, ("reflect", "skip")), ("alpha", alpha, ("drop", "keep"))):
        if value not in known:
            raise UserError(f"--{name} {value}: should be {' or '.join(known)}")
    loaded = read_recipe(recipe, scale, changes, modules)
    settings = synth.Settings(input, patch, per_image, count, seed, small, alpha)  # type: ignore[arg-type] # checked above
    job = synth.prepare(loaded, settings, output or Path("synth") / loaded.name, format, shard)
    run = choose(check_device(device), workers, batch, engine)
    out.print(f"[b]{loaded.name}[/b] x{loaded.scale}  {job.total} pairs from {len(job.sources)} images", soft_wrap=True)
    with pair_progress(err) as progress:
        report = synth.synthesize(job, loaded, run, progress)
    for source, reason in report.skipped[:10]:
        err.print(f"skipped {source}: {reason}", markup=False, soft_wrap=True)
    if len(report.skipped) > 10:
        err.print(f"... and {len(report.skipped) - 10} more, see skipped.csv")
    sheet = write_contact_sheet(job.output, loaded, url=job.url)
    kept = f", {report.kept} were there" if report.kept else ""
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    out.print(f"{report.made} pairs made{kept}{skipped}. Look at:")
    pairs = [(path, "") for path in (job.output / "hr", job.output / "lr") if path.is_dir()]
    where = [(job.url or job.output, f"{job.format}")] if job.url or not pairs else pairs
    for path, what in ((sheet, "a few pairs"), *where, (job.output / "manifest.csv", "what was drawn")):
        out.print(f"  {path}" + (f"  ({what})" if what else ""), soft_wrap=True)


@app.command()
def replay(
    manifest: Annotated[str, typer.Argument(help="manifest.csv, or the dataset's folder; or a URL of either.")],
    row: Annotated[int | None, typer.Option(help="Index of one pair. Default: all.")] = None,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="Folder or URL of the HR sources, if they moved.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the pairs here.")] = None,
    device: Device = "cpu",
) -> None:
    """Make pairs again from the manifest and the HR sources; say whether the bytes are equal. Exit code 1 if not."""
    from degrade.manifest import files, place
    from degrade.replay import replay

    unequal = 0
    for pair in replay(manifest, row, input, check_device(device)):
        unequal += not pair.equal
        word = "[green]equal[/green]" if pair.equal else "[red]different[/red]"
        disk = {True: "", False: ", the files on disk are not those of the manifest", None: ", files gone"}[
            pair.on_disk
        ]
        out.print(f"{word}  {pair.name}{disk}", soft_wrap=True)
        if output is not None:
            for path, data in zip(files(output, pair.name), (pair.hr, pair.lr), strict=True):
                place(path, data)
    raise typer.Exit(1 if unequal else 0)


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    image: Annotated[Path | None, typer.Argument(help="An image. Default: a sample photograph.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: RECIPE.png here.")] = None,
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=1, help="Random draws to show.")] = 12,
    crop: Annotated[int, typer.Option(min=32, help="Side of the HR crop to look at.")] = 256,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """A contact sheet: the same crop at rising severity and at random draws, the drawn values under each picture."""
    from degrade.errors import UserError
    from degrade.gallery import show_recipe
    from degrade.images import encode_png, read_image, write_atomic
    from degrade.samples import sample_images

    loaded = read_recipe(recipe, scale, changes, modules)
    picture = read_image(image or sample_images()[1])
    path = output or Path(f"{loaded.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: should end in .png")
    write_atomic(path, encode_png(show_recipe(loaded, picture, draws, crop, seed)))
    out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def check(
    recipes: Annotated[list[str], typer.Argument(help="Names or files.")],
    scale: Scale = None,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Check recipes: all errors at once, each with file, line and remedy. Exit code 2 if there is one."""
    from degrade.errors import RecipeError

    wrong = 0
    for recipe in recipes:
        try:
            loaded = read_recipe(recipe, scale, changes, modules)
        except RecipeError as error:
            wrong += len(error.problems)
            out.print(str(error), markup=False, soft_wrap=True)
        else:
            count = len(loaded.columns)
            out.print(f"{recipe}: fine, x{loaded.scale}, {count} random variables, {loaded.hash[:12]}", soft_wrap=True)
    if wrong:
        err.print(f"{wrong} problem{'s' if wrong > 1 else ''}")
        raise typer.Exit(2)


@app.command("list")
def list_(
    what: Annotated[str | None, typer.Argument(help="An operator or recipe, to see it whole.")] = None,
    modules: Modules = [],  # noqa: B006
) -> None:
    """List recipes, and operators with their fields, ranges and units."""
    from degrade.catalogue import print_catalogue

    import_modules(modules)
    print_catalogue(out, what)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors: a first line `# yaml-language-server: $schema=FILE` uses it."""
    import json

    from degrade.schema import recipe_schema

    out.print(json.dumps(recipe_schema(), indent=2), markup=False, soft_wrap=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Option file of Real-ESRGAN, traiNNer-redux, OSEDiff or neosr.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the recipe here, not to stdout.")] = None,
    dialect: Annotated[str | None, typer.Option(help="basicsr, redux, params or neosr. Default: found out.")] = None,
) -> None:
    """Turn another project's option file into a recipe, and say what is odd about it. Exit code 2 on errors."""
    from degrade.dialects import read_options

    imported = read_options(file, dialect)
    colours = {"note": "cyan", "warning": "yellow", "error": "red"}
    for finding in imported.findings:
        err.print(f"[{colours[finding.severity]}]{finding.severity}:[/] ", end="")
        err.print(str(finding), markup=False, soft_wrap=True)
    err.print(f"{imported.dialect}: findings: {len(imported.findings)}, keys of training ignored: {imported.ignored}")
    if imported.recipe is None:
        raise typer.Exit(2)
    if output is None:
        sys.stdout.write(imported.to_yaml())
    else:
        output.write_text(imported.to_yaml(), encoding="utf-8")
        err.print(f"Look at {output}", soft_wrap=True)


@app.command()
def preview(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    images: Annotated[str, typer.Argument(help="A folder, file or glob. Default: sample photographs.")] = "",
    html: Annotated[Path | None, typer.Option(help="Where to write the page. Default: RECIPE.html here.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve it on this machine, anew when the recipe is saved.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --live. Default: a free one.")] = 0,
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=1, help="Random draws to show.")] = 24,
    crop: Annotated[int, typer.Option(min=32, max=1024, help="Side of the HR crop to look at.")] = 192,
    seed: Seed = 0,
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """One HTML page: rising severity, every step, random draws, what is drawn how often. Needs no network."""
    from degrade.images import write_atomic
    from degrade.library import locate
    from degrade.live import serve
    from degrade.measure import pictures
    from degrade.preview import Settings, describe, page

    files = pictures(images)
    # Live, a page should not keep one waiting.
    measured, views = (draws, 1) if live else (10 * draws, 3)
    settings = Settings(draws, measured, size=crop, views=views, seed=seed)

    def build() -> dict[str, Any]:
        return describe(read_recipe(recipe, scale, changes, modules), files, settings)

    if live:
        locate(recipe)
        serve(recipe, build, port, lambda url: out.print(f"Look at {url} (Ctrl-C stops it)", soft_wrap=True))
    else:
        data = build()
        path = html or Path(f"{data['name']}.html")
        write_atomic(path, page(data).encode())
        out.print(f"Look at {path}", soft_wrap=True)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    images: Annotated[str, typer.Argument(help="A folder, file or glob. Default: sample photographs.")] = "",
    scale: Scale = None,
    draws: Annotated[int, typer.Option(min=2, help="LR images to measure.")] = 64,
    crop: Annotated[int, typer.Option(min=64, max=1024, help="Side of the HR crops.")] = 256,
    every: Annotated[bool, typer.Option("--all", help="List equal parameters too.")] = False,
    seed: Seed = 0,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Two recipes side by side: parameter by parameter, and measured on the same images with the same keys."""
    from degrade.diff import changes, effects, print_diff
    from degrade.measure import pictures

    one, other = (read_recipe(recipe, scale, [], modules) for recipe in (a, b))
    print_diff(out, one, other, changes(one, other), effects(one, other, pictures(images), draws, crop, seed), every)


@app.command()
def bench(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    device: Device = "cpu",
    input: Annotated[
        str, typer.Option("--input", "-i", help="HR images: a folder, file or glob. Default: samples.")
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
    """Pairs a second end to end and step by step, whether loader or degradation is the limit, and how many workers."""
    import json

    from degrade.bench import Settings, bench, print_bench

    settings = Settings(input, check_device(device), batch, size, seconds, seed=seed)
    loaded = read_recipe(recipe, scale, changes, modules)
    found = bench(loaded, settings, lambda what: err.print(f"[dim]measuring {what}[/dim]"))
    if as_json:
        out.print(json.dumps(found.data(), indent=2), markup=False, soft_wrap=True)
    else:
        print_bench(out, found)


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="HR images; searched to its leaves.")],
    csv: Annotated[Path | None, typer.Option(help="Write one row an image: verdict and all measures.")] = None,
    exclude: Annotated[Path | None, typer.Option(help="Write the files with a problem, one a line.")] = None,
    side: Annotated[int, typer.Option(help="Least height and width.")] = 128,
    quality: Annotated[int, typer.Option(help="Least JPEG quality, of the file or of an earlier life.")] = 80,
    softness: Annotated[float, typer.Option(help="Most softness; 2 is an image enlarged twice.")] = 1.4,
    workers: Annotated[int | None, typer.Option(help="Threads. Default: one a CPU core.")] = None,
) -> None:
    """Is a folder of HR images fit to train on? Damaged, compressed, soft, flat, small and double images."""
    from rich.progress import track

    from degrade import doctor

    found = doctor.doctor(
        folder,
        doctor.Limits(side=side, quality=quality, softness=softness),
        workers,
        lambda exams, total: track(exams, "", total, console=err),
    )
    doctor.table(out, found)
    for path, text in ((csv, doctor.to_csv), (exclude, doctor.exclusions)):
        if path is not None:
            path.write_text(text(found), encoding="utf-8")
            out.print(f"Look at {path}", soft_wrap=True)
