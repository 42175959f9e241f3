"""One-file HTML pages: a template filled with JSON data, under a policy that runs its own
script and no other.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["fill"]

Pixels = NDArray[np.uint8]


Data = dict[str, Any]


def fill(template: Path, data: Data, connect: str = "'none'") -> str:
    """A page of a template and data, which may run the template's script and no other.

    Args:
        template: HTML with one script, and @POLICY@ and @DATA@ where these go.
        data: JSON data; text in it stays text.
        connect: What the script may fetch.
    """
    # Inside a script element only "<" can end it or begin a comment; escaped, it is the same JSON.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    html = template.read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "POLICY": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'",
        "DATA": text,
    }
    return re.sub(r"@(POLICY|DATA)@", lambda match: parts[match[1]], html)


class Album:
    """Pictures by number, equal ones once."""

    def __init__(self) -> None:
        self.quality = 100
        self._numbers: dict[bytes, int] = {}
        self._pictures: list[tuple[Pixels, bool]] = []

    def add(self, pixels: Pixels, exact: bool) -> int:
        """Takes an (h, w, 3) picture, to be kept without loss if ``exact``; returns its number."""
        digest = hashlib.sha256(repr((pixels.shape, exact)).encode() + pixels.tobytes()).digest()
        if digest not in self._numbers:
            self._numbers[digest] = len(self._pictures)
            self._pictures.append((pixels, exact))
        return self._numbers[digest]

    def encode(self, budget: int) -> list[str]:
        """All as data URIs, those that need not be exact at the highest quality that stays
        within the budget.
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


def _webp(pixels: Pixels, quality: int | None) -> bytes:
    stream = io.BytesIO()
    lossless = quality is None
    Image.fromarray(pixels).save(
        stream, "WEBP", lossless=lossless, quality=60 if lossless else quality, method=2
    )
    return stream.getvalue()
