"""Images that are open in Pillow already."""

from __future__ import annotations

from io import BytesIO
from typing import TypeGuard

import PIL.Image
from PIL.ImageFile import ImageFile

from degrade.images.decode import FORMATS, decode, is_8bit, open_header
from degrade.images.errors import decoder_errors
from degrade.images.image import Image, ImageError
from degrade.images.modes import convert, is_signed
from degrade.images.orientation import exif_orientation, exif_transpose

__all__ = ["from_pillow"]


def from_pillow(picture: PIL.Image.Image, name: str = "PIL image") -> Image:
    """Return a Pillow image as :func:`degrade.images.decode.read_image` returns its file: upright,
    all bits kept.

    Of 16-bit colour Pillow keeps the high bytes only. All bits are read from the file while it is
    open, which it is until the image is loaded.

    Raises:
        ImageError: A mode without an 8 or 16-bit form, levels that may be of 8 or of 16 bits, or a
            file that cannot be decoded.

    >>> from_pillow(PIL.Image.new("I;16", (1, 1), 258)).pixels.tolist()
    [[[258]]]
    """
    with decoder_errors(name, "cannot be loaded"):
        if _is_open_file(picture) and not is_8bit(picture):
            return decode(open_header(_copy(picture), name, None), name)
        if is_signed(getattr(picture, "tag_v2", {})):
            raise ImageError(name, "signed samples; scale them to 16 bits, 0 to 65535")
        picture.load()  # turns TIFFs upright
    orientation = exif_orientation(picture)
    pixels, alpha = convert(picture, name)
    if picture.mode == "I" and picture.format is None and 0 < pixels.max(initial=0) < 256:
        raise ImageError(
            name,
            f"mode I holds 16 bits, but no level is above {pixels.max()}; "
            "if these are levels of 8 bits, convert it to mode L",
        )
    return Image(
        exif_transpose(pixels, orientation),
        None if alpha is None else exif_transpose(alpha, orientation),
    )


def _is_open_file(picture: PIL.Image.Image) -> TypeGuard[ImageFile]:
    """Whether the pixels of an image are still in its file, at the first frame."""
    if not isinstance(picture, ImageFile) or picture.format not in FORMATS:
        return False
    return bool(picture.tile) and picture.fp is not None and picture.tell() == 0


def _copy(picture: ImageFile) -> BytesIO:
    """The file of an image, which stays as it is."""
    assert picture.fp is not None
    place = picture.fp.tell()
    picture.fp.seek(0)
    data = picture.fp.read()
    picture.fp.seek(place)
    return BytesIO(data)
