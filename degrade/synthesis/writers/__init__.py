"""Writers of a dataset's formats. All write manifest, recipe and settings beside the pairs.

An engine writes each pair's two files to the writer's ``staging_dir``; the writer stores or packs
them. So every format resumes pair by pair, and has the same bytes on every engine.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from degrade.errors import SynthError
from degrade.storage.destination import Destination, read_record
from degrade.synthesis.settings import LATER, SynthSettings
from degrade.synthesis.writers.folder import FolderWriter
from degrade.synthesis.writers.huggingface import HuggingFaceWriter
from degrade.synthesis.writers.lmdb import LmdbWriter
from degrade.synthesis.writers.webdataset import WebDatasetWriter

__all__ = ["FORMATS", "FolderWriter", "open_writer"]

FORMATS: dict[str, type[FolderWriter]] = {
    writer.name: writer
    for writer in (FolderWriter, WebDatasetWriter, LmdbWriter, HuggingFaceWriter)
}
"""The writers by the value of ``--format``."""


def open_writer(destination: Destination) -> FolderWriter:
    """Return the writer of an existing dataset, by its ``synth.json``. Raises SynthError."""
    path = destination.folder / "synth.json"
    try:
        record: dict[str, Any] = json.loads(read_record(path))
        writer = FORMATS[record.get("format", FolderWriter.name)]
        layout = {name: record[name] for name in LATER if name in record}
        sides = TypeAdapter(SynthSettings).validate_python(layout).sides
        return writer(destination, int(record.get("shard", 1000)), int(record["pairs"]), sides)
    except (
        OSError,
        ValueError,
        RecursionError,
        OverflowError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise SynthError(f"{path}: is not what degrade synth writes: {error!r}") from None
