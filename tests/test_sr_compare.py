"""sr compare: its numbers against a second way to get them, its runs found and gone on with,
its page in a browser.
"""

from __future__ import annotations

import csv
import io
import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from webdriver import browsing, needs_browser

from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import encode_png, to_tensor
from degrade.recipe import Recipe
from degrade.rng import Key
from sr import checkpoint
from sr.cli import app
from sr.comparison.bootstrap import interval
from sr.comparison.compare import plan_comparison, run_comparison
from sr.comparison.config import Comparison, override, read_comparison
from sr.comparison.html_report import render, report_data
from sr.comparison.matrix import Matrix, Representatives, TestSet
from sr.comparison.quick import quick_comparison
from sr.comparison.results import write_results
from sr.comparison.runs import Row, TrainedModel
from sr.comparison.statistics import cell, difference, gap, mean_of, ranking
from sr.comparison.tables import to_csv, to_json
from sr.metrics.psnr_ssim import psnr, ssim

HOSTILE = "</script><img src=x onerror=document.body.dataset.bad=1><b id=bad>"
NOISY = {
    "name": "noisy",
    "description": HOSTILE,
    "scale": 2,
    "first": [
        {"resize": {"factor": 0.5, "filter": "bicubic"}},
        {"gaussian_noise": {"sigma": [2, 30]}},
        {"jpeg": {"quality": [30, 95]}},
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photographs: torch.Tensor) -> Path:
    """A folder with images to train on, images to judge on, and a recipe that is hard on
    careless pages.
    """
    root = tmp_path_factory.mktemp("compare")
    for name, rows in (("train", [2, 3]), ("test", [0, 1, 2])):
        (root / name).mkdir()
        for i in rows:
            pixels = photographs[i].permute(1, 2, 0).contiguous().numpy()
            # Photograph 2 is in both, but a part of it each.
            pixels = {("train", 2): pixels[:, :32], ("test", 2): pixels[:, 32:]}.get(
                (name, i), pixels
            )
            (root / name / f"{i}{HOSTILE.replace('/', '') if i == 1 else ''}.png").write_bytes(
                encode_png(pixels)
            )
    (root / "noisy.yaml").write_text(json.dumps(NOISY))
    return root


def settings(place: Path, **more: Any) -> Comparison:
    base: dict[str, Any] = {
        "models": ("bicubic", "srcnn"),
        "train": ("bicubic", str(place / "noisy.yaml")),
        "test": ("bicubic", str(place / "noisy.yaml")),
        "data": (str(place / "train"),),
        "val": str(place / "test"),
        "scale": 2,
        "steps": 6,
        "out": str(place / "out"),
        "settings": {
            "srcnn": {"model.kernels": [3, 1, 3], "model.filters": [4, 4], "batch": 2, "patch": 24}
        },
    }
    return read_comparison(None, {**base, **more})


@pytest.fixture(scope="module")
def matrix(place: Path) -> Matrix:
    return run_comparison(settings(place))


def values(matrix: Matrix, metric: str, row: int, column: int) -> list[float]:
    """By image."""
    return matrix.by_image(metric, row, column).tolist()


def same(one: Matrix, other: Matrix) -> bool:
    return all(
        np.array_equal(a, b)
        for metric in one.metrics
        for mine, theirs in zip(one.scores[metric], other.scores[metric], strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )


def names_of_runs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "runs").iterdir()}


# --- numbers -------------------------------------------------------------------------------------


