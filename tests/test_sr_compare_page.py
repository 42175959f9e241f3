"""The report of a comparison of ten models on ten test sets, in a browser: readable on a desk and
on a phone, sorted and copied as it is shown.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_sr_compare import CUT
from webdriver import Browser, browsing, needs_browser

from degrade.recipe import Recipe
from degrade.rng import Key
from sr.comparison.columns import severity_of
from sr.comparison.config import Comparison
from sr.comparison.html_report import render
from sr.comparison.matrix import Matrix, Reals, Representatives, TestSet
from sr.comparison.runs import Row, TrainedModel

LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]
IMAGES = 6
LONG = "2x_AnimeJaNai_SD_V1beta34_Compact_1x3xHxW_dyn-HW_strong_fp16_op23_dynamo"
UNBROKEN = "team38spanch28slimverylongwordwithoutanyjointsatallinit"
MODELS = ("bicubic", "m", "m", "srcnn_x4", "srresnet_x4", "IMDN_x4", LONG, UNBROKEN, "same", "nan")
TESTS = (
    *("bicubic", "realesrgan", "realesrgan@0", "realesrgan@0.5", "realesrgan@0.9", "bsrgan"),
    *("realesrgan_light", "dasr_severe", "pairs:/data/RealSR/Canon/Test/4/of/a/folder", "lr:set"),
)
LATEX_ROW = r"\\"
MISSING = "\N{EN DASH}"


def ten_by_ten() -> Matrix:
    """Ten rows, of which one has no values and two are equal, on ten columns: recipes, severities,
    pairs, and images without ground truth.
    """
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(IMAGES)]
    tests: list[TestSet] = []
    for name in TESTS:
        base, level = severity_of(name)
        recipe = None if ":" in name else Recipe.load(base, 4)
        drawn = recipe is not None and level is None
        plans = [recipe.plan(Key.of(0, np.arange(IMAGES)))] if recipe is not None and drawn else []
        target = "none" if name.startswith("lr:") else "the HR image as it was"
        protocol = {"target": target, "recipe": name, "line": f"x4, LR: {name}, HR: {target}"}
        tests.append(TestSet(name, recipe, names, plans, {}, protocol, base, level))
    run = TrainedModel(Path("x"), 0, {"step": "200"}, [])
    rows = [Row("bicubic", "none", "")]
    for model, train in zip(MODELS[1:], ("realesrgan", "bsrgan", *["none"] * 7), strict=True):
        digest = "" if train == "none" else Recipe.load(train, 4).hash
        rows.append(Row(model, train, digest, (run, run)))
    hardness = rng.normal(25, 3, IMAGES)

    def values(row: int, column: int, scale: float) -> Reals:
        if MODELS[row] == "nan":
            return np.full((2, 1, IMAGES), math.nan)
        own = np.random.default_rng([min(row, 7) if MODELS[row] == "same" else row, column])
        return scale * (hardness + own.normal(0, 3) + own.normal(0, 0.3, (2, 1, IMAGES)))

    def scores(scale: float, blind: bool) -> list[list[Reals]]:
        missing = np.full((2, 1, IMAGES), math.nan)
        columns = range(len(TESTS))
        return [
            [values(r, c, scale) if blind or c < len(TESTS) - 1 else missing for c in columns]
            for r in range(len(MODELS))
        ]

    low = rng.normal(24, 1, 3)
    seal = Representatives(
        ["realesrgan"] * 3, [{}] * 3, [low[:, None] + rng.normal(0, 1, (3, 1)) for _ in rows],
        (low, low + 1), "lines of a file",
    )  # fmt: skip
    metrics = {"psnr_y": scores(1, False), "mine:distance": scores(0.01, True)}
    comparison = Comparison(seeds=2, val="img")
    return Matrix(comparison, rows, tests, tuple(metrics), metrics, [], seal, ["mine:distance"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(render(ten_by_ten()), encoding="utf-8")
    with browsing(folder / "profile") as found:
        found.look(1280, 900)
        found.open((folder / "report.html").as_uri())
        yield found


CONTRASTS = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = (element) => {
  const own = getComputedStyle(element).backgroundColor;
  return own !== "rgba(0, 0, 0, 0)" ? own : paper(element.parentElement);
};
return [...document.querySelectorAll("td, th, p, li, h2, h3, button, select, figcaption, small")]
  .filter((one) => one.offsetParent && one.textContent.trim())
  .map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(paper(one))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.textContent];
  }).filter(([contrast]) => contrast < 4.5);
"""
"""Texts of too little contrast for WCAG's AA."""
OUTSIDE = """
return [...document.querySelectorAll("td, th, th *, .legend li, .flips li, p, label")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth)
  .map((one) => one.textContent);
"""
"""Texts that are wider than their places."""
SHOWN = """
return [...document.querySelectorAll("#table tbody tr")].map((row) =>
  [...row.querySelectorAll("td")].map((td) => (td.querySelector("b") || td).textContent));
"""


