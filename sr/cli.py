"""Command line: ``sr train | tile | eval | upscale | export | fetch | list | compare``.

Commands import what they need when they run, so that ``sr --help`` does not wait for PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degrade.cli import (
    Commands,
    Modules,
    check_device,
    import_modules,
    read_changes,
    restored_import_path,
    run,
)
from degrade.console import Console

if TYPE_CHECKING:
    from sr.evaluation import Results
    from sr.metrics import Metric
    from sr.training.loop import Status

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train super-resolution models on degradation recipes, and evaluate them.",
)
out, err = Console(), Console(stderr=True)

FIGURE_ROWS = 8
"""Images of ``sr eval --figure``."""

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
    run(app, "a training run is saved; continue it with --resume")


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


@app.command("train")
def train_command(
    method: Annotated[
        str,
        typer.Argument(
            help="srcnn, srresnet, msrresnet, rrdb, srgan, esrgan, realesrnet, realesrgan or "
            "sparse; or a trainer (pixel, gan); or a model, such as my_module:Net."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="Name or file of a recipe, or pairs:DIR for pairs on disk. Default: bicubic.",
        ),
    ] = None,
    data: Annotated[
        list[str], typer.Option(help="HR training images: folder, file or glob; repeatable.")
    ] = [],  # noqa: B006
    scale: Annotated[
        int | None, typer.Option(help="HR size / LR size. Default: the recipe's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps. Default: the method's.")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            help="HR validation images, or pairs:DIR. Default: samples, crops of photographs "
            "that come with the package."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            "--out",
            help="Folder of the run. Default: runs/METHOD_xSCALE_RECIPE.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model to train, by name or as my_module:Net. Default: the method's."),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Checkpoint or run whose weights to start from.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Settings of another method: esrgan, realesrnet, realesrgan, ..."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings, such as a run's config.yaml.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in --output.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of weights, image order and degradations. Default: 0."),
    ] = None,
    device: AnyDevice = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Data loader workers of each process. Default: none on a CPU, else the cores, "
            "at most 8."
        ),
    ] = None,
    degrade: Annotated[
        str | None, typer.Option(help="Where to degrade: device or workers. Default: device.")
    ] = None,
    amp: Annotated[
        bool,
        typer.Option(
            "--amp", help="bfloat16 mixed precision (for float16: --set precision=16-mixed)."
        ),
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the networks by torch.compile.")
    ] = False,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting: rate=1e-3, 'model.kernels=[9, 1, 5]' (quoted); repeatable.",
        ),
    ] = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Train a model; on several devices: torchrun --nproc-per-node N -m sr train .."""
    from degrade.errors import UserError

    for name in (method, model or ""):
        if ":" in name and not all(name.partition(":")[::2]):
            raise UserError(f"{name}: should be a method, or MODULE:CLASS for a model of your own")
    named = [name.partition(":")[0] for name in (method, model or "") if ":" in name]
    import_modules([*modules, *named])
    from sr.training.advice import advice
    from sr.training.config import configure
    from sr.training.distributed import is_main
    from sr.training.progress import training_progress

    flags: dict[str, Any] = {
        "recipe": recipe,
        "data": tuple(data) or None,
        "scale": scale,
        "steps": steps,
        "val": val,
        "out": output,
        "architecture": model,
        "init": init,
        "seed": seed,
        "device": device,
        "workers": workers,
        "degrade": degrade,
        "precision": "bf16-mixed" if amp else None,
        "compile": compiled or None,
    }
    settings = configure(method, flags, config, read_changes(changes), preset)
    own = Path(settings.out) / "config.yaml"
    if resume and config is None and own.is_file():
        flags["out"] = settings.out
        settings = configure(method, flags, own, read_changes(changes), preset)
    from sr.training.loop import train

    if is_main():
        for sentence in advice(settings, resume):
            err.print(sentence, soft_wrap=True)
    try:
        with training_progress(err) as update:
            done = train(settings, resume, update)
    except KeyboardInterrupt:
        if is_main():
            again = f"sr train {method} --output {settings.out} --resume"
            err.print("\nstopped", style="yellow", end="")
            err.print(f"; to go on, run: {again}", soft_wrap=True)
        raise typer.Exit(130) from None
    if done.writes:
        best = "" if done.best is None else f", best {done.best_by} {done.best:.4g}"
        out.print(f"{settings.steps} steps{best}. Look at {done.folder}", soft_wrap=True)