def test_values_are_those_of_models_run_by_hand(matrix: Matrix, place: Path) -> None:
    assert [(entry.model, entry.train) for entry in matrix.rows] == [
        ("bicubic", "none"),
        ("srcnn", "bicubic"),
        ("srcnn", "noisy"),
    ]
    for row, entry in enumerate(matrix.rows):
        model = checkpoint.load(entry.runs[0].file if entry.runs else "bicubic", 2)
        for column, name in enumerate(("bicubic", place / "noisy.yaml")):
            recipe = Recipe.load(name, 2)
            for i, path in enumerate(sorted((place / "test").iterdir())):
                pair = recipe(to_tensor(read_image(path)), seed=0, index=i)
                with torch.no_grad():
                    sr = model(pair.lr).clamp(0, 1)
                # Float sums in another order; 8-bit rounding may flip a level or two of 4320.
                assert values(matrix, "psnr_y", row, column)[i] == pytest.approx(
                    float(psnr(sr, pair.hr, 2)), abs=0.01
                )
                assert values(matrix, "ssim_y", row, column)[i] == pytest.approx(
                    float(ssim(sr, pair.hr, 2)), abs=1e-3
                )


def test_csv(matrix: Matrix) -> None:
    text = to_csv(matrix)
    assert text.splitlines()[0] == ("model,train,test,metric,mean,low,high,images,seeds,left_out")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 3 * 2 * len(matrix.metrics)
    one = next(
        r for r in rows if (r["train"], r["test"], r["metric"]) == ("noisy", "bicubic", "psnr_y")
    )
    assert float(one["mean"]) == pytest.approx(sum(values(matrix, "psnr_y", 2, 0)) / 3, rel=1e-5)
    assert float(one["low"]) <= float(one["mean"]) <= float(one["high"])
    assert (one["images"], one["seeds"], one["left_out"]) == ("3", "1", "0")


def test_json_says_what_was_done(matrix: Matrix, place: Path) -> None:
    data = json.loads(json.dumps(to_json(matrix), allow_nan=False))
    noisy = Recipe.load(place / "noisy.yaml", 2)
    assert (
        data["tests"][1]["hash"]
        == data["rows"][2]["hash"]
        == data["rows"][2]["runs"][0]["hash"]
        == noisy.hash
    )
    assert data["rows"][2]["runs"][0] | {"file": ""} == {
        "file": "",
        "seed": 0,
        "name": "srcnn",
        "recipe": "noisy",
        "hash": noisy.hash,
        "step": "6",
    }
    plan = noisy.plan(Key.of(0, np.arange(3)))
    assert data["tests"][1]["plans"] == [[plan.row(i) for i in range(3)]]
    assert data["tests"][0]["protocol"]["shave"] == 2
    assert data["versions"]["torch"]
    found = data["rows"][1]["cells"][1]["metrics"]["psnr_y"]
    own, other = (values(matrix, "psnr_y", row, 1) for row in (1, 2))
    assert found["by_seed_draw_image"] == [[pytest.approx(own, abs=1e-5)]]
    assert found["against_matched"]["mean"] == pytest.approx(
        np.mean(own) - np.mean(other), abs=1e-5
    )
    assert data["rows"][2]["cells"][1]["metrics"]["psnr_y"]["against_matched"] is None


def by_hand(given: list[list[list[float]]] | np.ndarray, seeds: int = 1) -> Matrix:
    """A matrix of rows bicubic, m / a, m / b and columns a, b with values of some images, or of
    (rows, columns, S, D, N).
    """
    recipes = [
        Recipe.load(
            {**NOISY, "name": name, "first": [*NOISY["first"][:1], {"jpeg": {"quality": q}}]}
        )
        for name, q in (("a", 50), ("b", 90))
    ]
    trained = TrainedModel(Path("x"), 0, {}, [])
    entries = [
        Row("bicubic", "none", ""),
        *(Row("m", r.name, r.hash, (trained,) * seeds) for r in recipes),
    ]
    array = np.asarray(given, np.float64)
    array = array[:, :, None, None] if array.ndim == 3 else array
    names = [str(i) for i in range(array.shape[-1])]
    plans = [recipe.plan(Key.of(0, np.arange(len(names)))) for recipe in recipes]
    tests = [
        TestSet(recipe.name, recipe, names, [plan])
        for recipe, plan in zip(recipes, plans, strict=True)
    ]
    scores = [list(row) for row in array]
    return Matrix(
        Comparison(),
        entries,
        tests,
        ("psnr_y", "lpips"),
        {"psnr_y": scores, "lpips": scores},
        [],
        lower=("lpips",),
    )


