"""Loading recipes: what is written is either a recipe that runs, or an error with file, line,
address and remedy.
"""

from __future__ import annotations

import copy
import os
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from degrade import Key, Recipe, RecipeError
from degrade.errors import UserError
from degrade.loading.positions import compose, read_text
from degrade.loading.search_path import names
from degrade.ops.resize import Resize

END = "  - {as: end, resize: {of: target}}\n"
HEAD = f"name: x\nscale: 2\nfirst:\n{END}"


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return Recipe.load(path)


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


# --- golden texts --------------------------------------------------------------------------------

GOLDEN = [
    ("  - blurr: {sigma: 1}", "r.yaml:5: first.blurr: no such operator; did you mean blur?"),
    ("  - blur: {sigmaa: 1}", "r.yaml:5: first.blur.sigmaa: no such field; did you mean sigma?"),
    (
        "  - jpeg: {quality: [0, 95]}",
        "r.yaml:5: first.jpeg.quality: can draw 0 to 95; it must stay in [1, 100]",
    ),
    (
        "  - jpeg:\n      quality: [95, 30]",
        "r.yaml:6: first.jpeg.quality: [95, 30] is empty: 95 is greater than 30",
    ),
    (
        "  - jpeg: {quality: {any: []}}",
        "r.yaml:5: first.jpeg.quality: any: [] should be a list of values, or values w",
    ),
    ("  - jpeg: {quality: .nan}", "r.yaml:5: first.jpeg.quality: nan should be finite"),
    ("  - jpeg: {quality: .inf}", "r.yaml:5: first.jpeg.quality: inf should be finite"),
    (
        "  - jpeg: {quality: lots}",
        "r.yaml:5: first.jpeg.quality: 'lots' should be a number, in [1, 100]",
    ),
    (
        "  - jpeg: [30, 95]",
        "r.yaml:5: first.jpeg: [30, 95] should be a mapping of fields to values",
    ),
    ("  - jpeg: {3: 4}", "r.yaml:5: first.jpeg.3: Keys should be strings"),
    (
        "  - resize: {filter: cubic}",
        "r.yaml:5: first.resize.filter: cubic: unknown; it must be one of ",
    ),
    ("  - blur: {size: 8}", "r.yaml:5: first.blur.size: must be odd: a kernel has a centre"),
    (
        "  - blur: {size: [3, 7]}",
        "r.yaml:5: first.blur.size: must draw whole numbers only; write {integers: [3, 7]}",
    ),
    ("  - {p: 2, clip: }", "r.yaml:5: first.clip.p: 2 should be a probability in [0, 1]"),
    (
        "  - {p: [0.1, 0.2], clip: }",
        "r.yaml:5: first.clip.p: [0.1, 0.2] should be a probability in [0, 1]",
    ),
    (
        "  - {clip: , quantize: }",
        "r.yaml:5: first: a step names clip, quantize; it should name exactly one",
    ),
    ("  - {p: 0.5}", "r.yaml:5: first: a step names no operator; it should name exactly one"),
    ("  - 3: {}", "r.yaml:5: first: a step names 3; it should name an operator"),
    ("  - 17", "r.yaml:5: first: 17 should be a step such as  jpeg: {quality: [30, 95]}"),
    (
        "  - {as: a.b, clip: }",
        "r.yaml:5: first.a.b: as: should be a word of letters, digits and underscores",
    ),
    (
        "  - clip\n  - clip",
        "r.yaml:6: first.clip: there are two steps called clip; give this one a name with  as:",
    ),
    (
        "  - one_of: []",
        "r.yaml:5: first.one_of: should be a list of steps, each with its weight p",
    ),
    (
        "  - one_of: [{p: -1, clip: }, quantize]",
        "r.yaml:5: first.one_of: p: -1 should be a weight from 0 to 1e9",
    ),
    ("  - one_of: [{p: 0, clip: }]", "r.yaml:5: first.one_of: no branch has a positive weight"),
    ("  - shuffle: [clip]", "r.yaml:5: first.shuffle: should be a list of 2 to 15 steps"),
    (
        "  - shuffle: {ordered: [clp], steps: [clip, quantize]}",
        "r.yaml:5: first.shuffle.ordered: 'clp' is not one of its steps; did you mean clip?",
    ),
    (
        "  - shuffle: {ordered: [quantize, clip], steps: [clip, quantize]}",
        "r.yaml:5: first.shuffle.ordered: list them in the order of the steps: clip, quantize",
    ),
    (
        "  - shuffle: {ordered: 3, steps: [clip, quantize]}",
        "r.yaml:5: first.shuffle.ordered: 3 is not one of its steps",
    ),
    (
        "  - repeat: {times: [1, 2], steps: [clip]}",
        "r.yaml:5: first.repeat.times: must draw whole numbers only; write",
    ),
    ("  - repeat: {steps: [clip]}", "r.yaml:5: first.repeat: should have exactly times and steps"),
    (
        "  - resize: {factor: 0.5}",
        "r.yaml:3: first: the LR image may not have the target size (HR / 2); end with a step",
    ),
    (
        "  - {as: up, resize: {factor: 0.7}}\n  - decimate",
        "r.yaml:3: first.decimate: the size here may not be a whole",
    ),
    (
        "  - albumentations: {Defocuss: {}}",
        "r.yaml:5: first.albumentations: Defocuss: no transform of albumentations;",
    ),
    (
        "  - albumentations: {GaussNoise: {mean: [2, 2]}}",
        "r.yaml:5: first.albumentations: GaussNoise: no argument 'me",
    ),
    ("second: {}", "r.yaml:5: second: a stage should be a list of steps"),
    ("3: []", "r.yaml:5: 3: a stage is named by a word of letters, digits and underscores"),
    ("first: []", "r.yaml:5: duplicate key 'first'; remove one"),
    ("  - jpeg: {quality: 3, quality: 4}", "r.yaml:5: duplicate key 'quality'; remove one"),
    ("  - jpeg: {[a]: 3}", "r.yaml:5: a key should be a word or a number"),
    ("  - jpeg: {~: 3}", "r.yaml:5: a key should be a word or a number"),
    ("  - jpeg: &a {quality: *a}", "r.yaml:5: an alias contains itself; write its content out"),
    ("  - jpeg: {quality: *b}", "r.yaml:5: found undefined alias 'b'"),
    ("  - jpeg: {quality: [30, 95}", "r.yaml:5: expected ',' or ']', but got '}'"),
    ("\t- jpeg", "r.yaml:5: found character '\\t' that cannot start any token"),
    (
        "  - jpeg: !!python/object:os.system {quality: 3}",
        "r.yaml:5: the tag python/object:os.system is not allowed;",
    ),
    (
        "  - jpeg: {quality: !!python/name:os.system x}",
        "r.yaml:5: the tag python/name:os.system is not allowed;",
    ),
    ("  - jpeg: {quality: !mine 3}", "r.yaml:5: the tag !mine is not allowed"),
    ("  - jpeg: {quality: !!bool perhaps}", "r.yaml:5: 'perhaps' is not of type bool"),
    ("  - jpeg: {quality: !!int many}", "r.yaml:5: 'many' is not of type int"),
    (
        "  - jpeg: {quality: !!timestamp soon}",
        "r.yaml:5: first.jpeg.quality: 'soon' should be a number",
    ),
    ("  - jpeg: {quality: 0x" + "f" * 5000 + "}", "r.yaml:5: the number is too large"),
    (
        "  - jpeg: {quality: {any: {3: 1e308, 4: 1e308}}}",
        "r.yaml:5: first.jpeg.quality: weights [1e+308, 1e+308] shou",
    ),
    ("  - jpeg: {quality: 1:36}", "r.yaml:5: 1:36 is to base 60 in YAML; write a plain number"),
    ("  - jpeg: {quality: 1:36.5}", "r.yaml:5: 1:36.5 is to base 60 in YAML"),
    ("  - jpeg: {quality: 075}", "r.yaml:5: 075 is to base 8 in YAML; write a plain number"),
    ('  - jpeg: {"\\ud800": 3}', "r.yaml:5: '\\ud800' is not Unicode: it has half of a surr"),
    ('  - jpeg: {quality: "\\udc80"}', "r.yaml:5: '\\udc80' is not Unicode"),
    ("  - jpeg: {<<: 3}", "r.yaml:5: <<: should name a mapping, or a list of them"),
    ("  - \0", "r.yaml:5: a character that YAML does not allow"),
    ("---\nname: y", "r.yaml:5: but found another document"),
]


