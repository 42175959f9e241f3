"""What is shipped: recipes are found from anywhere, nothing pulls torchvision."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from degrade import __version__
from degrade.loading.search_path import folders, names

ROOT = Path(__file__).parent.parent


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
    for path in [*(ROOT / "degrade").rglob("*.py"), *(ROOT / "sr").rglob("*.py")]:
        assert not re.search(
            r"^\s*(import|from) torchvision", path.read_text(encoding="utf-8"), re.MULTILINE
        ), path


def test_version_is_that_of_the_distribution() -> None:
    assert metadata.version("degrade") == __version__


def test_types_are_marked() -> None:
    for package in ("degrade", "sr"):
        assert (ROOT / package / "py.typed").is_file()


def test_console_script() -> None:
    scripts = {entry.name: entry.value for entry in metadata.distribution("degrade").entry_points}
    assert scripts["degrade"] == "degrade.cli:main"
