"""README and docs: what they tell people to type runs, in the order in which they tell it.

Each file's blocks run in one folder of its own, which holds a few tiny images. Before they run,
blocks are changed as :data:`CHANGES` says, and only so: no GPU, few steps and few workers.

- ``python``: executed, unless it needs a package of ``FOREIGN`` that is not here; with a title,
  also written to a file of that name.
- ``yaml``: a recipe or a list of steps must load; a recipe is also written to its title or to
  ``NAME.yaml``. Titles that end in ``.yml`` are other projects' files, which are only written.
  Anything else configures ``sr``.
- ``sh``: lines that begin with ``degrade`` or ``sr`` are run. Others (make, pip, torchrun) are
  what CI does.

``docs/training.md`` is left out: it records runs of hours on data that is not here.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import degrade
from degrade import Canvas, Const, Dist, Draw, Operator, Range
from degrade.base import REGISTRY
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from degrade.images.samples import sample_images
from degrade.loading.search_path import names
from degrade.recipe import Recipe
from degrade.storage.files import write_atomic
from degrade.synthesis.writers import FORMATS
from sr.losses import LOSSES
from sr.models import MODELS, build

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for path in sorted(
        [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    )
    if path.name != "training.md"
]
SLOW = ("README.md", "compare.md", "looking.md", "tutorial.md")
CHANGES = (
    (r'device="cuda"', 'device="cpu"'),
    (r"num_workers=\d+", "num_workers=2"),
    (r"^sr train (.*)--steps \d+", r"sr train \1--steps 3 --set batch=2 --set tensorboard=false"),
    (r"^sr compare (.*)--steps \d+", r"sr compare \1--steps 3 --set srcnn.batch=2"),
    (r"^sr compare --quick", "sr compare --quick --steps 3 --set srcnn.batch=2"),
    (r"sparse,srcnn,srresnet,srgan,rrdb,", "srcnn,srgan,"),
    (r"--seeds 3", "--seeds 1"),
    (r"--patch 256", "--patch 64"),
    (r"size=(256|128)", "size=64"),
    (r"^degrade synth", "degrade synth --workers 1"),
)
FOREIGN = ("lightning", "datasets")
"""Packages of the guides; a block that needs one that is not here is only compiled."""
TITLE = re.compile(r'title="([^"]+)"')


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and text of every fenced block, wherever it is indented."""
    found = re.findall(
        r"^([ ]*)```(\w+)([^\n]*)\n(.*?)^\1```$", page.read_text("utf-8"), re.M | re.S
    )
    out = []
    for indent, language, info, body in found:
        title = TITLE.search(info)
        out.append(
            (language, title[1] if title else "", re.sub(f"^{indent}", "", body, flags=re.M))
        )
    return out