@pytest.mark.parametrize(("lines", "message"), GOLDEN, ids=[lines[:40] for lines, _ in GOLDEN])
def test_error_texts(tmp_path: Path, lines: str, message: str) -> None:
    said = problems(tmp_path, f"{HEAD}{lines}\n").splitlines()
    assert any(line.startswith(message) for line in said), said


WHOLE = [
    ("", "r.yaml:1: the file is empty"),
    ("# nothing", "r.yaml:1: the file is empty"),
    ("- a", "r.yaml:1: a recipe is a mapping with name, scale and stages"),
    ("scale: 2", "r.yaml:1: name: None should be a name of letters"),
    ("name: x", "r.yaml:1: scale: None should be a whole number from 1 to 16"),
    ("name: x\nscale: 2", "r.yaml:1: the recipe has no stage; add one"),
    ("name: [x]\nscale: 2", "r.yaml:1: name: ['x'] should be a name of letters"),
    ("name: x\nscale: true", "r.yaml:2: scale: True should be a whole number from 1 to 16"),
    ("name: x\nscale: 17", "r.yaml:2: scale: 17 should be a whole number from 1 to 16"),
    ("name: x\nscale: 2\ndescription: [1]", "r.yaml:3: description: should be text"),
    ("a: " + "[" * 600 + "]" * 600, "r.yaml:1: nested too deeply"),
    ("extends: nowhere\nname: x", "r.yaml:1: extends: nowhere: no such recipe; there are "),
    ("extends: r.yaml\nname: x", "r.yaml:1: extends: the recipe extends itself"),
    ("extends: 3\nname: x", "r.yaml:1: extends: 3: no such recipe"),
    ("extends: bicubic\nscale: 0", "r.yaml:2: scale: 0 should be a whole number from 1 to 16"),
    (
        "extends: bicubic\nresampel: {resize: null}",
        "r.yaml:2: resampel.resize: there is no stage 'resampel'; did you ",
    ),
    (
        "extends: bicubic\nresample: {risize: null}",
        "r.yaml:2: resample.risize: stage 'resample' has no step 'risize'; ",
    ),
    (
        "extends: bicubic\nresample: {resize: {of: 3}}",
        "r.yaml:2: resample.resize.of: Input should be 'input', 'target'",
    ),
]


