"""Pairs in two folders, ``hr/NAME.png`` and ``lr/NAME.png``, on this disk or under a URL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from degrade.data.readers.base import EncodedImage, name_order, shortened
from degrade.data.readers.layouts import FilePair
from degrade.images.files import list_images
from degrade.storage.remote import join

__all__ = ["FolderReader", "UrlFolderReader"]


class FolderReader:
    """Files that were matched; see :mod:`degrade.data.readers.layouts`.

    Args:
        files: LR and HR files.
        high: The folder to which names are relative.
    """

    def __init__(self, files: Sequence[FilePair], high: Path) -> None:
        self.files = list(files)
        paths = [path.relative_to(high) for _, path in files]
        stems = Counter(path.with_suffix("") for path in paths)
        self.names = [
            (path.with_suffix("") if stems[path.with_suffix("")] == 1 else path).as_posix()
            for path in paths
        ]

    def read(self, i: int) -> tuple[EncodedImage, EncodedImage]:
        return self.files[i]

    def label(self, i: int) -> str:
        return str(self.files[i][1])

    def stored(self) -> list[Path | str]:
        return [path for pair in self.files for path in pair]


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

    def stored(self) -> list[Path | str]:
        return [url for pair in self.files for url in pair]


def _urls_by_stem(url: str) -> dict[str, str]:
    base, names, _ = list_images(url)
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    doubled = shortened(stem for stem, count in Counter(stems).items() if count > 1)
    if doubled:
        raise ValueError(f"{url}: {doubled}: several files of this name; rename them")
    return {stem: join(base, name) for stem, name in zip(stems, names, strict=True)}
