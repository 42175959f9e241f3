r"""File names as text.

Within the program a name is the ``str`` of ``os.fsdecode``: a byte that is not UTF-8 is a lone
surrogate (PEP 383), and every name, whatever its bytes, opens its file. Text that is written
(manifests, lists, JSON, names of outputs, messages) holds no lone surrogates and no control
characters; names get there through :func:`escape`, and come back through :func:`unescape`.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["escape", "portable", "shorten", "unescape"]

# Control characters, line and paragraph separators, lone surrogates, and a percent sign that would
# otherwise read as an escape.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|%(?=[0-9A-F]{2})")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")
_DIGITS = 8
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def escape(name: str) -> str:
    r"""Return a name as printable text, reversibly: percent-encoding (RFC 3986) of the bytes that
    are not UTF-8, of control characters and line ends, and of ``%`` before two hexadecimal digits.

    All other names, of whatever script, stay as they are.

    >>> escape("caf\udce9\r.png"), escape("100% café [x].png"), escape("%41")
    ('caf%E9%0D.png', '100% café [x].png', '%2541')
    """
    return _UNPRINTABLE.sub(lambda found: _encode(found[0]), name)


def _encode(character: str) -> str:
    code = ord(character)
    # os.fsdecode's surrogates are bytes; others come from no file system of ours.
    raw = bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else _utf8(character)
    return "".join(f"%{byte:02X}" for byte in raw)


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


def unescape(text: str) -> str:
    r"""Return the name that :func:`escape` made a text of.

    Other texts may give any name, ``..`` and NUL included: check paths after this, with
    :func:`degrade.storage.files.inside`.

    >>> unescape("caf%E9%0D.png") == "caf\udce9\r.png"
    True
    """
    return _ESCAPES.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogateescape"),
        text,
    )


def shorten(name: str, most: int) -> str:
    """Return a name whose UTF-8 has at most ``most`` bytes: cut, and ended by ``~`` and 8
    hexadecimal digits of its SHA-256, so that different names stay different.

    Args:
        name: One part of a path, as :func:`escape` leaves it.
        most: In bytes, at least 9. File systems allow 255 for a file's name.

    >>> shorten("short", 20), shorten("a long stem of a file", 20)
    ('short', 'a long stem~680396fd')
    """
    raw = name.encode()
    if len(raw) <= most:
        return name
    kept = raw[: most - _DIGITS - 1].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(raw).hexdigest()[:_DIGITS]}"


def portable(name: str) -> bool:
    """Return whether Windows lets a file or folder have a name that is otherwise plain: it is no
    device and has no dot at its end, which would be dropped.

    >>> portable("con"), portable("NUL.txt"), portable("v1."), portable("console")
    (False, False, False, True)
    """
    return not (_DEVICES.fullmatch(name) or name.endswith("."))
