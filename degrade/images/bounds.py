"""Bounds on the work of decoding one file: a small file must not take much memory or time.

All follow from the limit of pixels, :func:`degrade.limits.max_pixels`.
"""

from __future__ import annotations

from typing import Any

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from degrade.images.image import ImageError
from degrade.limits import VARIABLE, max_pixels, max_side

__all__ = ["SCAN_FACTOR", "check_scans", "check_size", "check_tiles"]

SCAN_FACTOR = 32
"""Pixels times scans of a JPEG, in units of the limit of pixels: 3 s for the default limit. Files
have 1 to about 10 scans.
"""
_CHUNK_BYTES = 2**20
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
_START_OF_SCAN = b"\xff\xda"


def check_size(
    size: tuple[int, int], name: str, limit: float | None = None, what: str = ""
) -> None:
    """Raise ImageError if a width and height exceed the limit of pixels or that of a side.

    Args:
        size: In pixels.
        name: The file's.
        limit: Of pixels; by default :func:`degrade.limits.max_pixels`.
        what: Of what, if not of the image: "tiles of ".
    """
    width, height = size
    most = max_pixels() if limit is None else limit
    if width * height > most:
        raise ImageError(
            name,
            f"{what}{width} x {height} pixels, more than the limit of {most:,} pixels in total; "
            f"set {VARIABLE} if you trust the file",
        )
    side = max_side(most)
    if max(size) > side:
        raise ImageError(
            name,
            f"{what}{width} x {height} pixels, a side of more than {side:,.0f}; "
            f"cut it into parts, or set {VARIABLE} to 1024 times the side if you trust the file",
        )


def check_tiles(picture: ImageFile, name: str) -> None:
    """Raise ImageError if the tiles of a TIFF are larger than an image may be. They are decoded
    whole, and a small image may lie in a large one.
    """
    tags: dict[int, Any] = dict(picture.tag_v2) if isinstance(picture, TiffImageFile) else {}
    if _TILE_WIDTH in tags and _TILE_HEIGHT in tags:
        check_size((int(tags[_TILE_WIDTH]), int(tags[_TILE_HEIGHT])), name, what="tiles of ")


def check_scans(picture: ImageFile, name: str) -> None:
    """Raise ImageError if a JPEG that is not loaded yet has too many scans, each of which passes
    over all pixels. One of several pictures (MPO, of phones and stereo cameras) is a JPEG too.
    """
    if not isinstance(picture, JpegImageFile) or picture.fp is None:
        return
    place = picture.fp.tell()
    picture.fp.seek(0)
    scans, last = 0, b""
    while chunk := picture.fp.read(_CHUNK_BYTES):
        # A marker may lie across the border of two chunks.
        scans += (last + chunk).count(_START_OF_SCAN)
        last = chunk[-1:]
    picture.fp.seek(place)
    area = picture.width * picture.height
    most = max(SCAN_FACTOR * max_pixels() // area, SCAN_FACTOR)
    if scans > most:
        raise ImageError(
            name,
            f"a JPEG of {scans:,} scans, more than the limit of {most:,} for {area:,} pixels; "
            "save it again, with fewer",
        )
