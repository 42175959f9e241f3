"""Foreign strings on the console: names of files, values of recipes and manifests, messages that
quote them. All output of ``degrade`` and ``sr`` goes through :class:`Console`.

Such a string may hold anything: ``[/b]``, which rich takes for markup; an escape sequence, which
the terminal obeys; a byte that is not UTF-8, which Python reads as a lone surrogate and cannot
write.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

__all__ = ["Console", "encode_always", "printable"]


def printable(text: str, keep: str = "") -> str:
    r"""Return ``text`` with escapes in place of all that :meth:`str.isprintable` rejects, except
    the characters of ``keep``.

    >>> printable("a\x1b[31m\n\udce9.png")
    'a\\x1b[31m\\n\\udce9.png'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


class Console(rich.console.Console):
    """A console for foreign strings: no markup, no emoji codes, no control characters but line
    breaks and tabs. Styles are given apart from the text, as ``style=`` or as a ``Text``.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a string before it is measured and wrapped."""
        return super().render_str(printable(text, "\n\t"), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Escape what came as a ``Text``. Control segments are rich's own."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, "\n\t"), style, control)


def encode_always() -> None:
    """Let stdout and stderr escape what their encoding lacks, as Chinese names in a Latin-1
    terminal, instead of failing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
