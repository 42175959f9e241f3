"""The command line: ``sr train | eval | upscale | export | fetch | list | compare``.

Commands import what they need when they run, so that ``sr --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from degrade.cli import check_device, fail, read_changes

if TYPE_CHECKING:
    from sr.training.loop import Status

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Super-resolution trained on degradation recipes, judged by the field's own protocol.",
)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A checkpoint, a run's folder, a name from [b]sr list[/b], or bicubic.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


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
        err.print("\n[yellow]stopped[/yellow]; a training run is saved, go on with --resume")
        sys.exit(130)


def version(wanted: bool) -> None:
    if wanted:
        from degrade import __version__

        out.print(f"sr {__version__}")
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


@app.command()
def train(
    method: Annotated[
        str, typer.Argument(help="srcnn, srresnet, msrresnet, rrdb, srgan or sparse.")
    ],
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A recipe's name or file, or pairs:DIR.")
    ] = None,
    data: Annotated[list[str], typer.Option(help="HR images; may be given several times.")] = [],  # noqa: B006
    scale: Annotated[
        int | None, typer.Option(help="HR size / LR size. Default: the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    val: Annotated[
        str | None, typer.Option(help="HR images, or pairs:DIR, to validate on. Default: samples.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--out", "-o", help="Default: runs/METHOD_xSCALE_RECIPE.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML of settings, such as a run's config.yaml.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and degradations.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    amp: Annotated[
        bool,
        typer.Option(
            "--amp", help="bfloat16 mixed precision (for float16: --set precision=16-mixed)."
        ),
    ] = False,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting: rate=1e-3, model.kernels=[9,1,5]."
        ),
    ] = [],  # noqa: B006
) -> None:
    """Train a model; on several devices: torchrun --nproc-per-node N -m sr train .."""
    from sr.training.config import configure
    from sr.training.progress import training_progress

    if (
        resume
        and config is None
        and output is not None
        and (Path(output) / "config.yaml").is_file()
    ):
        config = Path(output) / "config.yaml"
    flags: dict[str, Any] = {
        "recipe": recipe,
        "data": tuple(data) or None,
        "scale": scale,
        "steps": steps,
        "val": val,
    }
    flags |= {
        "out": output,
        "seed": seed,
        "device": device,
        "precision": "bf16-mixed" if amp else None,
    }
    settings = configure(method, flags, config, read_changes(changes))
    from sr.training.loop import train

    with training_progress(err) as watch:
        run = train(settings, resume, watch)
    if run.writes:
        best = "" if run.psnr is None else f", best {run.best:.2f} dB Y"
        out.print(f"{settings.steps} steps{best}. Look at {run.folder}", soft_wrap=True)


@app.command("eval")
def evaluate(
    model: ModelName,
    data: Annotated[
        str, typer.Option(help="HR images (X_HR files where they lie beside X_LR), or pairs:DIR.")
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="Makes LR images of them.")
    ] = "bicubic",
    scale: Annotated[int | None, typer.Option(help="Default: the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Of the recipe's draws.")] = 0,
    device: Device = "cpu",
    tile: Annotated[int, typer.Option(help="Side of LR tiles; 0 for whole images.")] = 512,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write results and protocol.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a line an image.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Write LR, bicubic, SR, HR with zooms as PNG.")
    ] = None,
) -> None:
    """PSNR and SSIM on Y and RGB, LPIPS where its weights are: per image and mean."""
    import json

    from torch import Tensor

    from degrade.images.pixels import encode_png
    from degrade.recipe import Recipe
    from sr.checkpoint import load, write
    from sr.evaluation import evaluate as measure
    from sr.examples import PAIRS, Example, examples
    from sr.figures import triplets

    loaded = load(model, scale, check_device(device))
    made = None if data.startswith(PAIRS) else Recipe.load(recipe, loaded.scale)
    shown: list[tuple[str, Tensor, Tensor, Tensor]] = []

    def see(example: Example, sr: Tensor) -> None:
        if figure is not None and len(shown) < 8:
            shown.append((example.name, example.lr, sr, example.hr))

    table = measure(loaded, model, examples(data, made, seed), made, tile, see)
    print_table(table.model, table.images, table.mean, table.protocol)
    if json_file is not None:
        write(json_file, (json.dumps(table.as_dict(), indent=2) + "\n").encode())
    if csv_file is not None:
        write(csv_file, table.to_csv().encode())
    if figure is not None:
        write(
            figure,
            encode_png(triplets(shown, f"{model}, {table.protocol['recipe']} x{loaded.scale}")),
        )
        out.print(f"Look at {figure}", soft_wrap=True)


def print_table(
    model: str,
    images: dict[str, dict[str, float]],
    mean: dict[str, float],
    protocol: dict[str, Any],
) -> None:
    """Metrics by image, the mean last, the protocol below."""
    from rich.table import Table

    table = Table(
        "image", *(name.replace("_", " ") for name in mean), title=f"{model}  x{protocol['scale']}"
    )
    for name, row in [*images.items(), ("mean", mean)]:
        if name == "mean":
            table.add_section()
        table.add_row(
            name,
            *(f"{row[key]:.2f}" if key.startswith("psnr") else f"{row[key]:.4f}" for key in mean),
        )
    out.print(table)
    out.print(
        f"LR by {protocol['recipe']}; {protocol['shave']} pixels shaved; Y = {protocol['y']}",
        soft_wrap=True,
    )


@app.command()
def upscale(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    model: ModelName = "srcnn_x4",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder. Default: beside each image.")
    ] = None,
    tile: Annotated[int, typer.Option(min=0, help="Side of LR tiles; 0 for whole images.")] = 512,
    device: Device = "cpu",
) -> None:
    """Enlarge images to NAME_xN.png; alpha and 16 bits are kept, and tiles leave no seams."""
    from degrade.errors import UserError
    from sr.checkpoint import load
    from sr.upscale import upscale_file

    loaded = load(model, device=check_device(device))
    targets = [(output or path.parent) / f"{path.stem}_x{loaded.scale}.png" for path in images]
    twice = [str(target) for target in dict.fromkeys(targets) if targets.count(target) > 1]
    if twice:
        raise UserError(
            f"{twice[0]}: would be written twice; give images of other names, or run once for each"
        )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    for source, target in zip(images, targets, strict=True):
        height, width = upscale_file(loaded, source, target, tile)
        out.print(f"{target}  {width} x {height}", soft_wrap=True)


@app.command()
def export(
    model: ModelName,
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ONNX of any size, checked against torch.")
    ] = None,
    spandrel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="safetensors for spandrel.")
    ] = None,
    openmodeldb: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON entry for OpenModelDB.")
    ] = None,
    scale: Annotated[int | None, typer.Option(help="For bicubic.")] = None,
    author: Annotated[str, typer.Option(help="For OpenModelDB.")] = "unknown",
    license: Annotated[str, typer.Option(help="SPDX, for OpenModelDB.")] = "Apache-2.0",
) -> None:
    """Write a model for other programs."""
    import json

    from degrade.errors import UserError
    from sr.checkpoint import load, write
    from sr.export import onnx as exports

    if onnx is None and spandrel is None and openmodeldb is None:
        raise UserError("export: give --onnx FILE, --spandrel FILE or --openmodeldb FILE")
    loaded = load(model, scale)
    if onnx is not None:
        worst = exports.to_onnx(loaded, onnx)
        out.print(f"{onnx}  differs from torch by at most {worst:.1g}", soft_wrap=True)
    if spandrel is not None:
        out.print(
            f"{spandrel}  load with: {exports.to_spandrel(loaded, spandrel)}", soft_wrap=True
        )
    if openmodeldb is not None:
        entry = exports.openmodeldb(model, author, license)
        write(openmodeldb, (json.dumps(entry, indent=2) + "\n").encode())
        out.print(f"{openmodeldb}  its images and links are left to fill in", soft_wrap=True)


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="vgg19, vgg16 or alexnet.")]) -> None:
    """Download published weights for perceptual losses and metrics, and check their hash."""
    from degrade.errors import UserError
    from sr import pretrained

    try:
        out.print(str(pretrained.fetch(name)), soft_wrap=True)
    except (ValueError, pretrained.MissingWeightsError) as error:
        raise UserError(str(error)) from None


@app.command("list")
def list_() -> None:
    """List the models that come with the package."""
    from rich.table import Table

    from sr.checkpoint import ZOO, read_metadata

    table = Table("name", "scale", "recipe", "steps", "validation, Y")
    for path in sorted(ZOO.glob("*.safetensors")):
        said = read_metadata(path)
        table.add_row(
            path.stem,
            said["scale"],
            said["recipe"],
            said["step"],
            f"{float(said['psnr_y']):.2f} dB",
        )
    out.print(table)


@app.command()
def compare(
    models: Annotated[
        str | None,
        typer.Option(help="Of bicubic, sr train's methods, and checkpoints; with commas."),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Recipes that the methods are trained on.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Recipes that make the LR images to judge on.")
    ] = None,
    data: Annotated[
        list[str], typer.Option(help="HR images to train on; may be given several times.")
    ] = [],  # noqa: B006
    val: Annotated[str | None, typer.Option(help="HR images to judge on.")] = None,
    scale: Annotated[int | None, typer.Option(help="HR size / LR size. Default: 4.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of each run. Default: the method's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each model on each recipe.")] = None,
    output: Annotated[str | None, typer.Option("--out", "-o", help="Default: comparison.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML that says the same.")] = None,
    reuse: Annotated[
        list[str],
        typer.Option(help="Checkpoints or runs to take where recipe, scale and seed fit."),
    ] = [],  # noqa: B006
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    small: Annotated[
        bool, typer.Option("--quick", help="SRCNN on the sample photographs, in minutes.")
    ] = False,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="MODEL.NAME=VALUE", help="Any setting: srcnn.batch=8."),
    ] = [],  # noqa: B006
) -> None:
    """Every model, trained on every recipe, judged on every recipe: a table and a page to look
    at.
    """
    from degrade.errors import UserError
    from sr.comparison import compare as comparing
    from sr.comparison.config import change, read_comparison
    from sr.comparison.quick import quick
    from sr.comparison.tables import print_matrix, write_results
    from sr.training.progress import training_progress

    lists = {"models": models, "train": train, "test": test}
    flags: dict[str, Any] = {
        name: tuple(text.split(",")) if text else None for name, text in lists.items()
    }
    flags |= {
        "data": tuple(data) or None,
        "val": val,
        "scale": scale,
        "steps": steps,
        "seeds": seeds,
        "out": output,
    }
    flags |= {"reuse": tuple(reuse) or None, "device": device}
    if small and config is not None:
        raise UserError("--quick has settings of its own; leave out --config, or --quick")
    comparison = quick(flags) if small else read_comparison(config, flags)
    comparison = change(comparison, read_changes(changes))
    with training_progress(err) as bar:

        def watch(what: str, status: Status | None) -> None:
            if status is None:
                err.print(what, soft_wrap=True)
            else:
                bar(status)

        matrix = comparing.compare(comparison, watch)
    folder = write_results(matrix)
    print_matrix(out, matrix)
    out.print(f"Look at {folder / 'report.html'}", soft_wrap=True)
