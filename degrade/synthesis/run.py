"""Offline synthesis: HR images in, a paired dataset out; every pair can be replayed.

A run writes::

    hr/NAME.png  lr/NAME.png  the pairs; HR is exactly scale times LR (other formats:
                              degrade.synthesis.writers)
    manifest.csv              one row a pair: key, source, crop, sizes, SHA-256 of both files,
                              drawn values
    recipe.yaml               the resolved recipe
    synth.json                recipe hash, settings and package versions
    skipped.csv               images that could not be used, and why
    contact_sheet.png         a few pairs to look at

A pair is a pure function of (recipe, seed, index, source image). Files are written atomically, and
a pair's row after its files; so a killed run, once resumed, gives the same bytes. Files that the
run did not write are neither overwritten nor deleted.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from degrade.errors import SynthError
from degrade.execution import Backend
from degrade.images.files import ImageError
from degrade.recipe import Recipe
from degrade.storage.destination import RECORDS, Destination, open_destination
from degrade.storage.files import sha256
from degrade.storage.names import escape
from degrade.synthesis.job import Job
from degrade.synthesis.manifest import Manifest
from degrade.synthesis.render import Engine
from degrade.synthesis.writers import FORMATS, FolderWriter
from degrade.versions import package_versions

__all__ = ["Report", "settings_record", "synthesize", "versions"]

PAIRS_PER_SNAPSHOT = 500
"""The manifest is uploaded to an object store each time so many pairs have been made."""
PACKAGES = (
    "degrade",
    "numpy",
    "torch",
    "kornia",
    "opencv-python-headless",
    "scipy",
    "pillow",
    "albumentations",
)
"""Packages whose versions are recorded, and must not change within a dataset."""


@dataclass
class Report:
    """The result of a run.

    Args:
        made: Pairs made by this run.
        kept: Pairs kept from an earlier run.
        skipped: Sources that could not be used, with the reason.
    """

    made: int = 0
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=lambda: [])


def versions(backend: Backend) -> dict[str, str]:
    """Return the versions and the backend that are recorded with a dataset."""
    python = {"python": platform.python_version()}
    return {**python, **package_versions(PACKAGES), "backend": backend}


def settings_record(job: Job, recipe: Recipe) -> dict[str, Any]:
    """Return what ``synth.json`` records besides the versions; it must not change on resume."""
    # Left out if it is the default, so that datasets of earlier versions can be resumed.
    layout = {"format": job.format, "shard": job.shard}
    if job.format == FolderWriter.name:
        layout = {}
    return {
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        **layout,
        "root": job.root if isinstance(job.root, str) else str(job.root.resolve()),
        "sources": sha256(json.dumps(job.sources).encode()),
        "pairs": job.total,
        **asdict(job.settings),
    }


def synthesize(
    job: Job,
    recipe: Recipe,
    engine: Engine,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Report:
    """Make all pairs of a job that an earlier run has not made.

    Args:
        job: From :func:`degrade.synthesis.job.prepare`.
        recipe: The recipe.
        engine: Renders the pairs; see :func:`degrade.synthesis.engines.choose`.
        progress: Called with the number of pairs done, of all pairs, and the last name.

    Raises:
        SynthError: the folder holds other files, another process is writing to it, or no source
            can be used.
        OSError: the disk is full or the folder cannot be written; it names the place.
    """
    report = Report()
    destination = open_destination(job.url or job.output)
    writer = FORMATS[job.format](destination, job.shard, job.total)
    record = settings_record(job, recipe)
    try:
        with Manifest.open(job.output, recipe, record, versions(job.backend), writer) as manifest:
            _put_records(destination, RECORDS)
            for source, reason in job.passed_over:
                manifest.skip(escape(source), reason)
            _make_pairs(job, engine, manifest, writer, report, progress)
            manifest.finish()
            writer.finish(manifest.rows())
            _put_records(destination, (*RECORDS, "skipped.csv"))
            destination.close()
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # A write to the manifest or an archive failed, whose error does not name the file.
        raise OSError(error.errno, error.strerror, str(destination)) from None
    finally:
        destination.unlock()
    if report.made + report.kept == 0:
        reasons = "\n".join(f"  {path}: {reason}" for path, reason in report.skipped[:5])
        raise SynthError(
            f"no pair could be made; all {len(report.skipped)} sources were skipped:\n{reasons}"
        )
    return report


def _put_records(destination: Destination, names: Sequence[str]) -> None:
    for name in names:
        destination.put_snapshot(destination.folder / name)
    destination.flush()


def _make_pairs(
    job: Job,
    engine: Engine,
    manifest: Manifest,
    writer: FolderWriter,
    report: Report,
    progress: Callable[[int, int, str], None],
) -> None:
    """Run the engine on the missing pairs, and record each result."""
    existing = manifest.done()
    report.kept = done = len(existing)
    progress(done, job.total, "")
    missing = [index for index in range(job.total) if index not in existing]
    for index, result in engine(job, missing):
        if isinstance(result, ImageError):
            report.skipped.append((result.path, result.reason))
            manifest.skip(job.sources[index % len(job.sources)], result.reason)
            writer.skip(index)
        else:
            manifest.add(result)
            writer.add(result)
            report.made += 1
            if report.made % PAIRS_PER_SNAPSHOT == 0:
                writer.destination.put_snapshot(job.output / "manifest.csv")
        done += 1
        progress(done, job.total, job.name(index))
