"""Local files: atomic writes, hashes, and paths that stay inside their root."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from degrade.errors import SynthError, UserError

__all__ = [
    "inside",
    "move_aside",
    "open_regular",
    "place",
    "read_extent",
    "read_regular",
    "sha256",
    "sweep",
    "write_atomic",
]


def write_atomic(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Write a file atomically: if the process is killed, it is complete or unchanged.

    A hidden file beside it (``.HEX.tmp``) is written and renamed. A failed write leaves neither.

    Args:
        path: The file, replaced if it exists; its folder must exist.
        data: The contents.
        sync: Whether to wait for the disk, so that this holds after a power failure too.

    Raises:
        OSError: with the file's name.
    """
    path = Path(path)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # An error of write(), unlike one of open(), does not name the file.
        raise (
            error
            if error.filename is not None
            else OSError(error.errno, error.strerror, str(path))
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, links followed.

    A pipe would wait for a writer, and a device such as ``/dev/zero`` never ends.

    Raises:
        UserError: it is something else.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{os.fspath(path)}: should be a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the contents of a regular file of at most ``most`` bytes.

    Raises:
        UserError: it is larger, or not a regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise UserError(f"{os.fspath(path)}: has {size} bytes; at most {most} are read")
        return file.read(most)


def read_extent(path: str | os.PathLike[str], offset: int, size: int, what: str) -> bytes:
    """Return some bytes of a regular file. It is not kept open: threads and processes may share
    what reads it.

    Args:
        path: The file.
        offset: Of the first byte.
        size: In bytes.
        what: What the bytes are, for the error.

    Raises:
        UserError: the file ends within them, or is not a regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise UserError(f"{os.fspath(path)}: ends within {what}; it was cut short")
    return data


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags that only some systems have."""


def sweep(paths: Iterable[Path]) -> None:
    """Delete the temporary files among the paths, ``.HEX.tmp``, that killed processes left."""
    for path in [path for path in paths if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sha256(source: bytes | str | os.PathLike[str]) -> str:
    """Return the SHA-256 of some bytes, or of the file at a path, in hexadecimal.

    >>> sha256(b"degrade")[:12]
    'e036eb64fdb9'
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


MAX_PATH = 4096
"""Most bytes of a path in a manifest, as of a path in Linux."""


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative``, refusing a path that leads out of ``root``.

    Manifests may come from strangers.

    >>> inside(Path("out"), "hr/a.png").as_posix()
    'out/hr/a.png'

    Raises:
        SynthError: the path is absolute, goes up, or is too long.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise SynthError(f"{relative!r} leads out of {root}; degrade did not write this manifest")
    raw = relative.encode(errors="surrogatepass")
    if len(raw) > MAX_PATH or any(len(part) > 255 for part in raw.split(b"/")):
        raise SynthError(
            f"{relative[:40]!r}...: too long for a file name; degrade did not write this manifest"
        )
    return root / path


def place(path: Path, data: bytes) -> None:
    """Write a file atomically, unless it exists with the same contents.

    Raises:
        SynthError: it exists with other contents.
    """
    if _holds(path, data):
        return
    if os.path.lexists(path):
        raise SynthError(
            f"{path}: exists and was not made by this run; move it away or choose another --output"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, sync=False)


def move_aside(path: Path, data: bytes = b"") -> Path | None:
    """Rename a file, unless it is missing or holds ``data``; return its new path or None.

    The suffix ``.aside`` is no image's, so readers pass over it.
    """
    if not os.path.lexists(path) or _holds(path, data):
        return None
    numbers = itertools.chain([""], itertools.count(2))
    free = next(
        new for n in numbers if not os.path.lexists(new := path.with_name(f"{path.name}.aside{n}"))
    )
    path.rename(free)
    return free


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a path is a regular file with these contents."""
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
