"""Option files of other projects: what they become, and what is said of them."""

from __future__ import annotations

import copy
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from degrade import Recipe
from degrade.cli import app
from degrade.errors import RecipeError
from degrade.importers import read_options
from degrade.importers.neosr import line_numbers

KINDS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]


def order(i: str, resize: list, low: float, high: float, sigma: float, poisson: float) -> dict:
    return {
        f"resize_prob{i}": resize,
        f"resize_range{i}": [low, high],
        f"gaussian_noise_prob{i}": 0.5,
        f"noise_range{i}": [1, sigma],
        f"poisson_scale_range{i}": [0.05, poisson],
        f"gray_noise_prob{i}": 0.4,
        f"jpeg_range{i}": [30, 95],
    }


def kernels(i: str, sigma: float) -> dict:
    return {
        f"blur_kernel_size{i}": 21,
        f"kernel_list{i}": list(KINDS),
        f"kernel_prob{i}": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
        f"sinc_prob{i}": 0.1,
        f"blur_sigma{i}": [0.2, sigma],
        f"betag_range{i}": [0.5, 4],
        f"betap_range{i}": [1, 2],
    }


STAGES = {
    "scale": 4,
    **order("", [0.2, 0.7, 0.1], 0.15, 1.5, 30, 3),
    "second_blur_prob": 0.8,
    **order("2", [0.3, 0.4, 0.3], 0.3, 1.2, 25, 2.5),
}
KERNELS = {**kernels("", 3), **kernels("2", 1.5), "final_sinc_prob": 0.8}
FLAGS = {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}


def basicsr(
    root: dict | None = None, train: dict | None = None, drop: tuple[str, ...] = ()
) -> dict:
    """A Real-ESRGAN option file, with changes."""
    data = {**STAGES, **FLAGS, **(root or {})}
    data["datasets"] = {"train": {"type": "X", **KERNELS, **(train or {})}}
    for key in drop:
        data.pop(key, None)
        data["datasets"]["train"].pop(key, None)
    return copy.deepcopy(data)


def read(folder: Path, data: dict | str, name: str = "options.yml"):
    path = folder / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    return read_options(path)


def said(imported, key: str, severity: str | None = None) -> list[str]:
    return [
        f.message for f in imported.findings if f.key == key and severity in (None, f.severity)
    ]


# --- what they become ----------------------------------------------------------------------------


def test_the_published_numbers_give_the_packaged_recipe(tmp_path):
    imported = read(tmp_path, basicsr())
    assert imported.dialect == "basicsr"
    assert Recipe.load(imported.recipe).hash == Recipe.load("realesrgan").hash
    # The file that is written says the same.
    (tmp_path / "recipe.yaml").write_text(imported.to_yaml())
    assert Recipe.load(tmp_path / "recipe.yaml").hash == Recipe.load("realesrgan").hash


def test_realesrnet_too(tmp_path):
    data = basicsr({"gt_usm": True, "scale": 2}, drop=tuple(FLAGS))
    assert Recipe.load(read(tmp_path, data).recipe).hash == Recipe.load("realesrgan_x2").hash


def test_a_changed_number_changes_that_address_only(tmp_path):
    imported = read(tmp_path, basicsr({"jpeg_range": [60, 80]}))
    assert (
        Recipe.load(imported.recipe).hash
        == Recipe.load("realesrgan", changes={"first.jpeg.quality": [60, 80]}).hash
    )


