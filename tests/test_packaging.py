"""What is shipped: recipes are found from anywhere, nothing pulls torchvision."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from degrade import __version__
from degrade.cli import app as degrade_app
from degrade.extras import EXTRAS
from degrade.loading.search_path import folders, names
from sr.cli import app as sr_app

ROOT = Path(__file__).parent.parent
SOURCES = [path for package in ("degrade", "sr") for path in (ROOT / package).rglob("*.py")]


def test_recipes_are_found_from_anywhere(tmp_path: Path) -> None:
    code = "from degrade import Recipe\nfrom degrade.loading.search_path import names\n"
    code += "for name in names(): Recipe.load(name)\nprint(*names())"
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DEGRADE_RECIPES", "PYTHONPATH")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) >= {"realesrgan", "bsrgan", "bicubic", "clean"}


def test_own_recipes_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nscale: 1\na: [clip]\n")
    monkeypatch.setenv("DEGRADE_RECIPES", str(tmp_path))
    assert folders()[0] == tmp_path
    assert "mine" in names()


@pytest.mark.skipif(not (ROOT / "recipes").is_dir(), reason="not a checkout")
def test_every_recipe_says_where_it_is_from() -> None:
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert "# Source: " in text or path.stem == "clean", path.name
        assert re.search(
            r"^# Deviations|^# Where the reference is wrong|reference is wrong", text, re.MULTILINE
        ), path.name
        assert re.search(r"^name: " + path.stem + "$", text, re.MULTILINE), (
            f"{path.name} is named like its file"
        )


def test_nothing_needs_torchvision() -> None:
    """Its kernels belong to one torch version; a wrong one breaks at import."""
    needs = metadata.requires("degrade") or []
    assert not any(need.startswith("torchvision") for need in needs)
    for path in SOURCES:
        assert not re.search(
            r"^\s*(import|from) torchvision", path.read_text(encoding="utf-8"), re.MULTILINE
        ), path


def test_version_is_that_of_the_distribution() -> None:
    assert metadata.version("degrade") == __version__


def test_checkout_without_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that is only on the path, and OpenCV from a distribution of another name."""
    find = metadata.Distribution.from_name

    def from_name(name: str) -> metadata.Distribution:
        if name in ("degrade", "opencv-python-headless"):
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", from_name)
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(image).save("photo.png")
    train = "train srcnn --recipe pairs:pairs --val pairs:pairs --steps 1 --set batch=1"
    for app, line in (
        (degrade_app, "--version"),
        (degrade_app, "synth --recipe bicubic --input photo.png --output pairs --engine inline"),
        (degrade_app, "replay pairs"),
        (sr_app, f"{train} --set patch=32 --set tensorboard=false --out run"),
    ):
        result = CliRunner().invoke(app, line.split())
        assert result.exit_code == 0, (line, result.output, result.exception)
    written = json.loads(Path("pairs/synth.json").read_text("utf-8"))["versions"]
    assert written["degrade"] == __version__
    assert written["opencv-python-headless"] == "not installed"


def test_types_are_marked() -> None:
    for package in ("degrade", "sr"):
        assert (ROOT / package / "py.typed").is_file()


def test_messages_name_the_packages_of_the_extras() -> None:
    """And never ``degrade[...]``, which an index may know as another project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert [re.split(r"[<>=!~;\[ ]", need)[0] for need in optional[extra]] == packages.split()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCES]:
        assert not re.search(r"degrade\[[a-z]", path.read_text("utf-8")), path


def test_torch_has_no_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [torch] = [need for need in project["dependencies"] if need.startswith("torch")]
    assert re.fullmatch(r"torch>=[\d.]+", torch)
    assert not [need for need in project["dependencies"] if "==" in need]


def test_console_script() -> None:
    scripts = {entry.name: entry.value for entry in metadata.distribution("degrade").entry_points}
    assert scripts["degrade"] == "degrade.cli:main"
