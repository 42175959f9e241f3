"""Offline synthesis: HR images in, a paired dataset out, each pair replayable from its row of the manifest.

The folder that a run leaves::

    hr/NAME.png  lr/NAME.png   the pairs; HR is exactly scale times LR
    manifest.csv               a row a pair: key, source, crop, sizes, SHA-256 of both files, what was drawn
    recipe.yaml                the resolved recipe
    synth.json                 recipe hash, settings and package versions
    skipped.csv                images that could not be used, and why
    contact_sheet.png          a few pairs to look at

A pair is a pure function of (recipe, seed, index, source image). A file gets its final name only when it is whole, and
its row is written after it; so a run that is killed goes on where it stopped and ends with the same bytes. Nothing
that the run did not write is overwritten or deleted.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from degrade.images import ImageError, encode_png, find_images, read_image, sha256, to_uint8
from degrade.manifest import Manifest, Row, SynthError
from degrade.patches import channel_notes, crop, in_channels, reflected
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.samples import sample_images

__all__ = [
    "Images",
    "Job",
    "Loaded",
    "Report",
    "Settings",
    "SynthError",
    "as_pixels",
    "degrade_crops",
    "describe_pair",
    "encode",
    "load_crop",
    "load_settings",
    "prepare",
    "synthesize",
]

PACKAGES = ("degrade", "numpy", "torch", "kornia", "opencv-python-headless", "scipy", "pillow", "albumentations")


@dataclass(frozen=True)
class Settings:
    """What a run was asked for; a resumed run must ask for the same.

    Args:
        input: Folder, file or glob of HR images; empty for the built-in samples.
        patch: Side of HR patches; None for whole images.
        per_image: Pairs made of each image.
        count: Stop after this many pairs.
        seed: With a pair's index, its key.
        small: What to do with images smaller than the patch (or than the scale): mirror them up, or skip them.
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
        root: What sources are relative to.
        sources: The HR images, relative to ``root``.
        names: Name of each source in the dataset, without suffix.
        output: The dataset's folder.
        recipe: The recipe as data.
        settings: What the run was asked for.
    """

    root: Path
    sources: tuple[str, ...]
    names: tuple[str, ...]
    output: Path
    recipe: dict[str, Any]
    settings: Settings

    @property
    def total(self) -> int:
        """How many pairs there are to make."""
        every = len(self.sources) * self.settings.per_image
        return every if self.settings.count is None else min(every, self.settings.count)

    def name(self, index: int) -> str:
        """A pair's name: the source's, and its number where a source gives several."""
        name = self.names[index % len(self.names)]
        return name if self.settings.per_image == 1 else f"{name}_s{index // len(self.names) + 1:03d}"


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


# --- one pair --------------------------------------------------------------------------------------------------------


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


def load_crop(path: Path, settings: Settings, scale: int, index: int) -> Loaded:
    """Reads a source and cuts what pair ``index`` uses. Raises ImageError."""
    image = read_image(path)
    pixels, notes = in_channels(image, 3), channel_notes(image, 3)
    alpha = to_uint8(image.alpha) if image.alpha is not None and settings.alpha == "keep" else None
    if alpha is not None:
        notes = "; ".join(note for note in notes.split("; ") if note != "alpha dropped")
    height, width = pixels.shape[:2]
    least = settings.patch or scale
    if min(height, width) < least:
        if settings.small == "skip":
            raise TooSmallError(path, f"{width} x {height} pixels, smaller than {least}")
        notes = "; ".join(filter(None, [notes, f"mirrored up from {width} x {height}"]))
        pixels = reflected(pixels, least)
        alpha = None if alpha is None else reflected(alpha[:, :, None], least)[:, :, 0]
        height, width = pixels.shape[:2]
    if settings.patch is None:
        top, left, height, width = 0, 0, height // scale * scale, width // scale * scale
        cut = pixels[:height, :width]
        alpha = None if alpha is None else alpha[:height, :width]
    else:
        y, x = Key.of(settings.seed, index).uniforms(("crop.y", "crop.x"))[0]
        cut = crop(pixels, settings.patch, y, x)
        alpha = None if alpha is None else crop(alpha[:, :, None], settings.patch, y, x)[:, :, 0]
        top, left = int(y * (height - settings.patch + 1)), int(x * (width - settings.patch + 1))
        height = width = settings.patch
    return Loaded(cut.copy(), alpha, (top, left, height, width), notes)


Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""HR and LR pixels, (h, w, 3) or, where alpha is kept, (h, w, 4)."""


