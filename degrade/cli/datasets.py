"""Commands that make, replay and check datasets: ``synth``, ``replay``, ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degrade.cli.common import (
    BackendName,
    Changes,
    Device,
    Modules,
    RecipeName,
    Scale,
    Seed,
    app,
    check_backend,
    check_device,
    err,
    import_modules,
    out,
    read_recipe,
)

if TYPE_CHECKING:
    from degrade.synthesis.job import Job
    from degrade.synthesis.render import Engine
    from degrade.synthesis.run import Report
    from degrade.synthesis.settings import SynthSettings

SHOWN_SKIPPED = 10
"""Skipped sources that are printed."""


@app.command()
def synth(
    recipe: RecipeName = "realesrgan",
    input: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            help="HR images: a folder, file, glob or URL. Default: sample photographs.",
        ),
    ] = "",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="Folder, URL or zip://NAME.zip. Default: synth/RECIPE."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(help="folder, webdataset, lmdb or huggingface.")
    ] = "folder",
    shard: Annotated[int, typer.Option(help="Pairs in a WebDataset shard.")] = 1000,
    scale: Scale = None,
    patch: Annotated[
        int | None, typer.Option(help="Side of HR patches in pixels. Default: whole images.")
    ] = None,
    per_image: Annotated[int, typer.Option(help="Pairs of each image.")] = 1,
    count: Annotated[
        int | None, typer.Option(help="Stop after this many pairs. Default: all.")
    ] = None,
    seed: Seed = 0,
    device: Annotated[
        str,
        typer.Option(
            help="cpu, cuda (all GPUs), cuda:1, mps; or a list such as cuda:0,cuda:2,"
            " with one process each."
        ),
    ] = "cpu",
    backend: BackendName = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes. Default: one per CPU core.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            help="Memory limit of the images in progress, in GiB. Default: half of the machine's."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto, inline (this process), processes, or ray"
            " (the cluster at $RAY_ADDRESS, or a local one)."
        ),
    ] = "auto",
    batch: Annotated[
        int, typer.Option(help="Pairs in a batch, on a device other than the CPU.")
    ] = 16,
    small: Annotated[
        str, typer.Option(help="What to do with images smaller than the patch: reflect or skip.")
    ] = "reflect",
    alpha: Annotated[
        str, typer.Option(help="What to do with alpha channels: drop or keep.")
    ] = "drop",
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Make a paired dataset: HR images in; hr/, lr/, manifest and contact sheet out.

    Re-run to resume.
    """
    from degrade.cli.progress import pair_progress
    from degrade.images.search import summary
    from degrade.inspection.gallery import write_contact_sheet
    from degrade.synthesis.job import prepare
    from degrade.synthesis.run import synthesize

    settings = _settings(input, patch, per_image, count, seed, small, alpha)
    loaded = read_recipe(recipe, scale, changes, modules)
    chosen = _engine(engine, device, workers, batch, memory)
    where = output or Path("synth") / loaded.name
    first = device.split(",")[0]
    used = check_backend(first, backend)
    job = prepare(loaded, settings, where, format, shard, first, used)
    out.print(
        f"[b]{loaded.name}[/b] x{loaded.scale}  {job.total} pairs from {len(job.sources)} images",
        soft_wrap=True,
    )
    for line in summary(dict(job.passed_over)):
        err.print(f"passed over {line}", markup=False, soft_wrap=True)
    with pair_progress(err) as progress:
        report = synthesize(job, loaded, chosen, progress)
    _print_skipped(report)
    sheet = write_contact_sheet(job.output, loaded, url=job.url)
    _print_report(report, job, sheet)


def _settings(
    input: str,
    patch: int | None,
    per_image: int,
    count: int | None,
    seed: int,
    small: str,
    alpha: str,
) -> SynthSettings:
    from degrade.errors import UserError
    from degrade.synthesis.settings import SynthSettings

    if small not in ("reflect", "skip"):
        raise UserError(f"--small {small}: should be reflect or skip")
    if alpha not in ("drop", "keep"):
        raise UserError(f"--alpha {alpha}: should be drop or keep")
    return SynthSettings(input, patch, per_image, count, seed, small, alpha)


