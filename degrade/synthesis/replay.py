"""Replay: a pair made again from its row of the manifest and its HR source, and held against
the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from degrade.errors import SynthError
from degrade.recipe import Recipe
from degrade.storage.files import sha256
from degrade.storage.remote import is_url
from degrade.synthesis.job import Settings, degrade_crops, encode, load_crop, place_of
from degrade.synthesis.manifest import FIXED, NUMBER, Row, drawn, read_rows
from degrade.synthesis.run import load_settings
from degrade.synthesis.writers import format_at, open_home

__all__ = ["Replayed", "remake", "replay"]


@dataclass(frozen=True)
class Replayed:
    """A pair made again.

    Args:
        name: The pair's name.
        hr: The HR file's bytes.
        lr: The LR file's bytes.
        equal: Whether both have the hashes that the manifest records.
        on_disk: Whether the pair in the dataset, whatever its format, has them too; None where it
            is gone.
    """

    name: str
    hr: bytes
    lr: bytes
    equal: bool
    on_disk: bool | None


def replay(
    manifest: Path | str,
    row: int | None = None,
    source: Path | str | None = None,
    device: str = "cpu",
) -> Iterator[Replayed]:
    """Makes pairs of a dataset again, from what the manifest says was drawn, not from the seed.

    Args:
        manifest: ``manifest.csv``, or the dataset's folder; or a URL of either.
        row: The pair's index; None for all.
        source: Where the HR sources are now, a folder or a URL, if not where they were.
        device: Where to degrade.

    Raises:
        SynthError: no manifest, no such row, or a row that the recipe did not draw.
        ImageError: a source that is gone.
    """
    given = str(manifest).removesuffix("manifest.csv") if is_url(manifest) else Path(manifest)
    home = open_home(given.parent if isinstance(given, Path) and not given.is_dir() else given)
    home.begin()
    folder = home.folder
    path = given if isinstance(given, Path) and not given.is_dir() else folder / "manifest.csv"
    if not path.is_file():
        raise SynthError(f"{path}: no such manifest")
    recipe = Recipe.load(folder / "recipe.yaml")
    root, settings = load_settings(folder, recipe)
    columns, rows = read_rows(path.read_text(encoding="utf-8", errors="replace"))
    missing = [
        name for name in (*FIXED, *(c.address for c in recipe.columns)) if name not in columns
    ]
    if missing:
        raise SynthError(f"{path}: lacks the columns {', '.join(missing[:5])}")
    chosen = [r for r in rows if row is None or r["index"] == str(row)]
    if not chosen:
        raise SynthError(f"{path}: has no row with index {row}; there are {len(rows)} rows")
    if source is not None:
        root = str(source) if is_url(source) else Path(source)
    form = format_at(home)
    for each in chosen:
        hr, lr = remake(each, recipe, settings, root, device)
        hashes = [each["hr_sha256"], each["lr_sha256"]]
        there = form.read(each)
        on_disk = None if there is None else [sha256(one) for one in there] == hashes
        yield Replayed(each["name"], hr, lr, [sha256(hr), sha256(lr)] == hashes, on_disk)


def remake(
    row: Row, recipe: Recipe, settings: Settings, root: Path | str, device: str = "cpu"
) -> tuple[bytes, bytes]:
    """A row's HR and LR file. Raises SynthError if the recipe did not draw it, ImageError
    without its source.
    """
    try:
        plan = recipe.read_plan([drawn(row)], [int(row["key"])])
        index = int(row["index"])
        if not NUMBER.fullmatch(row["index"]):
            raise ValueError("an index should be a whole number of up to 18 digits")
    except ValueError as error:
        raise SynthError(f"row {row['index']}: {error}") from None
    loaded = load_crop(place_of(root, row["source"]), settings, recipe.scale, index)
    if [str(edge) for edge in loaded.box] != [
        row[side] for side in ("top", "left", "height", "width")
    ]:
        raise SynthError(
            f"row {row['index']}: {row['source']} now gives another crop; is it the same image?"
        )
    return encode(*degrade_crops([loaded], recipe, plan, device)[0])
