"""Examples to evaluate on: HR images with the LR images that a recipe makes, pairs on disk, or LR
images without ground truth.

Images are read when they are asked for, so a set of any size takes the memory of one image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, overload

from torch import Tensor

from degrade.data.paired_folder import PairedFolder
from degrade.data.readers import open_raw, recipe_file
from degrade.errors import UserError
from degrade.images.files import (
    SUFFIXES,
    ImageError,
    check_hr,
    find_images,
    image_size,
    read_image,
)
from degrade.images.pixels import to_tensor
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.names import escape
from sr.metrics.base import Window

__all__ = [
    "LR_ONLY",
    "PAIRS",
    "SAMPLES",
    "Example",
    "Examples",
    "Target",
    "hr_images",
    "load_examples",
    "relative_names",
]

PAIRS = "pairs:"
"""Prefix of the folder of pairs on disk."""
LR_ONLY = "lr:"
"""Prefix of a folder of LR images without ground truth."""
SAMPLES = "samples"
"""The sample photographs, instead of a folder."""
SAMPLE_CROP = 192
"""Side of the centre crop of a sample photograph."""
SSIM_WINDOW = 11
"""Smallest side that SSIM measures."""
LISTED = 20
"""Most files that an error names."""

Target = Literal["raw", "recipe"]
"""What SR is compared with: the HR image as it was, or the recipe's target (sharpened, say)."""
HR = Literal["raw", "recipe", "files"]
"""What the HR images of a set are: those of :data:`Target`, or the HR files of pairs."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image to evaluate on.

    Args:
        name: Relative path with suffix, unique in its set.
        lr: LR image (1, 3, h, w) in [0, 1].
        truth: HR image (1, 3, h scale, w scale); None if there is none.
        grey: Whether the HR file is grey, so that it is measured on its own values.
    """

    name: str
    lr: Tensor
    truth: Tensor | None = None
    grey: bool = False

    @property
    def hr(self) -> Tensor:
        """The HR image. Raises UserError if there is none."""
        if self.truth is None:
            raise UserError(f"{self.name}: has no HR image")
        return self.truth


class Examples(Sequence[Example]):
    """A set to evaluate on, read image by image.

    Args:
        names: Name of each example.
        read: Reads example i; raises UserError.
        recipe: What makes the LR images; None for those on disk.
        target: What the HR images are; None without ground truth.
        notes: What was found about the set, in words.
    """

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[int], Example],
        recipe: Recipe | None = None,
        target: HR | None = "raw",
        notes: Sequence[str] = (),
    ) -> None:
        self.names, self.read = tuple(names), read
        self.recipe, self.target, self.notes = recipe, target, tuple(notes)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> list[Example]: ...
    def __getitem__(self, i: int | slice) -> Example | list[Example]:
        if isinstance(i, slice):
            return [self.read(n) for n in range(len(self))[i]]
        return self.read(range(len(self))[i])

    def __iter__(self) -> Iterator[Example]:
        return (self.read(i) for i in range(len(self)))


def load_examples(
    source: str | Path,
    recipe: Recipe | None,
    seed: int = 0,
    target: Target = "raw",
    window: Window = (SSIM_WINDOW, SSIM_WINDOW),
    scale: int | None = None,
) -> Examples:
    """Find the images of a set.

    Args:
        source: HR images, image i degraded with key (seed, i); ``samples`` for the centre crop of
            each sample photograph; ``pairs:DIR`` for pairs on disk; or ``lr:DIR`` for LR images.
        recipe: Makes the LR images; None only for pairs and LR images.
        seed: Seed of the keys.
        target: Whether HR is the image as it was or the recipe's target. Of pairs that
            ``degrade synth --keep-raw`` made, whether HR is the image in ``hr_raw`` or in ``hr``.
        window: Smallest shorter and longer side that the metrics can measure, after shaving off
            the scale.
        scale: That pairs must have; None: any. Of LR images, with it, the results' sizes are
            checked.

    Raises:
        UserError: No images, no recipe, pairs of another scale, or images that are too small, all
            of them by name.
    """
    text = str(source)
    if text.startswith(PAIRS):
        return _paired(text.removeprefix(PAIRS), window, scale, target)
    if text.startswith(LR_ONLY):
        return _unpaired(text.removeprefix(LR_ONLY), window, scale)
    if recipe is None:
        raise UserError(
            f"--val {source}: a run on pairs has no recipe, so it is validated on pairs; "
            f"give --val {PAIRS}DIR"
        )
    return _degraded(text, recipe, seed, target, window)


