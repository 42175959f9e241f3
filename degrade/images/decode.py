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
import struct
import zlib
from collections.abc import Generator
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile

from degrade.errors import UserError
from degrade.images.image import Image, ImageError, Pixels
from degrade.limits import VARIABLE, max_pixels
from degrade.storage.remote import is_url, read_bytes

__all__ = [
    "FORMATS",
    "ImageSource",
    "convert_8bit",
    "decode",
    "decoder_errors",
    "exif_orientation",
    "exif_transpose",
    "image_size",
    "is_8bit",
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

# Mode in Pillow -> the mode of 8-bit grey or RGB, with or without alpha, that loses nothing.
_8BIT_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}
MODE_NOTES = {
    "1": "1-bit expanded",
    "P": "palette expanded",
    "PA": "palette expanded",
    "CMYK": "CMYK converted to RGB",
    "YCbCr": "YCbCr converted to RGB",
}
# TIFF tags; EXIF uses the same number for the orientation.
BITS, PHOTOMETRIC, ORIENTATION, PLANAR = 258, 262, 274, 284

# What Pillow's decoders raise on malformed files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)

# --- files ---------------------------------------------------------------------------------------


def read_image(source: ImageSource, *, limit: int | None = None) -> Image:
    """Decode an image file.

    Colour profiles are not applied, as is usual in super-resolution. CMYK becomes RGB by
    R = (255 - C)(255 - K) / 255.

    Args:
        source: A path, a URL (see :mod:`degrade.storage.remote`), the bytes of a file, or an open
            binary file: PNG, JPEG, WebP, BMP, TIFF, GIF, PPM or AVIF, of 1 to 16 bits a channel,
            whatever its suffix.
        limit: Most pixels to accept, by default :func:`degrade.limits.max_pixels`. (Pillow's own
            limit, 178 956 970, also holds for WebP and GIF.)

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
            return decode(picture, file, name)


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


@contextlib.contextmanager
def decoder_errors(name: str, what: str) -> Generator[None]:
    """Re-raise decoder errors as :class:`ImageError` with the file's name."""
    try:
        yield
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise ImageError(name, f"{what} ({str(error) or type(error).__name__})") from None


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
            file.seek(0)
            # No file name: Pillow would map the file of that name into memory, of which ``file``
            # may be only a part.
            picture = factory(file, "")
        width, height = picture.size
        most = max_pixels() if limit is None else limit
        if width * height > most:
            raise ImageError(
                name,
                f"{width} x {height} pixels, more than the limit of {most:,} pixels in total; "
                f"set {VARIABLE} if you trust the file",
            )
        return picture
    raise ImageError(name, f"not an image of a known format ({', '.join(FORMATS)})")


# --- decoders ------------------------------------------------------------------------------------


def decode(picture: ImageFile, file: BinaryIO, name: str) -> Image:
    """Decode an opened file; raises what the decoders raise, see :func:`decoder_errors`."""
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    layout, deep = _sample_layout(picture, tags)
    if tags and _is_inexact_tiff(picture, tags, deep):
        raise ImageError(
            name,
            "a TIFF of floating-point, 12-bit, 32-bit or planar 16-bit samples; "
            "save it as a 16-bit PNG",
        )
    picture.load()
    notes = [MODE_NOTES[picture.mode]] if picture.mode in MODE_NOTES else []
    if picture.mode.startswith("I"):
        pixels, alpha = _convert_gray16(picture, inverted=tags.get(PHOTOMETRIC) == 0)
    elif deep and picture.mode != "CMYK":
        pixels, alpha = _decode_colour16(picture, layout, file, name)
    else:
        pixels, alpha = convert_8bit(picture, name)
    if deep:
        notes.append("16-bit" if pixels.dtype == np.uint16 else "16-bit reduced to 8 bits")
    # Both decoders apply the orientation of TIFFs themselves.
    orientation = int(tags.get(ORIENTATION, 1)) if tags else exif_orientation(picture)
    if not tags:
        pixels = exif_transpose(pixels, orientation)
        alpha = None if alpha is None else exif_transpose(alpha, orientation)
    return Image(
        read_only(pixels),
        None if alpha is None else read_only(alpha),
        (*notes, *metadata_notes(picture, orientation)),
    )


