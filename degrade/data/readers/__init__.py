"""Stores: where ready-made pairs lie, whatever the format. Each knows the names of its pairs and
reads pair ``i``.

=============  =======================================================================================
folder         ``hr/NAME.png`` and ``lr/NAME.png``; or ``gt`` and ``lq``
WebDataset     ``*.tar`` with ``KEY.hr.png``, ``KEY.lr.png`` and, for the name, ``KEY.json``
LMDB           BasicSR's ``hr.lmdb`` and ``lr.lmdb``, or ``gt.lmdb`` and ``lq.lmdb``, with ``meta_info.txt``
=============  =======================================================================================

Pairs are in the order of their names, so that a dataset has the same items in every format. One
constraint: handles are opened by the process that reads, and are not pickled, so a store may
travel to a loader's workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tarfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeAlias
from urllib.parse import unquote

from degrade.errors import UserError
from degrade.images.files import ImageError, find_images, list_images
from degrade.storage.remote import is_url, join, list_files, local, local_copy

__all__ = [
    "FolderPairs",
    "LmdbPairs",
    "Pairs",
    "Source",
    "TarFile",
    "TarPairs",
    "key_of",
    "match",
    "name_of",
    "open_pairs",
]

Source: TypeAlias = "Path | str | bytes"
SIDES = (("lr", "hr"), ("lq", "gt"))
LMDB = ("data.mdb", "meta_info.txt")
_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<side>hr|lr|gt|lq)\.\w+")


class Pairs(Protocol):
    """Pairs that lie somewhere."""

    names: list[str]

    def read(self, i: int) -> tuple[Source, Source]:
        """The LR and the HR file of pair ``i``: a path, or the bytes."""
        ...

    def label(self, i: int) -> str:
        """What to call the HR image of pair ``i`` in an error."""
        ...


def open_pairs(root: str | Path) -> Pairs:
    """The pairs under a folder, of whichever format its content is; or in one shard. Raises
    ValueError if of none.
    """
    if isinstance(root, str) and is_url(root):
        return _open_url(root)
    folder = (isinstance(root, str) and local(root)) or Path(root)
    if folder.suffix == ".tar" and folder.is_file():
        return TarPairs([folder])
    for low, high in SIDES:
        if (folder / f"{low}.lmdb").is_dir() and (folder / f"{high}.lmdb").is_dir():
            return LmdbPairs(folder / f"{low}.lmdb", folder / f"{high}.lmdb")
        if (folder / low).is_dir() and (folder / high).is_dir():
            return FolderPairs(folder / low, folder / high)
    shards = sorted(folder.glob("*.tar")) if folder.is_dir() else []
    if not shards:
        raise ValueError(
            f"{folder}: has no folders lr and hr (nor lq and gt), no lr.lmdb and hr.lmdb, and no *.tar"
        )
    return TarPairs(shards)


def _open_url(url: str) -> Pairs:
    """Pairs in a store: images are read from there one by one; shards and databases are copied
    to the cache first.
    """
    root, names = list_files(url)
    for low, high in SIDES:
        bases = [f"{side}.lmdb" for side in (low, high)]
        if all(f"{base}/{name}" in names for base in bases for name in LMDB):
            return LmdbPairs(*(_copied(root, base) for base in bases))
        files = [[name for name in names if name.startswith(f"{side}/")] for side in (low, high)]
        if all(files):
            return UrlPairs(root, (low, high))
    shards = [name for name in names if name.endswith(".tar") and "/" not in name]
    if not shards:
        raise ValueError(
            f"{url}: has no folders lr and hr (nor lq and gt), no lr.lmdb and hr.lmdb, and no *.tar"
        )
    return TarPairs([local_copy(join(root, name)) for name in shards])


def _copied(root: str, base: str) -> Path:
    """A database's folder in the cache, of links to the copies of its files."""
    copies = [local_copy(join(root, f"{base}/{name}")) for name in LMDB]
    folder = copies[0].parent / f"with {copies[1].parent.name}"
    folder.mkdir(exist_ok=True)
    for copy in copies:
        with contextlib.suppress(FileExistsError):
            os.link(copy, folder / copy.name)
    return folder


def in_order(names: Sequence[str]) -> list[int]:
    """The places of names in the order that all stores have."""
    return sorted(range(len(names)), key=lambda i: PurePosixPath(names[i]))


# --- folders -------------------------------------------------------------------------------------