@needs_browser
@pytest.mark.parametrize(("width", "dark"), LOOKS)
@pytest.mark.parametrize("view", ["value", "bicubic", "matched", "rank"])
def test_all_can_be_read(browser: Browser, width: int, dark: bool, view: str) -> None:
    browser.look(width, 900, dark)
    for metric in (0, 1):
        browser.run("change({...arguments[0]})", {"view": view, "metric": metric, "intervals": 1})
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(CUT, width) == []
        assert browser.run(CONTRASTS) == []
        assert browser.run(OUTSIDE) == []
    assert browser.problems() == []


@needs_browser
def test_names_of_models_stand_beside_their_ranks(browser: Browser) -> None:
    """On a wide screen a name each, on a phone a legend; ties are not written over each other."""
    boxes = (
        "return [...document.querySelectorAll('#ranks text:not(.quiet)')]"
        ".map((one) => [one.textContent, one.getBoundingClientRect().top])"
    )
    browser.look(1280, 900)
    browser.run("change({metric: 0})")
    names = browser.run(boxes)
    tops = sorted(top for _, top in names)
    assert len(names) == len(MODELS) - 1  # one has no rank
    assert min(np.diff(tops)) > 12
    browser.look(390, 900)
    browser.run("change({metric: 0})")
    assert browser.run(boxes) == []
    assert browser.run("return document.querySelectorAll('#ranks .legend li').length") == 10


@needs_browser
@pytest.mark.parametrize(("metric", "less"), [(0, False), (1, True)])
@pytest.mark.parametrize("view", ["value", "bicubic", "rank"])
def test_a_click_sorts(browser: Browser, metric: int, less: bool, view: str) -> None:
    """The best first, then the worst, then as given; what is missing is last."""
    browser.look(1280, 900)
    browser.run("change({...arguments[0]})", {"view": view, "metric": metric, "sort": ""})
    given = browser.run(SHOWN)
    for column in (0, 4, 8):
        header = f"#table thead th:nth-child({column + 2})"
        orders: list[str] = []
        for _ in range(3):
            browser.click(f"{header} button")
            state = f"return document.querySelector('{header}').getAttribute('aria-sort')"
            orders.append(browser.run(state))
            texts = [row[column] for row in browser.run(SHOWN)]
            known = [text for text in texts if text not in (MISSING, "itself")]
            assert texts[: len(known)] == known or orders[-1] == "none"
            numbers = [float(text.replace("\N{MINUS SIGN}", "-")) for text in known]
            if orders[-1] != "none":
                assert numbers == sorted(numbers, reverse=orders[-1] == "descending")
        smaller_first = less or view == "rank"
        assert orders[0] == ("ascending" if smaller_first else "descending")
        assert orders[2] == "none"
        assert browser.run(SHOWN) == given


def copied(browser: Browser, button: str) -> str:
    """What a button puts into the clipboard, which it does not do at once."""
    browser.run("document.querySelector('#copied').textContent = ''")
    browser.click(button)
    for _ in range(200):
        if browser.text("#copied"):
            break
        time.sleep(0.02)
    assert browser.text("#copied") == "copied"
    return browser.clipboard()


@needs_browser
@pytest.mark.parametrize("allowed", [True, False], ids=["clipboard", "without"])
def test_a_click_copies_what_is_shown(browser: Browser, allowed: bool) -> None:
    """As CSV and as LaTeX; also where the page may not use the clipboard's interface."""
    browser.look(1280, 900)
    browser.run("change({view: 'value', metric: 0, sort: '0d'})")
    write = "navigator.clipboard.constructor.prototype.writeText"
    refused = "() => Promise.reject(new Error('no'))"
    browser.run(f"navigator.clipboard.writeText = {write if allowed else refused}")
    shown = browser.run(SHOWN)
    rows = list(csv.reader(io.StringIO(copied(browser, "#copy-csv"))))
    assert rows[0] == ["model", "train", *TESTS]
    assert [[value or MISSING for value in row[2:]] for row in rows[1:]] == shown
    assert {row[0] for row in rows[1:]} == set(MODELS)
    text = copied(browser, "#copy-latex")
    lines = [line for line in text.splitlines() if line.endswith(LATEX_ROW)]
    cells = [line.removesuffix(LATEX_ROW).strip().split(" & ")[2:] for line in lines]
    assert cells[0][1] == "realesrgan"
    plain = [[value.replace("\\textbf{", "").replace("}", "") for value in row] for row in cells]
    assert [[MISSING if value == "--" else value for value in row] for row in plain[1:]] == shown
    for column in range(len(TESTS) - 1):
        best = max(float(row[column]) for row in plain[1:] if row[column] != "--")
        bold = [row[column] for row in cells[1:] if row[column].startswith("\\textbf")]
        assert set(bold) == {f"\\textbf{{{best:.2f}}}"}


@needs_browser
def test_what_was_not_measured_is_said(browser: Browser) -> None:
    browser.look(1280, 900)
    browser.run("change({view: 'value', metric: 0})")
    assert "Not measured on lr:set." in browser.text("#about-table")
    assert "lr:set" not in browser.text("#tau")
    browser.run("change({metric: 1})")
    assert "Not measured" not in browser.text("#about-table")
    assert "lr:set" in browser.text("#tau")
    assert "LR: by column, HR: the HR image as it was" in browser.text("#footer")
    assert f"realesrgan@0: {MODELS[-1]} has no finite psnr_y" in browser.text("#footer")
