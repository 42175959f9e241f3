"""A dataset in a zip archive on this disk.

An archive cannot grow pair by pair and stay readable. So pairs are written to a working folder in
the cache, which is packed when the dataset is complete; until then the archive does not exist, or
is the one of an earlier run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from degrade.errors import SynthError
from degrade.storage.destination.folder import RECORDS, Destination, read_record
from degrade.storage.files import open_regular
from degrade.storage.remote import cache_folder

__all__ = ["ZipArchive"]

EXCLUDED = ("lock.mdb", "contact_sheet.png")
"""Files excluded from the archive: LMDB's lock, and a picture that is drawn after packing; and
those that were moved aside.
"""


class ZipArchive(Destination):
    """A zip archive, and the working folder that it is packed from.

    Args:
        url: ``zip://`` and the archive's path.

    Raises:
        SynthError: a folder inside an archive, or an archive in an object store.
    """

    def __init__(self, url: str) -> None:
        name = url.removeprefix("zip://").removeprefix("::").removeprefix("file://")
        if "::" in name or "://" in name or not name.endswith(".zip"):
            raise SynthError(
                f"{url}: should be zip://NAME.zip; a dataset can be written to a whole archive"
                " on this disk only"
            )
        self.archive, self.url = Path(name).absolute(), url
        digest = hashlib.sha256(str(self.archive).encode()).hexdigest()[:16]
        super().__init__(cache_folder() / "synth" / digest)

    def __str__(self) -> str:
        return self.url

    def restore(self) -> None:
        mark = self.folder / RECORDS[0]
        if not os.path.lexists(self.archive):
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        try:
            with open_regular(self.archive) as stream, zipfile.ZipFile(stream) as file:
                ours = _is_ours(file, os.fstat(stream.fileno()).st_size)
                if ours and mark.exists() and file.read(mark.name) != read_record(mark):
                    raise SynthError(
                        f"{self.url}: holds a dataset that another run began;"
                        " choose another --output"
                    )
                if ours and not mark.exists():
                    self._unpack(file)
        except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
            raise SynthError(f"{self.archive}: cannot be read as an archive ({error})") from None
        if not ours:
            raise SynthError(
                f"{self.archive}: is an archive that degrade did not write;"
                " choose another --output"
            )

    def _unpack(self, file: zipfile.ZipFile) -> None:
        part = self.folder.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            file.extractall(part)  # which keeps members from leading out of it
            shutil.rmtree(self.folder, ignore_errors=True)
            part.rename(self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def close(self) -> None:
        """Pack the working folder; equal datasets give equal bytes."""
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        part = self.archive.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with open(part, "xb") as stream:
                with zipfile.ZipFile(stream, "w") as archive:
                    for path in self._files():
                        _store(archive, path, path.relative_to(self.folder).as_posix())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, self.archive)
        finally:
            part.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        """Yield the files of the dataset, sorted; hidden folders and files are not part of it."""
        for path in sorted(self.folder.rglob("*")):
            hidden = path.relative_to(self.folder).parts[0].startswith(".")
            excluded = path.name in EXCLUDED or ".aside" in path.suffix
            if path.is_file() and not excluded and not hidden:
                yield path


def _is_ours(file: zipfile.ZipFile, size: int) -> bool:
    """Return whether ``degrade synth`` wrote an archive.

    It stores members uncompressed and apart; so an archive that is accepted cannot expand when
    unpacked.
    """
    members = file.infolist()
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    return (
        stored
        and sum(member.file_size for member in members) <= size
        and RECORDS[0] in file.namelist()
    )


def _store(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """Add a file without its time and owner."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    with open(path, "rb") as source, archive.open(info, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)
