"""Replay: a pair made again from its row of the manifest and its HR source, and held against the files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from degrade.images import sha256
from degrade.manifest import FIXED, Row, SynthError, files, inside, read_rows
from degrade.recipe import Recipe
from degrade.synth import Settings, degrade_crops, encode, load_crop, load_settings

__all__ = ["Replayed", "replay"]


@dataclass(frozen=True)
class Replayed:
    """A pair made again.

    Args:
        name: The pair's name.
        hr: The HR file's bytes.
        lr: The LR file's bytes.
        equal: Whether both have the hashes that the manifest records.
        on_disk: Whether the files beside the manifest have them too; None where they are gone.
    """

    name: str
    hr: bytes
    lr: bytes
    equal: bool
    on_disk: bool | None


def replay(
    manifest: Path, row: int | None = None, source: Path | None = None, device: str = "cpu"
) -> Iterator[Replayed]:
    """Makes pairs of a dataset again, from what the manifest says was drawn, not from the seed.

    Args:
        manifest: ``manifest.csv``, or the dataset's folder.
        row: The pair's index; None for all.
        source: Where the HR sources are now, if not where they were.
        device: Where to degrade.

    Raises:
        SynthError: no manifest, no such row, or a row that the recipe did not draw.
        ImageError: a source that is gone.
    """
    path = manifest / "manifest.csv" if manifest.is_dir() else manifest
    folder = path.parent
    if not path.is_file():
        raise SynthError(f"{path}: no such manifest")
    recipe = Recipe.load(folder / "recipe.yaml")
    root, settings = load_settings(folder, recipe)
    columns, rows = read_rows(path.read_text(encoding="utf-8", errors="replace"))
    missing = [name for name in (*FIXED, *(c.address for c in recipe.columns)) if name not in columns]
    if missing:
        raise SynthError(f"{path}: lacks the columns {', '.join(missing[:5])}")
    chosen = [r for r in rows if row is None or r["index"] == str(row)]
    if not chosen:
        raise SynthError(f"{path}: has no row with index {row}; there are {len(rows)} rows")
    for each in chosen:
        yield _again(each, recipe, settings, source or root, folder, device)


def _again(row: Row, recipe: Recipe, settings: Settings, root: Path, folder: Path, device: str) -> Replayed:
    drawn = {address: cell for address, cell in row.items() if address not in FIXED}
    try:
        plan = recipe.read_plan([drawn], [int(row["key"])])
        index = int(row["index"])
    except ValueError as error:
        raise SynthError(f"row {row['index']}: {error}") from None
    loaded = load_crop(inside(root, row["source"]), settings, recipe.scale, index)
    if [str(edge) for edge in loaded.box] != [row[side] for side in ("top", "left", "height", "width")]:
        raise SynthError(f"row {row['index']}: {row['source']} now gives another crop; is it the same image?")
    hr, lr = encode(*degrade_crops([loaded], recipe, plan, device)[0])
    hashes = [row["hr_sha256"], row["lr_sha256"]]
    there = [path for path in files(folder, row["name"]) if path.is_file()]
    on_disk = [sha256(path) for path in there] == hashes if len(there) == 2 else None
    return Replayed(row["name"], hr, lr, [sha256(hr), sha256(lr)] == hashes, on_disk)