@pytest.mark.parametrize(("text", "message"), WHOLE, ids=[text[:30] for text, _ in WHOLE])
def test_error_texts_of_whole_files(tmp_path: Path, text: str, message: str) -> None:
    said = problems(tmp_path, text).splitlines()
    assert any(line.startswith(message) for line in said), said


def test_all_problems_at_once(tmp_path: Path) -> None:
    said = problems(
        tmp_path, f"{HEAD}  - blurr:\n  - jpeg: {{quality: 0, chroma: x}}\nsecond:\n  - noise:\n"
    ).splitlines()
    assert [line.split(": ")[0:2] for line in said] == [
        ["r.yaml:5", "first.blurr"],
        ["r.yaml:6", "first.jpeg.quality"],
        ["r.yaml:6", "first.jpeg.chroma"],
        ["r.yaml:8", "second.noise"],
    ]


def test_an_error_travels_between_processes() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.load({"name": "x", "scale": 0})
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.problems == caught.value.problems


@pytest.mark.parametrize("width", [9, 2])
def test_billion_laughs(tmp_path: Path, width: int) -> None:
    lines = ["a: &a [x, x]"]
    for before, after in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True):
        lines.append(f"{after}: &{after} [{', '.join([f'*{before}'] * width)}]")
    assert "nodes; use fewer aliases" in problems(tmp_path, "\n".join(lines))


def test_billion_laughs_by_merge_keys(tmp_path: Path) -> None:
    lines = ["a: &a {x: 1}"]
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{after}: &{after} {{<<: [{', '.join([f'*{before}'] * 9)}]}}")
    assert "nodes; use fewer aliases" in problems(tmp_path, "\n".join(lines))