class FolderPairs:
    """Files of the same path and stem under two folders. Raises ValueError naming those without
    a partner.
    """

    def __init__(self, low: Path, high: Path) -> None:
        self.files = match(low, high)
        self.names = [path.relative_to(high).with_suffix("").as_posix() for _, path in self.files]

    def read(self, i: int) -> tuple[Source, Source]:
        return self.files[i]

    def label(self, i: int) -> str:
        return str(self.files[i][1])


class UrlPairs:
    """As :class:`FolderPairs`, under a URL."""

    def __init__(self, root: str, sides: tuple[str, str]) -> None:
        found: list[dict[str, str]] = []
        for side in sides:
            base, names = list_images(join(root, side))
            found.append(
                {
                    PurePosixPath(name).with_suffix("").as_posix(): join(base, name)
                    for name in names
                }
            )
        lonely = sorted(found[0].keys() ^ found[1].keys())
        if lonely:
            raise ValueError(
                f"{root}: {', '.join(lonely[:3])}: only in one of {' and '.join(sides)}"
            )
        names = list(found[0])
        self.names = [names[i] for i in in_order(names)]
        self.files = [(found[0][name], found[1][name]) for name in self.names]

    def read(self, i: int) -> tuple[Source, Source]:
        return self.files[i]

    def label(self, i: int) -> str:
        return self.files[i][1]


def match(low: Path, high: Path) -> list[tuple[Path, Path]]:
    """LR and HR files of the same path and stem under two folders. Raises ValueError naming
    those without a partner.
    """
    by_stem = [
        {path.relative_to(folder).with_suffix(""): path for path in find_images(folder)}
        for folder in (low, high)
    ]
    lonely = sorted(map(str, by_stem[0].keys() ^ by_stem[1].keys()))
    if lonely:
        more = f" and {len(lonely) - 3} more" if len(lonely) > 3 else ""
        raise ValueError(
            f"{low.parent}: {', '.join(lonely[:3])}{more}: only in one of {low.name} and {high.name}"
        )
    return [(by_stem[0][stem], by_stem[1][stem]) for stem in sorted(by_stem[0])]


# --- WebDataset ----------------------------------------------------------------------------------


class TarFile:
    """Members of a tar file, read in any order.

    Raises:
        UserError: the file is no whole tar archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self.places = {m.name: (m.offset_data, m.size) for m in tar if m.isfile()}
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"{path}: is no whole tar archive ({error})") from None
        self._handle = _Handle(_open_file, path)

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def read(self, name: str) -> bytes:
        """A member's contents. Raises UserError if the file ends within it."""
        start, size = self.places[name]
        data = os.pread(self._handle.get().fileno(), size, start)
        if len(data) != size:
            raise UserError(f"{self.path}: ends within {name}")
        return data


class TarPairs:
    """The pairs in some shards. Raises ValueError naming members without a partner, UserError
    for damaged shards.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._tars = [TarFile(path) for path in shards]
        found: list[tuple[str, int, str, str]] = []
        for number, tar in enumerate(self._tars):
            members: defaultdict[str, dict[str, str]] = defaultdict(dict)
            for name in tar.places:
                parts = _MEMBER.fullmatch(name)
                if parts is not None:
                    side = {"lq": "lr", "gt": "hr"}.get(parts["side"], parts["side"])
                    members[parts["key"]][side] = name
            for key, sides in members.items():
                if len(sides) != 2:
                    raise ValueError(f"{tar.path}: {key} has only {', '.join(sides)}")
                found.append((_said_name(tar, key), number, sides["lr"], sides["hr"]))
        if not found:
            raise ValueError(
                f"{shards[0].parent}: its tar files hold no members KEY.hr.png and KEY.lr.png"
            )
        order = in_order([name for name, *_ in found])
        self.names = [found[i][0] for i in order]
        self._members = [found[i][1:] for i in order]

    def read(self, i: int) -> tuple[Source, Source]:
        number, low, high = self._members[i]
        return self._tars[number].read(low), self._tars[number].read(high)

    def label(self, i: int) -> str:
        number, _, high = self._members[i]
        return f"{self._tars[number].path}/{high}"


def _said_name(tar: TarFile, key: str) -> str:
    """The pair's name by its JSON member, or its key."""
    if f"{key}.json" not in tar:
        return key
    try:
        said: Any = json.loads(tar.read(f"{key}.json"))
    except ValueError:
        return key
    name = said.get("name") if isinstance(said, dict) else None
    return name if isinstance(name, str) else key


