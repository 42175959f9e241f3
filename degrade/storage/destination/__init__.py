"""Homes: the folder that a dataset lives in, on this disk, in an object store or in an archive.

A run always works in a folder on this disk. Where the dataset belongs in a store, that folder lies
in the cache, and each file goes up as soon as it is whole and is then removed here (but for LMDB):
the disk holds what is being made, not the dataset. One constraint: an upload must be all or
nothing, as it is in object stores; what is there is then whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import uuid
import zipfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from degrade.errors import SynthError
from degrade.storage.files import sha256, write_atomic
from degrade.storage.remote import cache_folder, is_url, join, local, open_store, remote_errors

__all__ = ["ArchiveHome", "Home", "RemoteHome", "open_home"]

UPLOADS = 8
"""Uploads at a time, and how many may wait for each; an upload is mostly waiting."""
RECORDS = ("synth.json", "recipe.yaml", "manifest.csv")
"""What a run needs of an earlier one, the mark of a run first."""
LOCK = ".lock"
"""In a store, the mark of the one machine that may write there; on a disk, what processes lock."""
LEFT_OUT = ("lock.mdb", "contact_sheet.png")
"""What is no part of an archived dataset: LMDB's lock, and a picture that is drawn when it is
finished.
"""


class Home:
    """A folder on this disk.

    Args:
        folder: Where files are made.
    """

    near = True
    """Whether what was published can be read without a download."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def claim(self) -> None:
        """Keeps other machines from writing here. Raises SynthError if one does."""

    def release(self) -> None:
        """Ends :meth:`claim`."""

    def begin(self) -> None:
        """Fetches what an earlier run left. Raises SynthError if something else is there."""

    def publish(self, path: Path, keep: bool = False) -> None:
        """Takes a whole file of the folder; ``keep`` if it is needed here further on."""

    def record(self, path: Path) -> None:
        """Takes a small file as it is now; it may go on changing."""

    def settle(self) -> None:
        """Waits until all that was published is in place."""

    def finish(self) -> None:
        """Ends the making of a dataset: all of it is published."""

    def has(self, path: Path, digest: str = "") -> bool:
        """Whether a file is there, with the SHA-256 that it should have."""
        return path.is_file() and (not digest or sha256(path) == digest)

    def read(self, path: Path) -> bytes | None:
        """A file's contents, or None."""
        return path.read_bytes() if path.is_file() else None

    def fetch(self, path: Path) -> Path | None:
        """A file on this disk to read from, or None; good until the next call but one."""
        return path if path.is_file() else None

    def forget(self, path: Path) -> None:
        """Removes a damaged file that the run wrote."""
        path.unlink(missing_ok=True)