@pytest.mark.parametrize(
    ("flags", "hr", "sharpens"),
    [
        ({"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}, True, False),
        ({"l1_gt_usm": False, "percep_gt_usm": False, "gan_gt_usm": False}, False, True),
    ],
)
def test_where_the_sharpened_image_goes(tmp_path, flags, hr, sharpens):
    recipe = read(tmp_path, basicsr(flags)).recipe
    assert ("hr" in recipe) == hr
    assert ("unsharp" in recipe["first"][0]) == sharpens


def test_params_is_realesrgan_without_sharpening(tmp_path):
    imported = read(
        tmp_path, {**STAGES, "color_jitter_prob": 0.0, "gray_prob": 0.0, "kernel_info": KERNELS}
    )
    assert imported.dialect == "params"
    mine, packaged = Recipe.load(imported.recipe), Recipe.load("realesrgan")
    assert not mine.hr.nodes
    assert mine.stages == packaged.stages


def test_params_second_order_prob(tmp_path):
    imported = read(tmp_path, {**STAGES, "second_order_prob": 0.5, "kernel_info": KERNELS})
    steps = imported.recipe["second"]
    assert [*steps[0]] == ["as", "p", "steps"]
    assert steps[0]["p"] == 0.5
    assert said(imported, "second_order_prob", "warning")
    Recipe.load(imported.recipe)


def toml(data: dict) -> str:
    return "\n".join(f"{key} = {value!r}".replace("'", '"') for key, value in data.items())


def test_neosr_is_the_same_graph(tmp_path):
    degradations = {key: value for key, value in {**STAGES, **KERNELS}.items() if key != "scale"}
    text = "name = 'n'\nscale = 4\n[datasets.train]\ntype = 'otf'\npatch_size = 64\n"
    text += "\n[degradations]\n"
    imported = read(tmp_path, text + toml(degradations), "options.toml")
    assert imported.dialect == "neosr"
    assert Recipe.load(imported.recipe).stages == Recipe.load("realesrgan").stages
    finding = next(f for f in imported.findings if f.key == "patch_size")
    assert finding.line == 5
    assert "--patch 256" in finding.message


REDUX = {
    "scale": 2,
    "high_order_degradation": True,
    "jpeg_prob": 0.5,
    "datasets": {"train": {"lq_size": 32}},
}


def test_redux_defaults_and_graph(tmp_path):
    imported = read(tmp_path, REDUX)
    assert imported.dialect == "redux"
    recipe = Recipe.load(imported.recipe)
    assert [node.label for node in recipe.stages[0].nodes] == [
        "rescale",
        "jpeg",
    ]  # no blur, no noise by default
    [rescale, jpeg] = imported.recipe["first"]
    assert rescale["p"] == 0.9
    assert rescale["steps"][0]["resize"]["antialias"] == 1
    assert jpeg["p"] == 0.5
    assert imported.recipe["second"][0]["p"] == 0.7  # keep, at 0.3, is no resize to the LR size
    assert "kernel_range" in next(
        f.message for f in imported.findings if "upstream's default" in f.message
    )


def test_redux_kernel_sizes_and_sharpening(tmp_path):
    data = copy.deepcopy(REDUX) | {"blur_prob": 1, "lq_usm": True, "lq_usm_radius_range": [3, 5]}
    data["datasets"]["train"] |= {"kernel_range": [11, 15], "sinc_prob": 0.3}
    [sharpen, kernel, *_] = read(tmp_path, data).recipe["first"]
    assert [(b["p"], b["unsharp"]["size"]) for b in sharpen["one_of"]] == [
        (1, 3),
        (2, 5),
    ]  # 4 becomes 5
    blur, small, large = kernel["one_of"]
    assert (blur["p"], small["p"], large["p"]) == (0.7, 0.1, 0.2)
    assert small["sinc"] == {"size": 11, "cutoff": ["1/3", 1]}
    assert large["sinc"] == {"size": {"any": [13, 15]}, "cutoff": ["1/5", 1]}


@pytest.mark.parametrize(
    ("key", "value", "label"),
    [
        ("sinc_prob", 0, "blur"),
        ("sinc_prob", 1, "one_of"),
        ("kernel_prob", [1, 0, 0, 0, 0, 0], "one_of"),
    ],
)
def test_ends_of_probabilities(tmp_path, key, value, label):
    recipe = read(tmp_path, basicsr(train={key: value})).recipe
    assert label in recipe["first"][0]
    Recipe.load(recipe)


@pytest.mark.parametrize("p", [0, 1])
def test_one_kind_of_noise(tmp_path, p):
    recipe = read(tmp_path, basicsr({"gaussian_noise_prob": p})).recipe
    assert ("gaussian_noise" in recipe["first"][2], "poisson_noise" in recipe["first"][2]) == (
        p == 1,
        p == 0,
    )
    Recipe.load(recipe)


# --- findings ------------------------------------------------------------------------------------


def test_every_finding_names_file_line_and_key(tmp_path):
    lines = yaml.safe_dump(basicsr({"queue_size": 180}), sort_keys=False).splitlines()
    imported = read(tmp_path, "\n".join(lines))
    assert {"queue_size", "blur_kernel_size", "betap_range", "resize_prob"} <= {
        f.key for f in imported.findings
    }
    for finding in imported.findings:
        assert str(finding).startswith(
            f"{tmp_path / 'options.yml'}:{finding.line}: {finding.key}: "
        )
        assert lines[finding.line - 1].strip().startswith(f"{finding.key}:")


WARNED = [
    ({"jpeg_rnage": [1, 2]}, {}, "jpeg_rnage", "did you mean jpeg_range?"),
    ({"motion_blur": 1}, {}, "motion_blur", "unknown key"),
    ({}, {"jpeg_range": [1, 2]}, "jpeg_range", "belongs to the top level"),
    ({"sinc_prob": 0.1}, {}, "sinc_prob", "belongs to [datasets.train]"),
    ({"resize_prob": [0.2, 0.7, 0.2]}, {}, "resize_prob", "sum to 1.1"),
    ({"noise_range": [30, 1]}, {}, "noise_range", "not increasing"),
    ({"resize_range": [0.5, 0.9]}, {}, "resize_range", "'up' draws from [0.9, 1] upstream"),
    ({}, {"blur_kernel_size": 9}, "blur_kernel_size", "read and never used upstream"),
    ({}, {"blur_sigma": [2, 2]}, "blur_sigma", "upstream stops"),
    ({}, {"betap_range": [1.5, 2]}, "betap_range", "does not contain 1"),
]


@pytest.mark.parametrize(("root", "train", "key", "message"), WARNED)
def test_warnings(tmp_path, root, train, key, message):
    imported = read(tmp_path, basicsr(root, train))
    assert any(message in text for text in said(imported, key, "warning"))
    Recipe.load(imported.recipe)  # it is read nevertheless
    assert f"# {key}: " in imported.to_yaml()


WRONG = [
    ({"jpeg_range": [30]}, {}, "jpeg_range", "should be a range"),
    ({"gray_noise_prob": 1.5}, {}, "gray_noise_prob", "from 0 to 1"),
    ({"resize_prob": [0.5, 0.5]}, {}, "resize_prob", "should be 3 probabilities"),
    ({"scale": 0}, {}, "scale", "from 1 to 16"),
    ({"high_order_degradation": False}, {}, "high_order_degradation", "degrades nothing"),
    (
        {},
        {"kernel_list": [*KINDS[:-1], "plateau_anis"]},
        "kernel_list",
        "did you mean plateau_aniso?",
    ),
    ({"jpeg_range": [0, 95]}, {}, "", "first.jpeg.quality"),
]


@pytest.mark.parametrize(("root", "train", "key", "message"), WRONG)
def test_errors(tmp_path, root, train, key, message):
    imported = read(tmp_path, basicsr(root, train))
    assert imported.recipe is None
    assert any(message in text for text in said(imported, key, "error"))


def test_a_missing_key_is_said_once(tmp_path):
    imported = read(tmp_path, basicsr(drop=("kernel_list", "final_sinc_prob")))
    assert [f.key for f in imported.findings if f.severity == "error"] == [
        "kernel_list",
        "final_sinc_prob",
    ]
    assert not said(imported, "kernel_list", "warning")


def test_keys_of_training_are_counted_not_told(tmp_path):
    training = {"name": "x", "num_gpu": 1, "network_g": {"type": "RRDBNet", "num_feat": 64}}
    imported = read(tmp_path, basicsr(training, {"use_hflip": True}))
    assert imported.ignored == 6  # those, datasets and type
    assert not {"network_g", "use_hflip", "num_feat"} & {f.key for f in imported.findings}
    assert imported.recipe["name"] == "x"


def test_numbers_with_a_tag_and_without(tmp_path):
    text = yaml.safe_dump(basicsr())
    tagged = read(tmp_path, text.replace("sinc_prob: 0.1", "sinc_prob: !!float 1e-1"))
    assert Recipe.load(tagged.recipe).hash == Recipe.load("realesrgan").hash
    assert not said(tagged, "sinc_prob")
    bare = read(tmp_path, text.replace("sinc_prob: 0.1", "sinc_prob: 1e-1"))
    assert "text to YAML 1.1" in said(bare, "sinc_prob", "warning")[0]
    assert Recipe.load(bare.recipe).hash == Recipe.load("realesrgan").hash


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yml", "scale: !!python/object/apply:os.system ['true']", "a.yml:1: "),
        ("a.yml", "- 1", "has no keys"),
        ("a.toml", "scale = 4\nx = = 2", "a.toml:2: not TOML"),
    ],
)
def test_files_that_are_none(tmp_path, name, text, message):
    with pytest.raises(RecipeError) as error:
        read(tmp_path, text, name)
    assert message in str(error.value)


