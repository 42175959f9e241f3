"""OpenModelDB entry of a checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from degrade.errors import UserError
from degrade.storage.files import sha256
from sr.checkpoint import BICUBIC, read_metadata, weights_file
from sr.examples import PAIRS

__all__ = ["openmodeldb_entry"]

ARCHITECTURES = {
    "rrdb": "esrgan",
    "srresnet": "sr-res-net",
    "msrresnet": "sr-res-net",
    "srcnn": "srcnn",
}
"""OpenModelDB's ids by our names; it has none for SRCNN yet."""


def openmodeldb_entry(
    model: str | Path, author: str, license: str, url: str | None = None
) -> dict[str, Any]:
    """Return the JSON entry for OpenModelDB; its images are left to fill in.

    Args:
        model: A checkpoint or its name.
        author: OpenModelDB's id of the author.
        license: SPDX identifier.
        url: Where the file can be downloaded.

    Raises:
        UserError: If the model has no file, or it is not a checkpoint.
    """
    if str(model) == BICUBIC:
        raise UserError(f"export: {BICUBIC} has no weights, so it is no model of OpenModelDB")
    path = weights_file(model)
    metadata = read_metadata(path)
    config: dict[str, Any] = json.loads(metadata["config"])
    return {
        "name": path.stem,
        "author": author,
        "license": license,
        "tags": _tags(metadata),
        "description": _description(metadata, config),
        "date": time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime)),
        "architecture": ARCHITECTURES.get(metadata["name"], metadata["name"]),
        "size": [f"{config.get('channels', config.get('filters', ['?']))}"],
        "scale": int(metadata["scale"]),
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [_resource(path, url)],
        "images": [],
        **_training(metadata),
    }


def _tags(metadata: Mapping[str, str]) -> list[str]:
    restores = metadata.get("recipe") != "bicubic"
    return ["general-upscaler", "restoration"] if restores else ["general-upscaler"]


def _description(metadata: Mapping[str, str], config: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    recipe = f"{metadata.get('recipe')} ({metadata.get('hash', '')[:12]})"
    return f"{metadata['name']} ({settings}) trained on degrade recipe {recipe}."


def _resource(path: Path, url: str | None) -> dict[str, Any]:
    return {
        "platform": "pytorch",
        "type": "safetensors",
        "size": path.stat().st_size,
        "sha256": sha256(path),
        "urls": [url] if url else [],
    }


def _training(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the training run; none without one."""
    training: dict[str, Any] = json.loads(metadata.get("training", "{}"))
    if not training:
        return {}
    return {
        "trainingIterations": int(metadata["step"]),
        "trainingBatchSize": training["batch"],
        "trainingHRSize": training["patch"],
        "trainingOTF": not str(training["recipe"]).startswith(PAIRS),
    }
