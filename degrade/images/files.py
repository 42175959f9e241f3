"""Find image files by path, folder, glob or URL.

The names that a reader of images needs besides are repeated here: :func:`read_image`,
:func:`image_size` and the types of :mod:`degrade.images.image`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from degrade.images.decode import image_size, open_source, read_image
from degrade.images.image import Image, ImageError, Pixels
from degrade.images.search import (
    DATASET,
    SUFFIXES,
    Pattern,
    Search,
    is_dataset,
    passed_over,
    refused_format,
    summary,
)
from degrade.limits import LIMIT
from degrade.storage import remote
from degrade.storage.destination import RECORDS
from degrade.storage.names import escape, unescape

__all__ = [
    "LIMIT",
    "SUFFIXES",
    "Image",
    "ImageError",
    "Pixels",
    "check_hr",
    "find_images",
    "find_sources",
    "image_size",
    "list_images",
    "read_image",
    "search_images",
    "without",
]

_log = logging.getLogger(__name__)
_LR = {"lr": "hr", "lq": "gt or hq"}
"""The folders of LR images in a dataset, each with those of its HR images."""
MAX_LIST_BYTES = 2**28
"""Most bytes of a list of images."""


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
    if path == pattern.folder and is_dataset(os.listdir(path)):
        raise _dataset(path, os.listdir(path))
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


def find_sources(
    source: str | os.PathLike[str], exclude: str | os.PathLike[str] | None = None
) -> list[Path | str]:
    """Return the images that a path or a URL names, as paths or URLs.

    Args:
        source: A file, a folder, a glob or a URL.
        exclude: A list of images to leave out; see :func:`without`.

    Raises:
        ImageError: As :func:`find_images`, :func:`list_images` and :func:`without`.
        UserError: A store that cannot be read.
    """
    if isinstance(source, str) and remote.is_url(source):
        root, names, skipped = list_images(source)
        for line in summary(skipped):
            _log.warning("%s: passed over %s", source, line)
        sources: list[Path | str] = [remote.join(root, name) for name in without(names, exclude)]
        check_hr(sources)
        return sources
    path = Path((isinstance(source, str) and remote.local(source)) or source).expanduser()
    images = find_images(path)
    folder = path if path.is_dir() else Path(os.path.commonpath([p.parent for p in images]))
    kept = without([image.relative_to(folder).as_posix() for image in images], exclude)
    sources = [folder / name for name in kept]
    check_hr(sources)
    return sources


def check_hr(images: Sequence[Path | str]) -> None:
    """Check that images to degrade are not the LR images of a dataset of ``degrade synth``.

    Args:
        images: Paths or URLs.

    Raises:
        ImageError: One of them is, by its folder.
        UserError: A store that cannot be read.
    """
    urls = {image.rpartition("/")[0] for image in images if isinstance(image, str)}
    folders = {image.parent for image in images if isinstance(image, Path)}
    for folder in sorted(urls | {folder.resolve().as_posix() for folder in folders}):
        for dataset, part in _splits(folder):
            if part in _LR and all(_is_file(dataset, name) for name in RECORDS):
                raise ImageError(
                    folder,
                    f"holds the LR images of {DATASET}; its HR images are in {_LR[part]} beside"
                    f" them, its pairs are pairs:{dataset} in sr",
                )


def _splits(folder: str) -> list[tuple[str, str]]:
    """Return each folder above a path or URL, with the name of the one within that leads there.

    >>> _splits("zip://out/lr::a.zip")
    [('zip://::a.zip', 'out'), ('zip://out::a.zip', 'lr')]
    """
    start = folder.find("://") + len("://") if remote.is_url(folder) else 0
    end = folder.find("::") if start and "::" in folder else len(folder)
    parts = folder[start:end].split("/")
    above = ["/".join(parts[:i]) for i in range(len(parts))]
    return [
        (f"{folder[:start]}{path}{folder[end:]}", part)
        for path, part in zip(above, parts, strict=True)
    ]


def _is_file(folder: str, name: str) -> bool:
    if remote.is_url(folder):
        return remote.is_file(remote.join(folder, name))
    return os.path.isfile(os.path.join(folder, name))


def without(names: Sequence[str], exclude: str | os.PathLike[str] | None) -> list[str]:
    """Leave out the images that a list names, as ``degrade doctor --exclude`` writes it.

    Args:
        names: Paths of images, relative to the folder that is searched.
        exclude: A text file of such paths, one a line, as :func:`degrade.storage.names.escape`
            writes them; None to keep all.

    Raises:
        ImageError: The list cannot be read, or names none of the images, or all of them.
    """
    if exclude is None:
        return [*names]
    with open_source(os.fspath(exclude)) as (file, list_name):
        data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES or b"\0" in data:
        raise ImageError(list_name, "is not a list of images, one a line")
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    excluded = {unescape(line) for line in lines if line}
    kept = [name for name in names if name not in excluded]
    if excluded and len(kept) == len(names):
        raise ImageError(
            list_name,
            f"names none of the {len(names)} images, such as {escape(names[0])}; "
            "paths in it are relative to the folder of images",
        )
    if not kept:
        raise ImageError(list_name, f"names all {len(names)} images")
    return kept


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
    datasets = {
        folder
        for folder in {name.rpartition("/")[0] for name in found if name.endswith(RECORDS[0])}
        if is_dataset(name.removeprefix(f"{folder}/") for name in found)
    }
    if "" in datasets:
        raise _dataset(url, {name.partition("/")[0] for name in found})
    for folder in datasets:
        found = [name for name in found if not name.startswith(f"{folder}/")]
    images: list[str] = []
    skipped = dict.fromkeys(datasets, DATASET)
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


def _dataset(place: str | Path, names: Iterable[str]) -> ImageError:
    high = [name for name in names if name in ("hr", "gt", "hq")]
    remedy = f"; its HR images are in {high[0]}" if high else ""
    return ImageError(
        place,
        f"is {DATASET}, not a folder of HR images{remedy}; its pairs are pairs:{place} in sr",
    )


def _no_images(place: str | Path, count: int, skipped: Mapping[str, str]) -> ImageError:
    others = "".join(f"; passed over {line}" for line in summary(skipped))
    suffixes = " ".join(sorted(SUFFIXES))
    return ImageError(place, f"no images here, of {count} files; looked for {suffixes}{others}")
