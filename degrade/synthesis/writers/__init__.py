"""Formats: what a dataset looks like on disk. All keep the manifest, the recipe and the settings
beside the pairs.

An engine puts each pair's two files into the format's ``stage``; what becomes of them is the
format's affair. So every format resumes pair by pair, has the same bytes whatever engine made
them, and asks nothing of the engines.
"""

from __future__ import annotations

import json
from typing import Any

from degrade.errors import SynthError
from degrade.storage.destination import Home, open_home
from degrade.synthesis.writers.folder import Folder
from degrade.synthesis.writers.huggingface import HuggingFace
from degrade.synthesis.writers.lmdb import Lmdb
from degrade.synthesis.writers.webdataset import WebDataset

__all__ = ["FORMATS", "Folder", "Home", "format_at", "open_home"]

FORMATS: dict[str, type[Folder]] = {
    kind.name: kind for kind in (Folder, WebDataset, Lmdb, HuggingFace)
}


def format_at(home: Home) -> Folder:
    """The format of a dataset that is there, as its settings say. Raises SynthError."""
    path = home.folder / "synth.json"
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = FORMATS[said.get("format", Folder.name)]
        return kind(home, int(said.get("shard", 1000)), int(said["pairs"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthError(f"{path}: is not what degrade synth writes: {error!r}") from None
