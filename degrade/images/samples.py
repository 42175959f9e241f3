"""Sample photographs that need no download, so that a first run needs no data.

They ship inside the scikit-image wheel, which is a dependency; each is in the public domain or
CC0, as ``skimage/data/_fetchers.py`` states image by image.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from degrade.images.image import ImageError

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

    Raises:
        ImageError: scikit-image is not installed, or does not ship them.

    >>> [path.name for path in sample_images()][:2]
    ['astronaut.png', 'chelsea.png']
    """
    # The package is located, not imported: importing takes longer than reading the images.
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ImageError(
            "scikit-image", "not installed; install it for the sample images, or name your own"
        )
    paths = [Path(spec.origin).parent / "data" / name for name in CREDITS]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ImageError(
            missing[0], "does not ship with this scikit-image; name images of your own"
        )
    return paths
