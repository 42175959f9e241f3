"""Offline synthesis: HR images in, a paired dataset out, each pair replayable from its row of the
manifest.

The folder that a run leaves::

    hr/NAME.png  lr/NAME.png   the pairs; HR is exactly scale times LR (or another of
    :mod:`degrade.synthesis.writers`) manifest.csv               a row a pair: key, source, crop,
    sizes, SHA-256 of both files, what was drawn recipe.yaml                the resolved recipe
    synth.json                 recipe hash, settings and package versions skipped.csv
    images that could not be used, and why contact_sheet.png          a few pairs to look at

A pair is a pure function of (recipe, seed, index, source image). A file gets its final name only
when it is whole, and its row is written after it; so a run that is killed goes on where it stopped
and ends with the same bytes. Nothing that the run did not write is overwritten or deleted.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from degrade.errors import SynthError
from degrade.images.files import ImageError
from degrade.kernels import native
from degrade.limits import max_pixels
from degrade.recipe import Recipe
from degrade.storage.destination import RECORDS
from degrade.storage.files import sha256
from degrade.storage.remote import is_url
from degrade.synthesis.job import Job, Settings
from degrade.synthesis.manifest import Manifest, Row
from degrade.synthesis.writers import FORMATS, Folder, open_home

__all__ = ["Report", "describe", "load_settings", "synthesize", "versions"]

RECORDED = 500
"""A manifest goes to a store each time so many pairs have been made."""
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


@dataclass
class Report:
    """What a run came to.

    Args:
        made: Pairs written now.
        kept: Pairs that were there already.
        skipped: Sources that could not be used, with the reason.
    """

    made: int = 0
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=lambda: [])


def versions() -> dict[str, str]:
    """What made the dataset."""
    made_by = {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }
    return {**made_by, "native code": "yes" if native.available() else "no"}


def describe(job: Job, recipe: Recipe) -> dict[str, Any]:
    """What ``synth.json`` holds; all of it but the versions must be the same for a run to go
    on.
    """
    # Said only where it is not the default, so that earlier runs go on.
    layout = {} if job.format == Folder.name else {"format": job.format, "shard": job.shard}
    return {
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        **layout,
        "root": job.root if isinstance(job.root, str) else str(job.root.resolve()),
        "sources": sha256(json.dumps(job.sources).encode()),
        "pairs": job.total,
        **asdict(job.settings),
    }


def load_settings(folder: Path, recipe: Recipe) -> tuple[Path | str, Settings]:
    """Where a dataset's sources were, and what it was asked for. Raises SynthError."""
    path = folder / "synth.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        settings = TypeAdapter(Settings).validate_python(
            {name: said[name] for name in Settings.__dataclass_fields__}
        )
        root, digest = (
            TypeAdapter(str).validate_python(said[name]) for name in ("root", "recipe_hash")
        )
        patch = settings.patch
        if patch is not None and (
            patch < recipe.scale or patch % recipe.scale or patch**2 > max_pixels()
        ):
            raise ValueError(f"a patch of {patch} pixels")
        root.encode()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthError(f"{path}: is not what degrade synth writes: {error}") from None
    if digest != recipe.hash:
        raise SynthError(
            f"{folder / 'recipe.yaml'}: is not the recipe that made this dataset ({digest[:12]})"
        )
    return root if is_url(root) else Path(root), settings


def synthesize(
    job: Job,
    recipe: Recipe,
    results: Callable[[Job, list[int]], Iterator[tuple[int, Row | ImageError]]],
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Report:
    """Makes all pairs that are not there yet.

    Args:
        job: From :func:`prepare`.
        recipe: The recipe.
        results: An engine: makes and writes the pairs of some indices, in any order, and yields
            their rows.
        progress: Called with pairs done, pairs in all and the last name.

    Raises:
        SynthError: the folder holds something else, another process works there, or nothing was
        usable. OSError: the disk is full or the folder cannot be written; it names the place.
    """
    report = Report()
    home = open_home(job.url or job.output)
    form = FORMATS[job.format](home, job.shard, job.total)
    try:
        with Manifest.open(
            job.output, recipe, describe(job, recipe), versions(), form
        ) as manifest:
            for name in RECORDS:
                home.record(job.output / name)
            home.settle()
            done = manifest.done()
            report.kept = len(done)
            missing = [index for index in range(job.total) if index not in done]
            finished = report.kept
            progress(finished, job.total, "")
            for index, result in results(job, missing):
                finished += 1
                if isinstance(result, ImageError):
                    report.skipped.append((result.path, result.reason))
                    manifest.skip(job.sources[index % len(job.sources)], result.reason)
                    form.skip(index)
                else:
                    manifest.add(result)
                    form.add(result)
                    report.made += 1
                    if report.made % RECORDED == 0:
                        home.record(job.output / "manifest.csv")
                progress(finished, job.total, job.name(index))
            manifest.finish()
            form.finish(manifest.rows())
            for name in (*RECORDS, "skipped.csv"):
                home.record(job.output / name)
            home.settle()
            home.finish()
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # Of the manifest or an archive, which are written bit by bit.
        raise OSError(error.errno, error.strerror, str(home)) from None
    finally:
        home.release()
    if report.made + report.kept == 0:
        reasons = "\n".join(f"  {path}: {reason}" for path, reason in report.skipped[:5])
        raise SynthError(
            f"no pair could be made; all {len(report.skipped)} sources were skipped:\n{reasons}"
        )
    return report
