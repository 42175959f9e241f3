"""The settings of a synthesis, which its dataset records in ``synth.json``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from degrade.errors import SynthError
from degrade.limits import max_pixels
from degrade.recipe import Recipe
from degrade.storage.destination import read_record
from degrade.storage.remote import is_url

__all__ = ["SynthSettings", "load_settings"]


@dataclass(frozen=True)
class SynthSettings:
    """What determines the pairs, besides the recipe; a resumed run must have the same.

    Args:
        input: Folder, file or glob of HR images, or a URL of one; empty for the built-in samples.
        patch: Side of HR patches in pixels; None for whole images.
        per_image: Pairs of each image.
        count: Stop after this many pairs.
        seed: Seed; a pair's key is ``Key.of(seed, index)``.
        small: What to do with images smaller than the patch (or than the scale): ``reflect`` or
            ``skip`` them.
        alpha: ``drop`` alpha, with a note; or ``keep`` it, the LR's by area averaging.
    """

    input: str = ""
    patch: int | None = None
    per_image: int = 1
    count: int | None = None
    seed: int = 0
    small: Literal["reflect", "skip"] = "reflect"
    alpha: Literal["drop", "keep"] = "drop"


def load_settings(folder: Path, recipe: Recipe) -> tuple[Path | str, SynthSettings]:
    """Return the root of a dataset's sources and its settings, from ``synth.json``.

    Raises:
        SynthError: the file is missing or damaged, or records another recipe.
    """
    path = folder / "synth.json"
    try:
        record = json.loads(read_record(path))
        settings = TypeAdapter(SynthSettings).validate_python(
            {name: record[name] for name in SynthSettings.__dataclass_fields__}
        )
        root, digest = (
            TypeAdapter(str).validate_python(record[name]) for name in ("root", "recipe_hash")
        )
        patch = settings.patch
        if patch is not None and (
            patch < recipe.scale or patch % recipe.scale or patch**2 > max_pixels()
        ):
            raise ValueError(f"a patch of {patch} pixels")
        os.fsencode(root)  # raises ValueError for what is no file's name
    except (OSError, ValueError, RecursionError, OverflowError, KeyError, TypeError) as error:
        raise SynthError(f"{path}: is not what degrade synth writes: {error}") from None
    if digest != recipe.hash:
        raise SynthError(
            f"{folder / 'recipe.yaml'}: is not the recipe that made this dataset ({digest[:12]})"
        )
    return root if is_url(root) else Path(root), settings
