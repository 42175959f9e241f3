"""Hugging Face image folder: the pairs as files, and ``metadata.jsonl`` with the manifest's rows.

``datasets.load_dataset("imagefolder", data_dir=...)`` reads it: a column ``x_file_name`` becomes
the image column ``x`` (documented in "Create an image dataset" of the datasets library).
"""

from __future__ import annotations

from collections.abc import Sequence

from degrade.storage.files import write_atomic
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import FolderWriter
from degrade.synthesis.writers.json_rows import to_json

__all__ = ["HuggingFaceWriter"]


class HuggingFaceWriter(FolderWriter):
    """Writes a column ``hr_file_name`` a side, then those of the manifest."""

    name = "huggingface"

    def finish(self, rows: Sequence[Row]) -> None:
        lines = (
            to_json(
                {**{f"{side}_file_name": f"{side}/{r['name']}.png" for side in self.sides}, **r}
            )
            for r in rows
        )
        path = self.destination.folder / "metadata.jsonl"
        write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
        self.destination.put(path)
