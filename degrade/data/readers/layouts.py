"""Which LR file belongs to which HR file: layouts of test sets, and matching by name.

.. code-block:: text

    hr/NAME.png      lr/NAME.png                  also gt and lq
    test_HR/NAME.png test_LR/NAMEx4.png           one folder with HR in its name, one with LR
    GTmod12/NAME.png LRbicx4/NAME.png             BasicSR's names
    d_HR/NAME.png    d_LR_bicubic/X4/NAMEx4.png   DIV2K, of one scale
    NAME_HR.png      NAME_LR4.png                 side by side, at any depth (RealSR)
    lr=DIR,hr=DIR                                 any two folders
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from degrade.data.readers.base import shortened
from degrade.images.files import ImageError, find_images

__all__ = ["FilePair", "bare", "explicit_sides", "find_layout", "match_pairs"]

FilePair = tuple[Path, Path]
"""An LR and an HR file."""
Groups = dict[str, list[Path]]
"""Files by what must agree."""

_EXPLICIT = re.compile(r"(lr|lq)=(?P<low>.+?),(hr|gt|hq)=(?P<high>.+)")
_SIDE = re.compile(
    r"(?:^|[_. -])(?:(?P<high>hr|gt|hq)|(?P<low>lr|lq))(?=$|[_. -]|x?\d|mod\d|bicx?\d)", re.I
)
_ENDING = re.compile(r"(?:[_ -]?x\d|[_ -](?:hr|gt|hq|lr|lq)(?:x?\d)?)$", re.I)


def explicit_sides(root: str) -> FilePair | None:
    """Return the folders of ``lr=DIR,hr=DIR``; None for other text.

    >>> [path.name for path in explicit_sides("lr=set/x4,hr=set/full") or ()]
    ['x4', 'full']
    """
    match = _EXPLICIT.fullmatch(root)
    return None if match is None else (Path(match["low"]), Path(match["high"]))


def find_layout(root: Path) -> tuple[list[FilePair], Path] | None:
    """Return the pairs of a folder that has no ``hr`` and ``lr``, and the folder to which their
    names are relative; None if there are none.

    Raises:
        ValueError: Files without a partner, or several candidates for one side.
    """
    if not root.is_dir():
        return None
    sides: dict[str, list[Path]] = {"low": [], "high": []}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if match := _SIDE.search(folder.name):
            sides["low" if match["low"] else "high"].append(folder)
    if sides["low"] and sides["high"]:
        if len(sides["low"]) + len(sides["high"]) > 2:
            found = shortened(folder.name for side in sides.values() for folder in side)
            raise ValueError(f"{root}: several folders of one side: {found}; give lr=DIR,hr=DIR")
        low, high = (_innermost(side[0]) for side in sides.values())
        return match_pairs(low, high), high
    try:
        files = find_images(root)
    except ImageError:
        return None
    lows, highs = (
        [path for path in files if (found := _SIDE.search(path.stem)) and found[side]]
        for side in ("low", "high")
    )
    if not lows or not highs:
        return None
    return _matched(root, _keyed(lows, root, bare), _keyed(highs, root, bare)), root


def _innermost(folder: Path) -> Path:
    """The folder in which the files are: past folders that hold nothing but one folder."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


def match_pairs(low: Path, high: Path) -> list[FilePair]:
    """Return the LR and HR files of two folders that have the same relative path and name, sorted.

    Names are compared with their suffix, else without it, else without ``x4``, ``_LR``, ``_HR4``
    and the like at their end; the first way that gives every file one partner is taken.

    Raises:
        ValueError: Files without a partner or with several, which it names.
    """
    lows, highs = find_images(low), find_images(high)
    problems: list[ValueError] = []
    for key in (_full, _stem, bare):
        try:
            groups = _keyed(lows, low, key), _keyed(highs, high, key)
            return _matched(low.parent, *groups, (low.name, high.name))
        except ValueError as error:
            problems.append(error)
    raise problems[1]  # of names without suffix


def bare(path: Path) -> str:
    """Return a relative path without suffix and without what says the side or the scale.

    >>> [bare(Path(p)) for p in ("a/0801x4.png", "Canon_001_LR4.png", "b_SRF_4_HR.png")]
    ['a/0801', 'Canon_001', 'b_SRF_4']
    """
    name = path.stem
    while match := _ENDING.search(name):
        if not match.start():
            break
        name = name[: match.start()]
    return path.with_name(name).as_posix()


def _full(path: Path) -> str:
    return path.as_posix()


def _stem(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _keyed(files: Iterable[Path], root: Path, key: Callable[[Path], str]) -> Groups:
    groups: Groups = defaultdict(list)
    for file in files:
        groups[key(file.relative_to(root))].append(file)
    return groups


def _matched(
    root: Path, low: Groups, high: Groups, names: tuple[str, str] = ("LR", "HR")
) -> list[FilePair]:
    """Raises ValueError unless every file has one partner of the same key."""
    unmatched = shortened(low.keys() ^ high.keys())
    if unmatched:
        raise ValueError(f"{root}: {unmatched}: only in one of {names[0]} and {names[1]}")
    several = [files for groups in (low, high) for files in groups.values() if len(files) > 1]
    if several:
        doubled = shortened(str(file) for files in several for file in files)
        raise ValueError(f"{root}: {doubled}: which belong together? rename them")
    pairs = [(low[key][0], high[key][0]) for key in low]
    return sorted(pairs, key=lambda pair: (pair[1].with_suffix(""), pair[1].suffix))
