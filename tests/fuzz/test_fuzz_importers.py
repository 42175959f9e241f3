"""Option files of other projects, from a stranger, become a recipe and findings, or are refused by
an error that says where; nothing of them leaves the place where it is written.

Keys and values of files that are right are changed, in YAML (with JSON, which is YAML) and TOML:
nested and long tables, huge numbers, keys with line breaks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import fuzz, within, witnessed
from hypothesis import event, given
from hypothesis import strategies as st

from degrade import Recipe
from degrade.errors import RecipeError
from degrade.importers import DIALECTS, read_options
from degrade.importers.options import Finding

ORDER = {
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.15, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3],
    "gray_noise_prob": 0.4,
    "jpeg_range": [30, 95],
    "kernel_list": ["iso", "aniso", "plateau_iso"],
    "kernel_prob": [0.5, 0.3, 0.2],
    "sinc_prob": 0.1,
    "blur_sigma": [0.2, 3],
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
BOTH = {**ORDER, **{f"{key}2": value for key, value in ORDER.items()}, "final_sinc_prob": 0.8}
FLAGS = {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}
FILES: dict[str, dict[str, Any]] = {
    "basicsr.yml": {"scale": 4, "second_blur_prob": 0.8, **FLAGS, **BOTH},
    "redux.yml": {"scale": 4, "high_order_degradation": True, "jpeg_prob": 1, **BOTH},
    "params.yml": {"scale": 4, "second_blur_prob": 0.8, "kernel_info": dict(BOTH), **BOTH},
    "redux.json": {"scale": 4, "jpeg_prob": 0.5, "lq_usm": True, **BOTH},
    "neosr.toml": {"scale": 4, "degradations": dict(BOTH), "datasets": {"train": {"type": "x"}}},
}
LEAKS = ["a\nname: evil", "a\r\nscale: 16", "a\u2028name: evil", "a\x85b", "# a", "[/b]\x1b[31m"]
LEAKS += ["../x", "*/", "-- ", "'\"", "{x: 1}", "<<", "日本", "a" * 90]
NUMBERS = [0, -1, 1, 3, 0.5, 1e308, -1e308, 5e-324, 1e-300, 10**18, 2**70, 10**400, 10**9]
NUMBERS += [float("inf"), float("-inf"), float("nan"), 21, 22, 1e17]
WORDS = [None, True, False, "", "1e-4", "9" * 400, "9" * 5000, "iso", "yes", "٣", "nan", "1_0"]


def nested(node: Any, deep: int) -> Any:
    return [nested(node, deep - 1)] if deep else node


SCALARS = st.one_of(st.sampled_from([*NUMBERS, *WORDS, *LEAKS]), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.sampled_from(NUMBERS), min_size=2, max_size=3),
        st.dictionaries(st.sampled_from([*BOTH, *LEAKS]), inner, max_size=3),
        st.builds(lambda node, times: [node] * times, inner, st.sampled_from([2, 50])),
        st.builds(nested, inner, st.sampled_from([5, 70])),
    ),
    max_leaves=5,
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A file's name and its data, of which some keys and values are others."""
    name = draw(st.sampled_from(sorted(FILES)))
    data: dict[str, Any] = json.loads(json.dumps(FILES[name]))
    for _ in range(draw(st.integers(1, 4))):
        inner = [table for table in data.values() if isinstance(table, dict)]
        table = draw(st.sampled_from([data, *inner]))
        key = draw(st.sampled_from(sorted([*table, *BOTH, *LEAKS, "name", "datasets"])))
        if draw(st.integers(0, 3)) == 0:
            table.pop(key, None)
        else:
            table[key] = draw(VALUES)
    return name, data


def written(name: str, data: dict[str, Any]) -> str:
    """As text: TOML and JSON have no writer here that accepts everything, so it is this one."""
    if name.endswith("yml"):
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    if name.endswith("json"):
        return json.dumps(data)
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    lines = [f"{json.dumps(key)} = {toml(data[key])}" for key in data if key not in tables]
    for key, table in tables.items():
        lines.append(f"[{key if key.isidentifier() and key.isascii() else json.dumps(key)}]")
        lines += [f"{json.dumps(inner)} = {toml(value)}" for inner, value in table.items()]
    return "\n".join(lines)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(
        text := json.dumps(value, ensure_ascii=False), text
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options")


@fuzz(60)
@given(change=changes(), dialect=st.sampled_from([None, None, None, *DIALECTS]))
def test_changed_options_become_findings_or_are_refused(
    folder: Path, change: tuple[str, dict[str, Any]], dialect: str | None
) -> None:
    name, data = change
    file = folder / name
    file.write_text(written(name, data), encoding="utf-8", errors="surrogatepass", newline="")
    with within(20), witnessed(folder) as done:
        imported, said = None, ""
        try:
            imported = read_options(file, dialect)
        except RecipeError as error:
            said = str(error)
    assert not done
    event("refused" if imported is None else "read" if imported.recipe else "findings")
    if imported is None:
        assert said.startswith(str(file))
        return
    assert all(
        isinstance(finding, Finding) and finding.file == str(file) for finding in imported.findings
    )
    if imported.recipe is None:
        assert any(finding.severity == "error" for finding in imported.findings)
        return
    check_text(imported.to_yaml(), Recipe.load(imported.recipe), folder)


def check_text(text: str, recipe: Recipe, folder: Path) -> None:
    """What is written is the recipe and comments, line by line."""
    assert all(c.isprintable() or c == "\n" for c in text)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("\n".join([*comments, "name: "]))
    out = folder / "imported.yaml"
    out.write_text(text, encoding="utf-8")
    assert Recipe.load(out) == recipe
