"""Make the pictures of the README: ``python docs/pictures.py [hero] [preview] [comparison]``.

They show the sample photographs; those of pages need Chromium and its driver. The comparison is
the report of ``sr compare --quick``, which is made first, in minutes, if it is not there.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from degrade import Key, Recipe
from degrade.images.files import read_image
from degrade.images.pixels import as_pixels
from degrade.images.samples import sample_images

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))
QUALITY = 88
SIDE = 300
"""Of a picture of the hero, in pixels. A phone shows it, and its text, at a quarter of that."""
CORNER = (20, 50)
"""Top left of the crop of Chelsea the cat."""


def hero() -> bytes:
    """HR, three severities and four draws of ``realesrgan``, enlarged without interpolation."""
    recipe = Recipe.load("realesrgan")
    top, left = CORNER
    image = read_image(sample_images()[1]).pixels[top : top + 256, left : left + 256]
    plans = [recipe.severity(level, Key.of(0, 0)) for level in (0.25, 0.5, 0.75)]
    plans += [recipe.plan(Key.of(0, i)) for i in range(4)]
    hr = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    pictures = [image, *(as_pixels(recipe.apply(hr, plan).lr)[0] for plan in plans)]
    titles = ["HR", "mild", "medium", "severe", *(f"draw {i}" for i in range(4))]
    gap, line = 12, 44
    sheet = Image.new("RGB", (4 * SIDE + 5 * gap, 2 * (SIDE + line) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(34)
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        x, y = gap + i % 4 * (SIDE + gap), i // 4 * (SIDE + line)
        draw.text((x + 2, y), title, "black", font)
        kind = Image.Resampling.LANCZOS if i == 0 else Image.Resampling.NEAREST
        sheet.paste(Image.fromarray(picture).resize((SIDE, SIDE), kind), (x, y + line))
    return jpeg(np.asarray(sheet))


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def photographed(page: Path, width: int, height: int, script: str) -> bytes:
    """A page in a window of that size, at twice as many pixels, once the script has run."""
    from webdriver import browsing

    with tempfile.TemporaryDirectory() as profile, browsing(Path(profile)) as browser:
        browser.look(width, height, density=2)
        browser.open(page.resolve().as_uri())
        browser.run(script)
        time.sleep(1)  # pictures are decoded and drawn
        browser.picture(Path(profile) / "page.png")
        return jpeg(np.asarray(Image.open(Path(profile) / "page.png").convert("RGB")))


def preview() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "degrade", "preview", "realesrgan", "--html", str(page)]
        subprocess.run([*command, "--crop", "256"], check=True)
        script = """
        const picture = [...document.querySelectorAll("select")].find((one) =>
          [...one.options].some((option) => option.text === "chelsea.png"));
        picture.value = [...picture.options].find((option) => option.text === "chelsea.png").value;
        picture.dispatchEvent(new Event("change", {bubbles: true}));
        window.scrollTo(0, 130);
        """
        return photographed(page, 760, 720, script)


def comparison() -> bytes:
    page = Path("comparison-quick/report.html")
    if not page.exists():
        subprocess.run([sys.executable, "-m", "sr", "compare", "--quick"], check=True)
    return photographed(page, 760, 720, "window.scrollTo(0, 0);")


if __name__ == "__main__":
    made = {
        "hero": ("realesrgan.jpg", hero),
        "preview": ("preview.jpg", preview),
        "comparison": ("comparison.jpg", comparison),
    }
    for name in sys.argv[1:] or made:
        file, make = made[name]
        (HERE / file).write_bytes(make())