def changed(text: str) -> str:
    for pattern, new in CHANGES:
        text = re.sub(pattern, new, text, flags=re.M)
    return text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the pages speak of: DIV2K/HR, Set5, photo.jpg, options.yml, weights."""
    photo = read_image(sample_images()[1]).pixels
    for place, count in (("DIV2K/HR", 5), ("Set5", 2)):
        (tmp_path / place).mkdir(parents=True)
        for i in range(count):
            cut = np.ascontiguousarray(photo[60 + 8 * i :, 100 + 16 * i :][:96, :80])
            write_atomic(tmp_path / place / f"{i}.png", encode_png(cut))
    write_atomic(tmp_path / "photo.jpg", encode_png(np.ascontiguousarray(photo[:128, :128])))
    [options] = [
        text for _, title, text in blocks(ROOT / "docs/looking.md") if title == "options.yml"
    ]
    (tmp_path / "options.yml").write_text(options, "utf-8")
    compact = build("compact", scale=4, channels=4, convolutions=1)
    torch.save({"params": compact.state_dict()}, tmp_path / "realesr-animevideov3.pth")
    before = [(registry, dict(registry)) for registry in (REGISTRY, FORMATS, MODELS, LOSSES)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    for registry, entries in before:  # what a page adds ends with it
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.name in SLOW)) for page in PAGES],
    ids=[page.relative_to(ROOT).as_posix() for page in PAGES],
)
def test_page(page, folder):
    for language, title, text in blocks(page):
        if language == "python":
            if "import lightning" in text and not find_spec("lightning"):
                continue
            text = changed(text)
            if title:
                Path(title).write_text(text, "utf-8")
            python(text, page)
        elif language == "yaml":
            check_yaml(text, title)
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                shell(changed(line))


def python(text, page):
    foreign = [name for name in FOREIGN if re.search(rf"^(from|import) {name}\b", text, re.M)]
    if any(find_spec(name) is None for name in foreign):
        compile(text, f"{page.name} (block)", "exec")
        return
    # A module of its own, so that two pages may define an operator of the same name.
    try:
        exec(compile(text, f"{page.name} (block)", "exec"), {"__name__": "__docs__"})
    finally:
        for name in [name for name, kind in REGISTRY.items() if kind.__module__ == "__docs__"]:
            del REGISTRY[name]


def check_yaml(text, title):
    data = yaml.safe_load(text)
    if title.endswith(".yml"):
        Path(title).write_text(text, "utf-8")
    elif isinstance(data, list):
        ending = [{"resize": {"of": "target"}}]
        Recipe.load({"name": "steps", "scale": 4, "first": data, "last": ending})
    elif "name" in data:
        Path(title or f"{data['name']}.yaml").write_text(text, "utf-8")
        unknown = set(re.findall(r"- (\w+):", text)) - {
            *REGISTRY,
            "as",
            "p",
            "one_of",
            "shuffle",
            "repeat",
            "steps",
        }
        if not unknown:  # with an operator of the page's own, the command that follows loads it
            Recipe.load(title or f"{data['name']}.yaml")
    else:
        from sr.comparison.config import Comparison
        from sr.training.config import Config

        (Comparison if "models" in data else Config).model_validate(data)


def shell(line):
    words = shlex.split(line, comments=True)
    if not words or words[0] not in ("degrade", "sr"):
        return
    app = importlib.import_module(f"{words[0]}.cli").app
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


def test_reference_lists_every_public_name():
    listed = {
        entry.rpartition(".")[2]
        for entry in re.findall(r"^::: (\S+)", (ROOT / "docs/api.md").read_text(), re.M)
    }
    assert set(degrade.__all__) <= listed


def test_blocks_are_found_and_changed():
    found = [block for page in PAGES for block in blocks(page)]
    assert {"python", "yaml", "sh"} <= {language for language, _, _ in found}
    assert changed("sr train srcnn --steps 2000") != "sr train srcnn --steps 2000"


def test_a_new_operator_has_its_page(folder, monkeypatch):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pages = importlib.import_module("pages")

    class Dimming(Operator):
        """Scales all values: y = gain x."""

        name: ClassVar[str] = "dimming"
        gain: Annotated[Dist, Range(0, 1, worse="low")] = Const(1)
        """What values are multiplied by."""

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            return canvas.with_pixels(canvas.pixels * draw.column("gain"))

    made = pages.operator_page("dimming")
    text = made["operators/dimming.md"]
    assert "y = gain x" in text
    assert "What values are multiplied by." in text
    assert "| in [0, 1] |" in text
    assert len({made[f"operators/dimming-{i}.webp"] for i in range(4)}) == 4


@pytest.mark.slow
def test_site_builds_and_needs_no_network(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    built_in = [
        name for name, kind in REGISTRY.items() if kind.__module__.startswith("degrade.ops.")
    ]
    for kind, wanted in (("operators", built_in), ("recipes", names())):
        assert {f"{name}.html" for name in wanted} <= {
            path.name for path in (site / kind).iterdir()
        }
    foreign = re.compile(
        r"""<(?:script|img|link rel="?stylesheet)[^>]*(?:src|href)="?(?:https?:)?//"""
    )
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not foreign.search(text), page
        own = {path for path in re.findall(r'src="?([^"#: >]+)', text) if not path.startswith("/")}
        weight = len(text) + sum((page.parent / path).stat().st_size for path in own)
        assert weight < 1_000_000, (page, weight)
