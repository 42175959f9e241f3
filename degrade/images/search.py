"""Search folders for images: links followed once, globs and folders alike, nothing passed over
in silence.

A folder that is reached twice, through links, is searched once; by its own path rather than a
link's. Hidden files and folders are left out, unless a glob names them, and so are the folders in
which systems keep thumbnails and deleted files.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path, PurePath

from degrade.storage.names import escape

__all__ = ["SUFFIXES", "Pattern", "Search", "passed_over", "refused_format", "summary"]

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
        *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
    }
)
"""The suffixes of image files, in lower case."""
_OTHER_FORMATS = {
    "HEIF": ".heic .heif .hif .heics",
    "camera RAW": ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf"
    " .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    "OpenEXR": ".exr",
    "Radiance HDR": ".hdr",
    "JPEG XL": ".jxl",
    "JPEG 2000": ".jp2 .j2k .jpf .jpx .jpm",
    "Photoshop": ".psd .psb",
    "Targa": ".tga",
    "DirectDraw": ".dds",
    "QOI": ".qoi",
    "PFM": ".pfm",
    "FITS": ".fits",
    "SVG": ".svg",
}
_FORMAT_OF = {suffix: name for name, all in _OTHER_FORMATS.items() for suffix in all.split()}
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot"),  # network disks
        *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found"),
        "_vti_cnf",
    }
)
_SYSTEM_FOLDER = "a folder of thumbnails or deleted files"


def passed_over(name: str) -> str:
    """Return why a folder of this name is not searched, or an empty string.

    >>> passed_over("@eaDir"), passed_over("photos")
    ('a folder of thumbnails or deleted files', '')
    """
    return _SYSTEM_FOLDER if name.lower() in _SYSTEM_FOLDERS else ""


def refused_format(name: str) -> str:
    """Return why a file is not read, if its suffix is of an image format, or an empty string.

    >>> refused_format("a.HEIC"), refused_format("a.txt")
    ('HEIF is not read; convert it to PNG', '')
    """
    kind = _FORMAT_OF.get(PurePath(name).suffix.lower())
    return f"{kind} is not read; convert it to PNG" if kind else ""


def summary(skipped: Mapping[str, str]) -> list[str]:
    """Return one line a reason: how many files or folders, the first of them, and why.

    >>> summary({"b.nef": "camera RAW is not read", "a.nef": "camera RAW is not read"})
    ['2 x camera RAW is not read (a.nef, ...)']
    """
    counts = Counter(skipped.values())
    lines: list[str] = []
    for reason, count in counts.most_common():
        first = min(path for path, why in skipped.items() if why == reason)
        lines.append(f"{count} x {reason} ({escape(first)}{', ...' if count > 1 else ''})")
    return lines


@dataclass(frozen=True)
class Pattern:
    """A glob: a folder, and the parts that paths below it must match; ``**`` is any depth.

    Args:
        folder: The folder.
        parts: The parts, of which none has a separator.
    """

    folder: Path
    parts: tuple[str, ...] = ("**",)

    @classmethod
    def of(cls, path: Path) -> Pattern | None:
        """Return the pattern of a path, or None if it is no glob. Parts that exist as they are
        written, such as a folder called ``[1]``, are no patterns.
        """
        folder = Path()
        for i, part in enumerate(path.parts):
            if has_magic(part) and not os.path.lexists(folder / part):
                return cls(folder, path.parts[i:])
            folder /= part
        return None

    def start(self) -> frozenset[int]:
        """Return the state before any part; a state holds the numbers of parts that were
        matched.
        """
        return self._skip({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """Return the state after a file or folder of a name; empty if nothing matches."""
        hidden = name.startswith(".") or passed_over(name) != ""
        after: set[int] = set()
        for i in state - {len(self.parts)}:
            part = self.parts[i]
            if hidden and part != name and not (part.startswith(".") and fnmatch(name, part)):
                continue
            if part == "**":
                after.add(i)
            elif fnmatch(name, part) or name == part:
                after.add(i + 1)
        return self._skip(after)

    def descends(self, state: frozenset[int]) -> bool:
        """Return whether files in a folder may match after this state."""
        last = len(self.parts) - 1
        return any(i < last or (i == last and self.parts[i] == "**") for i in state)

    def _skip(self, state: set[int]) -> frozenset[int]:
        """``**`` also matches nothing."""
        for i, part in enumerate(self.parts):
            if i in state and part == "**":
                state.add(i + 1)
        return frozenset(state)


class Search:
    """The files that match a pattern.

    Args:
        pattern: What to search for.

    Raises:
        OSError: The pattern's folder cannot be read.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.images: list[Path] = []
        """Sorted by path."""
        self.skipped: dict[str, str] = {}
        """Images of other formats, and folders that were not searched, each with the reason."""
        self.files = 0
        """The number of matching files."""
        with os.scandir(pattern.folder):
            pass
        seen: set[tuple[int, int, str]] = set()
        for path, identity in self._walk(pattern):
            if identity not in seen:
                seen.add(identity)
                self._add(path)
        self.images.sort(key=Path.as_posix)

    def _add(self, path: Path) -> None:
        self.files += 1
        if path.suffix.lower() in SUFFIXES:
            self.images.append(path)
        elif reason := refused_format(path.name):
            self.skipped[str(path)] = reason

    def _walk(self, pattern: Pattern) -> Iterator[tuple[Path, tuple[int, int, str]]]:
        """Yield the matching files, each with its identity: that of its folder, and its name."""
        seen: set[tuple[int, int, frozenset[int]]] = set()
        folders = [(str(pattern.folder), pattern.start())]
        links: list[tuple[str, list[int]]] = []
        while folders or links:
            if not folders:  # links last, so that a folder has its own path
                path, state = heapq.heappop(links)
                folders.append((path, frozenset(state)))
            folder, state = folders.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino, state) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino, state))
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                self.skipped[folder] = f"cannot be read: {(error.strerror or str(error)).lower()}"
                continue
            for entry in found:
                after = pattern.step(state, entry.name)
                path = os.path.join(folder, entry.name)
                if not _is_folder(entry):
                    if len(pattern.parts) in after:
                        yield Path(path), (status.st_dev, status.st_ino, entry.name)
                elif after := after - {len(pattern.parts)}:
                    if entry.is_symlink():
                        heapq.heappush(links, (path, sorted(after)))
                    else:
                        folders.append((path, after))
                elif pattern.descends(state) and (reason := passed_over(entry.name)):
                    self.skipped[path] = reason


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
