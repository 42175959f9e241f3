"""Remote files by URL, through fsspec.

``s3://bucket/folder``, ``gs://…``, ``memory://folder``, ``zip://folder::archive.zip``, and chains
such as ``zip://*.png::s3://bucket/archive.zip``. Plain paths are handled elsewhere, so fsspec is
imported only if a URL is given. Credentials come from the environment, by each store's own
conventions (``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, ``~/.aws``, an
instance's role); a URL with a password is refused, since it would be written to the dataset's
settings.
"""

# fsspec: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import uuid
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from degrade.errors import UserError
from degrade.extras import install
from degrade.limits import VARIABLE, max_pixels
from degrade.storage.names import escape

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "cache_folder",
    "is_file",
    "is_url",
    "join",
    "list_files",
    "local",
    "local_copy",
    "open_store",
    "read_bytes",
    "remote_errors",
]

_log = logging.getLogger(__name__)
MAX_RATIO = 100
"""How many times larger than its compressed form a member of an archive may be, above 64 MiB."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is for fsspec. A ``file://`` URL without a chain is a local path.

    >>> is_url("s3://bucket/hr"), is_url("photos/hr"), is_url("file:///photos")
    (True, False, False)
    """
    return isinstance(source, str) and _URL.match(source) is not None and local(source) is None


def local(url: str) -> Path | None:
    """Return the path that a ``file://`` URL names; None for other URLs."""
    return Path(url[len("file://") :]) if url.startswith("file://") and "::" not in url else None


def join(root: str, relative: str) -> str:
    """Return the URL of ``relative`` under ``root``, whose chain is kept.

    >>> join("zip://a::b.zip", "c")
    'zip://a/c::b.zip'
    """
    head, chain, rest = root.partition("::")
    return f"{head}{'' if head.endswith('/') else '/'}{relative}{chain}{rest}"


def cache_folder() -> Path:
    """Return the folder of working copies.

    It is ``$DEGRADE_CACHE``, else ``degrade`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    given = os.environ.get("DEGRADE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "degrade"


def open_store(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        UserError: the protocol is unknown, its package is missing, or the URL holds a password.
    """
    if urlsplit(url).password:
        raise UserError(
            f"{url.split('@')[-1]}: the URL holds a password;"
            " give credentials in the environment instead"
        )
    if url.startswith("zip://") and "::" not in url:  # zip://NAME.zip, the usual short form
        url = f"zip://::{url[len('zip://') :]}"
    head, chain, rest = url.partition("::")
    protocol, _, path = head.partition("://")
    store = _file_system(f"{protocol}://{chain}{rest}", os.getpid())
    return store, str(store._strip_protocol(f"{protocol}://{path}"))  # pyright: ignore[reportPrivateUsage]


@lru_cache(maxsize=16)
def _file_system(root: str, pid: int) -> AbstractFileSystem:
    """Open a file system, once a process: connections and open archives do not survive a fork."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(f"{root}: needs fsspec; {install('cloud')}") from None
    with remote_errors(root):
        try:
            store, _ = url_to_fs(root)
        except ImportError as error:
            raise UserError(f"{root}: {error}; for S3: {install('cloud')}") from None
    return store


@contextmanager
def remote_errors(url: str) -> Generator[None]:
    """Re-raise errors of stores as UserError with the URL."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{url}: does not exist") from None
    except _known() as error:
        raise UserError(f"{url}: {str(error) or type(error).__name__}") from None


def _known() -> tuple[type[Exception], ...]:
    """Return the exceptions of stores. Boto's, not OSErrors, are there only if S3 is in use."""
    boto: Any = sys.modules.get("botocore.exceptions")
    more = (boto.BotoCoreError, boto.ClientError) if boto is not None else ()
    # RuntimeError: an encrypted member; NotImplementedError, which is one: a compression method.
    bad_zip = (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error)
    return (OSError, ValueError, KeyError, *bad_zip, *more)


def list_files(url: str) -> tuple[str, list[str]]:
    """List the files that a URL names: one file, a folder searched recursively, or a glob.

    Returns:
        The URL of the folder that holds them all, and their sorted paths relative to it.

    Raises:
        UserError: no file matches, or the store cannot be read.
    """
    store, path = open_store(url)
    with remote_errors(url):
        if any(sign in path for sign in "*?["):
            found = [str(name) for name in store.glob(path) if store.isfile(name)]
            folder = os.path.commonpath([os.path.dirname(name) for name in found]) if found else ""
        elif path and store.isfile(path):
            found, folder = [path], os.path.dirname(path)
        else:
            found, folder = [str(name) for name in store.find(path)], path
    if not found:
        raise UserError(f"{url}: does not exist, or is empty")
    head, chain, rest = url.partition("::")
    if head.startswith("zip://") and not chain:
        chain, rest = "::", head[len("zip://") :]
    root = f"{head.partition('://')[0]}://{folder}{chain}{rest}"
    names = {name: _below(name, folder) for name in found}
    outside = [name for name, below in names.items() if not below]
    if outside:
        _log.warning(
            "%s: left out %d files whose names lead out of it, first %s",
            url,
            len(outside),
            escape(outside[0]),
        )
    return root, sorted(filter(None, names.values()))


def is_file(url: str) -> bool:
    """Return whether a URL names a file. Raises UserError if the store cannot be read."""
    store, path = open_store(url)
    with remote_errors(url):
        return bool(store.isfile(path))


def _below(name: str, folder: str) -> str:
    """Return a path relative to a folder, or an empty string if it leads out of it."""
    path = PurePosixPath(name)
    if ".." in path.parts or not path.is_relative_to(folder):
        return ""
    return path.relative_to(folder).as_posix()


def local_copy(url: str) -> Path:
    """Return a copy of a file in the cache, downloaded unless it is there and up to date.

    Raises:
        UserError: the file does not exist, or the store cannot be read.
    """
    store, path = open_store(url)
    with remote_errors(url):
        mark = hashlib.sha256(f"{url} {store.checksum(path)}".encode()).hexdigest()[:16]
        copy = cache_folder() / "copies" / mark / PurePosixPath(path).name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f".{uuid.uuid4().hex}.tmp")
            try:
                if hasattr(store, "zip"):
                    _check_expansion(store.info(path))
                store.get_file(path, str(part))
                os.replace(part, copy)
            finally:
                part.unlink(missing_ok=True)
    return copy


def _check_expansion(member: dict[str, Any], most: int = sys.maxsize) -> None:
    """Raise ValueError for a small member of a zip archive that would fill memory or disk."""
    size, packed = int(member["size"]), int(member.get("compress_size") or 0)
    if size > most or size > max(MAX_RATIO * packed, 2**26):
        raise ValueError(
            f"expands from {packed} to {size} bytes; members are read if they expand at most"
            f" {MAX_RATIO}-fold, and to 8 bytes a pixel of {VARIABLE}"
        )


class _Named(BytesIO):
    """Bytes with a file name, for the errors of decoders."""

    name = ""


def read_bytes(url: str) -> BytesIO:
    """Return a file's contents, with the URL as its ``name``.

    Raises:
        UserError: it cannot be read, or is a member of an archive that expands too far.
    """
    store, path = open_store(url)
    with remote_errors(url):
        if hasattr(store, "zip"):
            _check_expansion(store.info(path), 8 * max_pixels())  # 16 bits, four channels
        data: Any = store.cat_file(path)
        file = _Named(data)
    file.name = url
    return file