# --- HR images and a recipe ----------------------------------------------------------------------


def _degraded(source: str, recipe: Recipe, seed: int, target: Target, window: Window) -> Examples:
    samples = source == SAMPLES
    files = sample_images() if samples else hr_images(source)
    names = [path.name for path in files] if samples else relative_names(source, files)
    if not samples:
        _check_sizes([(str(path), _size(path)) for path in files], recipe.scale, window)

    def read(i: int) -> Example:
        pixels = read_image(files[i]).pixels
        image = to_tensor(pixels)
        if samples:
            image = _center_crop(image, SAMPLE_CROP)
        hr = recipe.crop(image.expand(3, -1, -1)[None])
        pair = recipe.apply(hr, recipe.plan(Key.of(seed, i)))
        truth = pair.hr_raw if target == "raw" else pair.hr
        return Example(names[i], pair.lr, truth, grey=pixels.shape[-1] == 1)

    return Examples(names, read, recipe, target, _left_out(source) if not samples else ())


def hr_images(source: str | Path) -> list[Path]:
    """Return the HR images of a folder: all but the ``X_LR`` that lie beside an ``X_HR``."""
    files = find_images(source)
    check_hr(files)
    high = {path.with_name(path.stem.removesuffix("_HR")) for path in files if _is_hr(path)}
    return [path for path in files if _lr_partner(path) not in high]


def _left_out(source: str | Path) -> list[str]:
    count = len(find_images(source)) - len(hr_images(source))
    return [f"{count} files X_LR beside X_HR are left out"] if count else []


def _is_hr(path: Path) -> bool:
    return path.stem.endswith("_HR")


def _lr_partner(path: Path) -> Path | None:
    """``a/X`` of ``a/X_LR.png`` or ``a/X_LR4.png``; None for other files."""
    match = re.fullmatch(r"(.+)_LR(x?\d)?", path.stem)
    return path.with_name(match[1]) if match else None


def relative_names(source: str | Path, files: Sequence[Path]) -> list[str]:
    """Return the files' paths as text, relative to the folder given, or to that common to all."""
    root = Path(source).expanduser()
    if not root.is_dir():
        root = Path(os.path.commonpath([path.parent for path in files]))
    return [escape(path.relative_to(root).as_posix()) for path in files]


