"""Docstrings to Markdown: the reStructuredText in them, their Google sections, and LaTeX to
MathML.

MathML is made when the site is built, so that formulas need neither a script nor a network to
show.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

__all__ = ["Docstrings", "field_notes", "markdown", "mathml", "plain"]

SECTIONS = ("Args", "Returns", "Raises", "Yields", "References")


def mathml(latex: str, display: str = "block") -> str:
    """A formula as one line of MathML."""
    latex = re.sub(r"\\mathrm\{(\w{2,})\}", r"\\operatorname{\1}", " ".join(latex.split()))
    made = convert(latex, display=display).replace("&#x0003D;", "=")
    if display == "inline":
        return made
    return f'<div class="formula">{made}</div>'


def plain(text: str) -> str:
    """reStructuredText -> Markdown, sections left as they are."""
    text = re.sub(r"^([ ]*)\.\. math:: ?((?:.*\n?)(?:[ \t]+\S.*\n?)*)", _block, text, flags=re.M)
    text = re.sub(r":math:`([^`]+)`", lambda m: mathml(m[1], "inline"), text)
    text = re.sub(
        r":(?:class|func|meth|mod|attr|data):`~([^`]+)`",
        lambda m: f"`{m[1].rpartition('.')[2]}`",
        text,
    )
    text = re.sub(r":(?:class|func|meth|mod|attr|data):`([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"::$", ":", text, flags=re.M)
    text = re.sub(r"((?:^ *>>> .*\n?)(?:^ *\S.*\n?)*)", _doctest, text, flags=re.M)
    return re.sub(r"(?:^ *\| .*\n?)+", _references, text, flags=re.M)


def markdown(docstring: str) -> str:
    """A whole docstring, its sections as bold words and lists."""
    out: list[str] = []
    section = ""
    for line in plain(docstring).splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        if heading and heading[1] in SECTIONS:
            section = heading[1]
            out += ["", f"**{section}**", ""]
        elif section and line.startswith("    "):
            body = line[4:]
            item = re.match(r"(\w+): (.*)", body)
            out.append(
                f"- `{item[1]}`: {item[2]}"
                if item and section == "Args"
                else "  " * (section == "Args") + body
            )
        else:
            section = "" if line.strip() else section
            out.append(line)
    return "\n".join(out).strip()


def field_notes(cls: type) -> dict[str, str]:
    """What the source says of each field: in the class docstring's Args, or in the string under
    the field.
    """
    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith(cls.__module__.partition(".")[0]):
            continue
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.getdoc(base) or "", re.M)
        if section:
            items = re.split(r"^    (?=\w+: )", section[1], flags=re.M)
            notes |= {
                name: " ".join(text.split())
                for name, _, text in (item.partition(": ") for item in items if item)
            }
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, note in zip(body.body, body.body[1:], strict=False):
            match (field, note):
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    notes[name] = " ".join(text.split())
                case _:
                    pass
    return {name: plain(text) for name, text in notes.items()}


class Docstrings(griffe.Extension):
    """What mkdocstrings shows of a docstring is Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def _block(match: re.Match[str]) -> str:
    indent, latex = match[1], textwrap.dedent(match[2])
    return f"{indent}{mathml(latex)}\n"


def _doctest(match: re.Match[str]) -> str:
    indent = re.match(r" *", match[1])
    assert indent is not None
    return f"{indent[0]}```pycon\n{match[1].rstrip()}\n{indent[0]}```\n"


def _references(match: re.Match[str]) -> str:
    """``| title | url`` lines, or ``| title`` and ``| url`` lines, as a list of links."""
    indent = re.match(r" *", match[0])
    assert indent is not None
    parts = [part.strip() for part in match[0].replace("\n", " ").split("| ") if part.strip()]
    out: list[str] = []
    for part in parts:
        if re.match(r"https?://", part) and out:
            out[-1] = f"[{out[-1]}]({part})"
        else:
            out.append(part)
    return "".join(f"{indent[0]}- {line}\n" for line in out)
