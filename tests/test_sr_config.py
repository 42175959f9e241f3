"""Settings of training and comparison: a strict reader, all problems at once, with lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from degrade.cli import read_changes
from degrade.errors import UserError
from sr.comparison.config import read_comparison
from sr.models import build
from sr.training.config import DEFAULTS, configure
from sr.training.listing import list_settings

READERS: dict[str, Callable[[Path], object]] = {
    "training": lambda path: configure("srcnn", {}, path),
    "comparison": lambda path: read_comparison(path, {}),
}
WRONG = {
    "steps: 3\nsteps: 4": "c.yaml:2: duplicate key 'steps'; remove one",
    "steps: yes": "c.yaml:1: steps: is a Boolean in YAML; quote it if it is text (is True)",
    "val: no": "c.yaml:1: val: is a Boolean in YAML",
    "steps: 1:36": "c.yaml:1: 1:36 is to base 60 in YAML",
    "steps: 0100": "c.yaml:1: 0100 is to base 8 in YAML",
    "steps: .inf": "c.yaml:1: steps: should be finite (is inf)",
    "seed: .nan": "c.yaml:1: seed: should be finite (is nan)",
    "scale: 0": "c.yaml:1: scale: should be greater than or equal to 1 (is 0)",
    "\n\ndata: [a, 3]": "c.yaml:3: data.1: should be a valid string (is 3)",
    "stps: 4": "c.yaml:1: stps: no such setting; did you mean steps?",
    '"\\ud800": 4': "c.yaml:1: '\\ud800' is not Unicode",
    "out: !!python/object:os.system x": "c.yaml:1: the tag python/object:os.system is not allowed",
    "- a": "c.yaml:1: should be a mapping of settings to values",
    "": "c.yaml:1: the file is empty",
    "[" * 9999: "nested too deeply",
    "#" * 300_000: "at most 262144 are read",
}
TRAINING = {
    "batch: 1000000000000": "c.yaml:1: batch: should be less than or equal to 65536",
    "patch: 100000": "c.yaml:1: patch: should be less than or equal to 4096",
    "{batch: 65536, patch: 4096}": "batch 65536, patch 4096: 1099511627776 HR pixels a step, more",
    "workers: 100000": "c.yaml:1: workers: should be less than or equal to 256",
    "rate: .inf": "c.yaml:1: rate: should be finite (is inf)",
    "rate: true": "c.yaml:1: rate: is a Boolean in YAML",
    "milestones: [0.5, on]": "c.yaml:1: milestones: is a Boolean in YAML",
    "gan:\n  tv: -.inf": "c.yaml:2: gan.tv: should be finite",
    "gan:\n  tw: 1": "c.yaml:2: gan.tw: no such setting; there are adversarial",
    "model: {kernels: [9, .nan]}": "c.yaml:1: model: should be finite",
    "architecture: srrsnet": "c.yaml:1: architecture: model 'srrsnet': unknown; did you mean",
    "losses:\n  l2: 1": "losses.l2: loss 'l2': unknown; there are charbonnier",
    "gan: {smoothing: 0.1, objective: hinge}": "c.yaml:1: gan: smoothing 0.1: needs objective",
    "exclude: [a.txt]": "exclude: lists 1, data: folders 0; give one list for each folder",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_wrong_settings(reader: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        READERS[reader](tmp_path / "c.yaml")
    assert WRONG[text] in str(caught.value)


@pytest.mark.parametrize("text", TRAINING)
def test_wrong_settings_of_training(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        configure("srcnn", {}, tmp_path / "c.yaml")
    assert TRAINING[text] in str(caught.value)
    assert "Value error" not in str(caught.value), "pydantic's words for ours"


def test_all_problems_at_once_by_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("rte: 1\nsteps: 5\nbatch: no\npatch: 0\n")
    with pytest.raises(UserError) as caught:
        configure("srcnn", {"steps": 0}, tmp_path / "c.yaml", read_changes(["clip=-1"]))
    places = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert places[:2] == ["steps", "clip"], "flags have no line"
    assert [place.rpartition(":")[2] for place in places[2:]] == ["1", "3", "4"]


@pytest.mark.parametrize("method", [*DEFAULTS, "compact", "gan", "bicubic"])
def test_listed_settings_are_those_there_are(method: str) -> None:
    """Each is taken by its name, and its default changes nothing."""
    listed = list(list_settings(method))
    changes = read_changes([f"{setting.name}={setting.default}" for setting in listed])
    made, again = configure(method, {}), configure(method, {}, None, changes)
    assert again.model_dump(exclude={"model", "gan"}) == made.model_dump(exclude={"model", "gan"})
    assert build(made.architecture, scale=made.scale, **again.model).config.items() >= (
        build(made.architecture, scale=made.scale, **made.model).config.items()
    )
    for setting in listed:
        assert setting.meaning or setting.name.startswith("model."), setting.name
        assert setting.values, setting.name
        assert not re.search(r"\bAny\b|typing", setting.values), setting.values


def test_settings_of_the_command_line() -> None:
    made = configure(
        "srcnn", {}, None, read_changes(["rate=1e-3", "model.residual=yes", "clip=1"])
    )
    assert (made.rate, made.model["residual"], made.clip) == (1e-3, True, 1)
    with pytest.raises(UserError, match="rte: no such setting; did you mean rate"):
        configure("srcnn", {}, None, read_changes(["rte=1"]))
