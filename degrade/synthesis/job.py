"""Job: what a synthesis has to make, pair by pair. Pair ``index`` is a pure function of the
job, whoever makes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from degrade.data.patches import spot
from degrade.errors import SynthError
from degrade.images.files import Image, ImageError, find_images, list_images
from degrade.images.pixels import (
    as_pixels,
    channel_notes,
    encode_png,
    in_channels,
    reflected,
    to_uint8,
)
from degrade.images.regions import Box, OpenImage, open_image
from degrade.images.regions.base import crop_image
from degrade.images.samples import sample_images
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.files import inside, sha256
from degrade.storage.remote import is_url, join, local
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers import FORMATS, Folder, Home, open_home

__all__ = [
    "Images",
    "Job",
    "Loaded",
    "Settings",
    "degrade_crops",
    "describe_pair",
    "encode",
    "load_crop",
    "load_crops",
    "place_of",
    "prepare",
    "unique_names",
]


@dataclass(frozen=True)
class Settings:
    """What a run was asked for; a resumed run must ask for the same.

    Args:
        input: Folder, file or glob of HR images, or a URL of one; empty for the built-in samples.
        patch: Side of HR patches; None for whole images.
        per_image: Pairs made of each image.
        count: Stop after this many pairs.
        seed: With a pair's index, its key.
        small: What to do with images smaller than the patch (or than the scale): mirror them up,
            or skip them.
        alpha: Drop alpha, with a note; or keep it, the LR's by plain area averaging.
    """

    input: str = ""
    patch: int | None = None
    per_image: int = 1
    count: int | None = None
    seed: int = 0
    small: Literal["reflect", "skip"] = "reflect"
    alpha: Literal["drop", "keep"] = "drop"


@dataclass(frozen=True)
class Job:
    """All that making one pair needs; travels to worker processes.

    Args:
        root: What sources are relative to: a folder, or a URL.
        sources: The HR images, relative to ``root``.
        names: Name of each source in the dataset, without suffix.
        output: The dataset's folder on this disk.
        recipe: The recipe as data.
        settings: What the run was asked for.
        format: One of ``FORMATS``.
        shard: Pairs that are packed together, in formats that do so.
        url: Where the dataset belongs, if not on this disk.
    """

    root: Path | str
    sources: tuple[str, ...]
    names: tuple[str, ...]
    output: Path
    recipe: dict[str, Any]
    settings: Settings
    format: str = Folder.name
    shard: int = 1000
    url: str = ""

    @property
    def stage(self) -> Path:
        """Where the files of pairs are put."""
        return FORMATS[self.format](Home(self.output)).stage

    def source(self, index: int) -> Path | str:
        """The HR image of a pair."""
        return place_of(self.root, self.sources[index % len(self.sources)])

    @property
    def total(self) -> int:
        """How many pairs there are to make."""
        every = len(self.sources) * self.settings.per_image
        return every if self.settings.count is None else min(every, self.settings.count)

    def name(self, index: int) -> str:
        """A pair's name: the source's, and its number where a source gives several."""
        name = self.names[index % len(self.names)]
        return (
            name if self.settings.per_image == 1 else f"{name}_s{index // len(self.names) + 1:03d}"
        )


# --- one pair ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Loaded:
    """An HR crop as read.

    Args:
        pixels: (H, W, 3) uint8.
        alpha: (H, W) uint8, or None.
        box: top, left, height and width in the source.
        notes: What was done to the source to read it.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    box: tuple[int, int, int, int]
    notes: str


class TooSmallError(ImageError):
    """An image below the size that was asked for."""


def place_of(root: Path | str, source: str) -> Path | str:
    """A source under its root. Raises SynthError if it leads out of it."""
    return (
        join(root, str(inside(Path(), source))) if isinstance(root, str) else inside(root, source)
    )


def load_crop(path: Path | str, settings: Settings, scale: int, index: int) -> Loaded:
    """Reads a source and cuts what pair ``index`` uses. Raises ImageError."""
    with open_image(path) as image:
        [loaded] = load_crops(image, settings, scale, [index])
    return loaded


