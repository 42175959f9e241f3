"""Local files: written atomically, hashed, and never outside their root."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from degrade.errors import SynthError

__all__ = ["inside", "place"]


def write_atomic(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Writes a file so that under its own name it is whole or absent, whenever the process is
    killed.

    A hidden file beside it (``.HEX.tmp``) is written and renamed. A failed write leaves neither.

    Args:
        path: Its folder must exist. A file of that name is replaced.
        data: The contents.
        sync: Whether to wait for the disk, so that this holds for a power cut too.

    Raises:
        OSError: With the file's name.
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
        # Of a write, unlike an open, the system does not say which file it was.
        raise (
            error
            if error.filename is not None
            else OSError(error.errno, error.strerror, str(path))
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def sweep(paths: Iterable[Path]) -> None:
    """Removes those of the paths that killed processes left unfinished, ``.HEX.tmp``; nothing
    else is called so.
    """
    for path in [path for path in paths if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sha256(source: bytes | str | os.PathLike[str]) -> str:
    """The SHA-256 of some bytes, or of the file at a path, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


LONGEST = 1000
"""Characters of a path in a manifest."""


def inside(root: Path, relative: str) -> Path:
    """``root / relative``, which must lie in ``root``: manifests may come from strangers.
    Raises SynthError.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise SynthError(
            f"{relative!r} leads out of {root}; the manifest is not one that degrade wrote"
        )
    if len(relative) > LONGEST or any(len(part.encode()) > 255 for part in path.parts):
        raise SynthError(
            f"{relative[:40]!r}...: too long for a file's name; the manifest is not one that degrade wrote"
        )
    return root / path


def place(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; leaves an equal one alone. Raises SynthError if
    another is there already.
    """
    if path.exists():
        if path.read_bytes() == data:
            return
        raise SynthError(
            f"{path}: exists and was not made by this run; move it away or choose another --output"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, sync=False)