def degrade_crops(crops: Sequence[Loaded], recipe: Recipe, plan: Plan, device: str = "cpu") -> list[Images]:
    """Pairs of HR crops of one size, one a row of the plan."""
    hr = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
    pair = recipe.apply(hr.to(device), plan)
    whole = zip(crops, as_pixels(pair.hr), as_pixels(pair.lr), strict=True)
    return [(with_alpha(hr, crop.alpha), with_alpha(lr, crop.alpha)) for crop, hr, lr in whole]


def as_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """(B, C, h, w) in [0, 1] -> (B, h, w, C) uint8."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


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


def describe_pair(job: Job, recipe: Recipe, index: int, loaded: Loaded, plan: Plan, hr: bytes, lr: bytes) -> Row:
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


# --- a run -----------------------------------------------------------------------------------------------------------


def prepare(recipe: Recipe, settings: Settings, output: Path) -> Job:
    """Finds the sources and names the pairs.

    Raises:
        ImageError: there are no images.
        SynthError: a setting that does not fit the recipe.
    """
    if settings.patch is not None and (settings.patch < recipe.scale or settings.patch % recipe.scale):
        raise SynthError(f"--patch {settings.patch} should be a multiple of the scale {recipe.scale}")
    if settings.per_image < 1 or (settings.count is not None and settings.count < 1):
        raise SynthError("--per-image and --count should be at least 1")
    if settings.input:
        # A dataset within its own sources must not become one of them when the run goes on.
        files = [path for path in find_images(settings.input) if output.resolve() not in path.resolve().parents]
        if not files:
            raise SynthError(f"--input {settings.input}: holds no images but those of --output {output}")
        given = Path(settings.input)
        root = given if given.is_dir() else Path(*_common(files))
    else:
        files = sample_images()
        root = files[0].parent
    sources = tuple(path.relative_to(root).as_posix() for path in files)
    return Job(root, sources, unique_names(sources), output, recipe.dump(), settings)


def _common(files: list[Path]) -> tuple[str, ...]:
    """The parts of the folder that holds all files."""
    parts = [path.parent.parts for path in files]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return tuple(shared) if all(list(p[: len(shared)]) == shared for p in parts) else ()


def unique_names(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Sources without their suffix; where two would be the same, with it: ``a/cat_jpg`` and ``a/cat_png``.

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


def versions() -> dict[str, str]:
    """What made the dataset."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def describe(job: Job, recipe: Recipe) -> dict[str, Any]:
    """What ``synth.json`` holds; all of it but the versions must be the same for a run to go on."""
    return {
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "root": str(job.root.resolve()),
        "sources": sha256(json.dumps(job.sources).encode()),
        "pairs": job.total,
        **asdict(job.settings),
    }


def load_settings(folder: Path, recipe: Recipe) -> tuple[Path, Settings]:
    """Where a dataset's sources were, and what it was asked for. Raises SynthError."""
    path = folder / "synth.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        settings = TypeAdapter(Settings).validate_python({name: said[name] for name in Settings.__dataclass_fields__})
        root, digest = Path(said["root"]), said["recipe_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthError(f"{path}: is not what degrade synth writes: {error}") from None
    if digest != recipe.hash:
        raise SynthError(f"{folder / 'recipe.yaml'}: is not the recipe that made this dataset ({digest[:12]})")
    return root, settings


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
        results: An engine: makes and writes the pairs of some indices, in any order, and yields their rows.
        progress: Called with pairs done, pairs in all and the last name.

    Raises:
        SynthError: the folder holds something else, another process works there, or nothing was usable.
        OSError: the disk is full or the folder cannot be written.
    """
    report = Report()
    with Manifest.open(job.output, recipe, describe(job, recipe), versions()) as manifest:
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
            else:
                manifest.add(result)
                report.made += 1
            progress(finished, job.total, job.name(index))
        manifest.finish()
    if report.made + report.kept == 0:
        reasons = "\n".join(f"  {path}: {reason}" for path, reason in report.skipped[:5])
        raise SynthError(f"no pair could be made; all {len(report.skipped)} sources were skipped:\n{reasons}")
    return report
