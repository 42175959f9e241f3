"""Job: the sources, names and settings of a synthesis, from which every pair follows."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from degrade.errors import SynthError
from degrade.execution import Backend, choose_for
from degrade.images.files import check_hr, list_images, search_images, without
from degrade.images.samples import sample_images
from degrade.limits import VARIABLE, max_pixels
from degrade.recipe import Recipe
from degrade.storage.destination import Destination, open_destination
from degrade.storage.files import inside
from degrade.storage.names import escape, shorten
from degrade.storage.remote import is_url, join, local
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers import FORMATS, FolderWriter
from degrade.synthesis.writers.folder import MAX_NAME, utf8_bytes

__all__ = ["Job", "prepare", "source_path", "unique_names"]

MAX_PAIRS = 4_000_000
"""Most pairs of a dataset: about as many rows as are read of a manifest."""
CHOICES = {
    "small": ("auto", "reflect", "skip"),
    "alpha": ("drop", "keep"),
    "names": ("hr,lr", "gt,lq", "hq,lq"),
}
"""The values of the settings that are words."""
MAX_PART = 230
"""Most bytes of a part of a name: file systems allow 255, with suffixes and numbers."""


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to render a pair.

    Args:
        root: The folder or URL that sources are relative to.
        sources: The HR images, relative to ``root``.
        names: The name of each source in the dataset, without suffix.
        output: The working folder on this disk.
        recipe: The recipe as data.
        settings: The settings.
        format: One of ``FORMATS``.
        shard: Pairs in a shard, in formats that have shards.
        url: The dataset's URL, if it is not stored on this disk.
        backend: What runs the recipe's programs.
        passed_over: Images of other formats and folders among the sources that are not read, each
            with the reason.
    """

    root: Path | str
    sources: tuple[str, ...]
    names: tuple[str, ...]
    output: Path
    recipe: dict[str, Any]
    settings: SynthSettings
    format: str = FolderWriter.name
    shard: int = 1000
    url: str = ""
    backend: Backend = "reference"
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def staging_dir(self) -> Path:
        """The folder that rendered pairs are written to."""
        return FORMATS[self.format](Destination(self.output)).staging_dir

    def source(self, index: int) -> Path | str:
        """Return the path or URL of a pair's HR image."""
        return source_path(self.root, self.sources[index % len(self.sources)])

    @property
    def total(self) -> int:
        """The number of pairs."""
        most = len(self.sources) * self.settings.per_image
        return most if self.settings.count is None else min(most, self.settings.count)

    def name(self, index: int) -> str:
        """Return a pair's name: the source's, with a number if a source has several pairs."""
        name = self.names[index % len(self.names)]
        if self.settings.per_image == 1:
            return name
        return f"{name}_s{index // len(self.names) + 1:03d}"


def source_path(root: Path | str, source: str) -> Path | str:
    """Return the path or URL of a source. Raises SynthError if it leads out of its root.

    >>> source_path("s3://bucket/hr", "below/a.png")
    's3://bucket/hr/below/a.png'
    """
    if isinstance(root, str):
        return join(root, inside(Path(), source).as_posix())
    return inside(root, source)


def prepare(
    recipe: Recipe,
    settings: SynthSettings,
    output: Path | str,
    format: str = FolderWriter.name,
    shard: int = 1000,
    device: str = "cpu",
    backend: Backend | None = None,
    exclude: Path | None = None,
) -> Job:
    """Find the sources, name the pairs and check the settings.

    Args:
        recipe: The recipe.
        settings: The settings.
        output: The dataset's folder, or a URL.
        format: One of ``FORMATS``.
        shard: Pairs in a shard, in formats that have shards.
        device: Where pairs will be degraded.
        backend: What runs the recipe's programs there; by default the fastest.
        exclude: A list of images to leave out; see :func:`degrade.images.files.without`.

    Raises:
        ImageError: there are no images, or the list does not fit them.
        SynthError: a setting is out of range, or does not fit the recipe.
        UserError: a package or the backend is missing, or a store cannot be reached.
    """
    if format not in FORMATS:
        raise SynthError(f"--format {format}: should be {', '.join(FORMATS)}")
    destination = open_destination(output)
    writer = FORMATS[format](destination)
    writer.require_packages()
    _check(settings, recipe.scale, shard)
    root, found, passed_over = _find_sources(settings.input, destination.folder, output)
    sources = tuple(without(found, exclude))
    check_hr([join(root, name) if isinstance(root, str) else root / name for name in sources])
    job = Job(
        root,
        sources,
        unique_names(sources, writer.name_cost, writer.longest_name),
        destination.folder,
        recipe.dump(),
        settings,
        format,
        shard,
        url=str(output) if is_url(output) else "",
        backend=choose_for(device, backend),
        passed_over=tuple(sorted(passed_over.items())),
    )
    if job.total > MAX_PAIRS:
        raise SynthError(
            f"{len(sources)} images with --per-image {settings.per_image} are {job.total} pairs,"
            f" more than {MAX_PAIRS}; limit them with --count"
        )
    return job


