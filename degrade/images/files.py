"""Image files: found, read, written. A PNG file appears whole or not at all; its bytes follow from
its pixels.

Decoding has its own module, :mod:`degrade.images.decode`, whose names are repeated here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from degrade.images.decode import LIMIT, Image, ImageError, Pixels, image_size, read_image
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
        *(
            ".png",
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".webp",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
            ".gif",
        ),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
    }
)
"""What :func:`find_images` takes for an image, in lower case."""

# --- pixels --------------------------------------------------------------------------------------


# --- files ---------------------------------------------------------------------------------------


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """The images that ``source`` names, sorted by path.

    Args:
        source: A file (taken whatever its suffix), a folder (searched to its leaves), or a glob
            (``**`` for any depth). Hidden files and folders, and files whose suffix is not in
            ``SUFFIXES``, are passed over.

    Raises:
        ImageError: Nothing there, nothing usable there, or a folder that cannot be read.
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
        raise ImageError(
            path, f"no images here, of {len(found)} files; looked for {' '.join(sorted(SUFFIXES))}"
        )
    return sorted(images, key=lambda image: image.as_posix())


def find_sources(source: str | os.PathLike[str]) -> list[Path | str]:
    """The images that a path or a URL names, as paths or URLs; see :func:`find_images` and
    :func:`list_images`.
    """
    if isinstance(source, str) and remote.is_url(source):
        root, names = list_images(source)
        return [remote.join(root, name) for name in names]
    return [*find_images((isinstance(source, str) and remote.local(source)) or source)]


def list_images(url: str) -> tuple[str, list[str]]:
    """As :func:`find_images`, for a URL: that of the folder that holds the images, and their paths
    in it.

    Raises:
        ImageError: Nothing usable there.
        UserError: Nothing there, or a store that cannot be read.
    """
    root, found = remote.list_files(url)
    images = [name for name in found if not any(part.startswith(".") for part in name.split("/"))]
    images = [
        name
        for name in images
        if len(found) == 1 or PurePosixPath(name).suffix.lower() in SUFFIXES
    ]
    if not images:
        raise ImageError(
            url, f"no images here, of {len(found)} files; looked for {' '.join(sorted(SUFFIXES))}"
        )
    return root, images


def _walk(root: Path) -> Iterator[Path]:
    def blame(error: OSError) -> None:
        raise ImageError(error.filename or root, (error.strerror or str(error)).lower()) from None

    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=blame, followlinks=True):
        # Links are followed, so a folder may lie within itself.
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if real not in seen)
        seen.add(real)
