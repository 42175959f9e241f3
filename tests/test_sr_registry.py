"""Names of models, losses and trainers: built in, installed, or of an imported module."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from degrade.errors import UserError
from sr import checkpoint
from sr.losses import LOSSES
from sr.metrics import METRICS
from sr.models import DISCRIMINATORS, MODELS, Model, build, name_of
from sr.models.srcnn import SRCNN
from sr.registry import Registry, import_named
from sr.training.config import configure
from sr.training.trainers import TRAINERS


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a model and things that are none, in the working directory."""
    (tmp_path / "own_models.py").write_text(
        "from sr.models.srcnn import SRCNN\n"
        "class Net(SRCNN): pass\n"
        "class Hidden: pass\n"
        "def call(): raise AssertionError('was run')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    yield "own_models"
    sys.modules.pop("own_models", None)


def test_a_name_imports_nothing_by_itself(own: str):
    with pytest.raises(ValueError, match="own_models is not imported; give --import own_models"):
        build(f"{own}:Net", scale=2)
    assert own not in sys.modules
    checkpoint.save(Path("own.safetensors"), build("srcnn", scale=2), {"name": f"{own}:Net"})
    with pytest.raises(UserError, match=rf"own.safetensors: model .* give --import {own}"):
        checkpoint.load("own.safetensors")
    import_named([f"{own}:Net"])
    model = build(f"{own}:Net", scale=2)
    assert name_of(model) == f"{own}:Net"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Hidden", "is not a subclass of sr.models.Model"),
        ("call", "is not a subclass of sr.models.Model"),
        ("nothing", "own_models has no nothing"),
        ("Nett", "own_models has no Nett; did you mean Net"),
        ("Net.forward", "own_models has no Net.forward"),
    ],
)
def test_only_models_are_models(own: str, name: str, message: str):
    import_named([own])
    with pytest.raises(ValueError, match=message):
        build(f"{own}:{name}")


@pytest.mark.parametrize("registry", [MODELS, DISCRIMINATORS, LOSSES, METRICS, TRAINERS])
def test_no_function_of_an_imported_module_is_called(registry: Registry[Any]):
    for name in ("os:abort", "sys:exit", "sr.models:build", "builtins:print"):
        with pytest.raises(ValueError, match=f"{registry.kind} {name}: is not a"):
            registry.find(name)


def test_an_installed_package_brings_models(own: str, monkeypatch: pytest.MonkeyPatch):
    def entry_points(group: str) -> list[SimpleNamespace]:
        assert group == "sr.models"
        loads = {"theirs": "Net", "broken": "call", "gone": "Missing"}
        return [
            SimpleNamespace(
                name=name,
                value=what,
                load=lambda what=what: getattr(importlib.import_module(own), what),
            )
            for name, what in loads.items()
        ]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    try:
        assert "theirs" in MODELS.names()
        model = build("theirs", scale=2)
        assert isinstance(model, SRCNN)
        assert name_of(model) == "theirs"
        with pytest.raises(ValueError, match="is not a subclass"):
            build("broken")
        with pytest.raises(ValueError, match=r"model gone: its entry point Missing: AttributeE"):
            build("gone")
    finally:
        MODELS.pop("theirs", None)


def test_unknown_names_and_modules(own: str):
    with pytest.raises(ValueError, match="did you mean srcnn"):
        build("srcn")
    import_named([own])
    for method, message in (
        ("srcn", "method 'srcn': unknown; did you mean srcnn"),
        (
            f"{own}:Hidden",
            "not a subclass of sr.models.Model, and not a trainer: a class with step",
        ),
        (f"{own}:Nett", "own_models has no Nett; did you mean Net"),
        ("no_such_module:Net", "give --import no_such_module"),
    ):
        with pytest.raises(UserError, match=message):
            configure(method, {})
    with pytest.raises(UserError, match="--import no_such_module"):
        import_named(["no_such_module:Net"])
    assert issubclass(MODELS.find("srcnn"), Model)  # pyright: ignore[reportArgumentType]  # a class