def _check(settings: SynthSettings, scale: int, shard: int) -> None:
    """Raise SynthError with every setting that is out of range."""
    problems = list[str]()
    patch = settings.patch
    if patch is not None and (patch < scale or patch % scale or patch**2 > max_pixels()):
        problems.append(
            f"--patch {patch}: should be a multiple of the scale {scale} and at most"
            f" {math.isqrt(max_pixels())} ({VARIABLE})"
        )
    margin = settings.margin
    most = (math.isqrt(max_pixels()) - (patch or 0)) // 2
    if margin % scale or not 0 <= margin <= max(most, 0):
        problems.append(
            f"--margin {margin} should be a multiple of the scale {scale}, from 0 to {most}"
        )
    elif margin and patch is None:
        problems.append(f"--margin {margin} is around patches; give --patch too")
    for name, choices in CHOICES.items():
        value = getattr(settings, name)
        if value not in choices:
            problems.append(f"--{name} {value}: should be one of {'  '.join(choices)}")
    counts = {"per-image": settings.per_image, "count": settings.count, "shard": shard}
    problems += [
        f"--{name} {count}: should be from 1 to {MAX_PAIRS}"
        for name, count in counts.items()
        if count is not None and not 1 <= count <= MAX_PAIRS
    ]
    if problems:
        raise SynthError("\n".join(problems))


def _find_sources(
    input: str, folder: Path, output: Path | str
) -> tuple[Path | str, tuple[str, ...], dict[str, str]]:
    """Return the root of the HR images, their paths relative to it, and what was passed over."""
    if is_url(input):
        url, names, skipped = list_images(input)
        return url, tuple(names), skipped
    skipped: dict[str, str] = {}
    if input:
        given = local(input) or Path(input)
        images, skipped = search_images(given)
        # A dataset inside its own input must not become a source when the run is resumed.
        files = [path for path in images if folder.resolve() not in path.resolve().parents]
        if not files:
            raise SynthError(f"--input {input}: holds no images but those of --output {output}")
        common = os.path.commonpath([path.parent for path in files])
        root = given if given.is_dir() else Path(common)
    else:
        files = sample_images()
        root = files[0].parent
    sources = tuple(path.relative_to(root).as_posix() for path in files)
    others = {
        path: why for path, why in skipped.items() if Path(path).resolve() != folder.resolve()
    }
    return root, sources, {os.path.relpath(path, root): why for path, why in others.items()}


def unique_names(
    sources: Sequence[str], cost: Callable[[str], int] = utf8_bytes, longest: int = MAX_NAME
) -> tuple[str, ...]:
    """Return the name of each source: its path without suffix, or with it if two would be equal.

    Names are compared as the least exact file systems do: without case, in Unicode's form C. They
    are printable (:func:`degrade.storage.names.escape`), none is a folder of another, and those
    that are too long are cut; the manifest says whose each is.

    Args:
        sources: Relative paths.
        cost: The length of a name, where it has a limit.
        longest: That limit.

    >>> unique_names(("a/cat.jpg", "a/cat.png", "dog.png"))
    ('a/cat_jpg', 'a/cat_png', 'dog')
    """
    suffixes = [PurePosixPath(source).suffix for source in sources]
    stems = [
        _fitting(escape(source.removesuffix(suffix)), cost, longest)
        for source, suffix in zip(sources, suffixes, strict=True)
    ]
    count = Counter(map(_folded, stems))
    # A pair's file cannot have the name of a folder.
    folders = {_folded(str(folder)) for stem in stems for folder in PurePosixPath(stem).parents}
    files = (re.fullmatch(r"(.+?)(_s[0-9]+)?\.png", folder) for folder in folders)
    blocked = {found[1] for found in files if found}
    taken = set(blocked)
    names: list[str] = []
    for stem, suffix in zip(stems, suffixes, strict=True):
        doubled = count[_folded(stem)] > 1 or _folded(stem) in blocked
        name = f"{stem}_{escape(suffix[1:])}" if doubled else stem
        while _folded(name) in taken:
            name += "_"
        taken.add(_folded(name))
        names.append(name)
    return tuple(names)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _fitting(name: str, cost: Callable[[str], int], longest: int) -> str:
    """Return a name each of whose parts, and all of which, is short enough for a file."""
    name = "/".join(shorten(part, MAX_PART) for part in name.split("/"))
    most = utf8_bytes(name)
    while cost(name) > longest:
        most -= 8
        name = shorten(name, most)
    return name
