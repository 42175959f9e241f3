"""A dataset under a prefix of an object store.

Each file is uploaded as soon as it is finished and then deleted from the working folder (except
for LMDB), so the local disk holds the pairs in progress, not the dataset. Uploads must be atomic,
as object stores' are: a file that is listed is complete.
"""

# fsspec: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import os
import platform
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from degrade.errors import SynthError
from degrade.storage.destination.folder import RECORDS, Destination, read_record
from degrade.storage.files import write_atomic
from degrade.storage.remote import cache_folder, join, open_store, remote_errors

__all__ = ["ObjectStore"]

UPLOADS = 8
"""Concurrent uploads; as many more may be queued."""
LOCK = ".lock"
"""The object that names the one machine that may write here."""
FETCHED = ".fetched"
"""Folder of downloaded files, within the working folder."""


class ObjectStore(Destination):
    """A prefix in an object store, and a working folder in the cache.

    Args:
        url: The prefix.
    """

    near = False

    def __init__(self, url: str) -> None:
        super().__init__(cache_folder() / "synth" / hashlib.sha256(url.encode()).hexdigest()[:16])
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self._store, self._path = open_store(self.url)
        self._names: set[str] | None = None
        self._pool = ThreadPoolExecutor(UPLOADS, "upload")
        self._uploads: deque[Future[None]] = deque()
        self._locked = False

    def __str__(self) -> str:
        return self.url

    def lock(self) -> None:
        """Create the object ``.lock``, which names this machine and working folder.

        The lock of a killed run is taken over by the next run of the same working folder, whose
        local lock the caller holds.

        Raises:
            SynthError: another machine or working folder holds the lock.
        """
        mine = {"host": platform.node(), "folder": str(self.folder.resolve())}
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lock = {**mine, "process": os.getpid(), "since": since}
        with remote_errors(self.url):
            try:
                self._store.pipe_file(self._object(LOCK), json.dumps(lock).encode(), mode="create")
            except FileExistsError:
                held = json.loads(self._get(LOCK))
                if any(held.get(name) != value for name, value in mine.items()):
                    raise SynthError(
                        f"{self.url}: process {held.get('process')} on {held.get('host')} has been"
                        f" writing here since {held.get('since')}; wait for it to end, or if it"
                        f" was killed, delete {join(self.url, LOCK)}"
                    ) from None
        self._locked = True

    def unlock(self) -> None:
        if self._locked:
            self._locked = False
            with remote_errors(self.url):
                self._store.rm_file(self._object(LOCK))

    def restore(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        stored, mark = self._listed(), RECORDS[0]
        if stored and mark not in stored:
            some = ", ".join(sorted(stored)[:3])
            raise SynthError(
                f"{self.url}: holds {some}, which degrade did not write; choose another --output"
            )
        local_mark = self.folder / mark
        both = mark in stored and local_mark.exists()
        if both and self._get(mark) != read_record(local_mark):
            raise SynthError(
                f"{self.url}: holds a dataset that another run began; choose another --output"
            )
        # The mark first: if this process is killed before the rest is fetched, the next run
        # recognises the folder and fetches it.
        for name in RECORDS:
            if name in stored and not (self.folder / name).exists():
                write_atomic(self.folder / name, self._get(name))
        self._update_manifest(self.folder / RECORDS[2])

    def _update_manifest(self, manifest: Path) -> None:
        """Take the store's manifest if it is longer: another machine has made more pairs."""
        if manifest.name in self._listed():
            data = self._get(manifest.name)
            if not manifest.exists() or len(data) > manifest.stat().st_size:
                write_atomic(manifest, data)

    def put(self, path: Path, keep: bool = False) -> None:
        self._submit(self._put_file, path, keep)

    def put_snapshot(self, path: Path) -> None:
        self._submit(self._put_bytes, self._name(path), path.read_bytes())

    def _submit(self, work: Callable[..., None], *args: Any) -> None:
        """Queue an upload; wait if the queue is full, and raise the errors of finished ones."""
        uploads = self._uploads
        while len(uploads) >= 2 * UPLOADS or (uploads and uploads[0].done()):
            uploads.popleft().result()
        uploads.append(self._pool.submit(work, *args))

    def flush(self) -> None:
        while self._uploads:
            self._uploads.popleft().result()

    def has(self, path: Path, digest: str = "") -> bool:
        return super().has(path, digest) if path.exists() else self._name(path) in self._listed()

    def read(self, path: Path) -> bytes | None:
        found, name = super().read(path), self._name(path)
        if found is not None or name not in self._listed():
            return found
        return self._get(name)

    def fetch(self, path: Path) -> Path | None:
        name = self._name(path)
        if path.is_file() or name not in self._listed():
            return super().fetch(path)
        with remote_errors(join(self.url, name)):
            # Named by the store's checksum, so that a copy of an earlier version is not used.
            checksum = str(self._store.checksum(self._object(name)))
            version = hashlib.sha256(checksum.encode()).hexdigest()[:16]
            copy = self.folder / FETCHED / version / name
            if not copy.is_file():
                self._delete_old_copies()
                self._download(name, copy)
        return copy

    def _delete_old_copies(self) -> None:
        """Delete all downloaded files but the latest."""
        copies = [file for file in (self.folder / FETCHED).rglob("*") if file.is_file()]
        for old in sorted(copies, key=lambda file: file.stat().st_mtime)[:-1]:
            old.unlink()

    def _download(self, name: str, copy: Path) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            self._store.get_file(self._object(name), str(part))
            os.replace(part, copy)
        finally:
            part.unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _object(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _listed(self) -> set[str]:
        """Return the stored files' names: listed once, then updated with each upload."""
        if self._names is None:
            with remote_errors(self.url):
                self._store.invalidate_cache()
                found = self._store.find(self._path) if self._exists() else []
            start = len(self._object(""))
            self._names = {str(path)[start:] for path in found} - {LOCK}
        return self._names

    def _exists(self) -> bool:
        try:
            return bool(self._store.exists(self._path)) or bool(self._store.ls(self._path))
        except FileNotFoundError:
            return False

    def _get(self, name: str) -> bytes:
        with remote_errors(join(self.url, name)):
            data: Any = self._store.cat_file(self._object(name))
            return data

    def _put_bytes(self, name: str, data: bytes) -> None:
        with remote_errors(join(self.url, name)):
            self._store.pipe_file(self._object(name), data)

    def _put_file(self, path: Path, keep: bool) -> None:
        name = self._name(path)
        with remote_errors(join(self.url, name)):
            self._store.put_file(str(path), self._object(name))
        self._listed().add(name)
        if not keep:
            path.unlink()