def test_a_recipe_of_ours_is_no_option_file(tmp_path):
    imported = read(tmp_path, {"name": "x", "scale": 4, "first": ["quantize"]})
    assert imported.recipe is None
    assert "no key of a degradation" in imported.findings[0].message


def test_toml_line_numbers():
    text = "a = 1\n[x.y] # note\n\nb = [\n  1,\n]\nc = 2\n[[z]]\na = 3"
    assert line_numbers(text) == {"": {"a": 1}, "x.y": {"b": 4, "c": 7}, "z": {"a": 9}}


def test_command(tmp_path):
    path, recipe = tmp_path / "options.yml", tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(basicsr(train={"blur_kernel_size": 9})))
    done = CliRunner().invoke(app, ["import", str(path)])
    assert done.exit_code == 0
    assert "blur_kernel_size: is read and never used upstream" in done.stderr
    recipe.write_text(done.stdout)
    assert CliRunner().invoke(app, ["check", str(recipe)]).exit_code == 0
    path.write_text(yaml.safe_dump(basicsr({"jpeg_range": 3})))
    failed = CliRunner().invoke(app, ["import", str(path), "-o", str(tmp_path / "none.yaml")])
    assert failed.exit_code == 2
    assert not (tmp_path / "none.yaml").exists()


# --- hostile files -------------------------------------------------------------------------------