def test_differences_gap_and_ranks() -> None:
    matrix = by_hand([[[20, 30], [10, 12]], [[24, 34], [9, 12]], [[19, 30], [15, 16]]])
    assert matrix.baseline == 0
    assert [[matrix.matched(row, column) for column in (0, 1)] for row in (0, 1, 2)] == [
        [None, None],
        [1, 2],
        [1, 2],
    ]
    assert difference(matrix, "psnr_y", 1, 0, 0) == interval([4.0, 4.0])
    assert difference(matrix, "psnr_y", 1, 1, 2) == interval([-6.0, -4.0])
    assert difference(matrix, "psnr_y", 1, 0, 1) is None
    # Trained on a, tested on b: 15 - 9 and 16 - 12 are given away.
    assert gap(matrix, "psnr_y", 1) == interval([6.0, 4.0])
    assert gap(matrix, "psnr_y", 2) == interval([5.0, 4.0])
    assert gap(matrix, "psnr_y", 0) is None
    assert ranking(matrix, "psnr_y", 0) == [2, 1, 3]
    assert ranking(matrix, "psnr_y", 1) == [2, 3, 1]
    assert ranking(matrix, "lpips", 1) == [2, 1, 3]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_is_minus_that_of_the_other_way_round(seeds: int) -> None:
    """Whichever row has more runs, their spread counts."""
    rng = np.random.default_rng(0)
    matrix = by_hand(rng.normal(30, 2, (3, 2, 1, 1, 8)) + rng.normal(0, 0.1, (3, 2, seeds, 1, 8)))
    matrix.scores["psnr_y"][0][0] = matrix.scores["psnr_y"][0][0][:1]
    one, other = (difference(matrix, "psnr_y", *rows) for rows in ((0, 0, 1), (1, 0, 0)))
    assert one is not None
    assert other is not None
    assert [one.mean, one.low, one.high] == pytest.approx(
        [-other.mean, -other.high, -other.low], abs=0.02
    )
    spread = matrix.scores["psnr_y"][1][0] + np.linspace(-4, 4, seeds)[:, None, None]
    matrix.scores["psnr_y"][1][0] = spread
    wide = difference(matrix, "psnr_y", 0, 0, 1)
    assert wide is not None
    assert (wide.high - wide.low > 1.5 * (one.high - one.low)) == (seeds > 1)


# --- runs ----------------------------------------------------------------------------------------


def test_runs_are_found_again(matrix: Matrix, place: Path) -> None:
    told: list[str] = []
    again = run_comparison(settings(place), lambda what, _status: told.append(what))
    assert told == []
    assert same(again, matrix)


def test_a_run_depends_on_what_it_says(matrix: Matrix, place: Path, tmp_path: Path) -> None:
    before = names_of_runs(place / "out")
    assert len(before) == 2
    told: list[str] = []

    def tell(what: str, _status: object) -> None:
        told.append(what)
        raise RuntimeError("far enough")

    for other in (override(settings(place), {"srcnn.rate": 0.01}), settings(place, steps=7)):
        with pytest.raises(RuntimeError, match="far enough"):
            run_comparison(other, tell)
    assert told == ["training srcnn / bicubic, seed 0"] * 2
    # Another place for results, other images to judge on and a device say nothing of what is
    # learned.
    moved = settings(
        place,
        out=str(tmp_path),
        test=("bicubic",),
        seeds=1,
        device="cpu",
        reuse=(str(place / "out/runs"),),
    )
    reused = run_comparison(moved)
    assert reused.rows[2].runs[0].file.parent.parent == place / "out" / "runs"
    assert values(reused, "psnr_y", 2, 0) == values(matrix, "psnr_y", 2, 0)


