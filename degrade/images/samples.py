"""Sample photographs that come with the package, so that a first run needs no data.

Each is in the public domain or CC0. They are the files of scikit-image's ``skimage.data``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["CREDITS", "sample_images"]

CREDITS = {
    "astronaut.png": "Eileen Collins. NASA Great Images; public domain",
    "chelsea.png": "Chelsea the cat. Stefan van der Walt; CC0",
    "coffee.png": "A cup of coffee. Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0",
    "hubble_deep_field.jpg": "Hubble eXtreme Deep Field. NASA; public domain",
    "rocket.jpg": "Launch of DSCOVR on a Falcon 9. SpaceX; public domain (CC0)",
}
"""File name -> subject, author and terms."""


def sample_images() -> list[Path]:
    """Return the files of ``CREDITS``, five colour photographs of 451 x 300 to 1000 x 872 pixels.

    >>> [path.name for path in sample_images()][:2]
    ['astronaut.png', 'chelsea.png']
    """
    folder = Path(__file__).parent / "photographs"
    return [folder / name for name in CREDITS]
