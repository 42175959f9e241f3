"""Decode any common image file to RGB or grey pixels.

:func:`read_image` turns what a file may hold (palette, CMYK, 16 bits, alpha, an EXIF orientation,
many frames) into one form, ``(h, w, C)`` unsigned integers with C = 1 or 3, and lists the
conversions as notes. Pillow decodes everything except 16-bit colour, of which it keeps only 8
bits: OpenCV decodes that, and the high bytes of the two decoders must agree.

An image is decoded completely or refused. A truncated file is an :class:`ImageError`, never a
half-grey picture, and an image of too many pixels is refused from its header, before memory is
allocated.

Not detected: changed bytes in formats without checksums (all but PNG), as long as they decode; and
Pillow's ``LOAD_TRUNCATED_IMAGES``, which another library may have set for the process.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile

from degrade.errors import UserError
from degrade.images.bounds import check_scans, check_size, check_tiles
from degrade.images.errors import decoder_errors
from degrade.images.image import Image, ImageError, Pixels
from degrade.images.modes import MODE_NOTES, convert, is_8bit_mode, is_signed
from degrade.images.orientation import exif_orientation, exif_transpose, tag_orientation
from degrade.images.png_chunks import without_metadata
from degrade.storage.remote import is_url, read_bytes

__all__ = [
    "FORMATS",
    "ImageSource",
    "decode",
    "image_size",
    "is_8bit",
    "load",
    "metadata_notes",
    "open_header",
    "open_source",
    "read_image",
    "read_only",
]

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""A path, a URL, the bytes of a file, or an open binary file."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF")
"""The formats read, recognised by content, not by suffix."""

# TIFF tags.
BITS, PLANAR = 258, 284

# --- files ---------------------------------------------------------------------------------------


def read_image(source: ImageSource, *, limit: int | None = None) -> Image:
    """Decode an image file.

    Colour profiles are not applied, as is usual in super-resolution. CMYK becomes RGB by
    R = (255 - C)(255 - K) / 255.

    Args:
        source: A path, a URL (see :mod:`degrade.storage.remote`), the bytes of a file, or an open
            binary file: PNG, JPEG, WebP, BMP, TIFF, GIF, PPM or AVIF, of 1 to 16 bits a channel,
            whatever its suffix.
        limit: Most pixels to accept, by default :func:`degrade.limits.max_pixels`; see
            :mod:`degrade.images.bounds`. (Pillow's own limit, 178 956 970, also holds for WebP and
            GIF.)

    Raises:
        ImageError: Missing, unreadable, empty, not an image, truncated, corrupt, too large, or of
            a kind without an exact 8 or 16-bit form (floating point, 12 or 32 bits, planar 16-bit
            TIFF).

    >>> image = read_image(b"P5 2 1 255 " + bytes([7, 9]))
    >>> image.pixels.shape, image.pixels.ravel().tolist()
    ((1, 2, 1), [7, 9])
    """
    with open_source(source) as (file, name):
        picture = open_header(file, name, limit)
        with decoder_errors(name, f"truncated or corrupt {picture.format}"):
            return decode(picture, name)


def image_size(source: ImageSource, *, limit: int | None = None) -> tuple[int, int]:
    """Return height and width as stored, before any EXIF orientation, from the header alone.

    Raises:
        ImageError: As :func:`read_image`, as far as the header shows it.

    >>> image_size(b"P5 2 1 255 " + bytes([7, 9]))
    (1, 2)
    """
    with open_source(source) as (file, name):
        width, height = open_header(file, name, limit).size
        return height, width


@contextlib.contextmanager
def open_source(source: ImageSource) -> Generator[tuple[BinaryIO, str]]:
    """Open a source as a binary file; yields the file and the name that errors call it by."""
    if isinstance(source, bytes):
        yield BytesIO(source), "<bytes>"
        return
    if isinstance(source, str) and is_url(source):
        try:
            file = read_bytes(source)
        except UserError as error:
            raise ImageError(source, str(error).removeprefix(f"{source}: ")) from None
        yield file, source
        return
    if not isinstance(source, str | os.PathLike):
        yield source, str(getattr(source, "name", "<file>"))
        return
    name = os.fspath(source)
    try:
        # A pipe or a device would block, or never end.
        if not stat.S_ISREG(os.stat(name).st_mode):
            kind = "a folder, not a file" if os.path.isdir(name) else "not a regular file"
            raise ImageError(name, kind)
        file = open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise ImageError(name, (error.strerror or str(error)).lower()) from None
    with file:
        yield file, name


def open_header(file: BinaryIO, name: str, limit: float | None) -> ImageFile:
    """Open without decoding, as ``PIL.Image.open`` does, but with a limit of pixels of our own:
    Pillow's is a setting of the process.
    """
    with decoder_errors(name, "unreadable"):
        file.seek(0)
        prefix = file.read(16)
    if not prefix:
        raise ImageError(name, "the file is empty")
    PIL.Image.preinit()
    for kind in FORMATS:
        if kind not in PIL.Image.OPEN:
            PIL.Image.init()
        factory, accept = PIL.Image.OPEN.get(kind, (None, None))
        if factory is None or accept is None or accept(prefix) is not True:
            continue
        with decoder_errors(name, f"corrupt or unsupported {kind}"):
            picture = _open(kind, factory, file)
        check_size(picture.size, name, limit)
        return picture
    raise ImageError(name, f"not an image of a known format ({', '.join(FORMATS)})")


def _open(kind: str, factory: Callable[..., ImageFile], file: BinaryIO) -> ImageFile:
    """Open a file of a known format."""
    no_profile = False
    if kind == "PNG":
        file, no_profile = without_metadata(file)
    file.seek(0)
    # No file name: Pillow would map the file of that name into memory, of which ``file`` may be
    # only a part.
    picture = factory(file, "")
    if no_profile:
        picture.info["icc_profile"] = b""
    layout, _, bits = _layout(picture)[0].partition(";")
    clear = picture.info.get("transparency")
    if kind == "PNG" and layout == "L" and isinstance(clear, int):
        # Pillow scales samples of fewer bits to 8, but not the one that is transparent.
        most = 2 ** int(bits or 8) - 1
        picture.info["transparency"] = (clear & most) * 255 // most
    return picture


# --- decoders ------------------------------------------------------------------------------------


def decode(picture: ImageFile, name: str) -> Image:
    """Decode an opened file; raises what the decoders raise, see :func:`decoder_errors`."""
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    layout, deep = _layout(picture)
    if tags and _is_inexact_tiff(picture, tags, deep):
        raise ImageError(
            name,
            "a TIFF of signed, floating-point, 12-bit, 32-bit or planar 16-bit samples; "
            "save it as a 16-bit PNG",
        )
    deep_colour = deep and is_8bit_mode(picture.mode) and picture.mode != "CMYK"
    data = _file_bytes(picture) if deep_colour else b""
    load(picture, name)  # which may close the file
    notes = [MODE_NOTES[picture.mode]] if picture.mode in MODE_NOTES else []
    if deep_colour:
        pixels, alpha = _decode_colour16(picture, layout, data, name)
    else:
        pixels, alpha = convert(picture, name)
    if deep:
        notes.append("16-bit" if pixels.dtype == np.uint16 else "16-bit reduced to 8 bits")
    # Both decoders apply the orientation of TIFFs themselves.
    orientation = tag_orientation(tags) if tags else exif_orientation(picture)
    if not tags:
        pixels = exif_transpose(pixels, orientation)
        alpha = None if alpha is None else exif_transpose(alpha, orientation)
    return Image(
        read_only(pixels),
        None if alpha is None else read_only(alpha),
        (*notes, *metadata_notes(picture, orientation)),
    )


def load(picture: ImageFile, name: str) -> None:
    """Decode the pixels of an opened file, within bounds."""
    check_scans(picture, name)
    check_tiles(picture, name)
    picture.load()


def metadata_notes(picture: ImageFile, orientation: int) -> list[str]:
    """List what was done with a file's metadata: orientation, colour profile, frames."""
    notes = [f"EXIF orientation {orientation} applied"] if 2 <= orientation <= 8 else []
    if "icc_profile" in picture.info:
        notes.append("ICC profile ignored")
    # Not their number: Pillow would look for it in the whole of a TIFF or a GIF.
    several = bool(getattr(picture, "is_animated", False))
    return [*notes, "first of several frames"] if several else notes