HOSTILE = {
    "deep.toml": "a = " + "[" * 200 + "]" * 200 + "\n" * 1000,
    "depth.toml": "".join(f"a{i} = {'[' * 240}{']' * 240}\n" for i in range(500)),
    "long line.toml": "a." * 20_000 + "b = 1",
    "tables.toml": "".join(f"[t{i}]\n" for i in range(30_000)),
    "dotted.toml": "".join(f"[{'a.' * 240}b{i}]\n" for i in range(500)),
    "arrays.toml": "[[a]]\n" * 1900,
    "digits.toml": "scale = " + "9" * 480,
    "numbers.toml": "train = 5\ndegradations = 3\ndatasets = 4\n",
    "number.toml": "[datasets]\ntrain = 5\n",
    "infinite.toml": "scale = inf\n[degradations]\nresize_prob = [nan, 1, 1]\n",
    "escape.yml": '"a\\nname: evil\\nx": 1\nscale: 4\njpeg_prob: 1\n',
    "digits.yml": f"scale: 4\nresize_range: [0.5, {'9' * 300}]\n",
    "text.yml": f"scale: 4\nresize_range: [0.5, '{'9' * 5000}']\n",
    "weights.yml": "scale: 4\nresize_prob: [1.0e+308, 1.0e+308, 1.0e+308]\n",
    "tiny.yml": "scale: 4\nresize_prob: [1.0e-320, 0, 0]\njpeg_range: [1.0e-300, 1.0e+300]\n",
    "radius.yml": "scale: 4\nlq_usm: true\nlq_usm_radius_range: [1, 1000000000]\n",
    "kernels.yml": "scale: 4\njpeg_prob: 1\nkernel_range: [5, 1000000000]\n",
    "halves.yml": "scale: 4\njpeg_prob: 1\nkernel_range: [5.5, 7.2]\nlq_size: 1.0e+308\n",
    "names.yml": "scale: 4\njpeg_prob: 1\nkernel_list: [" + "x," * 4000 + "]\n",
    "keys.yml": "scale: 4\n" + "".join(f"jpeg_rang{i}: 1\n" for i in range(2000)),
    "kinds.yml": "scale: [4]\n3: 1\ntrue: 2\njpeg_range: {a: 1}\nresize_prob: text\n",
    "name.yml": "name: {a: b}\nscale: 4\n",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("rest", ["", "redux"])
def test_hostile_files_become_findings(name: str, rest: str, tmp_path: Path) -> None:
    """By themselves, and over a file that is right: whatever is read is a recipe, and nothing is
    a traceback or takes long.
    """
    text = HOSTILE[name]
    if rest and name.endswith(".yml"):
        text = yaml.safe_dump({"high_order_degradation": True, "jpeg_prob": 1}) + text.replace(
            "jpeg_prob: 1\n", ""
        )
    (tmp_path / name).write_text(text)
    begun = time.monotonic()
    imported = None
    with suppress(RecipeError):
        imported = read_options(tmp_path / name)
    assert time.monotonic() - begun < 15
    if imported is not None and imported.recipe is not None:
        (tmp_path / "out.yaml").write_text(imported.to_yaml(), encoding="utf-8")
        Recipe.load(tmp_path / "out.yaml")


@pytest.mark.parametrize("given", ["con", "..", "aux.v1", "日本", "-x", "NUL"])
def test_names_become_names_of_recipes(given: str, tmp_path: Path) -> None:
    assert read(tmp_path, basicsr({"name": given})).recipe is not None


LEAKS = [
    "a\nname: evil",
    "a\r\nname: evil",
    "a\u2028name: evil",
    "a\x85name: evil",
    "[/b]\x1b[31m",
]


@pytest.mark.parametrize("leak", LEAKS)
def test_nothing_leaves_its_comment(leak: str, tmp_path: Path) -> None:
    """Neither a key nor the file's name becomes YAML of the recipe, or obeys the terminal."""
    path = tmp_path / f"{leak.replace('/', '')}.yml"
    path.write_text(
        yaml.safe_dump({"scale": 4, "high_order_degradation": True, "jpeg_prob": 1, leak: leak}),
        encoding="utf-8",
    )
    imported = read_options(path)
    assert imported.recipe is not None
    text = imported.to_yaml()
    assert text.isascii()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "evil" not in str(yaml.safe_load(text)["name"]).replace("a_name_evil", "")
    assert [line for line in text.splitlines() if line.startswith("name: ")] == [
        f"name: {imported.recipe['name']}"
    ]
    for damaged in ("import", "check"):
        (tmp_path / "out.yaml").write_text(text)
        result = CliRunner().invoke(
            app, [damaged, str(path if damaged == "import" else "out.yaml")]
        )
        assert "\x1b" not in result.output


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_only_regular_files_are_imported(kind: str, tmp_path: Path) -> None:
    for suffix in ("yml", "toml"):
        path = tmp_path / f"x.{suffix}"
        if kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises(RecipeError, match="should be a regular file"):
            read_options(path)
