"""One-file HTML pages: a template filled with JSON data, under a content security policy that
allows the template's own script and no other.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import PIL.Image

from degrade.images.image import Uint8

__all__ = ["Album", "JsonObject", "fill"]

JsonObject = dict[str, Any]


def fill(template: Path, data: JsonObject, connect: str = "'none'") -> str:
    """Fill a template with data; the page may run the template's script and no other.

    Args:
        template: HTML with one script, and @POLICY@ and @DATA@ where these go.
        data: JSON data; text in it stays text.
        connect: What the script may fetch, as in a content security policy.
    """
    # In a script element only "<" can end it or begin a comment; escaped, it is the same JSON.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    html = template.read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"POLICY": policy, "DATA": text}
    return re.sub(r"@(POLICY|DATA)@", lambda match: parts[match[1]], html)


class Album:
    """The pictures of a page by number, each stored once."""

    def __init__(self) -> None:
        self.quality = 100
        self._numbers: dict[bytes, int] = {}
        self._pictures: list[tuple[Uint8, bool]] = []

    def add(self, pixels: Uint8, exact: bool) -> int:
        """Add an (h, w, 3) picture, stored losslessly if ``exact``; return its number."""
        digest = hashlib.sha256(repr((pixels.shape, exact)).encode() + pixels.tobytes()).digest()
        if digest not in self._numbers:
            self._numbers[digest] = len(self._pictures)
            self._pictures.append((pixels, exact))
        return self._numbers[digest]

    def encode(self, budget: int) -> list[str]:
        """Return all pictures as WebP data URIs, the lossy ones at the highest quality that keeps
        the total within ``budget`` bytes, or else at the lowest.
        """
        exact = {i: _webp(pixels, None) for i, (pixels, must) in enumerate(self._pictures) if must}
        rest = [i for i in range(len(self._pictures)) if i not in exact]
        coded: dict[int, bytes] = {}
        for self.quality in (90, 75, 50, 30) if rest else (100,):
            coded = exact | {i: _webp(self._pictures[i][0], self.quality) for i in rest}
            if sum(map(len, coded.values())) <= budget:
                break
        return [
            "data:image/webp;base64," + base64.b64encode(coded[i]).decode()
            for i in range(len(coded))
        ]


def _webp(pixels: Uint8, quality: int | None) -> bytes:
    stream = io.BytesIO()
    lossless = quality is None
    PIL.Image.fromarray(pixels).save(
        stream, "WEBP", lossless=lossless, quality=60 if lossless else quality, method=2
    )
    return stream.getvalue()