def is_8bit(picture: ImageFile) -> bool:
    """Whether a file has at most 8 bits a channel, so that Pillow alone decodes it."""
    return is_8bit_mode(picture.mode) and not _layout(picture)[1]


def _layout(picture: ImageFile) -> tuple[str, bool]:
    """Return the layout of samples in the file, in Pillow's words, and whether they have more than
    8 bits.
    """
    args: Any = picture.tile[0].args if picture.tile else ""
    parts: list[Any] = [*args] if isinstance(args, tuple) else [args]
    layout = str(parts[0])
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    if tags:
        return layout, max(tags.get(BITS, (1,))) > 8
    if picture.format == "PPM":
        return layout, picture.mode == "I" or (len(parts) > 1 and int(parts[1]) > 255)
    # The 16 of a BMP's layout are bits of a pixel, 5 or 6 a channel.
    return layout, picture.format == "PNG" and ";16" in layout


def _is_inexact_tiff(picture: ImageFile, tags: dict[int, Any], deep: bool) -> bool:
    """Whether a TIFF has samples that the decoders would convert with loss."""
    floating = picture.mode in ("F", "I")
    planar = deep and tags.get(PLANAR) == 2
    return floating or is_signed(tags) or planar or 12 in tags.get(BITS, ())


def _file_bytes(picture: ImageFile) -> bytes:
    assert picture.fp is not None
    picture.fp.seek(0)
    return picture.fp.read()


def _decode_colour16(
    picture: ImageFile, layout: str, data: bytes, name: str
) -> tuple[Pixels, Pixels | None]:
    """Decode 16-bit colour with OpenCV, checked against ``picture``, Pillow's 8 bits of it."""
    import cv2

    unsupported = ImageError(
        name, f"a 16-bit {picture.format} of an unsupported layout; save it as a 16-bit PNG"
    )
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise unsupported
    height, width, _ = decoded.shape
    if (width, height) != picture.size:
        raise unsupported
    array = decoded.astype(np.uint16, copy=False)
    step = max(2**20 // width, 1)
    for top in range(0, height, step):  # piece by piece, to bound memory
        band = array[top : top + step]
        band[..., :3] = band[..., 2::-1].copy()
        rough = picture.crop((0, top, width, top + len(band))).convert("RGB")
        if np.abs((band[..., :3] >> 8).astype(np.int16) - np.asarray(rough)).max() > 1:
            raise unsupported
    has_alpha = picture.mode == "RGBA" or "transparency" in picture.info
    alpha = array[..., 3] if has_alpha else None
    return array[..., : 1 if layout.startswith("LA") else 3], alpha


def read_only(array: Pixels) -> Pixels:
    """Return the array contiguous, copied if it is not, and not writeable."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