def _engine(
    name: str, device: str, workers: int | None, batch: int, memory: float | None
) -> Engine:
    from degrade.errors import UserError
    from degrade.synthesis.engines import choose

    if memory is not None and memory <= 0:
        raise UserError(f"--memory {memory:g}: should be above 0")
    if name != "ray":  # whose devices may be on other machines
        for each in device.split(","):
            check_device(each)
    limit = None if memory is None else int(memory * 2**30)
    return choose(device, workers, batch, name, limit)


def _print_skipped(report: Report) -> None:
    for source, reason in report.skipped[:SHOWN_SKIPPED]:
        err.print(f"skipped {source}: {reason}", markup=False, soft_wrap=True)
    more = len(report.skipped) - SHOWN_SKIPPED
    if more > 0:
        err.print(f"... and {more} more, see skipped.csv")


def _print_report(report: Report, job: Job, sheet: Path) -> None:
    """Print the number of pairs, and the paths to look at."""
    kept = f", {report.kept} kept" if report.kept else ""
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    out.print(f"{report.made} pairs made{kept}{skipped}. Look at:")
    out.print(f"  {sheet}  (a few pairs)", soft_wrap=True)
    folders = [path for path in (job.output / "hr", job.output / "lr") if path.is_dir()]
    if job.url or not folders:
        out.print(f"  {job.url or job.output}  ({job.format})", soft_wrap=True)
    else:
        for folder in folders:
            out.print(f"  {folder}", soft_wrap=True)
    out.print(f"  {job.output / 'manifest.csv'}  (drawn values)", soft_wrap=True)


@app.command()
def replay(
    manifest: Annotated[
        str, typer.Argument(help="manifest.csv or its folder, or a URL of either.")
    ],
    row: Annotated[int | None, typer.Option(help="Index of one pair. Default: all pairs.")] = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", help="Folder or URL of the HR sources, if they were moved."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write the pairs to. Default: only compare."
        ),
    ] = None,
    device: Device = "cpu",
    backend: BackendName = None,
    modules: Modules = [],  # noqa: B006
) -> None:
    """Render pairs again from the manifest and the HR sources, and compare the bytes.

    Exit code 1 if they differ.
    """
    from degrade.storage.files import place
    from degrade.synthesis.manifest import pair_files
    from degrade.synthesis.replay import replay_pairs

    stored = {
        True: "",
        False: ", the files on disk are not those of the manifest",
        None: ", files missing",
    }
    different = 0
    import_modules(modules)
    used = check_backend(check_device(device), backend)
    for pair in replay_pairs(manifest, row, input, device, used):
        different += not pair.equal
        verdict = "[green]equal[/green]" if pair.equal else "[red]different[/red]"
        out.print(f"{verdict}  {pair.name}{stored[pair.on_disk]}", soft_wrap=True)
        if output is not None:
            files = pair_files(output, pair.name)
            for path, data in zip(files, (pair.hr, pair.lr), strict=True):
                place(path, data)
    raise typer.Exit(1 if different else 0)


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder of HR images, searched recursively.")],
    csv: Annotated[
        Path | None,
        typer.Option(help="CSV file to write: one row per image, with verdict and all measures."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="Text file to write: the images with a problem, one per line."),
    ] = None,
    side: Annotated[int, typer.Option(help="Minimum height and width in pixels.")] = 128,
    quality: Annotated[
        int, typer.Option(help="Minimum JPEG quality, of the file or of an earlier compression.")
    ] = 80,
    softness: Annotated[
        float, typer.Option(help="Maximum softness; an image enlarged twofold has 2.")
    ] = 1.4,
    workers: Annotated[
        int | None, typer.Option(help="Threads. Default: one per CPU core.")
    ] = None,
) -> None:
    """Check HR images before training: damaged, compressed, soft, flat, small, duplicate ones."""
    from rich.progress import track

    from degrade.doctor.checks import Limits, examine_folder
    from degrade.doctor.report import exclusions, print_problems, to_csv

    found = examine_folder(
        folder,
        Limits(side=side, quality=quality, softness=softness),
        workers,
        lambda exams, total: track(exams, "", total, console=err),
    )
    print_problems(out, found)
    for path, text in ((csv, to_csv), (exclude, exclusions)):
        if path is not None:
            path.write_text(text(found), encoding="utf-8")
            out.print(f"Look at {path}", soft_wrap=True)
