"""Files of any name that a disk allows are found, degraded, written and read again, in every
format; nothing is written outside the dataset, and what is printed is text.

Names are bytes: not UTF-8, markup, control characters, long, of devices, with dots and percent
signs. A name that would lead out is no name of a recipe, and none of a manifest's.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz, within, witnessed
from hypothesis import given
from hypothesis import strategies as st

from degrade import PairedFolder, Recipe
from degrade.console import Console
from degrade.errors import Problem, RecipeError, SynthError
from degrade.images.pixels import encode_png
from degrade.storage.files import inside
from degrade.storage.names import unescape
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.replay import replay_pairs
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings

HR = encode_png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
RECIPE = {"name": "half", "scale": 2, "first": [{"resize": {"of": "target"}}]}
PARTS = [
    *(b"a", b"A", b"[/", b"b]", b"[red]", b"x [b]", b"\x1b[31m", b"\r", b"\n", b"\t", b"\x7f"),
    *(b"\xe9", b"\xff\xfe", b"\xed\xb3\xa9", b"%41", b"%2F", b"%2E%2E", b"..", b".", b"_s001"),
    *(b" ", b"-", b"~", b"con", b"nul", b"mean", b".hr", b".lr", b".json", b"hr", b".png", b"=,"),
    *(b"'\"", b"<b>", b"a:b", b"\\", b"*", b"?", b"[0]", b"$(x)", b"x" * 240),
    *("汉字".encode(), "é".encode(), "e\u0301".encode(), "\u202e".encode(), "\u2028".encode()),
]
STEMS = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=4)), min_size=1, max_size=3)
NAMES = STEMS.map(b"".join).map(lambda name: name.replace(b"/", b"").replace(b"\0", b"")[:250])
"""Of a file without its suffix, or of a folder."""
PATHS = st.lists(NAMES.filter(lambda name: name.strip(b".")), min_size=1, max_size=2)


def spread(root: Path, paths: list[list[bytes]]) -> list[Path]:
    """Write an image of each name that can be beside the others; return their paths."""
    shutil.rmtree(root, ignore_errors=True)
    for *folders, stem in paths:
        path = os.path.join(os.fsencode(root), *folders)
        if not any(os.path.isfile(path[:end]) for end in range(len(path) + 1)):
            os.makedirs(path, exist_ok=True)
            if not os.path.isdir(file := os.path.join(path, stem + b".png")):
                Path(os.fsdecode(file)).write_bytes(HR)
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@pytest.mark.parametrize("form", ["folder", "webdataset", "lmdb", "huggingface"])
@fuzz(8)
@given(paths=st.lists(PATHS, min_size=1, max_size=5))
def test_files_of_any_name(folder: Path, form: str, paths: list[list[bytes]]) -> None:
    files = spread(folder / "in", paths)
    shutil.rmtree(folder / "out", ignore_errors=True)
    shown = [p for p in files if not any(part[:1] == "." for part in p.relative_to(folder).parts)]
    if not shown:
        return
    recipe = Recipe.load(RECIPE)
    with within(60), witnessed(folder) as done:
        job = prepare(recipe, SynthSettings(str(folder / "in")), folder / "out", form)
        report = synthesize(job, recipe, in_process)
        made = [pair.name for pair in replay_pairs(folder / "out")]
        read = PairedFolder(folder / "out")
    assert not done
    skipped = {unescape(source) for source, _ in report.skipped}
    assert all(reason for _, reason in report.skipped)
    assert len(made) == len(set(made)) == len(read) == len(shown) - len(skipped)
    assert read.reader.names == sorted(made, key=lambda name: Path(name))
    rows = list(csv.DictReader(io.StringIO((folder / "out/manifest.csv").read_text("utf-8"))))
    sources = {str(folder / "in" / unescape(row["source"])) for row in rows}
    assert sources == {str(path) for path in shown if str(path) not in skipped}


TEXTS = st.one_of(
    st.text(max_size=6),
    st.lists(st.sampled_from(PARTS), max_size=3).map(b"".join).map(os.fsdecode),
    st.text("aZ09._-", max_size=70),
)


@fuzz(150)
@given(TEXTS)
def test_names_of_recipes_and_rows_lead_nowhere(name: str) -> None:
    """A recipe's name names a folder beside others; a manifest's, a file below it."""
    root = Path("root")
    accepted, problems = "x", list[Problem]()
    try:
        accepted = Recipe.load({**RECIPE, "name": name}).name
    except RecipeError as error:
        problems = error.problems
    assert all(problem.address == "name" for problem in problems)
    assert (root / accepted).parent == root
    assert len(accepted) <= 64
    assert accepted.isascii()
    for given_name in (name, unescape(name)):
        with suppress(SynthError):
            assert Path(os.path.normpath(inside(root, given_name))).is_relative_to(root)


@fuzz(150)
@given(TEXTS)
def test_what_is_printed_is_text(name: str) -> None:
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    console.print(name)
    console.print(f"skipped {name}", style="red")
    said = console.file.getvalue()
    assert all(c.isprintable() or c in "\n\t" for c in said)
    said.encode()