@app.command("tile")
def tile_command(
    images: Annotated[list[str], typer.Argument(help="Folders, files or globs of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tiles.")],
    side: Annotated[int, typer.Option(min=1, help="Side of a tile in pixels.")] = 480,
    step: Annotated[
        int | None, typer.Option(min=1, help="Pixels between tiles. Default: half the side.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Threads.")] = 4,
) -> None:
    """Cut large training images into tiles once, of which patches are read many times faster."""
    from rich.progress import Progress

    from degrade.data.tiles import cut_tiles

    with Progress(console=err) as bar:
        task = bar.add_task("images", total=None)
        count, skipped = cut_tiles(
            images,
            output,
            side,
            step,
            workers,
            lambda done, total, _name: bar.update(task, completed=done, total=total),
        )
    for path, reason in skipped:
        err.print(f"skipped {path}: {reason}", markup=False, soft_wrap=True)
    out.print(f"{count} tiles. Train with --data {output}", markup=False, soft_wrap=True)


@app.command("eval")
def eval_command(
    model: ModelName,
    data: Annotated[
        str,
        typer.Option(
            help="HR images (all but X_LR beside X_HR), pairs:DIR for pairs, or lr:DIR for LR "
            "images without ground truth."
        ),
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="Recipe that makes the LR images.")
    ] = "bicubic",
    scale: Annotated[
        int | None, typer.Option(help="HR size / LR size. Default: the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the degradations.")] = 0,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: psnr_y, ssim_y, psnr_rgb, ssim_rgb, ms_ssim, lpips, dists, "
            "niqe, pyiqa:NAME, MODULE:FUNCTION. Default: the first four, and lpips if its "
            "weights are installed."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="What SR is compared with: raw, the HR image as it was, or recipe, the recipe's "
            "target (realesrgan sharpens it)."
        ),
    ] = "raw",
    device: Device = "cpu",
    tile: Tile = 512,
    overlap: Overlap = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write results and protocol as JSON."),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Write one line an image as CSV; the last is the mean."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write LR, bicubic, SR, HR with zooms as PNG."),
    ] = None,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Print PSNR and SSIM on Y and RGB, LPIPS if its weights are installed, or other metrics.

    An image that cannot be read is listed at the end; the others are evaluated.
    """
    import json

    from torch import Tensor

    from degrade.errors import UserError
    from degrade.images.pixels import encode_png
    from degrade.recipe import Recipe
    from sr.alignment import Alignment
    from sr.checkpoint import load, write
    from sr.evaluation import evaluate
    from sr.examples import LR_ONLY, PAIRS, Example, load_examples
    from sr.figures import comparison_sheet
    from sr.metrics import default_metrics, open_metrics

    import_modules(modules)
    if target not in ("raw", "recipe"):
        raise UserError(f"--target {target}: should be raw or recipe")
    names = split_commas(metrics)
    opened = default_metrics() if names is None else open_metrics(names)
    loaded = load(model, scale, check_device(device))
    on_disk = data.startswith((PAIRS, LR_ONLY))
    degrade = None if on_disk else Recipe.load(recipe, loaded.scale)
    window = max(metric.window for metric in opened.values())
    examples = load_examples(data, degrade, seed, target, window)
    alignment = Alignment()
    shown: list[tuple[str, Tensor, Tensor, Tensor]] = []
    failures: list[str] = []

    def keep(example: Example, sr: Tensor) -> None:
        if data.startswith(PAIRS):
            alignment.add(example.name, example.lr, example.hr)
        if figure is not None and len(shown) < FIGURE_ROWS and example.truth is not None:
            shown.append((example.name, example.lr, sr, example.truth))

    def note_failure(name: str, error: UserError) -> None:
        failures.append(f"{name}: {error}")

    results = evaluate(
        loaded,
        model,
        examples,
        tile=tile,
        on_image=keep,
        metrics=opened,
        overlap=overlap,
        on_error=note_failure,
    )
    if alignment.shifts:
        results.protocol["alignment"] = alignment.describe()
    print_results(results, opened)
    if json_file is not None:
        text = json.dumps(results.as_dict(), indent=2, allow_nan=False)
        write(json_file, (text + "\n").encode())
    if csv_file is not None:
        write(csv_file, results.to_csv().encode())
    if figure is not None and shown:
        heading = f"{model}, {results.protocol['recipe']} x{loaded.scale}"
        write(figure, encode_png(comparison_sheet(shown, heading)))
        out.print(f"Look at {figure}", soft_wrap=True, markup=False)
    if failures:
        raise UserError(
            "\n".join([*failures, f"not evaluated: {len(failures)} of {len(examples)} images"])
        )


def print_results(results: Results, metrics: Mapping[str, Metric]) -> None:
    """Print the metrics of each image, then the mean, then the protocol."""
    from rich.table import Table
    from rich.text import Text

    protocol, mean = results.protocol, results.mean
    columns = [f"{name.replace('_', ' ')} {'↓' if metrics[name].lower else '↑'}" for name in mean]
    title = Text(f"{results.model}  x{protocol['scale']}")
    table = Table("image", *columns, title=title)

    def add_row(name: str, scores: dict[str, float]) -> None:
        digits = {metric: 2 if metric.startswith("psnr") else 4 for metric in mean}
        cells = (f"{scores[metric]:.{digits[metric]}f}" for metric in mean)
        table.add_row(Text(name), *(cell.replace("nan", "-") for cell in cells))

    for name, scores in results.images.items():
        add_row(name, scores)
    table.add_section()
    add_row("mean", mean)
    out.print(table)
    lines = [protocol["line"], *protocol["notes"]]
    if "alignment" in protocol:
        lines.append(protocol["alignment"])
    for metric, names in results.left_out.items():
        lines.append(f"{metric}: no value, and not in the mean: {', '.join(names)}")
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


@app.command("upscale")
def upscale_command(
    images: Annotated[list[Path], typer.Argument(help="Image files, folders or globs.")],
    model: ModelName = "srcnn_x4",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", "--out", help="Folder of the results. Default: each image's folder."
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Scale of bicubic or of a command. Default: 4; measured.")
    ] = None,
    tile: Tile = 512,
    overlap: Overlap = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that sr upscale did not write.")
    ] = False,
    device: Device = "cpu",
    modules: Modules = [],  # noqa: B006
) -> None:
    """Upscale images to NAME_MODEL.png; alpha, 16-bit depth and ICC profile are kept.

    Below a folder the results keep their places. An image that cannot be read is listed at the
    end; the others are upscaled.
    """
    from degrade.errors import UserError
    from sr.checkpoint import label, load
    from sr.tiles import overlap_of
    from sr.upscale import find_inputs, is_foreign, result_paths, upscale_file

    import_modules(modules)
    loaded = load(model, scale, device=check_device(device))
    name = label(model)
    inputs, failures, left_out = find_inputs(images)
    if left_out:
        out.print(f"{left_out} results of sr upscale in the folder are left out")
    shared = overlap_of(loaded, overlap)
    if tile and shared is not None and loaded.reach is not None and shared < loaded.reach:
        out.print(
            f"tiles of {tile} overlap by {shared} pixels; the receptive field's radius is "
            f"{loaded.reach} (--overlap {loaded.reach} for all of it, at its cost)",
            soft_wrap=True,
        )
    targets = result_paths(inputs, output, name, loaded.scale)
    for (source, _), target in zip(inputs, targets, strict=True):
        if not force and is_foreign(target):
            failures.append(
                f"{target}: exists and is no result of sr upscale; --force replaces it"
            )
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            done = upscale_file(loaded, source, target, tile, overlap, name)
        except UserError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{error.filename or target}: {error.strerror or error}")
        else:
            notes = "".join(f"; {note}" for note in done.notes)
            line = f"{target}  {done.width} x {done.height}{notes}"
            out.print(line, soft_wrap=True, markup=False)
    if failures:
        raise UserError("\n".join(failures))


@app.command("export")
def export_command(
    model: ModelName,
    onnx: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write ONNX for any image size, checked against torch."),
    ] = None,
    spandrel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write safetensors for spandrel.")
    ] = None,
    openmodeldb: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JSON entry for OpenModelDB.")
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Scale of bicubic. Default: 4.")] = None,
    author: Annotated[str, typer.Option(help="Author id for OpenModelDB.")] = "unknown",
    license: Annotated[str, typer.Option(help="SPDX license for OpenModelDB.")] = "Apache-2.0",
) -> None:
    """Write a model for other programs."""
    import json

    from degrade.errors import UserError
    from sr.checkpoint import load, write
    from sr.export.onnx import to_onnx
    from sr.export.openmodeldb import openmodeldb_entry
    from sr.export.spandrel import to_spandrel
    from sr.models.external import ExternalModel

    if onnx is None and spandrel is None and openmodeldb is None:
        raise UserError("export: give --onnx FILE, --spandrel FILE or --openmodeldb FILE")
    loaded = load(model, scale)
    if isinstance(loaded, ExternalModel):
        raise UserError(f"export: {model} is not a network of sr, so it cannot be written anew")
    if onnx is not None:
        worst = to_onnx(loaded, onnx)
        out.print(f"{onnx}  differs from torch by at most {worst:.1g}", soft_wrap=True)
    if spandrel is not None:
        code, worst = to_spandrel(loaded, spandrel)
        out.print(f"{spandrel}  differs by at most {worst:.1g}; load with: {code}", soft_wrap=True)
    if openmodeldb is not None:
        entry = openmodeldb_entry(model, author, license)
        write(openmodeldb, (json.dumps(entry, indent=2) + "\n").encode())
        out.print(f"{openmodeldb}  its images and links are left to fill in", soft_wrap=True)


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="vgg19, vgg16, alexnet or niqe.")],
) -> None:
    """Download published weights for perceptual losses and metrics, and check their hash."""
    from degrade.errors import UserError
    from sr.pretrained import MissingWeightsError, fetch

    try:
        out.print(str(fetch(name)), soft_wrap=True)
    except (ValueError, MissingWeightsError) as error:
        raise UserError(str(error)) from None


@app.command("list")
def list_command() -> None:
    """List the packaged models."""
    from rich.table import Table

    from sr.checkpoint import ZOO, read_metadata

    table = Table("name", "scale", "recipe", "steps", "validation, Y")
    for path in sorted(ZOO.glob("*.safetensors")):
        metadata = read_metadata(path)
        psnr = f"{float(metadata['psnr_y']):.2f} dB"
        table.add_row(path.stem, metadata["scale"], metadata["recipe"], metadata["step"], psnr)
    out.print(table)


@app.command("compare")
def compare_command(
    models: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: bicubic, methods of sr train, checkpoints, weights of other "
            "programs (.pth, .safetensors), onnx:FILE, python:MODULE:FUNCTION, command:PROGRAM. "
            "Default: bicubic,srcnn,srresnet."
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Recipes to train on, comma-separated. Default: bicubic,bsrgan,realesrgan."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Test sets, comma-separated: recipes, RECIPE@0.75 for one at a severity, "
            "pairs:DIR, lr:DIR. Default: bicubic,realesrgan_light,bsrgan,realesrgan."
        ),
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS",
            help="Severities from 0 to below 1 at which each test recipe is tested too: "
            "0,0.25,0.5,0.75,0.95.",
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Draws of each test image. Default: 1.")
    ] = None,
    representatives: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Measure acceptance on K representative degradations (SEAL)."
        ),
    ] = None,
    data: Annotated[
        list[str], typer.Option(help="HR training images: folder, file or glob; repeatable.")
    ] = [],  # noqa: B006
    val: Annotated[str | None, typer.Option(help="HR test images.")] = None,
    scale: Annotated[int | None, typer.Option(help="HR size / LR size. Default: 4.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps of each run. Default: the trainer's.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Comma-separated, as for sr eval: psnr_y,ssim_y,lpips,dists,niqe."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="What SR is compared with: raw or recipe, as for sr eval."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Runs of each model on each recipe. Default: 1.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", "--out", help="Folder of runs and results. Default: comparison."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of the same settings; flags take precedence.")
    ] = None,
    reuse: Annotated[
        list[str],
        typer.Option(
            help="Checkpoints or run folders to use where trainer, recipe, scale and seed "
            "agree; repeatable."
        ),
    ] = [],  # noqa: B006
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or mps, or several: cuda:0,cuda:1. Default: auto."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", help="Processes that train and test. Default: one a device."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say how many trainings and evaluations, and how long."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="SRCNN on the sample photographs, in minutes.")
    ] = False,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="MODEL.NAME=VALUE",
            help="Any setting of a trainer: srcnn.batch=8; repeatable.",
        ),
    ] = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Train every model on every recipe, test each on every test set, and write tables and an HTML
    report. A comparison that was stopped goes on when run again.
    """
    from degrade.errors import UserError
    from sr.comparison.compare import plan_comparison, run_comparison
    from sr.comparison.config import override, read_comparison
    from sr.comparison.cost import estimate
    from sr.comparison.quick import quick_comparison
    from sr.comparison.results import write_results
    from sr.comparison.tables import print_matrix
    from sr.comparison.workers import torchrun_processes
    from sr.training.progress import training_progress

    processes = torchrun_processes()
    if processes == 0:  # rank 0 of torchrun does all of it
        return
    flags: dict[str, Any] = {
        "models": split_commas(models),
        "train": split_commas(train),
        "test": split_commas(test),
        "data": tuple(data) or None,
        "val": val,
        "scale": scale,
        "steps": steps,
        "seeds": seeds,
        "metrics": split_commas(metrics),
        "target": target,
        "modules": tuple(modules) or None,
        "severity": split_commas(severity),
        "draws": draws,
        "representatives": representatives,
        "out": output,
        "reuse": tuple(reuse) or None,
        "device": device,
        "jobs": jobs or processes,
    }
    import_modules(modules)
    if quick and config is not None:
        raise UserError("--quick has its own settings; leave out --config or --quick")
    comparison = quick_comparison(flags) if quick else read_comparison(config, flags)
    comparison = override(comparison, read_changes(changes))

    def tell(words: str) -> None:
        err.print(words, soft_wrap=True, markup=False)

    if dry_run:
        for line in estimate(plan_comparison(comparison, tell), tell).lines():
            out.print(line, soft_wrap=True)
        return
    with training_progress(err) as update:

        def callback(name: str, status: Status | None) -> None:
            if status is None:
                tell(name)
            else:
                update(status)

        matrix = run_comparison(comparison, callback)
    folder = write_results(matrix)
    print_matrix(out, matrix)
    out.print(f"Look at {folder / 'report.html'}", soft_wrap=True)


def split_commas(text: str | None) -> tuple[str, ...] | None:
    """Split a comma-separated flag; None if it was not given."""
    return tuple(text.split(",")) if text else None