class RemoteHome(Home):
    """A prefix in a store, and the working folder of its runs.

    Args:
        url: Where the dataset belongs.
    """

    near = False

    def __init__(self, url: str) -> None:
        super().__init__(cache_folder() / "synth" / hashlib.sha256(url.encode()).hexdigest()[:16])
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self._store, self._path = open_store(self.url)
        self._there: set[str] | None = None
        self._pool = ThreadPoolExecutor(UPLOADS, "upload")
        self._waiting: deque[Future[None]] = deque()
        self._claimed = False

    def __str__(self) -> str:
        return self.url

    def claim(self) -> None:
        """Makes the object ``.lock``, which says whose it is. One of a run that was killed is
        taken over by the next from the same working folder, whose own lock the caller holds."""
        mine = {"host": platform.node(), "folder": str(self.folder.resolve())}
        said = {
            **mine,
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with remote_errors(self.url):
            try:
                self._store.pipe_file(self._at(LOCK), json.dumps(said).encode(), mode="create")
            except FileExistsError:
                held = json.loads(self._get(LOCK))
                if any(held.get(name) != value for name, value in mine.items()):
                    raise SynthError(
                        f"{self.url}: process {held.get('process')} on {held.get('host')} has been writing here since "
                        f"{held.get('since')}; wait for it to end, or if it was killed, delete {join(self.url, LOCK)}"
                    ) from None
        self._claimed = True

    def release(self) -> None:
        if self._claimed:
            self._claimed = False
            with remote_errors(self.url):
                self._store.rm_file(self._at(LOCK))

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        there = self._listed()
        mark = RECORDS[0]
        if there and mark not in there:
            some = ", ".join(sorted(there)[:3])
            raise SynthError(
                f"{self.url}: holds {some}, which degrade did not write; choose another --output"
            )
        if (
            mark in there
            and (self.folder / mark).exists()
            and self._get(mark) != (self.folder / mark).read_bytes()
        ):
            raise SynthError(f"{self.url}: another run has begun there; choose another --output")
        # The mark first: killed in between, the next run knows the folder for its own and fetches
        # the rest.
        for name in RECORDS:
            if name in there and not (self.folder / name).exists():
                write_atomic(self.folder / name, self._get(name))
        self._catch_up(self.folder / RECORDS[2])

    def _catch_up(self, table: Path) -> None:
        """Takes the store's manifest where another machine has come further."""
        if table.name in self._listed():
            data = self._get(table.name)
            if not table.exists() or len(data) > table.stat().st_size:
                write_atomic(table, data)

    def publish(self, path: Path, keep: bool = False) -> None:
        self._submit(self._put, path, keep)

    def record(self, path: Path) -> None:
        self._submit(self._pipe, self._name(path), path.read_bytes())

    def _submit(self, work: Callable[..., None], *args: Any) -> None:
        while len(self._waiting) >= 2 * UPLOADS or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(work, *args))

    def settle(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    def has(self, path: Path, digest: str = "") -> bool:
        return super().has(path, digest) if path.exists() else self._name(path) in self._listed()

    def read(self, path: Path) -> bytes | None:
        found = super().read(path)
        return (
            found
            if found is not None or self._name(path) not in self._listed()
            else self._get(self._name(path))
        )

    def fetch(self, path: Path) -> Path | None:
        name = self._name(path)
        if path.is_file() or name not in self._listed():
            return super().fetch(path)
        with remote_errors(join(self.url, name)):
            # By what the store says of the file, so that a copy of what it was before is not taken
            # for it.
            mark = hashlib.sha256(str(self._store.checksum(self._at(name))).encode()).hexdigest()[
                :16
            ]
            copy = self.folder / ".fetched" / mark / name
            if not copy.is_file():
                earlier = [
                    file for file in (self.folder / ".fetched").rglob("*") if file.is_file()
                ]
                for old in sorted(earlier, key=lambda file: file.stat().st_mtime)[:-1]:
                    old.unlink()
                copy.parent.mkdir(parents=True, exist_ok=True)
                part = copy.with_name(f".{uuid.uuid4().hex}.tmp")
                try:
                    self._store.get_file(self._at(name), str(part))
                    os.replace(part, copy)
                finally:
                    part.unlink(missing_ok=True)
        return copy

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _listed(self) -> set[str]:
        """Names of what is in the store: listed once, then kept up with what this run puts
        there.
        """
        if self._there is None:
            with remote_errors(self.url):
                self._store.invalidate_cache()
                found = (
                    [str(path) for path in self._store.find(self._path)] if self._exists() else []
                )
            start = len(self._at(""))
            self._there = {path[start:] for path in found} - {LOCK}
        return self._there

    def _exists(self) -> bool:
        try:
            return bool(self._store.exists(self._path)) or bool(self._store.ls(self._path))
        except FileNotFoundError:
            return False

    def _get(self, name: str) -> bytes:
        with remote_errors(join(self.url, name)):
            data: Any = self._store.cat_file(self._at(name))
            return data

    def _pipe(self, name: str, data: bytes) -> None:
        with remote_errors(join(self.url, name)):
            self._store.pipe_file(self._at(name), data)

    def _put(self, path: Path, keep: bool) -> None:
        name = self._name(path)
        with remote_errors(join(self.url, name)):
            self._store.put_file(str(path), self._at(name))
        self._listed().add(name)
        if not keep:
            path.unlink()


class ArchiveHome(Home):
    """A zip archive on this disk, and the working folder of its runs, which stays in the cache.

    An archive cannot grow pair by pair and be whole. So the dataset is made in the folder, and
    packed when it is finished; until then no archive is there, or the one of before.

    Args:
        url: ``zip://`` and the archive's path.

    Raises:
        SynthError: a folder inside an archive, or an archive in a store.
    """

    def __init__(self, url: str) -> None:
        name = url.removeprefix("zip://").removeprefix("::").removeprefix("file://")
        if "::" in name or "://" in name or not name.endswith(".zip"):
            raise SynthError(f"{url}: archives are written to this disk, whole: zip://NAME.zip")
        self.archive, self.url = Path(name).absolute(), url
        super().__init__(
            cache_folder() / "synth" / hashlib.sha256(str(self.archive).encode()).hexdigest()[:16]
        )

    def __str__(self) -> str:
        return self.url

    def begin(self) -> None:
        mark = self.folder / RECORDS[0]
        if not self.archive.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        try:
            with zipfile.ZipFile(self.archive) as file:
                # Nothing of ours is compressed: what comes out is no larger than what is there.
                ours = mark.name in file.namelist() and all(
                    not i.compress_type for i in file.infolist()
                )
                if ours and mark.exists() and file.read(mark.name) != mark.read_bytes():
                    raise SynthError(
                        f"{self.url}: another run has begun there; choose another --output"
                    )
                if ours and not mark.exists():
                    self._unpack(file)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise SynthError(f"{self.archive}: cannot be read as an archive ({error})") from None
        if not ours:
            raise SynthError(
                f"{self.archive}: is an archive that degrade did not write; choose another --output"
            )

    def _unpack(self, file: zipfile.ZipFile) -> None:
        part = self.folder.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            file.extractall(part)  # which keeps names from leading out of it
            shutil.rmtree(self.folder, ignore_errors=True)
            part.rename(self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def finish(self) -> None:
        """Packs the folder; the same dataset gives the same bytes."""
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        part = self.archive.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with open(part, "xb") as stream:
                with zipfile.ZipFile(stream, "w") as file:
                    for path in sorted(self.folder.rglob("*")):
                        name = path.relative_to(self.folder)
                        if (
                            path.is_file()
                            and path.name not in LEFT_OUT
                            and not name.parts[0].startswith(".")
                        ):
                            info = zipfile.ZipInfo(name.as_posix())
                            info.external_attr = 0o644 << 16
                            with (
                                open(path, "rb") as source,
                                file.open(info, "w", force_zip64=True) as target,
                            ):
                                shutil.copyfileobj(source, target, 1 << 20)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, self.archive)
        finally:
            part.unlink(missing_ok=True)


def open_home(output: str | Path) -> Home:
    """The home of a dataset given by path or URL."""
    if str(output).startswith("zip://"):
        return ArchiveHome(str(output))
    if is_url(output):
        return RemoteHome(str(output))
    return Home(local(str(output)) or Path(output))
