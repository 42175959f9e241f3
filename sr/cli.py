"""The command line: ``sr train | eval | upscale | export | fetch | list``.

Commands import what they need when they run, so that ``sr --help`` need not wait for PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from degrade.cli import check_device, fail, read_changes

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Super-resolution trained on degradation recipes, judged by the field's own protocol.",
)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

ModelName = Annotated[
    str, typer.Option("--model", "-m", help="A checkpoint, a run's folder, a name from [b]sr list[/b], or bicubic.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


def main() -> None:
    """Runs the command line. What a user can mend ends with a message and exit code 2."""
    from degrade.errors import UserError

    try:
        app()
    except UserError as error:
        fail(str(error))
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
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="srcnn, srresnet, msrresnet, rrdb, srgan or sparse.")],
    recipe: Annotated[str | None, typer.Option("--recipe", "-r", help="A recipe's name or file, or pairs:DIR.")] = None,
    data: Annotated[list[str], typer.Option(help="HR images; may be given several times.")] = [],  # noqa: B006
    scale: Annotated[int | None, typer.Option(help="HR size / LR size.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    val: Annotated[str | None, typer.Option(help="HR images to validate on, or pairs:DIR.")] = None,
    output: Annotated[str | None, typer.Option("--out", "-o", help="Default: runs/METHOD_xSCALE_RECIPE.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML of settings, such as a run's config.yaml.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and degradations.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    amp: Annotated[bool, typer.Option("--amp", help="bfloat16 mixed precision (for float16: --set precision=16-mixed).")] = False,
    changes: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="Any setting: rate=1e-3, model.kernels=[9,1,5].")
    ] = [],  # noqa: B006
) -> None:
    """Train a model; on several devices: torchrun --nproc-per-node N -m sr train .."""
    from sr.config import configure
    from sr.progress import training_progress

    if resume and config is None and output is not None and (Path(output) / "config.yaml").is_file():
        config = Path(output) / "config.yaml"
    flags: dict[str, Any] = {"recipe": recipe, "data": tuple(data) or None, "scale": scale, "steps": steps, "val": val}
    flags |= {"out": output, "seed": seed, "device": device, "precision": "bf16-mixed" if amp else None}
    settings = configure(method, flags, config, read_changes(changes))
    from sr.train import train

    with training_progress(err) as watch:
        run = train(settings, resume, watch)
    if run.writes:
        best = "" if run.psnr is None else f", best {run.best:.2f} dB Y"
        out.print(f"{settings.steps} steps{best}. Look at {run.folder}", soft_wrap=True)