def test_a_stopped_run_goes_on(matrix: Matrix, place: Path, tmp_path: Path) -> None:
    def stop(_what: str, status: Any) -> None:
        if status is not None and status.done == 3:
            signal.raise_signal(signal.SIGINT)

    comparison = settings(place, out=str(tmp_path), train=("bicubic",))
    with pytest.raises(KeyboardInterrupt):
        run_comparison(comparison, stop)
    steps: list[int] = []
    gone_on = run_comparison(
        comparison, lambda _what, status: steps.append(status.done) if status else None
    )
    assert steps == [4, 5, 6]
    for column in (0, 1):
        assert values(gone_on, "psnr_y", 1, column) == values(matrix, "psnr_y", 1, column)


def test_seeds_and_checkpoints(matrix: Matrix, place: Path, tmp_path: Path) -> None:
    file = matrix.rows[2].runs[0].file
    more = settings(
        place,
        models=("srcnn", str(file)),
        train=("bicubic",),
        seeds=2,
        out=str(tmp_path),
        reuse=(str(place / "out/runs"),),
    )
    found = run_comparison(more)
    assert [entry.train for entry in found.rows] == ["bicubic", "noisy"]
    assert values(found, "psnr_y", 1, 0) == values(matrix, "psnr_y", 2, 0)
    first, second = found.scores["psnr_y"][0][0][:, 0, 0]
    assert first == values(matrix, "psnr_y", 1, 0)[0] != second
    assert values(found, "psnr_y", 0, 0)[0] == pytest.approx((first + second) / 2)
    assert cell(found, "psnr_y", 0, 0).shape == (2, 3)
    assert len(names_of_runs(tmp_path)) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"val": ""}, "--val is missing"),
        ({"data": ()}, "--data is missing"),
        ({"train": ()}, "--train is missing"),
        ({"val": "train"}, "is in --data and in --val"),
        ({"test": ("bicubic", "bicubic")}, "two test sets are called bicubic"),
        ({"test": ("bicubic@1.5",)}, r"bicubic@1.5: the severity should be in \[0, 1\)"),
        ({"models": ("bicubic", "nothing"), "settings": {}}, "model nothing: no such file"),
        ({"models": ("bicubic", "bicubic"), "settings": {}}, "--models: two are called bicubic"),
        (
            {"settings": {"srgan": {}}},
            "settings.srgan: srgan is not trained in this comparison; trained are: srcnn",
        ),
        ({"settings": {"srcnn": {"rate": -1}}}, "rate: should be greater than 0"),
    ],
)
def test_errors_before_anything_is_trained(
    place: Path, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    if more.get("val"):
        more = {"val": str(place / more["val"])}
    with pytest.raises(UserError, match=message):
        run_comparison(
            settings(place, out=str(tmp_path), **more), lambda what, _status: pytest.fail(what)
        )


def test_errors_of_the_settings(place: Path) -> None:
    with pytest.raises(UserError, match="scale: should be less than or equal to 8"):
        settings(place, scale=9)
    with pytest.raises(UserError, match="batch: should begin with one of srcnn and a dot"):
        override(settings(place), {"batch": 8})


def test_quick_never_judges_on_what_it_trains_on(tmp_path: Path) -> None:
    comparison = quick_comparison({"out": str(tmp_path), "steps": 3})
    assert comparison.models == ("bicubic", "srcnn")
    runs = [run for row in plan_comparison(comparison).rows for run in row.runs]
    assert {run.config.steps for run in runs} == {3}
    learned = {path.stem for path in Path(comparison.data[0]).iterdir()}
    judged = {path.stem.rpartition("_")[0] for path in Path(comparison.val).iterdir()}
    assert judged == {"chelsea", "coffee"}
    assert len(learned) == 3
    assert not learned & judged


@pytest.mark.parametrize("model", ["", "srcnn", "srresnet", "srgan", "rrdb"])
def test_quick_plans_any_of_its_methods(tmp_path: Path, model: str) -> None:
    """With small networks for those that are asked for, and none for the others."""
    asked = ["--models", model] if model else []
    command = ["compare", "--quick", "--dry-run", "--output", str(tmp_path / "out"), *asked]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "evaluations" in result.output


def test_command(matrix: Matrix, place: Path) -> None:
    file = place / "comparison.yaml"
    file.write_text(json.dumps(settings(place).model_dump(mode="json")))
    result = CliRunner().invoke(app, ["compare", "--config", str(file)])
    assert result.exit_code == 0, result.output
    assert "srcnn / noisy" in result.output
    assert f"{np.mean(values(matrix, 'psnr_y', 2, 1)):.2f}" in result.output
    for name in ("matrix.csv", "matrix.json", "report.html"):
        assert (place / "out" / name).stat().st_size > 100


# --- page ----------------------------------------------------------------------------------------


def test_page_data(matrix: Matrix) -> None:
    data = report_data(matrix)
    plan = matrix.tests[1].plans[0]
    shown = {one["address"]: one for one in data["tests"][1]["parameters"]}
    assert shown["first.jpeg.quality"]["values"] == pytest.approx(
        plan["first.jpeg.quality"].tolist()
    )
    assert data["tests"][0]["parameters"] == []
    assert data["breakdown"][2][0] is None
    loss = np.subtract(values(matrix, "psnr_y", 2, 0), values(matrix, "psnr_y", 2, 1))
    assert data["breakdown"][2][1]["losses"] == pytest.approx(loss.tolist(), abs=1e-5)
    assert data["breakdown"][2][1]["against"] == "the same image on bicubic"
    assert len(data["crops"][1]) == 3
    assert [curve["points"][-1][0] for curve in data["curves"]] == [6, 6]
    assert "<img" not in render(matrix)


CUT = """
return [...document.querySelectorAll(".chart text, .chart path")]
  .map((one) => [one.getBoundingClientRect(), one.textContent])
  .filter(([box]) => box.width && (box.left < 0 || box.right > arguments[0])).map((one) => one[1]);
"""
"""What of a chart lies outside the screen."""


@needs_browser
def test_page_in_a_browser(matrix: Matrix, tmp_path: Path) -> None:
    """Every control is used, in light, dark and on a phone, where no chart is cut."""
    file = write_results(matrix) / "report.html"
    with browsing(tmp_path / "profile") as browser:
        for width, dark in ((390, False), (390, True), (1280, True), (1280, False)):
            browser.look(width, 900, dark)
            browser.open("about:blank")
            browser.open(file.as_uri())
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run(CUT, width) == []
            assert browser.run("return performance.getEntriesByType('resource').length") == 0
        assert browser.run(
            "return document.querySelector('#bad, main img[src=x]') === null"
            " && !document.body.dataset.bad"
        )

        def shown() -> list[str]:
            return browser.run(
                "return [...document.querySelectorAll('#table td b')].map(b => b.textContent)"
            )

        mean = [[np.mean(values(matrix, "psnr_y", r, c)) for c in (0, 1)] for r in range(3)]
        assert shown() == [f"{mean[row][column]:.2f}" for row in range(3) for column in (0, 1)]

        browser.click("#table thead th:nth-child(3) button")
        by_noisy = sorted(range(3), key=lambda row: -mean[row][1])
        assert shown()[1::2] == [f"{mean[row][1]:.2f}" for row in by_noisy]
        assert browser.run("return asCsv()").splitlines()[:2] == [
            "model,train,bicubic,noisy",
            ",".join(
                [matrix.rows[by_noisy[0]].model, matrix.rows[by_noisy[0]].train]
                + [f"{value:.2f}" for value in mean[by_noisy[0]]]
            ),
        ]
        browser.click("#table thead th:nth-child(3) button")
        assert shown()[1::2] == [f"{mean[row][1]:.2f}" for row in reversed(by_noisy)]
        browser.click("#table thead th:nth-child(3) button")
        latex = browser.run("return asLatex()")
        best = max(row[0] for row in mean)
        assert f"\\textbf{{{best:.2f}}}" in latex
        assert latex.count("\\\\") == 4
        browser.click("#copy-latex")
        browser.click("#intervals")
        assert browser.run("return document.querySelectorAll('#table table.short').length") == 1

        browser.choose("#view", "matched")
        assert "trained on the test's own regime" in browser.text("#about-table")
        expected = float(mean[1][1] - mean[2][1])
        text = shown()[0].replace("\N{MINUS SIGN}", "-")
        assert text == ("0.00" if abs(expected) < 0.005 else f"{expected:+.2f}")
        browser.choose("#metric", "1")
        assert browser.text("#about-table").startswith("SSIM on Y")
        browser.choose("#view", "bicubic")
        assert "Minus bicubic" in browser.text("#about-table")
        assert browser.run("return location.hash") == "#metric=1&view=bicubic&intervals=0"
        browser.choose("#view", "rank")
        assert sorted(shown()[::2]) == ["1", "2", "3"]
        assert browser.run("return document.querySelectorAll('#tau td b').length") == 2

        browser.choose("#test", "0")
        browser.choose("#image", "1")
        assert browser.run("return document.querySelectorAll('#crops figure').length") == 5
        browser.point("#crops figure:nth-child(3) .panel", 10, -10)
        lenses = (
            "return [...document.querySelectorAll('.lens')]"
            ".map(l => [l.hidden, l.style.left, l.style.backgroundSize])"
        )
        before = browser.run(lenses)
        assert [lens[0] for lens in before] == [False] * 5
        browser.click("#closer")
        browser.point("#crops figure:nth-child(1) .panel", 5, 5, "touch")
        browser.run("document.querySelector('#crops').focus()")
        nearer = browser.run(lenses)
        browser.press("ArrowRight", "ArrowDown", "-")
        after = browser.run(lenses)
        assert before[0][2] == after[0][2] != nearer[0][2]
        assert float(after[2][1][:-2]) > float(nearer[2][1][:-2])
        browser.press("Escape")
        assert all(lens[0] for lens in browser.run(lenses))
        browser.click("#farther")
        assert browser.text("#zoom") == "\N{MULTIPLICATION SIGN} 3"

        addresses = (
            "return [...document.querySelectorAll('#first option')].map(o => o.textContent)"
        )
        assert sorted(browser.run(addresses)) == [
            "first.gaussian_noise.sigma",
            "first.jpeg.quality",
        ]
        assert browser.run("return document.querySelectorAll('#curve .dot').length") == 3
        browser.click("#shares li:nth-child(2) button")
        assert "first." in browser.text("#curve")
        assert browser.run("return document.querySelectorAll('#map td b').length") == 3
        browser.choose("#row", "0")
        assert "Loss of bicubic" in browser.text("#about-breakdown")
        browser.choose("#regime", "0")
        assert browser.text("#shares") == "bicubic draws nothing that differs between images."

        browser.click("#recipes details:nth-child(2) summary")
        assert HOSTILE in browser.text("#recipes details:nth-child(2) pre").replace("\n", " ")
        assert browser.run("return document.querySelectorAll('#curves path.trace').length") == 2
        for part in ("#severity-part", "#plane-part", "#seal-part"):
            assert browser.run("return document.querySelector(arguments[0]).hidden", part)
        state = browser.run("return location.hash")
        browser.open("about:blank")
        browser.open(file.as_uri() + state)
        assert browser.text("#shares") == "bicubic draws nothing that differs between images."
        assert browser.run("return document.querySelector('#metric').value") == "1"
        assert browser.problems() == []


def test_page_of_equal_images(place: Path, tmp_path: Path) -> None:
    """An exact result and a single image leave no NaN in the page or the files."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "flat.png").write_bytes(encode_png(np.full((32, 32, 3), 90, np.uint8)))
    flat = run_comparison(
        settings(
            place,
            models=("bicubic",),
            train=(),
            test=("bicubic",),
            val=str(tmp_path / "one"),
            out=str(tmp_path),
            settings={},
        )
    )
    # PSNR is bounded, so that equal images have a mean too.
    assert flat.scores["psnr_y"][0][0].tolist() == [[[100]]]
    write_results(flat)
    json.loads((tmp_path / "matrix.json").read_text(), parse_constant=pytest.fail)


def test_values_without_a_mean_are_left_out_of_all_rows(tmp_path: Path) -> None:
    given = [[[20, 30, 9], [1, 2, 3]], [[24, math.nan, 9], [1, 2, 3]], [[19, 30, 9], [1, 2, 3]]]
    matrix = by_hand(given)
    assert [matrix.left_out("psnr_y", column) for column in (0, 1)] == [1, 0]
    rows = list(csv.DictReader(io.StringIO(to_csv(matrix))))
    assert [row["mean"] for row in rows if row["test"] == "a" and row["metric"] == "psnr_y"] == [
        "14.5",
        "16.5",
        "14",
    ]
    assert {(row["test"], row["images"], row["left_out"]) for row in rows} == {
        ("a", "2", "1"),
        ("b", "3", "0"),
    }
    json.dumps(to_json(matrix), allow_nan=False)
    json.dumps(report_data(matrix), allow_nan=False)
    assert matrix.notes[0] == "a: 1 of 3 images are left out, psnr_y is not finite"
    nothing = by_hand([[[math.nan, math.nan], [1, 2]]] * 3)
    assert "a,psnr_y,,,,0,1,2" in to_csv(nothing)
    assert nothing.notes == []
    json.dumps(report_data(nothing), allow_nan=False)


def test_a_row_without_values_takes_nothing_from_the_others() -> None:
    holes = [[20, 30, 9], [1, 2, 3]]
    with_it = by_hand([holes, [[math.nan] * 3, [1, 2, 3]], [[19, 32, 9], [1, 2, 3]]])
    without = by_hand([holes, [[0, 0, 0], [1, 2, 3]], [[19, 32, 9], [1, 2, 3]]])
    assert with_it.left_out("psnr_y", 0) == 0
    for row in (0, 2):
        values = [mean_of(cell(matrix, "psnr_y", row, 0)) for matrix in (with_it, without)]
        assert values[0] == values[1]
    assert ranking(with_it, "psnr_y", 0) == [2, None, 1]
    assert with_it.notes == ["a: m / a has no finite psnr_y, lpips"]
    json.dumps(to_json(with_it), allow_nan=False)
    json.dumps(report_data(with_it), allow_nan=False)


def test_files_hold_no_nan() -> None:
    """Whatever a model made: no PSNR on the representative degradations, a loss that diverged."""
    scores = [np.full((2, 3), value) for value in (30.0, math.nan, 31.0)]
    lines = np.array([30.0, 30.0]), np.array([31.0, math.nan])
    curve = [{"step": 1.0, "loss": math.nan}, {"step": 2.0, "loss": 0.1}]
    matrix = by_hand([[[20, 30], [10, 12]], [[24, 34], [9, 12]], [[19, 30], [15, 16]]])
    rows = [
        replace(r, runs=tuple(replace(run, curve=curve) for run in r.runs)) for r in matrix.rows
    ]
    seal = Representatives(["a", "b"], [{}, {}], scores, lines, "lines")
    data = report_data(replace(matrix, rows=rows, representatives=seal))
    json.dumps(data, allow_nan=False)
    assert [row.get("rate") for row in data["seal"]["rows"]] == [1, None, 1]
    assert data["curves"][0]["points"] == [[2, 0.1]]
    json.dumps(to_json(replace(matrix, representatives=seal)), allow_nan=False)


def test_without_psnr(place: Path, tmp_path: Path) -> None:
    """Tables are of another metric; what needs PSNR says so."""
    command = ["compare", "--models", "bicubic", "--test", "bicubic", "--scale", "2"]
    command += ["--val", str(place / "test"), "--metrics", "ssim_y", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "ssim y" in result.output
    refused = CliRunner().invoke(app, [*command, "--representatives", "2"])
    assert "representatives: are judged by psnr_y" in str(refused.exception)
