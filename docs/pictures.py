"""Make pictures of the documentation: ``python docs/pictures.py [hero] [models] [preview]
[comparison]``.

They show the sample photographs; those of pages need Chromium and its driver. The comparison is
of the weights that come with the package, tested on crops of two photographs.
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
from sr.checkpoint import ZOO, load

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))
QUALITY = 88
SIDE = 300
"""Of a picture of the hero, in pixels. A phone shows it, and its text, at a quarter of that."""
COMPARED = ("srcnn_x4", "srcnn_x4_bsrgan", "srcnn_x4_realesrgan")
CORNER = (20, 50)
"""Top left of the crop of Chelsea the cat."""
MODELS = {
    "realesrgan": ("bicubic", "srresnet_small_x4_realesrgan", "srgan_small_x4_realesrgan"),
    "bicubic": ("bicubic", "srresnet_x4", "srgan_x4"),
}
"""Packaged models that are shown on each recipe."""
CROPS = {0: (20, 130), 1: (90, 110)}
"""Sample photographs, and the top left of their crops."""
DRAWN = 0
"""Seed of what is drawn for them."""
Titled = tuple[str, NDArray[np.uint8]]


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
    return sheet(list(zip(titles, pictures, strict=True)), columns=4)


def models() -> bytes:
    """What packaged models make of two photographs: ``realesrgan``, then ``bicubic``."""
    cells: list[Titled] = []
    for recipe, names in MODELS.items():
        for sample, (top, left) in CROPS.items():
            image = read_image(sample_images()[sample]).pixels[top : top + 160, left : left + 160]
            hr = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
            lr = Recipe.load(recipe)(hr, seed=DRAWN).lr
            cells += [(f"LR, {recipe}", as_pixels(lr)[0])]
            for name in names:
                with torch.no_grad():
                    sr = load(name, 4)(lr).clamp(0, 1)
                cells += [(name.split("_x4")[0], as_pixels(sr)[0])]
            cells += [("HR", image)]
    return sheet(cells, columns=len(cells) // 4)


def sheet(cells: list[Titled], columns: int) -> bytes:
    """Titled pictures in rows; small ones are enlarged without interpolation."""
    gap, line = 12, 44
    size = columns * (SIDE + gap) + gap, len(cells) // columns * (SIDE + line) + gap
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(34)
    for i, (title, picture) in enumerate(cells):
        x, y = gap + i % columns * (SIDE + gap), i // columns * (SIDE + line)
        draw.text((x + 2, y), title, "black", font)
        kind = Image.Resampling.NEAREST if len(picture) < SIDE / 2 else Image.Resampling.LANCZOS
        page.paste(Image.fromarray(picture).resize((SIDE, SIDE), kind), (x, y + line))
    return jpeg(np.asarray(page))


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
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        for path in sample_images()[1:3]:
            for left in (0, 160):
                crop = read_image(path).pixels[100:260, left : left + 160]
                Image.fromarray(crop).save(images / f"{path.stem}_{left}.png")
        models = [str(ZOO / f"{name}.safetensors") for name in COMPARED]
        command = [
            sys.executable,
            "-m",
            "sr",
            "compare",
            "--models",
            f"bicubic,{','.join(models)}",
        ]
        command += ["--train", "bicubic", "--test", "bicubic,bsrgan,realesrgan"]
        subprocess.run([*command, "--val", str(images), "--out", str(out)], check=True)
        return photographed(out / "report.html", 760, 720, "window.scrollTo(0, 0);")


if __name__ == "__main__":
    made = {
        "hero": ("realesrgan.jpg", hero),
        "models": ("models.jpg", models),
        "preview": ("preview.jpg", preview),
        "comparison": ("comparison.jpg", comparison),
    }
    for name in sys.argv[1:] or made:
        file, make = made[name]
        (HERE / file).write_bytes(make())
