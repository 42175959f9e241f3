"""Pairs in two folders, ``hr/NAME.png`` and ``lr/NAME.png``, on this disk or under a URL."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from degrade.data.readers.base import EncodedImage, name_order, shortened
from degrade.images.files import find_images, list_images
from degrade.storage.remote import join

__all__ = ["FolderReader", "UrlFolderReader", "match_pairs"]


class FolderReader:
    """Files of the same relative path and stem in two folders.

    Args:
        low: The LR folder.
        high: The HR folder.

    Raises:
        ValueError: files without a partner, which it names.
    """

    def __init__(self, low: Path, high: Path) -> None:
        self.files = match_pairs(low, high)
        self.names = [path.relative_to(high).with_suffix("").as_posix() for _, path in self.files]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        return self.files[i]

    def label(self, i: int) -> str:
        return str(self.files[i][1])


class UrlFolderReader:
    """As :class:`FolderReader`, under a URL; images are downloaded one by one.

    Args:
        root: The URL of both folders.
        sides: The names of the LR and of the HR folder.

    Raises:
        ValueError: files without a partner, which it names.
    """

    def __init__(self, root: str, sides: tuple[str, str]) -> None:
        low, high = (_urls_by_stem(join(root, side)) for side in sides)
        unmatched = low.keys() ^ high.keys()
        if unmatched:
            raise ValueError(
                f"{root}: {shortened(unmatched)}: only in one of {' and '.join(sides)}"
            )
        names = list(low)
        self.names = [names[i] for i in name_order(names)]
        self.files = [(low[name], high[name]) for name in self.names]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        return self.files[i]

    def label(self, i: int) -> str:
        return self.files[i][1]


def _urls_by_stem(url: str) -> dict[str, str]:
    base, names, _ = list_images(url)
    return {PurePosixPath(name).with_suffix("").as_posix(): join(base, name) for name in names}


def match_pairs(low: Path, high: Path) -> list[tuple[Path, Path]]:
    """Return the LR and HR files of the same relative path and stem, sorted.

    Raises:
        ValueError: files without a partner, which it names.
    """
    low_files, high_files = (
        {path.relative_to(folder).with_suffix(""): path for path in find_images(folder)}
        for folder in (low, high)
    )
    unmatched = map(str, low_files.keys() ^ high_files.keys())
    some = shortened(unmatched)
    if some:
        raise ValueError(f"{low.parent}: {some}: only in one of {low.name} and {high.name}")
    return [(low_files[stem], high_files[stem]) for stem in sorted(low_files)]
