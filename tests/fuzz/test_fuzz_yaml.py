"""YAML from a stranger is data, or refused by an error that says where: recipes, what they extend,
settings of ``sr``, values of ``--set``.

Documents are grown from fragments of YAML's syntax rather than from data, so that tags, aliases,
equal keys, numbers to odd bases and half characters are among them; some are long or deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzzing import fuzz, within, witnessed
from hypothesis import event, given
from hypothesis import strategies as st

from degrade import Recipe
from degrade.cli.common import read_changes
from degrade.errors import UserError
from degrade.loading.positions import Document, KeyPath, compose
from sr.training.config import configure

NUMBERS = [
    *("0", "-1", "1", "2", "4", "0.5", "1e5", "1.0e+308", "1.0e-320", "1e999", ".inf", "-.inf"),
    *(".nan", "017", "0o17", "0x1f", f"0x{'f' * 300}", "0b2", "1_0", "1:30", "1:36.5", "9" * 400),
    *("9" * 5000, f"-{'9' * 5000}", "+", "-", "=", f"{'1:' * 3000}1", f"{'7' * 400}.5"),
]
WORDS = [
    *("name", "scale", "first", "hr", "extends", "import", "define", "p", "as", "steps", "one_of"),
    *("repeat", "resize", "blur", "factor", "sigma", "of", "target", "clip", "bicubic", "x.yaml"),
    *("steps", "batch", "patch", "model", "gan", "val", "data", "seed", "yes", "off", "~", "null"),
    *("2020-01-01", "2020-13-99", "/", "..", "a.yaml", "memory://x", "日本", "<<", "[/b]"),
]
QUOTED = [
    *('"\\ud800"', '"\\0"', '"a\\0.yaml"', '"\\x1b[31m"', '"\\u202e"', '"\\n"', '"\\U00110000"'),
    *("''", '"', "'", '"\\q"', "'a\nb'", "|\n  text", ">-\n  text"),
]
TAGS = [
    *("!!python/object/apply:os.system ", "!!python/name:os.system ", "!!int ", "!!float "),
    *("!!bool ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!timestamp ", "!!map ", "!!seq "),
    *("!x ", "!<> ", "&a ", "*a ", "&b ", "*b ", "? ", "!!null ", "!!str ", "!!value "),
]
SCALARS = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.sampled_from(QUOTED),
    st.text(max_size=4),
)


def mapping(pairs: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"


def sequence(parts: list[str]) -> str:
    return "[" + ", ".join(parts) + "]"


KEYS = st.one_of(st.sampled_from(WORDS), SCALARS)
NODES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(sequence),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(mapping),
        st.tuples(st.sampled_from(TAGS), inner).map("".join),
        st.builds(lambda times, node: sequence([node] * times), st.integers(2, 12), inner),
        st.builds(lambda deep, node: "[" * deep + node + "]" * deep, st.integers(9, 90), inner),
    ),
    max_leaves=10,
)
HEADS = ["", "name: x\nscale: 4\nfirst: [{resize: {of: target}}]\n", "extends: bicubic\n"]
HEADS += [
    "steps: 10\nbatch: 2\n",
    "a: &a {b: 1}\nc: &b [*a, *a]\n",
    "%YAML 1.1\n---\n",
    f"%YAML 1.{'9' * 5000}\n---\n",
]


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Lines of keys and values after a beginning that is right; or a node alone."""
    pairs = draw(st.lists(st.tuples(KEYS, NODES), max_size=5))
    body = draw(st.one_of(NODES, st.just("".join(f"{key}: {node}\n" for key, node in pairs))))
    if draw(st.integers(0, 9)) == 0:
        body *= draw(st.sampled_from([2, 50]))
    return draw(st.sampled_from(HEADS)) + body


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


def readers(file: Path, text: str) -> dict[str, Callable[[], Any]]:
    """All that reads YAML."""
    return {
        "recipe": lambda: Recipe.load(file),
        "extended": lambda: Recipe.load({"name": "over", "extends": str(file)}),
        "settings": lambda: configure("srcnn", {}, file),
        "change": lambda: read_changes([f"first.resize.factor={text}"]),
    }


@fuzz(40)
@given(text=documents())
def test_a_document_is_data_or_refused_with_its_place(folder: Path, text: str) -> None:
    file = folder / "x.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    place = re.compile(rf"({re.escape(str(file))}(:\d+)?|--set [a-z.]+:\d+|[a-z_.]+): ")
    with within(60), witnessed(folder) as done:
        for name, attempt in readers(file, text).items():
            said = None
            try:
                attempt()
            except UserError as error:
                said = str(error)
            event(f"{name}: {'read' if said is None else 'refused'}")
            assert said is None or place.match(said), said
    assert not done


@fuzz(40)
@given(documents())
def test_what_is_read_is_plain(text: str) -> None:
    """Mappings, lists and scalars; each has a position in the file."""
    said, document = "", Document(None, {(): ("file", 1)})
    try:
        document = compose(text, "file")
    except UserError as error:
        said = str(error)
    assert not said or re.match(r"file:\d+: ", said)
    pending: list[tuple[KeyPath, Any]] = [((), document.data)]
    while pending:
        path, data = pending.pop()
        assert document.position(path)[0] == "file"
        assert document.position(path)[1] <= text.count("\n") + text.count("\r") + 3
        assert isinstance(data, dict | list | str | int | float | None)
        if isinstance(data, str):
            data.encode()
        if isinstance(data, list):
            data = dict(enumerate(data))
        if isinstance(data, dict):
            pending += [((*path, key), value) for key, value in data.items()]
