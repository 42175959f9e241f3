"""Decoding: any image file that people have in, plain RGB or grey pixels out.

:func:`read_image` turns what a file may hold (palette, CMYK, 16 bits, alpha, an EXIF orientation,
many frames) into one form, ``(h, w, C)`` unsigned integers with C = 1 or 3, and says in words what
it did. Pillow reads everything but one kind: it keeps only 8 bits of 16-bit colour. OpenCV reads
that, and the high bytes of the two decoders must agree.

One constraint: an image is read whole or refused. A truncated file is an :class:`ImageError`,
never a half-grey picture, and an image of too many pixels is refused from its header, before
memory is taken for it.

Two things cannot be seen from here: changed bytes in formats without checksums (all but PNG), as
long as they decode; and Pillow's ``LOAD_TRUNCATED_IMAGES``, which another library may have set for
the whole process.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from degrade.errors import UserError
from degrade.limits import LIMIT, VARIABLE, max_pixels
from degrade.storage.remote import is_url, read_bytes

__all__ = ["LIMIT", "Image", "ImageError", "Pixels", "image_size", "read_image"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
Pixels: TypeAlias = "NDArray[np.uint8 | np.uint16]"

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF")
"""The formats read, by what a file holds, whatever its suffix."""

# Mode in Pillow -> the mode of 8-bit grey or RGB, with or without alpha, that keeps all it says.
_PLAIN = {
    **{
        "1": "L",
        "L": "L",
        "LA": "LA",
        "La": "LA",
        "P": "RGB",
        "PA": "RGBA",
        "RGB": "RGB",
        "RGBX": "RGB",
    },
    **{"RGBA": "RGBA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"},
}
NOTES = {
    **{"1": "1-bit expanded", "P": "palette expanded", "PA": "palette expanded"},
    **{"CMYK": "CMYK converted to RGB", "YCbCr": "YCbCr converted to RGB"},
}
# TIFF tags; EXIF has the same number for the orientation.
BITS, PHOTOMETRIC, ORIENTATION, PLANAR = 258, 262, 274, 284

# What Pillow's decoders raise on files that are not what they claim to be.
_DECODER_ERRORS = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        EOFError,
    ),
    *(MemoryError, RuntimeError, struct.error, zlib.error, Pillow.DecompressionBombError),
)


class ImageError(UserError):
    """A file that cannot be used as an image.

    Args:
        path: The file, or the whole message.
        reason: What is wrong with it, and the remedy where there is one.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str = "") -> None:
        super().__init__(os.fspath(path), reason)
        self.path, self.reason = os.fspath(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.reason else self.path


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image, upright, its arrays read-only.

    Args:
        pixels: (h, w, C) uint8 or uint16; C = 3 is RGB, C = 1 grey.
        alpha: (h, w) of the same depth, 0 transparent, or None. Colour is not multiplied by it.
        notes: What was done to the file's own pixels to make these, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    notes: tuple[str, ...] = ()


# --- reading -------------------------------------------------------------------------------------


def read_image(source: Source, *, limit: int | None = None) -> Image:
    """Decodes a file: a path, a URL (see :mod:`degrade.storage.remote`), its bytes, or an open
    binary file.

    Colour profiles are not applied, as everywhere in this field. CMYK becomes RGB by R = (255 -
    C)(255 - K) / 255.

    Args:
        source: PNG, JPEG, WebP, BMP, TIFF, GIF, PPM or AVIF, of 1 to 16 bits a channel, whatever
            its suffix.
        limit: Most pixels to accept, by default :func:`degrade.limits.max_pixels`. (Pillow's own
            limit, 178 956 970, holds besides for WebP and GIF.)

    Raises:
        ImageError: Missing, unreadable, empty, no image, truncated, corrupt, too large, or of a
            kind that has no exact 8 or 16-bit form (floating point, 12 or 32 bits, planar 16-bit
            TIFF).
    """
    with opened(source) as (file, name):
        picture = header(file, name, limit)
        with blame(name, f"truncated or corrupt {picture.format}"):
            return decode(picture, file, name)


def image_size(source: Source, *, limit: int | None = None) -> tuple[int, int]:
    """Height and width as stored, before any EXIF orientation, from the header alone. Raises
    ImageError.
    """
    with opened(source) as (file, name):
        width, height = header(file, name, limit).size
        return height, width


@contextlib.contextmanager
def opened(source: Source) -> Generator[tuple[BinaryIO, str]]:
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
            raise ImageError(
                name, "a folder, not a file" if os.path.isdir(name) else "not a regular file"
            )
        file = open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise ImageError(name, (error.strerror or str(error)).lower()) from None
    with file:
        yield file, name


@contextlib.contextmanager
def blame(name: str, what: str) -> Generator[None]:
    """Says which file made a decoder fail."""
    try:
        yield
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise ImageError(name, f"{what} ({str(error) or type(error).__name__})") from None


def header(file: BinaryIO, name: str, limit: float | None) -> ImageFile:
    """Opens without decoding, as ``PIL.Image.open`` does, but that holds to a limit of the
    whole process.
    """
    with blame(name, "unreadable"):
        file.seek(0)
        prefix = file.read(16)
    if not prefix:
        raise ImageError(name, "the file is empty")
    Pillow.preinit()
    for kind in FORMATS:
        if kind not in Pillow.OPEN:
            Pillow.init()
        factory, accept = Pillow.OPEN.get(kind, (None, None))
        if factory is None or accept is None or accept(prefix) is not True:
            continue
        with blame(name, f"corrupt or unsupported {kind}"):
            file.seek(0)
            # Without the name: Pillow would map the file of that name, of which ``file`` may be a
            # part only.
            picture = factory(file, "")
        width, height = picture.size
        most = max_pixels() if limit is None else limit
        if width * height > most:
            remedy = f"set {VARIABLE} if you trust the file"
            raise ImageError(
                name,
                f"{width} x {height} pixels, more than the limit of {most:,} in all; {remedy}",
            )
        return picture
    raise ImageError(name, f"not an image of a known format ({', '.join(FORMATS)})")


def decode(picture: ImageFile, file: BinaryIO, name: str) -> Image:
    tags: dict[int, Any] = dict(getattr(picture, "tag_v2", {}))
    layout, deep = _layout(picture, tags)
    if tags and (
        picture.mode in ("F", "I") or (deep and tags.get(PLANAR) == 2) or 12 in tags.get(BITS, ())
    ):
        raise ImageError(
            name,
            "a TIFF of floating, 12, 32-bit or 16-bit planar samples; save it as a 16-bit PNG",
        )
    picture.load()
    notes = [NOTES[picture.mode]] if picture.mode in NOTES else []
    if picture.mode.startswith("I"):
        pixels, alpha = _grey16(picture, inverted=tags.get(PHOTOMETRIC) == 0)
    elif deep and picture.mode != "CMYK":
        pixels, alpha = _colour16(picture, layout, file, name)
    else:
        pixels, alpha = plain(picture, name)
    if deep:
        notes.append("16-bit" if pixels.dtype == np.uint16 else "16-bit reduced to 8 bits")
    # Both decoders turn TIFFs themselves.
    turn = int(tags.get(ORIENTATION, 1)) if tags else orientation(picture)
    if not tags:
        pixels, alpha = upright(pixels, turn), None if alpha is None else upright(alpha, turn)
    return Image(
        frozen(pixels), None if alpha is None else frozen(alpha), (*notes, *remarks(picture, turn))
    )


def remarks(picture: ImageFile, turn: int) -> list[str]:
    """What becomes of a file's metadata, in words."""
    notes = [f"EXIF orientation {turn} applied"] if 2 <= turn <= 8 else []
    if "icc_profile" in picture.info:
        notes.append("ICC profile ignored")
    frames = int(getattr(picture, "n_frames", 1))
    return [*notes, f"first of {frames} frames"] if frames > 1 else notes


def is_plain(picture: ImageFile) -> bool:
    """Whether a file has 8 bits a channel or fewer, which Pillow decodes by itself."""
    return picture.mode in _PLAIN and not _layout(picture, dict(getattr(picture, "tag_v2", {})))[1]


def _layout(picture: ImageFile, tags: dict[int, Any]) -> tuple[str, bool]:
    """How samples lie in the file, in Pillow's words, and whether they are of more than 8 bits."""
    args: Any = picture.tile[0].args if picture.tile else ""
    parts: list[Any] = [*args] if isinstance(args, tuple) else [args]
    if tags:
        return str(parts[0]), max(tags.get(BITS, (1,))) > 8
    if picture.format == "PPM":
        return str(parts[0]), picture.mode == "I" or (len(parts) > 1 and int(parts[1]) > 255)
    return str(parts[0]), ";16" in str(parts[0])


def plain(picture: Pillow.Image, name: str) -> tuple[Pixels, Pixels | None]:
    """8 bits a channel, by Pillow."""
    if picture.mode not in _PLAIN:
        raise ImageError(
            name, f"pixels of a kind that is not supported ({picture.mode}); save it as RGB"
        )
    mode = _PLAIN[picture.mode]
    if "transparency" in picture.info and picture.mode in ("1", "L", "P", "RGB"):
        mode += "A"
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    array = array[:, :, None] if array.ndim == 2 else array
    return (array[..., :-1], array[..., -1]) if mode.endswith("A") else (array, None)


def _grey16(picture: ImageFile, inverted: bool) -> tuple[Pixels, Pixels | None]:
    pixels = np.asarray(picture).astype(np.uint16)[:, :, None]
    clear = picture.info.get("transparency")
    alpha = (
        None if clear is None else np.where(pixels[..., 0] == clear, 0, 65535).astype(np.uint16)
    )
    return (65535 - pixels if inverted else pixels), alpha


def _colour16(
    picture: ImageFile, layout: str, file: BinaryIO, name: str
) -> tuple[Pixels, Pixels | None]:
    """16 bits a channel, by OpenCV; ``picture`` holds the same image in Pillow's 8 bits."""
    import cv2

    unsupported = (
        f"a 16-bit {picture.format} of a layout that is not supported; save it as a 16-bit PNG"
    )
    file.seek(0)
    decoded = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    rough = np.asarray(picture.convert("RGB")).astype(np.int32)
    if (
        decoded is None
        or decoded.dtype != np.uint16
        or decoded.ndim != 3
        or decoded.shape[:2] != rough.shape[:2]
    ):
        raise ImageError(name, unsupported)
    array = decoded.astype(np.uint16, copy=False)
    pixels = array[..., 2::-1]
    if np.abs((pixels >> 8) - rough).max() > 1:
        raise ImageError(name, unsupported)
    has_alpha = picture.mode == "RGBA" or "transparency" in picture.info
    return pixels[..., :1] if layout.startswith("LA") else pixels, array[
        ..., 3
    ] if has_alpha else None


def orientation(picture: ImageFile) -> int:
    # Metadata is no reason to lose an image: EXIF that cannot be read says nothing.
    with contextlib.suppress(*_DECODER_ERRORS):
        return int(picture.getexif().get(ORIENTATION, 1))
    return 1


def upright(array: Pixels, turn: int) -> Pixels:
    """Undoes an EXIF orientation of 1 to 8."""
    if turn >= 5:
        array = array.swapaxes(0, 1)
    rows = -1 if turn in (3, 4, 7, 8) else 1
    columns = -1 if turn in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]


def frozen(array: Pixels) -> Pixels:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
