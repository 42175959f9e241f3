"""Commands ``train`` and ``tile``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from degrade.cli import import_modules, read_changes
from sr.cli.common import AnyDevice, Modules, err, out

__all__ = ["settings_command", "tile_command", "train_command"]


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
    exclude: Annotated[
        list[str],
        typer.Option(
            help="Text file of images to leave out, as degrade doctor --exclude writes; one for "
            "each --data, in their order."
        ),
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
            help="Any of [b]sr settings METHOD[/b]: rate=1e-3, 'model.kernels=[9, 1, 5]' "
            "(quoted); repeatable.",
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
    imported = [*modules, *named]
    import_modules(imported)
    from sr.training.advice import advice
    from sr.training.config import configure
    from sr.training.distributed import is_main
    from sr.training.progress import training_progress

    flags: dict[str, Any] = {
        "recipe": recipe,
        "data": tuple(data) or None,
        "exclude": tuple(exclude) or None,
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
    from sr.training.run import STATE

    if is_main():
        for sentence in advice(settings, resume):
            err.print(sentence, soft_wrap=True)
    try:
        with training_progress(err) as update:
            done = train(settings, resume, update)
    except KeyboardInterrupt:
        if is_main():
            again = shlex.join(["sr", "train", method, "--output", settings.out, "--resume"])
            again += "".join(f" --import {module}" for module in dict.fromkeys(imported))
            saved = (Path(settings.out) / STATE).exists()
            err.print("\nstopped", style="yellow", end="")
            hint = f"to go on, run: {again}" if saved else "nothing was saved yet"
            err.print(f"; {hint}", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    if done.writes:
        best = "" if done.best is None else f", best {done.best_by} {done.best:.4g}"
        out.print(f"{settings.steps} steps{best}. Look at {done.folder}", soft_wrap=True)


def settings_command(
    method: Annotated[
        str, typer.Argument(help="As for sr train; its defaults are shown.")
    ] = "srresnet",
    modules: Modules = [],  # noqa: B006
) -> None:
    """List the settings of sr train METHOD: values, default and meaning of each."""
    from rich.padding import Padding
    from rich.text import Text

    import_modules([*modules, *([method.partition(":")[0]] if ":" in method else [])])
    from sr.training.listing import list_settings

    for setting in list_settings(method):
        head = Text(setting.name, "bold")
        out.print(head.append(f"  {setting.values}, default {setting.default}", "not bold"))
        if setting.meaning:
            out.print(Padding(Text(setting.meaning), (0, 0, 0, 4)))


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
    out.print(
        f"{count} {'tile' if count == 1 else 'tiles'}. Train with --data {output}",
        markup=False,
        soft_wrap=True,
    )
