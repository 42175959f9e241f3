"""Find image files by path, folder, glob or URL.

The names that a reader of images needs besides are repeated here: :func:`read_image`,
:func:`image_size` and the types of :mod:`degrade.images.image`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from degrade.images.decode import image_size, read_image
from degrade.images.image import Image, ImageError, Pixels
from degrade.images.search import (
    SUFFIXES,
    Pattern,
    Search,
    passed_over,
    refused_format,
    summary,
)
from degrade.limits import LIMIT
from degrade.storage import remote
from degrade.storage.names import escape

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
    "search_images",
]

_log = logging.getLogger(__name__)


def search_images(source: str | os.PathLike[str]) -> tuple[list[Path], dict[str, str]]:
    """Return the images that ``source`` names, and what was passed over.

    Args:
        source: A file (whatever its suffix), a folder (searched recursively), or a glob (``**``
            for any depth); see :mod:`degrade.images.search`.

    Returns:
        The images, sorted by path; and the reason for each image of another format and each
        folder that was not searched, by path.

    Raises:
        ImageError: It does not exist, holds no images, or is a folder that cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path], {}
    pattern = Pattern(path) if path.is_dir() else Pattern.of(path)
    if pattern is None or not pattern.folder.is_dir():
        raise ImageError(path, "does not exist")
    try:
        found = Search(pattern)
    except OSError as error:
        raise ImageError(pattern.folder, (error.strerror or str(error)).lower()) from None
    if not found.images:
        raise _no_images(path, found.files, found.skipped)
    return found.images, found.skipped


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """As :func:`search_images`; what was passed over is logged."""
    images, skipped = search_images(source)
    for line in summary(skipped):
        _log.warning("%s: passed over %s", escape(os.fspath(source)), line)
    return images


def find_sources(source: str | os.PathLike[str]) -> list[Path | str]:
    """Return the images that a path or a URL names, as paths or URLs.

    Raises:
        ImageError: As :func:`find_images` and :func:`list_images`.
        UserError: A store that cannot be read.
    """
    if isinstance(source, str) and remote.is_url(source):
        root, names, skipped = list_images(source)
        for line in summary(skipped):
            _log.warning("%s: passed over %s", source, line)
        return [remote.join(root, name) for name in names]
    return [*find_images((isinstance(source, str) and remote.local(source)) or source)]


def list_images(url: str) -> tuple[str, list[str], dict[str, str]]:
    """As :func:`search_images`, for a URL.

    Returns:
        The URL of the folder that holds the images; their paths relative to it; and the reason for
        each image of another format, by such a path.

    Raises:
        ImageError: No images there.
        UserError: It does not exist, or the store cannot be read.
    """
    root, found = remote.list_files(url)
    images: list[str] = []
    skipped: dict[str, str] = {}
    for name in found:
        *folders, file = name.split("/")
        if file.startswith(".") or any(part.startswith(".") for part in folders):
            continue
        if any(map(passed_over, folders)):
            continue
        if len(found) == 1 or PurePosixPath(file).suffix.lower() in SUFFIXES:
            images.append(name)
        elif reason := refused_format(file):
            skipped[name] = reason
    if not images:
        raise _no_images(url, len(found), skipped)
    return root, images, skipped


def _no_images(place: str | Path, count: int, skipped: Mapping[str, str]) -> ImageError:
    others = "".join(f"; passed over {line}" for line in summary(skipped))
    suffixes = " ".join(sorted(SUFFIXES))
    return ImageError(place, f"no images here, of {count} files; looked for {suffixes}{others}")
