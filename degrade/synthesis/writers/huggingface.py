"""Hugging Face image folder: the pairs as files, and ``metadata.jsonl`` with what was drawn for
each.

``datasets.load_dataset("imagefolder", data_dir=...)`` reads it: a column ``x_file_name`` becomes
the image column ``x`` (documented in "Create an image dataset" of the datasets library).
"""

from __future__ import annotations

from collections.abc import Sequence

from degrade.storage.files import write_atomic
from degrade.synthesis.manifest import Row
from degrade.synthesis.writers.folder import Folder
from degrade.synthesis.writers.json_rows import to_json

__all__ = ["HuggingFace"]


class HuggingFace(Folder):
    """Columns ``hr_file_name`` and ``lr_file_name``, then those of the manifest."""

    name = "huggingface"

    def finish(self, rows: Sequence[Row]) -> None:
        lines = (
            to_json(
                {"hr_file_name": f"hr/{r['name']}.png", "lr_file_name": f"lr/{r['name']}.png", **r}
            )
            for r in rows
        )
        path = self.home.folder / "metadata.jsonl"
        write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
        self.home.publish(path)