def metadata_notes(picture: ImageFile, orientation: int) -> list[str]:
    """List what was done with a file's metadata: orientation, colour profile, frames."""
    notes = [f"EXIF orientation {orientation} applied"] if 2 <= orientation <= 8 else []
    if "icc_profile" in picture.info:
        notes.append("ICC profile ignored")
    frames = int(getattr(picture, "n_frames", 1))
    return [*notes, f"first of {frames} frames"] if frames > 1 else notes


def is_8bit(picture: ImageFile) -> bool:
    """Whether a file has at most 8 bits a channel, so that Pillow alone decodes it."""
    if picture.mode not in _8BIT_MODES:
        return False
    _, deep = _sample_layout(picture, dict(getattr(picture, "tag_v2", {})))
    return not deep


def _sample_layout(picture: ImageFile, tags: dict[int, Any]) -> tuple[str, bool]:
    """Return the layout of samples in the file, in Pillow's words, and whether they have more than
    8 bits.
    """
    args: Any = picture.tile[0].args if picture.tile else ""
    parts: list[Any] = [*args] if isinstance(args, tuple) else [args]
    layout = str(parts[0])
    if tags:
        return layout, max(tags.get(BITS, (1,))) > 8
    if picture.format == "PPM":
        return layout, picture.mode == "I" or (len(parts) > 1 and int(parts[1]) > 255)
    return layout, ";16" in layout


def _is_inexact_tiff(picture: ImageFile, tags: dict[int, Any], deep: bool) -> bool:
    """Whether a TIFF has samples that the decoders would convert with loss."""
    floating = picture.mode in ("F", "I")
    planar = deep and tags.get(PLANAR) == 2
    return floating or planar or 12 in tags.get(BITS, ())


def convert_8bit(picture: PIL.Image.Image, name: str) -> tuple[Pixels, Pixels | None]:
    """Return (h, w, C) uint8 pixels and (h, w) alpha of a Pillow image."""
    if picture.mode not in _8BIT_MODES:
        raise ImageError(name, f"pixel mode {picture.mode} is not supported; save it as RGB")
    mode = _8BIT_MODES[picture.mode]
    if "transparency" in picture.info and picture.mode in ("1", "L", "P", "RGB"):
        mode += "A"
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    array = array[:, :, None] if array.ndim == 2 else array
    return (array[..., :-1], array[..., -1]) if mode.endswith("A") else (array, None)


def _convert_gray16(picture: ImageFile, inverted: bool) -> tuple[Pixels, Pixels | None]:
    """As :func:`convert_8bit`, for 16-bit grey; ``inverted`` if white is 0."""
    pixels = np.asarray(picture).astype(np.uint16)[:, :, None]
    clear = picture.info.get("transparency")
    alpha = None
    if clear is not None:
        alpha = np.where(pixels[..., 0] == clear, 0, 65535).astype(np.uint16)
    return (65535 - pixels if inverted else pixels), alpha


def _decode_colour16(
    picture: ImageFile, layout: str, file: BinaryIO, name: str
) -> tuple[Pixels, Pixels | None]:
    """Decode 16-bit colour with OpenCV, checked against ``picture``, Pillow's 8 bits of it."""
    import cv2

    unsupported = ImageError(
        name, f"a 16-bit {picture.format} of an unsupported layout; save it as a 16-bit PNG"
    )
    file.seek(0)
    decoded = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    rough = np.asarray(picture.convert("RGB")).astype(np.int32)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise unsupported
    if decoded.shape[:2] != rough.shape[:2]:
        raise unsupported
    array = decoded.astype(np.uint16, copy=False)
    pixels = array[..., 2::-1]
    if np.abs((pixels >> 8) - rough).max() > 1:
        raise unsupported
    has_alpha = picture.mode == "RGBA" or "transparency" in picture.info
    alpha = array[..., 3] if has_alpha else None
    return pixels[..., :1] if layout.startswith("LA") else pixels, alpha


# --- orientation ---------------------------------------------------------------------------------


def exif_orientation(picture: ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or it cannot be read."""
    # Damaged metadata is no reason to refuse an image.
    with contextlib.suppress(*_DECODER_ERRORS):
        return int(picture.getexif().get(ORIENTATION, 1))
    return 1


def exif_transpose(array: Pixels, orientation: int) -> Pixels:
    """Return an upright view of an (h, w, ...) array stored with an EXIF orientation of 1 to 8.

    >>> exif_transpose(np.array([[1, 2, 3]], np.uint8), 6).tolist()
    [[1], [2], [3]]
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]


def read_only(array: Pixels) -> Pixels:
    """Return the array contiguous, copied if it is not, and not writeable."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
