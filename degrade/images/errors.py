"""What decoders raise, and how it is told."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Generator

import PIL.Image

from degrade.images.image import ImageError

__all__ = ["DECODER_ERRORS", "decoder_errors"]

DECODER_ERRORS = (
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
"""What Pillow's decoders raise on malformed files."""


@contextlib.contextmanager
def decoder_errors(name: str, what: str) -> Generator[None]:
    """Re-raise decoder errors as :class:`ImageError` with the file's name."""
    try:
        yield
    except ImageError:
        raise
    except DECODER_ERRORS as error:
        raise ImageError(name, f"{what} ({str(error) or type(error).__name__})") from None