# --- LMDB ----------------------------------------------------------------------------------------


def key_of(name: str) -> str:
    """A pair's key in LMDB: its name, with ``%XX`` for dots and what is not ASCII, which BasicSR
    does not allow.

    BasicSR cuts a line of ``meta_info.txt`` at its first dot and encodes keys as ASCII
    (``data_util.py``, ``paired_paths_from_lmdb``; ``file_client.py``).
    """
    plain = (
        chr(b) if 32 < b < 127 and chr(b) not in "%.()" else f"%{b:02X}" for b in name.encode()
    )
    return "".join(plain)


def name_of(key: str) -> str:
    """The name that :func:`key_of` made a key of."""
    return unquote(key)


class LmdbPairs:
    """The pairs in two databases of BasicSR's layout.

    Raises:
        ValueError: keys that are in one of them only.
        UserError: ``lmdb`` is not installed, or ``meta_info.txt`` is missing.
    """

    def __init__(self, low: Path, high: Path) -> None:
        self.folders = low, high
        keys = [read_keys(folder) for folder in self.folders]
        lonely = sorted(set(keys[0]) ^ set(keys[1]))
        if lonely or not keys[0]:
            raise ValueError(
                f"{low.parent}: {', '.join(lonely[:3]) or 'nothing'}: only in one of {low.name}, {high.name}"
            )
        names = [name_of(key) for key in keys[1]]
        order = in_order(names)
        self.names, self._keys = [names[i] for i in order], [keys[1][i] for i in order]
        self._handles = [_Handle(open_lmdb, folder) for folder in self.folders]

    def read(self, i: int) -> tuple[Source, Source]:
        low, high = (self._value(side, self._keys[i]) for side in range(2))
        return low, high

    def _value(self, side: int, key: str) -> bytes:
        with self._handles[side].get().begin(buffers=False) as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise ImageError(
                f"{self.folders[side]}/{key}", "is in meta_info.txt but not in the database"
            )
        return bytes(value)

    def label(self, i: int) -> str:
        return f"{self.folders[1]}/{self._keys[i]}"


def read_keys(folder: Path) -> list[str]:
    """The keys that ``meta_info.txt`` lists. Raises UserError."""
    path = folder / "meta_info.txt"
    try:
        return [
            line.split(".")[0] for line in path.read_text(encoding="ascii").splitlines() if line
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not what BasicSR or degrade writes: {error}") from None


_ENVIRONMENTS: dict[str, tuple[tuple[int, ...], weakref.ref[Any]]] = {}
"""By folder: the process that opened it, the file that it opened, and the environment."""


def open_lmdb(folder: Path) -> Any:
    """A database to read from. Raises UserError.

    LMDB forbids to open a folder twice in a process, so all its readers share one environment. A
    fork inherits it, and is better off with its own; so is who finds that the file has been
    replaced.
    """
    try:
        import lmdb
    except ImportError:
        raise UserError(
            f"{folder}: LMDB needs the lmdb package; pip install 'degrade[shards]'"
        ) from None
    place = os.path.realpath(folder)
    try:
        about = os.stat(folder / "data.mdb")
        identity = os.getpid(), about.st_dev, about.st_ino, about.st_mtime_ns
        before, held = _ENVIRONMENTS.get(place, (identity, None))
        environment = held() if held is not None else None
        if environment is not None and before != identity:
            environment.close()
            environment = None
        if environment is None:
            environment = lmdb.open(
                str(folder), readonly=True, lock=False, readahead=False, meminit=False
            )
    except (lmdb.Error, OSError) as error:
        raise UserError(f"{folder}: is no LMDB database ({error})") from None
    _ENVIRONMENTS[place] = identity, weakref.ref(environment)
    return environment


class _Handle:
    """Something open, that each process opens for itself when it first needs it."""

    def __init__(self, make: Callable[[Path], Any], path: Path) -> None:
        self._make, self._path = make, path
        self._pid, self._open = -1, None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pid": -1, "_open": None}

    def get(self) -> Any:
        """What is open here."""
        if self._pid != os.getpid():
            self._pid, self._open = os.getpid(), self._make(self._path)
        return self._open


def _open_file(path: Path) -> BinaryIO:
    return open(path, "rb")
