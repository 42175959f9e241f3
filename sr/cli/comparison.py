"""Command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degrade.cli import check_device, import_modules, read_changes
from sr.cli.common import Modules, err, out, split_commas

if TYPE_CHECKING:
    from sr.training.loop import Status

__all__ = ["compare_command"]


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
    from sr.comparison.results import check_folder, write_results
    from sr.comparison.tables import print_matrix
    from sr.comparison.workers import devices_of, torchrun_processes
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
    for name in devices_of(comparison.device, comparison.jobs):
        check_device(name)

    def tell(words: str) -> None:
        err.print(words, soft_wrap=True, markup=False)

    if dry_run:
        for line in estimate(plan_comparison(comparison, tell), tell).lines():
            out.print(line, soft_wrap=True)
        return
    check_folder(Path(comparison.out))
    with training_progress(err) as update:

        def callback(name: str, status: Status | None) -> None:
            if status is None:
                tell(name)
            else:
                update(status)

        matrix = run_comparison(comparison, callback)
    folder = write_results(matrix)
    print_matrix(out, matrix)
    for note in matrix.notes:
        out.print(note, soft_wrap=True, markup=False)
    out.print(f"Look at {folder / 'report.html'}", soft_wrap=True)
