"""Commands ``eval`` and ``upscale``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degrade.cli import check_device, import_modules
from degrade.cli.common import MARK, signed
from sr.cli.common import (
    Device,
    ModelName,
    Modules,
    Overlap,
    Tile,
    check_new,
    out,
    split_commas,
)

if TYPE_CHECKING:
    from sr.evaluation import Results
    from sr.metrics import Metric

__all__ = ["eval_command", "upscale_command"]

FIGURE_ROWS = 8
"""Images of ``sr eval --figure``."""


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
        int | None, typer.Option(min=1, help="HR size / LR size. Default: the model's.")
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
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that sr eval did not write.")
    ] = False,
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
    from sr.checkpoint import load, write
    from sr.evaluation import evaluate
    from sr.examples import LR_ONLY, PAIRS, Example, load_examples
    from sr.figures import comparison_sheet
    from sr.metrics import default_metrics, open_metrics
    from sr.metrics.base import window_of

    import_modules(modules)
    if target not in ("raw", "recipe"):
        raise UserError(f"--target {target}: should be raw or recipe")
    check_new(json_file, force, b'{\n  "model": ')
    check_new(csv_file, force, b"image,")
    check_new(figure, force, MARK)
    names = split_commas(metrics)
    opened = default_metrics() if names is None else open_metrics(names)
    loaded = load(model, scale, check_device(device))
    if figure is not None and data.startswith(LR_ONLY):
        raise UserError(f"--figure {figure}: shows HR images, which {data} has not; leave it out")
    on_disk = data.startswith((PAIRS, LR_ONLY))
    degrade = None if on_disk else Recipe.load(recipe, loaded.scale)
    blind = data.startswith(LR_ONLY)  # what needs HR images is refused later
    window = window_of(one for one in opened.values() if one.blind or not blind)
    examples = load_examples(data, degrade, seed, target, window, loaded.scale)
    shown: list[tuple[str, Tensor, Tensor, Tensor]] = []
    failures: list[str] = []

    def keep(example: Example, sr: Tensor) -> None:
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
    print_results(results, opened)
    if json_file is not None:
        text = json.dumps(results.as_dict(), indent=2, allow_nan=False)
        write(json_file, (text + "\n").encode())
    if csv_file is not None:
        write(csv_file, results.to_csv().encode())
    if figure is not None and shown:
        heading = f"{model}, {results.protocol['recipe']} x{loaded.scale}"
        write(figure, signed(encode_png(comparison_sheet(shown, heading))))
        out.print(f"Look at {figure}", soft_wrap=True, markup=False)
    if failures:
        raise UserError(
            "\n".join([*failures, f"not evaluated: {len(failures)} of {len(examples)} images"])
        )


def print_results(results: Results, metrics: Mapping[str, Metric]) -> None:
    """Print the metrics of each image, then the mean, then the protocol."""
    from sr.metrics import digits_of
    from sr.text_table import Column, print_table

    protocol, mean = results.protocol, results.mean
    rows = [*results.images.values(), mean]
    columns: list[Column] = []
    for name in mean:
        values = (f"{scores[name]:.{digits_of(name)}f}".replace("nan", "-") for scores in rows)
        arrow = "↓" if metrics[name].lower else "↑"
        shown = name if ":" in name else name.replace("_", " ")
        columns.append(Column(f"{shown} {arrow}", [*values]))
    labels = Column("image", [*results.images, "mean"])
    title = f"{results.model}  x{protocol['scale']}"
    print_table(out, labels, columns, title, sections=[len(results.images)])
    lines = [protocol["line"], *protocol["notes"]]
    if "alignment" in protocol:
        lines.append(protocol["alignment"])
    for metric, names in results.left_out.items():
        lines.append(f"{metric}: no value, and not in the mean: {', '.join(names)}")
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


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
        int | None,
        typer.Option(min=1, help="Scale of bicubic or of a command. Default: 4; measured."),
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
