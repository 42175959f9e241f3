"""Recipes without one operator: every other draw stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from degrade.cli import app
from degrade.inspection.ablation import ablations
from degrade.recipe import Recipe
from degrade.rng import Key


@pytest.mark.parametrize("name", ["bd", "bsrgan", "realesrgan", "dasr_severe", "resshift"])
@pytest.mark.parametrize("by", ["operator", "step"])
def test_other_draws_stay(name: str, by: str) -> None:
    recipe = Recipe.load(name, 4)
    key = Key.of(0, np.arange(16))
    whole = recipe.plan(key)
    found = ablations(recipe, "step" if by == "step" else "operator")
    made = [one for one in found if one.recipe is not None]
    assert made
    for one in made:
        assert one.recipe is not None
        assert one.recipe.hash != recipe.hash
        assert Recipe.load(one.recipe.dump()) == one.recipe
        plan = one.recipe.plan(key)
        for address in plan.addresses:
            assert np.array_equal(plan[address], whole[address], equal_nan=True), one.left_out
    assert len({one.recipe.name for one in made if one.recipe is not None}) == len(made)
    for one in found:
        assert (one.recipe is None) == bool(one.problem)


def test_what_is_left_runs() -> None:
    recipe = Recipe.load("realesrgan_light", 4)
    hr = torch.rand(1, 3, 32, 32)
    plan = recipe.plan(Key.of(0, 0))
    whole = recipe.apply(hr, plan).lr
    for one in ablations(recipe):
        if one.recipe is not None:
            lr = one.recipe.apply(hr, one.recipe.plan(Key.of(0, 0))).lr
            assert lr.shape == whole.shape


def test_command(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = CliRunner().invoke(app, ["ablate", "realesrgan", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    files = sorted(path.name for path in folder.iterdir())
    assert "realesrgan_no_jpeg.yaml" in files
    kinds = {step for file in files for step in [Recipe.load(folder / file).name]}
    assert kinds == {file.removesuffix(".yaml") for file in files}
    assert "jpeg: {" not in (folder / "realesrgan_no_jpeg.yaml").read_text()
    again = CliRunner().invoke(app, ["ablate", "realesrgan", "-o", str(folder)])
    assert again.exit_code == 0
    (folder / "realesrgan_no_jpeg.yaml").write_text("mine")
    refused = CliRunner().invoke(app, ["ablate", "realesrgan", "-o", str(folder)])
    assert "exists with other content" in str(refused.exception)
    assert (folder / "realesrgan_no_jpeg.yaml").read_text() == "mine"
