"""Replay: render pairs again from the manifest and the HR sources, and compare the files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from degrade.errors import SynthError
from degrade.execution import Backend
from degrade.recipe import Recipe
from degrade.storage.destination import Destination, open_destination, read_record
from degrade.storage.names import unescape
from degrade.storage.remote import is_url
from degrade.synthesis.job import source_path
from degrade.synthesis.manifest import FIXED, NUMBER, Row, doubled, drawn, read_rows
from degrade.synthesis.pair import degrade_crops, encode_pair, load_crop
from degrade.synthesis.settings import SynthSettings, load_settings
from degrade.synthesis.writers import open_writer
from degrade.synthesis.writers.folder import EncodedPair, matches

__all__ = ["ReplayedPair", "render_row", "replay_pairs"]


@dataclass(frozen=True)
class ReplayedPair:
    """A pair rendered again.

    Args:
        name: The pair's name.
        sides: The names of its files, such as ``hr`` and ``lr``.
        files: Their bytes.
        equal: Whether all have the hashes that the manifest records.
        on_disk: Whether the dataset's files have them too, in any format; None if they are
            missing.
    """

    name: str
    sides: tuple[str, ...]
    files: EncodedPair
    equal: bool
    on_disk: bool | None

    @property
    def hr(self) -> bytes:
        """The HR file's bytes."""
        return self.files[0]

    @property
    def lr(self) -> bytes:
        """The LR file's bytes."""
        return self.files[1]


def replay_pairs(
    manifest: Path | str,
    row: int | None = None,
    source: Path | str | None = None,
    device: str = "cpu",
    backend: Backend | None = None,
) -> Iterator[ReplayedPair]:
    """Render pairs of a dataset again, from the values in the manifest, not from the seed.

    Args:
        manifest: ``manifest.csv``, or the dataset's folder; or a URL of either.
        row: The index of one pair; None for all.
        source: The folder or URL of the HR sources, if they were moved.
        device: Where to degrade.
        backend: What runs the recipe's programs; by default the fastest for the device.

    Raises:
        SynthError: the manifest or the row is missing, or the recipe cannot draw the row.
        ImageError: a source cannot be read.
    """
    path, destination = _locate(manifest)
    destination.restore()
    folder = destination.folder
    path = path or folder / "manifest.csv"
    if not path.exists():
        raise SynthError(f"{path}: no such manifest")
    recipe = Recipe.load(folder / "recipe.yaml")
    root, settings = load_settings(folder, recipe)
    if source is not None:
        root = str(source) if is_url(source) else Path(source)
    writer = open_writer(destination)
    for each in _chosen_rows(path, recipe, row):
        files = render_row(each, recipe, settings, root, device, backend)
        stored = writer.read(each)
        on_disk = None if stored is None else matches(stored, each)
        yield ReplayedPair(each["name"], writer.sides, files, matches(files, each), on_disk)


def _locate(manifest: Path | str) -> tuple[Path | None, Destination]:
    """Return the manifest if a local file was given, and the destination of its dataset."""
    if is_url(manifest):
        return None, open_destination(str(manifest).removesuffix("manifest.csv"))
    path = Path(manifest)
    if path.is_dir():
        return None, open_destination(path)
    return path, open_destination(path.parent)


def _chosen_rows(path: Path, recipe: Recipe, index: int | None) -> list[Row]:
    columns, rows = read_rows(read_record(path).decode(errors="replace"))
    needed = (*FIXED, *(column.address for column in recipe.columns))
    missing = [name for name in needed if name not in columns]
    if missing:
        raise SynthError(f"{path}: lacks the columns {', '.join(missing[:5])}")
    if twice := doubled(rows):
        raise SynthError(f"{path}: {', '.join(twice[:3])}; each should be there once")
    chosen = [row for row in rows if index is None or row["index"] == str(index)]
    if not chosen:
        raise SynthError(f"{path}: has no row with index {index}; there are {len(rows)} rows")
    return chosen


def render_row(
    row: Row,
    recipe: Recipe,
    settings: SynthSettings,
    root: Path | str,
    device: str = "cpu",
    backend: Backend | None = None,
) -> EncodedPair:
    """Render the pair of a row, and return its files.

    Raises:
        SynthError: the recipe cannot draw the row, or the source has another size.
        ImageError: the source cannot be read.
    """
    try:
        plan = recipe.read_plan([drawn(row)], [int(row["key"])])
        index = int(row["index"])
        if not NUMBER.fullmatch(row["index"]):
            raise ValueError("an index should be an integer of up to 18 digits")
    except ValueError as error:
        raise SynthError(f"row {row['index']}: {error}") from None
    crop = load_crop(source_path(root, unescape(row["source"])), settings, recipe.scale, index)
    recorded = [row[side] for side in ("top", "left", "height", "width")]
    if [str(edge) for edge in crop.box] != recorded:
        raise SynthError(
            f"row {row['index']}: {row['source']} now gives another crop; is it the same image?"
        )
    [pixels] = degrade_crops([crop], recipe, plan, device, backend)
    return encode_pair(pixels, crop, settings)