def test_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        f"define: {{a: &a {{quality: 3, chroma: '4:4:4'}}}}\n"
        f"{HEAD}  - jpeg: {{<<: *a, quality: 5}}\n",
    )
    assert recipe.dump()["first"][1] == {"jpeg": {"quality": 5, "chroma": "4:4:4"}}


@pytest.mark.parametrize(
    "name", ["nowhere", "x" * 5000, "x" * 5000 + ".yaml", "/", ".", "a\0b", "", "no/such.yaml"]
)
def test_no_such_recipe(name: str) -> None:
    with pytest.raises(RecipeError, match="no such"):
        Recipe.load(name)


def test_suggests_a_recipe() -> None:
    with pytest.raises(RecipeError, match=r"realesrgn: no such recipe; did you mean realesrgan\?"):
        Recipe.load("realesrgn")


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin.yaml:1: cannot be read: 'utf-8' codec"):
        Recipe.load(tmp_path / "latin.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(RecipeError, match="no such file"):
        Recipe.load(tmp_path / "folder.yaml")


# --- overlays and changes ------------------------------------------------------------------------


def test_extends_cycle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("name: b\nextends: a.yaml\n")
    with pytest.raises(RecipeError, match=r"a.yaml:1: extends: the recipe extends itself"):
        Recipe.load(tmp_path / "a.yaml")


def test_overlay_by_label(tmp_path: Path) -> None:
    text = (
        "extends: realesrgan\nname: y\n"
        "first: {jpeg: {quality: 50}, kernel: {p: 0.5}, noise: null}\n"
        "hr: {quantize: {bits: 7}}\nsecond:\n  - {as: end, resize: {of: target}}\n"
    )
    recipe, base = load(tmp_path, text), Recipe.load("realesrgan")
    assert {c.address for c in base.columns} - {c.address for c in recipe.columns} >= {
        "first.jpeg.quality",
        "first.noise",
        "second.jpeg.quality",
    }
    assert "first.kernel.p" in {c.address for c in recipe.columns}
    assert recipe.dump()["hr"][1] == {"quantize": {"bits": 7}}
    assert Recipe.load("realesrgan") == base, "an overlay leaves what it lies on alone"


def test_data_may_extend() -> None:
    recipe = Recipe.load(
        {"extends": "realesrgan", "name": "y", "first": {"jpeg": {"quality": 50}}}
    )
    assert "first.jpeg.quality" not in {c.address for c in recipe.columns}
    assert "second.jpeg.quality" in {c.address for c in recipe.columns}


def test_errors_of_an_overlay_stand_at_its_line(tmp_path: Path) -> None:
    said = problems(
        tmp_path, "extends: realesrgan\nname: y\nfirst:\n  jpeg:\n    quality: [0, 9]\n"
    )
    assert said == "r.yaml:5: first.jpeg.quality: can draw 0 to 9; it must stay in [1, 100]"


CHANGES = [
    ({"first.jpeg.quality": [60, 95]}, None),
    ({"first.jpeg.p": 0.5}, None),
    ({"first.jpeg": None, "second.kernel.p": 0}, None),
    ({"second.quantize.bits": 7}, None),
    ({"hr.quantize": None}, None),
    ({"scale": 2}, None),
    ({"first.one_of.p": 0.5}, "stage 'first' has no step 'one_of'; there are"),
    ({"first.jpeg": 3}, "jpeg should be a mapping of its fields, or null to remove the step"),
    ({"first.jpeg.quality.x": 3}, "'quality.x' is not a field of jpeg"),
    ({"first.kernel.sigma": 3}, "'sigma' is not a field of one_of"),
    ({"third.jpeg.p": 3}, "there is no stage 'third'; there are first, hr, second"),
    ({"scale.x": 3}, "there is no stage 'scale'"),
    ({"scale": "four"}, "'four' should be a whole number from 1 to 16"),
    ({"first": 3}, "a stage should be a list of steps"),
    ({"": 3}, "a stage is named by a word"),
    ({"first..": 3}, "has no step ''"),
    ({"first.jpeg.quality": {"a": {}}}, "is not a distribution"),
    ({"second.shuffle": None}, "may not have the target size"),
]


@pytest.mark.parametrize(
    ("changes", "message"), CHANGES, ids=[str(changes)[:40] for changes, _ in CHANGES]
)
def test_changes(changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        recipe = Recipe.load("realesrgan", changes=changes)
        assert recipe.hash != Recipe.load("realesrgan").hash
        assert Recipe.load(recipe.dump()) == recipe
        return
    with pytest.raises(RecipeError) as caught:
        Recipe.load("realesrgan", changes=changes)
    assert message in str(caught.value)
    assert next(iter(changes)).split(".")[0] in str(caught.value)


def test_a_change_leaves_its_data_alone() -> None:
    data = Recipe.load("realesrgan").dump()
    before = copy.deepcopy(data)
    Recipe.load(data, changes={"first.jpeg.quality": 3, "second.quantize": None})
    assert data == before


def test_removing_a_label_removes_it_in_every_branch() -> None:
    branches = [
        {"jpeg": None},
        {"as": "both", "steps": [{"jpeg": None}, {"clip": None}]},
        {"blur": None},
    ]
    data = {"name": "x", "scale": 1, "a": [{"one_of": branches}]}
    recipe = Recipe.load(data, changes={"a.jpeg": None})
    assert "jpeg" not in str(recipe.dump()["a"])
    assert (
        Recipe.load(data, changes={"a.jpeg.quality": [3, 9]}).columns[1].address
        == "a.jpeg.quality"
    )


# --- fuzz ----------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 120),
    st.sampled_from([0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), 10**400, 2**70]),
    st.sampled_from(
        ["", "iso", "area", "target", "clip", "1/3", "1/0", "nan", "p", "x.y", "jpeg", "4:2:0"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "any",
                    "mix",
                    "normal",
                    "sqrt",
                    "reciprocal",
                    "of",
                    "p",
                    "integers",
                    "as",
                    "clip",
                    3,
                    None,
                ]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into nested data."""
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    return [path, *(inner for key, value in items for inner in places(value, (*path, key)))]


def mutated(data: Any, path: tuple[Any, ...], how: str, value: Any) -> Any:
    data = copy.deepcopy(data)
    parent = data
    for part in path[:-1]:
        parent = parent[part]
    if not path:
        return data
    if how == "remove":
        del parent[path[-1]]
    elif how == "double" and isinstance(parent, list):
        parent.append(parent[path[-1]])
    elif (
        how == "rename" and isinstance(parent, dict) and isinstance(value, str | int | type(None))
    ):
        parent[value] = parent.pop(path[-1])
    else:
        parent[path[-1]] = value
    return data


def heavy(data: Any) -> bool:
    """Whether a recipe would enlarge images beyond what a test should take."""
    factors = (
        [data.get("factor"), *data.values()]
        if isinstance(data, dict)
        else data
        if isinstance(data, list)
        else []
    )
    own = (
        Resize(factor=factors[0]).factor.support[1]
        if isinstance(data, dict) and factors[0] is not None
        else 0
    )
    return own > 4 or any(heavy(part) for part in factors[isinstance(data, dict) :])


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_accepted_recipes_run_and_others_are_refused_with_an_address(data: st.DataObject) -> None:
    recipe: Any = Recipe.load(data.draw(st.sampled_from(names()))).dump()
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(recipe)))
        how = data.draw(st.sampled_from(["set", "set", "remove", "double", "rename"]))
        recipe = mutated(recipe, path, how, data.draw(VALUES))
    try:
        loaded = Recipe.load(recipe)
    except RecipeError:
        return
    assert Recipe.load(loaded.dump()) == loaded
    if heavy(loaded.dump()):
        return
    hr = torch.rand(
        2, 3, 2 * loaded.scale, 3 * loaded.scale, generator=torch.Generator().manual_seed(0)
    )
    pair = loaded.apply(hr, loaded.plan(Key.of(0, np.arange(2))))
    assert pair.lr.shape == (2, 3, 2, 3)
    assert torch.isfinite(pair.lr).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "name: x",
                    "scale: 2",
                    "first:",
                    "  - ",
                    "clip",
                    "{",
                    "}",
                    "[",
                    "]",
                    "&a ",
                    "*a",
                    "<<: ",
                    ": ",
                ]
            ),
            st.sampled_from(
                [
                    "!!int ",
                    "!!set ",
                    "!x ",
                    "? ",
                    "| ",
                    "> ",
                    "'",
                    '"',
                    "#",
                    "\n",
                    "\n  ",
                    "\t",
                    "---",
                    "...",
                ]
            ),
            st.text(max_size=3),
        ),
        max_size=12,
    )
)
def test_any_text_is_data_or_an_error(parts: list[str]) -> None:
    try:
        compose("".join(parts), "file")
    except UserError as error:
        said = str(error)
    else:
        said = "file:"
    assert said.startswith("file:")


# --- limits --------------------------------------------------------------------------------------

LARGE = {
    "bytes": "#" * 300_000,
    "keys": "".join(f"k{i}: 1\n" for i in range(6_000)),
    "values": f"a: [{'1,' * 12_000}]",
    "aliases": "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n",
    "merges": "a: &a {" + ",".join(f"k{i}: 1" for i in range(2000)) + "}\n"
    "b: {" + ",".join("<<: *a" for i in range(300)) + "}",
    "lists": "[" * 100_000,
    "maps": "{a: " * 20_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "blocks": "".join(" " * i + "a:\n" for i in range(700)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_too_large_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(LARGE[kind])
    begun = time.monotonic()
    limits = "(cannot be read: .* are read|more than|nested too deep)"
    with pytest.raises(RecipeError, match=rf"r\.yaml:\d+: {limits}"):
        Recipe.load(tmp_path / "r.yaml")
    assert time.monotonic() - begun < 10


KEYS = 2_000
BROAD = {
    "stages": "".join(f"k{i}: 1\n" for i in range(KEYS)),
    "removals": "".join(f"k{i}:\n" for i in range(KEYS)),
    "fields": "resample:\n  resize:\n" + "".join(f"    k{i}: 1\n" for i in range(KEYS)),
    "labels": "resample:\n" + "".join(f"  k{i}: {{a: 1}}\n" for i in range(KEYS // 3)),
}


@pytest.mark.parametrize("kind", BROAD)
def test_as_many_keys_as_may_be_are_read_at_once(kind: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"name: x\nextends: bicubic\n{BROAD['stages']}")
    (tmp_path / "r.yaml").write_text(f"name: x\nextends: base.yaml\n{BROAD[kind]}")
    begun = time.monotonic()
    with suppress(RecipeError):
        Recipe.load(tmp_path / "r.yaml")
    assert time.monotonic() - begun < 20


def test_a_long_chain_of_recipes(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml")
    with pytest.raises(RecipeError, match="more than 16 recipes extend each other"):
        Recipe.load(tmp_path / "0.yaml")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "bytes"])
def test_only_text_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        read_text(path)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        Recipe.load(path)


# --- names ---------------------------------------------------------------------------------------

NAMES = ["a", "7", "_x", "realesrgan_x2", "v1.2-rc", "A" * 64, "console", "com", "nul_x"]
NO_NAMES = [
    *("../x", "/tmp/x", "a/b", "a\\b", "C:x", ".", "..", ".hidden", "-x", "", " ", "a b", "a\tb"),
    *("a\nb", "a\0", "\x1b[31m", "[b]", "A" * 65, "日本", "é", "\udce9", "a\u202e", "<b>", "a:b"),
    *("con", "NUL", "aux.x", "com1", "Lpt9.v2", "v1.", "a.."),
    *(3, None, True, ["a"]),
]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert Recipe.load({"name": name, "extends": "bicubic"}).name == name


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_what_is_no_name_of_a_recipe(name: Any, tmp_path: Path) -> None:
    """It names files: a path, or what a terminal or shell obeys, would lead out."""
    message = "name: .* should be a name of letters, digits, "
    with pytest.raises(RecipeError, match=message):
        Recipe.load({"name": name, "scale": 2, "first": ["clip", {"resize": {"of": "target"}}]})
    if isinstance(name, str) and name.isprintable():
        quoted = yaml.safe_dump({"name": name, "extends": "bicubic"})
        (tmp_path / "r.yaml").write_text(quoted, encoding="utf-8")
        with pytest.raises(RecipeError, match=rf"r\.yaml:\d: {message}"):
            Recipe.load(tmp_path / "r.yaml")
