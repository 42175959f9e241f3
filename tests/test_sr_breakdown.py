"""What a comparison says of its numbers: shares of drawn parameters, the order of models, and
SEAL's acceptance, against values by hand, scipy and the published tables.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from degrade.errors import UserError
from degrade.recipe import Recipe
from degrade.rng import Key
from sr.comparison.agreement import Flip, flips, kendall, tau
from sr.comparison.breakdown import curve, explained, losses, parameters, ranked
from sr.comparison.config import Comparison
from sr.comparison.matrix import Matrix, TestSet
from sr.comparison.runs import Row
from sr.comparison.seal import choose, read_lines, seal

DATA = Path(__file__).parent / "data" / "seal_set14_psnr.csv"
IMAGES, DRAWS = 40, 3


def made_matrix() -> Matrix:
    """Two rows on bicubic and on realesrgan, of which the second's loss is JPEG's alone."""
    recipes = [Recipe.load(name, 4) for name in ("bicubic", "realesrgan")]
    names = [f"{i}.png" for i in range(IMAGES)]
    plans = [recipes[1].plan(Key.of(seed, np.arange(IMAGES))) for seed in range(DRAWS)]
    rng = np.random.default_rng(0)
    hardness = rng.normal(30, 4, IMAGES)
    quality = np.stack([plan["second.jpeg.quality"] for plan in plans])
    loss = 5 - quality / 20 + rng.normal(0, 0.2, quality.shape)
    one = [hardness[None, None], (hardness - loss)[None]]
    other = [hardness[None, None] - 1, (hardness - loss)[None] + 1]
    rows = [Row("a", "none", ""), Row("b", "none", "")]
    tests = [
        TestSet("bicubic", recipes[0], names, [recipes[0].plan(Key.of(0, np.arange(IMAGES)))]),
        TestSet("realesrgan", recipes[1], names, plans),
    ]
    return Matrix(Comparison(), rows, tests, ("psnr_y",), {"psnr_y": [one, other]}, [])


@pytest.fixture(scope="module")
def made() -> Matrix:
    return made_matrix()


# --- shares --------------------------------------------------------------------------------------


def test_the_parameter_that_explains_the_loss_is_found(made: Matrix) -> None:
    found = parameters(made.tests[1])
    loss, against = losses(made, "psnr_y", 0, 1)
    assert against == "the same image on bicubic"
    assert loss.shape == (DRAWS, IMAGES)
    first, second, *_ = ranked(loss, found)
    assert found[first.parameter].address == "second.jpeg.quality"
    assert first.share.mean > 0.8
    assert first.share.low > 0.7 > 0.3 > second.share.mean
    assert first.rho < -0.9
    points = [mean.mean for mean, _ in curve(loss, found[first.parameter])]
    assert points == sorted(points, reverse=True)
    assert sum(count for _, count in curve(loss, found[first.parameter])) == DRAWS * IMAGES


def test_groups_are_of_all_samples(made: Matrix) -> None:
    for parameter in parameters(made.tests[1]):
        assert parameter.member.shape == (DRAWS, IMAGES)
        assert set(np.unique(parameter.member)) == set(range(len(parameter.groups)))
        missing = [group.label for group in parameter.groups].count("not drawn")
        assert missing == int(np.isnan(parameter.values).any())
    assert parameters(made.tests[0]) == []


def test_chance_explains_nothing() -> None:
    rng = np.random.default_rng(1)
    shares = [
        explained(rng.normal(0, 1, (1, 60)), rng.integers(0, 5, (1, 60)), 5).mean
        for _ in range(60)
    ]
    # Without the correction for 5 groups, 4 of 59 degrees of freedom would be "explained".
    assert np.mean(shares) < 0.05


def test_share_is_the_correlation_ratio() -> None:
    loss, member = np.array([[1.0, 2.0, 3.0, 7.0, 8.0, 9.0]]), np.array([[0, 0, 0, 1, 1, 1]])
    inside, whole, n, k = 4.0, 58.0, 6, 2
    expected = 1 - (n - 1) / (n - k) * inside / whole
    assert explained(loss, member, 2).mean == pytest.approx(expected)
    holes = np.array([[1.0, 2.0, 3.0, 7.0, 8.0, 9.0, math.nan]])
    assert explained(holes, np.array([[0, 0, 0, 1, 1, 1, 1]]), 2).mean == pytest.approx(expected)


def test_without_a_plain_column(made: Matrix) -> None:
    alone = Matrix(
        Comparison(),
        made.rows,
        made.tests[1:],
        ("psnr_y",),
        {"psnr_y": [row[1:] for row in made.scores["psnr_y"]]},
        [],
    )
    loss, against = losses(alone, "psnr_y", 0, 0)
    assert against == "the image's mean over its draws"
    np.testing.assert_allclose(loss.mean(0), 0, atol=1e-9)


# --- order ---------------------------------------------------------------------------------------


def test_kendall_is_scipys() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        one, other = rng.integers(0, 6, (2, 7)).astype(float)
        expected = stats.kendalltau(one, other).statistic
        assert float(kendall(one, other)) == pytest.approx(expected, nan_ok=True)
        # An item without a value says nothing of the order.
        more = [np.append(values, value) for values, value in ((one, math.nan), (other, 3.0))]
        assert float(kendall(*more)) == pytest.approx(float(kendall(one, other)), nan_ok=True)


def test_models_change_places(made: Matrix) -> None:
    assert flips(made, "psnr_y") == [Flip(better=0, worse=1, here=0, there=1)]
    found = tau(made, "psnr_y")
    assert (found[0][1].mean, found[0][1].low, found[0][1].high) == (-1, -1, -1)
    assert found[0][0].mean == 1
    one = {"psnr_y": [[values[..., :1] for values in row] for row in made.scores["psnr_y"]]}
    of_one_image = tau(replace(made, scores=one), "psnr_y")[0][1]
    assert of_one_image.mean == -1
    assert math.isnan(of_one_image.low)


# --- SEAL ----------------------------------------------------------------------------------------

MODELS = (
    *("SRResNet", "DASR", "BSRNet", "RealESRNet_x4plus"),
    *("Real-RRDB_withdropout", "GDRealESRNetx4plus", "swinir-l"),
)
# Set14-SE, as the authors' README prints it: AR, RPR_I, RPR_A, RPR_U. Degradations whose lines are
# less than 0.1 dB apart are left out.
PRINTED = (
    *((0.00, 0.02, 0.00, 0.03), (0.00, 0.01, 0.00, 0.02), (0.59, 0.42, 0.72, 0.27)),
    *((0.27, 0.28, 0.63, 0.28), (0.08, 0.23, 0.63, 0.21), (0.43, 0.37, 0.74, 0.33)),
    (0.41, 0.24, 0.58, 0.29),
)
# The same as their AR_RPR_on_psnr.csv has it, of all degradations: the script meant to leave some
# out but compares "psnr" with "PSNR".
FILED = (
    *((0.00, 0.02, 0.00, 0.03), (0.00, 0.01, 0.00, 0.03), (0.55, 0.45, 0.72, 0.26)),
    *((0.28, 0.29, 0.64, 0.28), (0.09, 0.24, 0.64, 0.21), (0.46, 0.38, 0.75, 0.32)),
    (0.38, 0.29, 0.58, 0.27),
)


@pytest.mark.parametrize(
    ("least", "table"), [(0.1, PRINTED), (-math.inf, FILED)], ids=["readme", "csv"]
)
def test_seal_is_as_published(least: float, table: tuple[tuple[float, ...], ...]) -> None:
    with open(DATA, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = {name: [float(row[name]) for row in rows] for name in rows[0]}
    for name, expected in zip(MODELS, table, strict=True):
        found = seal(column[name], column["acceptance"], column["excellence"], least)
        numbers = (found.rate, found.spread, found.accepted, found.unaccepted)
        # Both round to two digits, halves not always alike.
        assert numbers == pytest.approx(expected, abs=0.0051), name
        assert found.count == (93 if least > 0 else 100)


def test_lines_from_a_file(tmp_path: Path) -> None:
    low, high = read_lines(DATA, 100)
    assert (low[0], high[0], len(low)) == (25.239, 25.344, 100)
    with pytest.raises(UserError, match="100 rows; should be 7"):
        read_lines(DATA, 7)
    (tmp_path / "bad.csv").write_text("acceptance,excellence\n1,x\n")
    with pytest.raises(UserError, match="should have the columns acceptance and excellence"):
        read_lines(tmp_path / "bad.csv", 1)
    with pytest.raises(ValueError, match=r"nowhere 0\.1 dB apart"):
        seal([1.0], [1.0], [1.05])


def test_representatives_are_drawn_from_every_recipe() -> None:
    recipes = [Recipe.load(name, 4) for name in ("bicubic", "realesrgan_light", "bsrgan")]
    chosen = choose(recipes, 4, candidates=24)
    assert len(chosen) == 4
    assert {recipe.name for recipe, _ in chosen} <= {"realesrgan_light", "bsrgan"}
    for recipe, row in chosen:
        recipe.read_plan([row], [0])
    assert [row for _, row in choose(recipes, 4, candidates=24)] == [row for _, row in chosen]
    with pytest.raises(UserError, match="none of the test recipes draws anything"):
        choose(recipes[:1], 4)
