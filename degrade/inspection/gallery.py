"""Contact sheets of datasets (written by ``degrade synth``) and of recipes (``degrade show``)."""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from degrade.errors import SynthError
from degrade.images.files import Image, read_image
from degrade.images.pixels import Uint8, as_pixels, encode_png, in_channels, reflected
from degrade.inspection.contact_sheet import Cell, draw_contact_sheet, drawn_values, enlarge
from degrade.plan import Plan
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.storage.destination import open_destination, read_record
from degrade.storage.files import write_atomic
from degrade.synthesis.manifest import drawn, read_rows
from degrade.synthesis.replay import render_row
from degrade.synthesis.settings import load_settings
from degrade.synthesis.writers import open_writer

__all__ = ["show_recipe", "write_contact_sheet"]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CELL = 256


def write_contact_sheet(folder: Path, recipe: Recipe, pairs: int = 6, url: str = "") -> Path:
    """Draw a few pairs of a dataset, HR beside LR enlarged, as ``contact_sheet.png``.

    Args:
        folder: The dataset.
        recipe: Its recipe.
        pairs: How many to draw, spread over the dataset.
        url: Where the dataset is stored, if not in the folder; the sheet is stored there too.

    Returns:
        The file.

    Raises:
        SynthError: The files of a pair are missing.
    """
    destination = open_destination(url or folder)
    writer = open_writer(destination)
    root, settings = load_settings(folder, recipe)
    _, rows = read_rows(read_record(folder / "manifest.csv").decode())
    picked = [
        rows[i]
        for i in np.unique(np.linspace(0, len(rows) - 1, min(pairs, len(rows))).astype(int))
    ]
    cells: list[list[Cell]] = []
    for row in picked:
        # To make a pair again costs less than to fetch it from a store.
        near = destination.near
        found = writer.read(row) if near else render_row(row, recipe, settings, root)
        if found is None:
            raise SynthError(f"{folder}: the files of {row['name']} are missing; run synth again")
        hr, lr = (read_image(file).pixels for file in found[:2])
        text = drawn_values(Plan.read(recipe.columns, [drawn(row)], [int(row["key"])]), 0)
        # Full pictures for the overall impression, and the centre with each LR pixel as a square
        # of `scale`, to see artefacts.
        side = min(CELL // recipe.scale, *lr.shape[:2])
        y, x = (n // 2 - side // 2 for n in lr.shape[:2])
        s = recipe.scale
        zoom_lr = lr[y : y + side, x : x + side]
        zoom_hr = hr[y * s : (y + side) * s, x * s : (x + side) * s]
        hr_title = f"{row['name']}   HR {hr.shape[1]} x {hr.shape[0]}"
        lr_title = f"LR {lr.shape[1]} x {lr.shape[0]}, enlarged"
        cells.append(
            [
                Cell(hr.astype(np.uint8), hr_title),
                Cell(enlarge(lr.astype(np.uint8), s), lr_title),
                Cell(zoom_hr.astype(np.uint8), "HR, middle"),
                Cell(enlarge(zoom_lr.astype(np.uint8), s), "LR, middle"),
                Cell(None, "drawn", text),
            ]
        )
    path = folder / "contact_sheet.png"
    heading = f"{recipe.name}  x{recipe.scale}  {recipe.hash[:12]}   {len(rows)} pairs"
    write_atomic(path, encode_png(draw_contact_sheet(cells, heading, CELL)))
    destination.put_snapshot(path)
    destination.flush()
    return path


def show_recipe(recipe: Recipe, image: Image, draws: int, crop: int, seed: int) -> Uint8:
    """Draw the centre crop of an image at rising severity, and at random draws.

    Args:
        recipe: The recipe.
        image: The HR image.
        draws: Number of random draws.
        crop: Side of the crop, in pixels.
        seed: With the number of the draw, its key.

    Returns:
        (H, W, 3) uint8.
    """
    crop = max(crop // recipe.scale, 1) * recipe.scale
    pixels = reflected(in_channels(image, 3), crop)
    y, x = (n // 2 - crop // 2 for n in pixels.shape[:2])
    cut = pixels[y : y + crop, x : x + crop]
    hr = torch.from_numpy(cut.copy()).permute(2, 0, 1)[None]
    plans = [recipe.severity(level, Key.of(seed, 0)) for level in LEVELS]
    titles = [f"severity {level:.0%}" for level in LEVELS]
    plans += [recipe.plan(Key.of(seed, i)) for i in range(draws)]
    titles += [f"draw {i}" for i in range(draws)]
    cells = [Cell(cut, f"HR {crop} x {crop}")]
    for plan, title in zip(plans, titles, strict=True):
        lr = as_pixels(recipe.apply(hr, plan).lr)[0]
        cells.append(Cell(enlarge(lr, recipe.scale), title, drawn_values(plan, 0)))
    across = len(LEVELS) + 1
    rows = [cells[:across], *(cells[i : i + across] for i in range(across, len(cells), across))]
    heading = f"{recipe.name}  x{recipe.scale}   {recipe.description}"
    return draw_contact_sheet(rows, heading, CELL)
