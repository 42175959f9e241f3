"""The settings of a synthesis, which its dataset records in ``synth.json``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from degrade.errors import SynthError
from degrade.limits import max_pixels
from degrade.recipe import Recipe
from degrade.storage.destination import read_record
from degrade.storage.remote import is_url

__all__ = ["SynthSettings", "load_settings"]

LATER: dict[str, Any] = {"names": "hr,lr", "keep_raw": False}
"""Settings that are recorded only where they differ from these, so that datasets made before there
were any can be resumed.
"""


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
            ``skip`` them; ``auto`` reflects those of at least half its size and skips the others,
            whose reflections would repeat like a kaleidoscope's.
        alpha: ``drop`` alpha, with a note; or ``keep`` it, the LR's by area averaging.
        names: The folders of HR and LR images.
        keep_raw: Whether to write each HR crop as it is in its source too, in ``hr_raw``: a recipe
            may sharpen HR.
    """

    input: str = ""
    patch: int | None = None
    per_image: int = 1
    count: int | None = None
    seed: int = 0
    small: Literal["auto", "reflect", "skip"] = "auto"
    alpha: Literal["drop", "keep"] = "drop"
    names: Literal["hr,lr", "gt,lq", "hq,lq"] = "hr,lr"
    keep_raw: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of a pair's files: HR, LR and, if it is kept, HR before the recipe.

        >>> SynthSettings(names="gt,lq", keep_raw=True).sides
        ('gt', 'lq', 'gt_raw')
        """
        high, low = self.names.split(",")
        return (high, low, f"{high}_raw") if self.keep_raw else (high, low)

    def record(self) -> dict[str, Any]:
        """Return what ``synth.json`` records of them."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in LATER or value != LATER[name]
        }


def load_settings(folder: Path, recipe: Recipe) -> tuple[Path | str, SynthSettings]:
    """Return the root of a dataset's sources and its settings, from ``synth.json``.

    Raises:
        SynthError: the file is missing or damaged, or records another recipe.
    """
    path = folder / "synth.json"
    try:
        record = json.loads(read_record(path))
        settings = TypeAdapter(SynthSettings).validate_python(
            {
                name: record[name]
                for name in SynthSettings.__dataclass_fields__
                if name not in LATER
            }
            | {name: record[name] for name in LATER if name in record}
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
