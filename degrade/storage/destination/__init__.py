"""Storage of a dataset: local folder, object store or zip archive.

A run always works in a folder on this disk. A destination takes the files that are finished:
:class:`Destination` leaves them in that folder, :class:`ObjectStore` uploads each,
:class:`ZipArchive` packs the folder when the dataset is complete.
"""

from __future__ import annotations

from pathlib import Path

from degrade.storage.destination.folder import RECORDS, Destination, read_record
from degrade.storage.destination.object_store import ObjectStore
from degrade.storage.destination.zip_archive import ZipArchive
from degrade.storage.remote import is_url, local

__all__ = [
    "RECORDS",
    "Destination",
    "ObjectStore",
    "ZipArchive",
    "open_destination",
    "read_record",
]


def open_destination(output: str | Path) -> Destination:
    """Return the destination that a path or a URL names.

    >>> type(open_destination("out/x4")).__name__
    'Destination'
    """
    if str(output).startswith("zip://"):
        return ZipArchive(str(output))
    if is_url(output):
        return ObjectStore(str(output))
    return Destination(local(str(output)) or Path(output))