def load_crops(
    image: OpenImage, settings: Settings, scale: int, indices: Sequence[int]
) -> list[Loaded]:
    """Cuts what some pairs use of their one source, which is decoded once for all of them, no more
    of it than need be.

    Raises:
        ImageError: The source cannot be used.
    """
    height, width = image.size
    least = settings.patch or scale
    small = min(height, width) < least
    if small and settings.small == "skip":
        raise TooSmallError(image.name, f"{width} x {height} pixels, smaller than {least}")
    size = max(height, least), max(width, least)
    if settings.patch is None:
        boxes = [(0, 0, size[0] // scale * scale, size[1] // scale * scale)] * len(indices)
    else:
        levels = Key.of(settings.seed, list(indices)).uniforms(("crop.y", "crop.x"))
        boxes = [
            (*spot(size, settings.patch, y, x), settings.patch, settings.patch) for y, x in levels
        ]
    once = list(dict.fromkeys(boxes))
    if small:
        whole = _mirrored(image.read_regions([(0, 0, height, width)])[0], least)
        parts = [crop_image(whole, box) for box in once]
    else:
        parts = image.read_regions(once)
    mirrored = [f"mirrored up from {width} x {height}"] if small else []
    found = {
        box: _loaded(part, box, mirrored, settings) for box, part in zip(once, parts, strict=True)
    }
    return [found[box] for box in boxes]


def _mirrored(image: Image, least: int) -> Image:
    alpha = None if image.alpha is None else reflected(image.alpha[:, :, None], least)[:, :, 0]
    return Image(reflected(image.pixels, least), alpha, image.notes)


def _loaded(image: Image, box: Box, more: list[str], settings: Settings) -> Loaded:
    alpha = to_uint8(image.alpha) if image.alpha is not None and settings.alpha == "keep" else None
    notes = [
        note
        for note in channel_notes(image, 3).split("; ")
        if note and (alpha is None or note != "alpha dropped")
    ]
    return Loaded(in_channels(image, 3), alpha, box, "; ".join([*notes, *more]))


Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""HR and LR pixels, (h, w, 3) or, where alpha is kept, (h, w, 4)."""


def degrade_crops(
    crops: Sequence[Loaded], recipe: Recipe, plan: Plan, device: str = "cpu"
) -> list[Images]:
    """Pairs of HR crops of one size, one a row of the plan."""
    hr = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
    pair = recipe.apply(hr.to(device), plan)
    whole = zip(crops, as_pixels(pair.hr), as_pixels(pair.lr), strict=True)
    return [(with_alpha(hr, crop.alpha), with_alpha(lr, crop.alpha)) for crop, hr, lr in whole]


def with_alpha(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Adds alpha, averaged over areas to the size of the pixels."""
    if alpha is None:
        return pixels
    import cv2

    size = pixels.shape[1], pixels.shape[0]
    small = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.dstack([pixels, small])


def encode(hr: NDArray[np.uint8], lr: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """Both PNG files."""
    return encode_png(hr), encode_png(lr)


def describe_pair(
    job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, hr: bytes, lr: bytes
) -> Row:
    """A pair's row of the manifest."""
    height, width = loaded.box[2:]
    return {
        "index": str(index),
        "key": str(int(plan.key.words[0])),
        "name": job.name(index),
        "source": job.sources[index % len(job.sources)],
        **dict(zip(("top", "left", "height", "width"), map(str, loaded.box), strict=True)),
        "hr_height": str(height),
        "hr_width": str(width),
        "lr_height": str(height // recipe.scale),
        "lr_width": str(width // recipe.scale),
        "hr_sha256": sha256(hr),
        "lr_sha256": sha256(lr),
        "notes": loaded.notes,
        **plan.row(0),
    }


# --- all of them ---------------------------------------------------------------------------------


def prepare(
    recipe: Recipe,
    settings: Settings,
    output: Path | str,
    format: str = Folder.name,
    shard: int = 1000,
) -> Job:
    """Finds the sources and names the pairs.

    Args:
        recipe: The recipe.
        settings: What is asked for.
        output: The dataset's folder, or a URL.
        format: One of ``FORMATS``.
        shard: Pairs that are packed together, in formats that do so.

    Raises:
        ImageError: there are no images.
        SynthError: a setting that does not fit the recipe.
        UserError: a package is missing, or a store cannot be reached.
    """
    if format not in FORMATS:
        raise SynthError(f"--format {format}: should be {', '.join(FORMATS)}")
    if shard < 1:
        raise SynthError(f"--shard {shard} should be at least 1")
    home = open_home(output)
    FORMATS[format](home).require()
    if settings.patch is not None and (
        settings.patch < recipe.scale or settings.patch % recipe.scale
    ):
        raise SynthError(
            f"--patch {settings.patch} should be a multiple of the scale {recipe.scale}"
        )
    if settings.per_image < 1 or (settings.count is not None and settings.count < 1):
        raise SynthError("--per-image and --count should be at least 1")
    if is_url(settings.input):
        root, names = list_images(settings.input)
        sources = tuple(names)
    elif settings.input:
        # A dataset within its own sources must not become one of them when the run goes on.
        given = local(settings.input) or Path(settings.input)
        files = [
            path
            for path in find_images(given)
            if home.folder.resolve() not in path.resolve().parents
        ]
        if not files:
            raise SynthError(
                f"--input {settings.input}: holds no images but those of --output {output}"
            )
        root = given if given.is_dir() else Path(*_common(files))
        sources = tuple(path.relative_to(root).as_posix() for path in files)
    else:
        files = sample_images()
        root = files[0].parent
        sources = tuple(path.relative_to(root).as_posix() for path in files)
    url = str(output) if is_url(output) else ""
    return Job(
        root,
        sources,
        unique_names(sources),
        home.folder,
        recipe.dump(),
        settings,
        format,
        shard,
        url,
    )


def _common(files: list[Path]) -> tuple[str, ...]:
    """The parts of the folder that holds all files."""
    parts = [path.parent.parts for path in files]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return tuple(shared) if all(list(p[: len(shared)]) == shared for p in parts) else ()


def unique_names(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Sources without their suffix; where two would be the same, with it: ``a/cat_jpg`` and
    ``a/cat_png``.

    Case does not count, since some file systems do not tell it.
    """
    stems = [Path(source).with_suffix("").as_posix() for source in sources]
    often = Counter(stem.lower() for stem in stems)
    taken: set[str] = set()
    names: list[str] = []
    for source, stem in zip(sources, stems, strict=True):
        name = f"{stem}_{Path(source).suffix[1:]}" if often[stem.lower()] > 1 else stem
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names.append(name)
    return tuple(names)
