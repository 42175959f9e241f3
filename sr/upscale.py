"""Upscaling of images of any size in tiles; alpha, 16-bit depth and ICC profile are kept.

Results go to the file as they come: memory is that of the LR image and of one row of tiles.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degrade.errors import UserError
from degrade.images.alpha import fill_transparent
from degrade.images.decode import open_header, open_source
from degrade.images.files import Image, ImageError, Pixels, find_images, read_image
from degrade.images.pixels import to_float
from sr.models import Model
from sr.models.interpolation import enlarge
from sr.png import png_writer, software
from sr.tiles import enlarge_parts

__all__ = [
    "Upscaled",
    "find_inputs",
    "is_foreign",
    "result_paths",
    "upscale_file",
    "upscale_image",
    "upscale_rows",
]

# --- images --------------------------------------------------------------------------------------


def upscale_image(model: Model, image: Image, tile: int = 0, overlap: int | None = None) -> Pixels:
    """Return (h scale, w scale, C) pixels of the image's bit depth.

    C is 1 or 3, and 1 more for alpha, which is upscaled bicubically; colour is first extended
    under transparent pixels. Grey is upscaled as RGB and averaged. Arguments as for
    :func:`sr.tiles.enlarge_tiled`.
    """
    return np.concatenate(list(upscale_rows(model, image, tile, overlap)))


@torch.no_grad()
def upscale_rows(
    model: Model, image: Image, tile: int = 0, overlap: int | None = None
) -> Iterator[Pixels]:
    """Yield the rows of :func:`upscale_image`, as many at a time as a row of tiles has."""
    width = image.pixels.shape[1]
    colour = image.pixels
    if image.alpha is not None:
        colour = fill_transparent(colour, image.alpha)
    pixels = torch.as_tensor(to_float(colour)).permute(2, 0, 1)[None].to(model.device)
    lr = pixels.expand(-1, 3, -1, -1)
    grey, depth = pixels.shape[1] == 1, image.pixels.dtype
    alpha = None if image.alpha is None else _Alpha(image.alpha, model.scale)
    band = np.empty((0, 0, 0), depth)
    for y, x, part in enlarge_parts(model, lr, tile, overlap):
        if x == 0:
            band = np.empty((part.shape[-2], width * model.scale, 1 if grey else 3), depth)
        band[:, x : x + part.shape[-1]] = _levels(
            part.mean(1, keepdim=True) if grey else part, depth
        )
        if x + part.shape[-1] == band.shape[1]:
            yield band if alpha is None else np.concatenate([band, alpha.rows(y, len(band))], -1)


class _Alpha:
    """Alpha, enlarged bicubically some rows at a time.

    Args:
        plane: (h, w) levels.
        scale: Integer factor.
    """

    REACH = 2

    def __init__(self, plane: Pixels, scale: int) -> None:
        self.plane, self.scale = plane, scale

    def rows(self, y: int, count: int) -> Pixels:
        """Return (count, w scale, 1) levels from row y of the result on."""
        top, bottom = y // self.scale, (y + count) // self.scale
        begin, end = max(0, top - self.REACH), min(len(self.plane), bottom + self.REACH)
        part = torch.as_tensor(to_float(self.plane[begin:end]))[None, None]
        wide = enlarge(part, self.scale)
        inside = wide[..., (top - begin) * self.scale : (bottom - begin) * self.scale, :]
        return _levels(inside, self.plane.dtype)


def _levels(image: Tensor, depth: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    """(1, C, H, W) in [0, 1] -> (H, W, C), rounded."""
    # On the CPU: not every device has float64.
    scaled = image[0].cpu().clamp(0, 1).double() * np.iinfo(depth).max
    return scaled.round().permute(1, 2, 0).numpy().astype(depth)


# --- files ---------------------------------------------------------------------------------------

MAKER = "sr upscale"
"""What the PNG files begin their note with: results of ours may be written again."""
PROFILE_OF = {1: b"GRAY", 2: b"GRAY", 3: b"RGB ", 4: b"RGB "}
"""Colour space of the ICC profiles that fit, by channels."""


@dataclass(frozen=True)
class Upscaled:
    """What :func:`upscale_file` did.

    Args:
        height: Of the result.
        width: Of the result.
        notes: What was done to the file's own pixels, in words.
    """

    height: int
    width: int
    notes: tuple[str, ...]


def upscale_file(
    model: Model,
    source: Path,
    target: Path,
    tile: int = 0,
    overlap: int | None = None,
    label: str = "",
) -> Upscaled:
    """Upscale an image file to a PNG file, which keeps bit depth, alpha and ICC profile.

    Args:
        model: In eval mode.
        source: Any image file.
        target: Written completely or not at all.
        tile: As for :func:`sr.tiles.enlarge_tiled`.
        overlap: As for :func:`sr.tiles.enlarge_tiled`.
        label: The model's name, noted in the file.

    Raises:
        ImageError: If the source cannot be read.
        OSError: If the target cannot be written.
    """
    image = read_image(source)
    height, width, colours = image.pixels.shape
    channels = colours + (image.alpha is not None)
    profile, notes = _profile(source, channels, image.notes)
    size = height * model.scale, width * model.scale
    depth = 8 * image.pixels.dtype.itemsize
    maker = f"{MAKER}, model {label or 'unnamed'}"
    with png_writer(target, *size, channels, depth, maker, profile) as png:
        for rows in upscale_rows(model, image, tile, overlap):
            png.write(rows)
    return Upscaled(*size, notes)


def _profile(
    source: Path, channels: int, notes: tuple[str, ...]
) -> tuple[bytes | None, tuple[str, ...]]:
    """The file's ICC profile, if it is one of the result's colour space, and the notes."""
    with open_source(source) as (file, name):
        profile: bytes | None = open_header(file, name, None).info.get("icc_profile")
    others = tuple(note for note in notes if "ICC" not in note)
    if not profile:
        return None, others
    space = profile[16:20]
    if space == PROFILE_OF[channels]:
        return profile, (*others, "ICC profile kept")
    named = space.decode("latin-1").strip()
    return None, (*others, f"ICC profile of colour space {named!a} not kept")


def find_inputs(sources: Iterable[Path]) -> tuple[list[tuple[Path, Path]], list[str], int]:
    """Return the images that files, folders and globs name, with their places below the folder
    that was given; what could not be found; and the number of results of ours that are left out.
    """
    found: dict[Path, Path] = {}
    failures: list[str] = []
    left_out = 0
    for source in (source.expanduser() for source in sources):
        try:
            files = find_images(source)
        except ImageError as error:
            failures.append(str(error))
            continue
        for path in files:
            if source.is_dir() and (software(path) or "").startswith(MAKER):
                left_out += 1
            else:
                below = path.relative_to(source) if source.is_dir() else Path(path.name)
                found.setdefault(path, below)
    return list(found.items()), failures, left_out


def result_paths(
    inputs: Sequence[tuple[Path, Path]], output: Path | None, label: str, scale: int
) -> list[Path]:
    """Return where the result of each input goes: ``photo.jpg`` to ``photo_LABEL.png`` in its own
    folder, or below ``output``. Images of one folder that differ only in their suffix keep it.

    >>> inputs = [(Path(f"in/{name}"), Path(name)) for name in ("a/b.png", "a/b.jpg", "c.png")]
    >>> [path.as_posix() for path in result_paths(inputs, Path("out"), "srcnn_x4", 4)]
    ['out/a/b.png_srcnn_x4.png', 'out/a/b.jpg_srcnn_x4.png', 'out/c_srcnn_x4.png']

    Raises:
        UserError: If two would have the same place, images of two folders that is.
    """
    end = label if f"x{scale}" in label.lower() else f"{label}_x{scale}"
    places = [path.parent if output is None else output / below.parent for path, below in inputs]
    short = [place / path.stem for place, (path, _) in zip(places, inputs, strict=True)]
    doubled = Counter(short)
    targets = [
        place / f"{path.stem if doubled[name] == 1 else path.name}_{end}.png"
        for name, place, (path, _) in zip(short, places, inputs, strict=True)
    ]
    if twice := [str(target) for target, count in Counter(targets).items() if count > 1]:
        raise UserError(
            f"{', '.join(twice)}: would be written twice; leave out --output, or run once for "
            "each folder"
        )
    return targets


def is_foreign(path: Path) -> bool:
    """Whether a file exists that is no result of ours, so that it must not be replaced."""
    return os.path.lexists(path) and not (software(path) or "").startswith(MAKER)
