"""Job: the sources, names and settings of a synthesis, from which every pair follows."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degrade.errors import SynthError
from degrade.execution import Backend, choose_for
from degrade.images.files import list_images, search_images
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.storage.destination import Destination, open_destination
from degrade.storage.files import inside
from degrade.storage.remote import is_url, join, local
from degrade.synthesis.settings import SynthSettings
from degrade.synthesis.writers import FORMATS, FolderWriter

__all__ = ["Job", "prepare", "source_path", "unique_names"]


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

    Raises:
        ImageError: there are no images.
        SynthError: a setting is out of range, or does not fit the recipe.
        UserError: a package or the backend is missing, or a store cannot be reached.
    """
    if format not in FORMATS:
        raise SynthError(f"--format {format}: should be {', '.join(FORMATS)}")
    if shard < 1:
        raise SynthError(f"--shard {shard} should be at least 1")
    destination = open_destination(output)
    FORMATS[format](destination).require_packages()
    _check(settings, recipe.scale)
    root, sources, passed_over = _find_sources(settings.input, destination.folder, output)
    return Job(
        root,
        sources,
        unique_names(sources),
        destination.folder,
        recipe.dump(),
        settings,
        format,
        shard,
        url=str(output) if is_url(output) else "",
        backend=choose_for(device, backend),
        passed_over=tuple(sorted(passed_over.items())),
    )


def _check(settings: SynthSettings, scale: int) -> None:
    patch = settings.patch
    if patch is not None and (patch < scale or patch % scale):
        raise SynthError(f"--patch {patch} should be a multiple of the scale {scale}")
    if settings.per_image < 1 or (settings.count is not None and settings.count < 1):
        raise SynthError("--per-image and --count should be at least 1")


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
        root = given if given.is_dir() else Path(*_common(files))
    else:
        files = sample_images()
        root = files[0].parent
    sources = tuple(path.relative_to(root).as_posix() for path in files)
    return root, sources, {os.path.relpath(path, root): why for path, why in skipped.items()}


def _common(files: list[Path]) -> tuple[str, ...]:
    """Return the parts of the deepest folder that holds all files."""
    parts = [path.parent.parts for path in files]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return tuple(shared) if all(list(p[: len(shared)]) == shared for p in parts) else ()


def unique_names(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return the name of each source: its path without suffix, or with it if two would be equal.

    Names are compared without case, as some file systems do.

    >>> unique_names(("a/cat.jpg", "a/cat.png", "dog.png"))
    ('a/cat_jpg', 'a/cat_png', 'dog')
    """
    stems = [Path(source).with_suffix("").as_posix() for source in sources]
    count = Counter(stem.lower() for stem in stems)
    taken: set[str] = set()
    names: list[str] = []
    for source, stem in zip(sources, stems, strict=True):
        name = f"{stem}_{Path(source).suffix[1:]}" if count[stem.lower()] > 1 else stem
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names.append(name)
    return tuple(names)
