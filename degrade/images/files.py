"""Find image files by path, folder, glob or URL.

The names that a reader of images needs besides are repeated here: :func:`read_image`,
:func:`image_size` and the types of :mod:`degrade.images.image`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from degrade.images.decode import image_size, read_image
from degrade.images.image import Image, ImageError, Pixels
from degrade.limits import LIMIT
from degrade.storage import remote

__all__ = [
    "LIMIT",
    "SUFFIXES",
    "Image",
    "ImageError",
    "Pixels",
    "find_images",
    "find_sources",
    "image_size",
    "list_images",
    "read_image",
]

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
        *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
    }
)
"""The suffixes of image files, in lower case."""


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """Return the images that ``source`` names, sorted by path.

    Args:
        source: A file (whatever its suffix), a folder (searched recursively), or a glob (``**``
            for any depth). Hidden files and folders, and files whose suffix is not in
            ``SUFFIXES``, are skipped.

    Raises:
        ImageError: It does not exist, holds no images, or is a folder that cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(_walk(path))
    elif has_magic(str(path)):
        found = [Path(match) for match in glob(str(path), recursive=True) if os.path.isfile(match)]
    else:
        raise ImageError(path, "does not exist")
    images = [
        file for file in found if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if not images:
        raise _no_images(path, len(found))
    return sorted(images, key=lambda image: image.as_posix())


def find_sources(source: str | os.PathLike[str]) -> list[Path | str]:
    """Return the images that a path or a URL names, as paths or URLs.

    Raises:
        ImageError: As :func:`find_images` and :func:`list_images`.
        UserError: A store that cannot be read.
    """
    if isinstance(source, str) and remote.is_url(source):
        root, names = list_images(source)
        return [remote.join(root, name) for name in names]
    return [*find_images((isinstance(source, str) and remote.local(source)) or source)]


def list_images(url: str) -> tuple[str, list[str]]:
    """As :func:`find_images`, for a URL.

    Returns:
        The URL of the folder that holds the images, and their paths relative to it.

    Raises:
        ImageError: No images there.
        UserError: It does not exist, or the store cannot be read.
    """
    root, found = remote.list_files(url)
    visible = [name for name in found if not any(part.startswith(".") for part in name.split("/"))]
    images = [
        name
        for name in visible
        if len(found) == 1 or PurePosixPath(name).suffix.lower() in SUFFIXES
    ]
    if not images:
        raise _no_images(url, len(found))
    return root, images


def _no_images(place: str | Path, count: int) -> ImageError:
    suffixes = " ".join(sorted(SUFFIXES))
    return ImageError(place, f"no images here, of {count} files; looked for {suffixes}")


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ImageError(error.filename or root, (error.strerror or str(error)).lower()) from None

    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        # Links are followed, so a folder may lie within itself.
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if real not in seen)
        seen.add(real)
