"""Tiles of large images, cut once: a patch of a 2K image costs the decoding of the whole image,
one of its tiles a twentieth.

.. math:: y_k = \\min(k s, H - n), \\quad k = 0, 1, .., \\lceil (H - n) / s \\rceil

for tiles of side n at steps s, likewise for x: the last tile ends with the image. Tiles that
overlap by half, as BasicSR's, hold every patch of up to n - s whole.

References:
    BasicSR ``scripts/data_preparation/extract_subimages.py``: side 480, step 240.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from degrade.errors import UserError
from degrade.images.files import ImageError, check_hr, find_images, read_image
from degrade.images.pixels import encode_png
from degrade.storage.files import place

__all__ = ["cut_tiles", "starts"]


def starts(size: int, side: int, step: int) -> list[int]:
    """Return where tiles of ``side`` begin along an axis of ``size`` pixels.

    >>> starts(1000, 480, 240), starts(300, 480, 240)
    ([0, 240, 480, 520], [0])
    """
    if size <= side:
        return [0]
    return [*range(0, size - side, step), size - side]


def cut_tiles(
    sources: Iterable[str | Path],
    output: Path,
    side: int = 480,
    step: int | None = None,
    workers: int = 1,
    on_image: Callable[[int, int, str], None] | None = None,
) -> tuple[int, list[tuple[str, str]]]:
    """Write ``NAME_s001.png``, .. of every image into a folder, which keeps the subfolders.

    Pixels are those of the image, upright, of its depth and channels. Tiles that are there already
    are kept if they are equal, so that a run that was stopped goes on.

    Args:
        sources: Folders, files or globs.
        output: The folder.
        side: Side of a tile in pixels; smaller images are one tile.
        step: Pixels from one tile to the next; by default half the side.
        workers: Threads.
        on_image: Called with the number of images done, of all, and the last name.

    Returns:
        The number of tiles, and the images that could not be read with their reasons.

    Raises:
        UserError: A setting is out of range, two images have one name, or a file in the folder
            is another's.
    """
    step = side // 2 if step is None else step
    if side < 1 or not 1 <= step <= side:
        raise UserError(f"side {side}, step {step}: should be 1 <= step <= side")
    files = _named(sources)
    skipped: list[tuple[str, str]] = []
    count = 0

    def cut(job: tuple[str, Path]) -> int | tuple[str, str]:
        name, path = job
        try:
            pixels = read_image(path).pixels
        except ImageError as error:
            return str(path), error.reason
        height, width = pixels.shape[:2]
        corners = [(y, x) for y in starts(height, side, step) for x in starts(width, side, step)]
        for number, (y, x) in enumerate(corners, 1):
            tile = pixels[y : y + side, x : x + side].copy()
            place(output / f"{name}_s{number:03d}.png", encode_png(tile))
        return len(corners)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, (job, result) in enumerate(zip(files, pool.map(cut, files), strict=True), 1):
            if isinstance(result, int):
                count += result
            else:
                skipped.append(result)
            if on_image is not None:
                on_image(done, len(files), job[0])
    return count, skipped


def _named(sources: Iterable[str | Path]) -> list[tuple[str, Path]]:
    """Every image with its name: its path below the source, without suffix."""
    named: dict[str, Path] = {}
    for source in sources:
        root = Path(source)
        images = find_images(source)
        check_hr(images)
        for path in images:
            inside = path.relative_to(root) if root.is_dir() else Path(path.name)
            name = inside.with_suffix("").as_posix()
            if name in named:
                raise UserError(
                    f"{named[name]} and {path}: their tiles would have one name; rename one"
                )
            named[name] = path
    return list(named.items())
