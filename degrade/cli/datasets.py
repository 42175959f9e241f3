"""Commands that make, repeat and judge datasets: ``synth``, ``replay``, ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degrade.cli.common import (
    Changes,
    Device,
    Modules,
    RecipeName,
    Scale,
    Seed,
    app,
    check_device,
    err,
    out,
    read_recipe,
)


@app.command()
def synth(
    recipe: RecipeName = "realesrgan",
    input: Annotated[
        str,
        typer.Option(
            "--input", "-i", help="HR images: a folder, file, glob or URL. Default: samples."
        ),
    ] = "",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A folder or URL. Default: synth/RECIPE.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="folder, webdataset, lmdb or huggingface.")
    ] = "folder",
    shard: Annotated[int, typer.Option(help="Pairs in a WebDataset shard.")] = 1000,
    scale: Scale = None,
    patch: Annotated[
        int | None, typer.Option(help="Side of HR patches. Default: whole images.")
    ] = None,
    per_image: Annotated[int, typer.Option(help="Pairs made of each image.")] = 1,
    count: Annotated[int | None, typer.Option(help="Stop after this many pairs.")] = None,
    seed: Seed = 0,
    device: Annotated[
        str,
        typer.Option(
            help="cpu, cuda (all GPUs), cuda:1, mps; or several, cuda:0,cuda:2, a process each."
        ),
    ] = "cpu",
    workers: Annotated[
        int | None, typer.Option(help="Processes. Default: one a CPU core.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            help="GiB that images in work may take together. Default: half of the machine's."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto, inline, processes, or ray: a cluster ($RAY_ADDRESS), else one here."
        ),
    ] = "auto",
    batch: Annotated[
        int, typer.Option(help="Pairs degraded at a time on a device other than the CPU.")
    ] = 16,
    small: Annotated[
        str, typer.Option(help="Images smaller than the patch: reflect or skip.")
    ] = "reflect",
    alpha: Annotated[str, typer.Option(help="Alpha channels: drop or keep.")] = "drop",
    changes: Changes = [],  # noqa: B006
    modules: Modules = [],  # noqa: B006
) -> None:
    """Make a paired dataset: HR images in; hr/, lr/, manifest and contact sheet out. Run again,
    it goes on.
    """

    from degrade.cli.progress import pair_progress
    from degrade.errors import UserError
    from degrade.inspection.gallery import write_contact_sheet
    from degrade.synthesis.engines import choose
    from degrade.synthesis.job import Settings, prepare
    from degrade.synthesis.run import synthesize

    for name, value, known in (
        ("small", small, ("reflect", "skip")),
        ("alpha", alpha, ("drop", "keep")),
    ):
        if value not in known:
            raise UserError(f"--{name} {value}: should be {' or '.join(known)}")
    loaded = read_recipe(recipe, scale, changes, modules)
    settings = Settings(input, patch, per_image, count, seed, small, alpha)  # type: ignore[arg-type] # checked above
    job = prepare(loaded, settings, output or Path("synth") / loaded.name, format, shard)
    if memory is not None and memory <= 0:
        raise UserError(f"--memory {memory:g}: should be above 0")
    for each in device.split(",") if engine != "ray" else ():  # Ray's devices need not be here
        check_device(each)
    run = choose(device, workers, batch, engine, None if memory is None else int(memory * 2**30))
    out.print(
        f"[b]{loaded.name}[/b] x{loaded.scale}  {job.total} pairs from {len(job.sources)} images",
        soft_wrap=True,
    )
    with pair_progress(err) as progress:
        report = synthesize(job, loaded, run, progress)
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
    for path, what in (
        (sheet, "a few pairs"),
        *where,
        (job.output / "manifest.csv", "what was drawn"),
    ):
        out.print(f"  {path}" + (f"  ({what})" if what else ""), soft_wrap=True)


@app.command()
def replay(
    manifest: Annotated[
        str, typer.Argument(help="manifest.csv, or the dataset's folder; or a URL of either.")
    ],
    row: Annotated[int | None, typer.Option(help="Index of one pair. Default: all.")] = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", help="Folder or URL of the HR sources, if they moved."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the pairs here.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Make pairs again from the manifest and the HR sources; say whether the bytes are equal.
    Exit code 1 if not.
    """
    from degrade.storage.files import place
    from degrade.synthesis.manifest import files
    from degrade.synthesis.replay import replay

    unequal = 0
    for pair in replay(manifest, row, input, check_device(device)):
        unequal += not pair.equal
        word = "[green]equal[/green]" if pair.equal else "[red]different[/red]"
        disk = {
            True: "",
            False: ", the files on disk are not those of the manifest",
            None: ", files gone",
        }[pair.on_disk]
        out.print(f"{word}  {pair.name}{disk}", soft_wrap=True)
        if output is not None:
            for path, data in zip(files(output, pair.name), (pair.hr, pair.lr), strict=True):
                place(path, data)
    raise typer.Exit(1 if unequal else 0)


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="HR images; searched to its leaves.")],
    csv: Annotated[
        Path | None, typer.Option(help="Write one row an image: verdict and all measures.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="Write the files with a problem, one a line.")
    ] = None,
    side: Annotated[int, typer.Option(help="Least height and width.")] = 128,
    quality: Annotated[
        int, typer.Option(help="Least JPEG quality, of the file or of an earlier life.")
    ] = 80,
    softness: Annotated[
        float, typer.Option(help="Most softness; 2 is an image enlarged twice.")
    ] = 1.4,
    workers: Annotated[int | None, typer.Option(help="Threads. Default: one a CPU core.")] = None,
) -> None:
    """Is a folder of HR images fit to train on? Damaged, compressed, soft, flat, small and
    double images.
    """
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