def _center_crop(image: Tensor, side: int) -> Tensor:
    top, left = ((size - side) // 2 for size in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


# --- images on disk ------------------------------------------------------------------------------


def _paired(root: str, window: Window, scale: int | None, target: Target) -> Examples:
    try:
        folder = PairedFolder(root)
        raw = open_raw(root) if target == "raw" else None
    except ValueError as error:
        raise UserError(str(error)) from None
    if scale is not None and folder.scale != scale:
        raise UserError(
            f"{PAIRS}{root}: its pairs are x{folder.scale}, not x{scale}; "
            f"give --scale {folder.scale} and models of this scale, or other pairs"
        )
    kind, notes = _hr_of_pairs(root, target, raw is not None)
    reader = raw or folder.reader
    labels = [reader.label(i) for i in range(len(folder))]
    names = [_with_suffix(name, label) for name, label in zip(reader.names, labels, strict=True)]
    sizes: list[tuple[str, tuple[int, int] | None]] = []
    for i, label in enumerate(labels):
        file = reader.read(i)[1]
        sizes.append((label, None if isinstance(file, str) else _size(file)))
    _check_sizes(sizes, folder.scale, window)

    def read(i: int) -> Example:
        lr, hr = (_decoded(file, labels[i]) for file in reader.read(i))
        wanted = [size * folder.scale for size in lr.shape[-2:]]
        if list(hr.shape[-2:]) != wanted:
            raise ImageError(
                labels[i], f"HR is {list(hr.shape[-2:])}; at x{folder.scale} it should be {wanted}"
            )
        planes = (image.expand(3, -1, -1)[None] for image in (lr, hr))
        return Example(names[i], *planes, grey=len(hr) == 1)

    return Examples(names, read, target=kind, notes=notes)


def _hr_of_pairs(root: str, target: Target, kept: bool) -> tuple[HR, list[str]]:
    """What the HR images of pairs are, and what there is to say about them. A recipe that lies
    there may have sharpened them, unless those as they were are kept and read.
    """
    if kept:
        return "raw", []
    file = recipe_file(root)
    if file is None:
        return "files", []
    try:
        recipe = Recipe.load(file)
    except UserError as error:  # such as of an operator that is not imported
        return "files", [f"{file}: not read, so it may have sharpened HR: {error}"]
    if not recipe.hr.nodes:
        return "raw", []
    said = [f"HR is the target of the recipe {recipe.name}; it is not as it was"]
    return "recipe", said if target == "raw" else []


def _decoded(file: Path | str | bytes, label: str) -> Tensor:
    """(C, h, w) of a file or of its bytes, whose errors name where they are stored."""
    try:
        return to_tensor(read_image(file))
    except ImageError as error:
        if not isinstance(file, bytes):
            raise
        raise ImageError(label, error.reason) from None


def _with_suffix(name: str, label: str) -> str:
    """The name of a pair with its HR file's suffix, which databases do not know."""
    suffix = PurePosixPath(label).suffix
    known = suffix.lower() in SUFFIXES and not name.endswith(suffix)
    return escape(name + suffix if known else name)


def _unpaired(source: str, window: Window, scale: int | None) -> Examples:
    files = find_images(source)
    if scale is not None:
        sizes = [(str(path), _size(path)) for path in files]
        _check_sizes([(name, size and _times(size, scale)) for name, size in sizes], scale, window)
    names = relative_names(source, files)

    def read(i: int) -> Example:
        pixels = read_image(files[i]).pixels
        lr = to_tensor(pixels).expand(3, -1, -1)[None]
        return Example(names[i], lr, None, grey=pixels.shape[-1] == 1)

    return Examples(names, read, target=None)


# --- sizes ---------------------------------------------------------------------------------------


def _size(file: Path | bytes) -> tuple[int, int] | None:
    """Height and width; None for a file that cannot be read, which is said when it is read."""
    try:
        return image_size(file)
    except ImageError:
        return None


def _times(size: tuple[int, int], scale: int) -> tuple[int, int]:
    return size[0] * scale, size[1] * scale


def _check_sizes(
    sizes: Sequence[tuple[str, tuple[int, int] | None]], scale: int, window: Window
) -> None:
    """Raises UserError that names all images of which too little remains. Sizes are those of HR
    or SR.
    """
    shorter, longer = (-(-max(scale, side + 2 * scale) // scale) * scale for side in window)
    small = [
        f"{label}: {size[1]} x {size[0]} pixels"
        for label, size in sizes
        if size is not None and (min(size) < shorter or max(size) < longer)
    ]
    if not small:
        return
    more = [f"and {len(small) - LISTED} more"] if len(small) > LISTED else []
    least = f"{shorter}" if shorter == longer else f"{shorter} and one {longer}"
    seen = f"{window[0]}" if window[0] == window[1] else f"{window[0]} x {window[1]}"
    raise UserError(
        "\n".join([*small[:LISTED], *more])
        + f"\nto be measured at x{scale}, each side must be at least {least} pixels "
        f"(a window of {seen}, and {scale} shaved off each side); leave out these images"
    )
