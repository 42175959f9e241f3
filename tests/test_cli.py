"""The command line: every command's way to go well and to go wrong; no traceback for what a
user can mend.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from skimage import data

from degrade import Recipe, __version__
from degrade.base import REGISTRY
from degrade.cli import main
from degrade.images.files import read_image
from degrade.loading.search_path import locate, names
from degrade.synthesis.worker import plugins

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs ``degrade`` in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["degrade", *args])
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(data.coffee()[30 * i : 30 * i + 60, 90:150]).save(folder / f"{i}.png")
    return folder


def test_help_and_version(run: Run) -> None:
    assert run("--version") == (0, f"degrade {__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    for command in ("synth", "replay", "show", "check", "list", "schema"):
        assert command in out


def test_synth_and_replay(run: Run, photos: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "synth", "-i", "photos", "--set", "first.jpeg.quality=[60, 95]", "--workers", "1"
    )
    assert code == 0, err
    assert "realesrgan x4  2 pairs from 2 images" in out
    assert "2 pairs made." in out
    assert "Look at:\n  synth/realesrgan/contact_sheet.png" in out
    sheet = read_image(tmp_path / "synth/realesrgan/contact_sheet.png").pixels
    assert sheet.shape[1] > 1000
    code, out, _ = run(
        "synth", "-i", "photos", "--set", "first.jpeg.quality=[60, 95]", "--workers", "1"
    )
    assert (code, "0 pairs made, 2 kept" in out) == (0, True)
    assert run("replay", "synth/realesrgan")[:2] == (0, "equal  0\nequal  1\n")
    assert run("replay", "synth/realesrgan", "--row", "1", "-o", "again")[:2] == (0, "equal  1\n")
    assert (tmp_path / "again/lr/1.png").read_bytes() == (
        tmp_path / "synth/realesrgan/lr/1.png"
    ).read_bytes()
    Image.fromarray(data.astronaut()[:60, :60]).save(photos / "0.png")
    assert run("replay", "synth/realesrgan")[:2] == (1, "different  0\nequal  1\n")


@pytest.mark.parametrize("recipe", [("bicubic",), ("--recipe", "bicubic"), ("-r", "bicubic")])
def test_synth_of_the_samples(run: Run, recipe: tuple[str, ...]) -> None:
    code, out, _ = run("synth", *recipe, "--patch", "48", "--count", "2", "--workers", "1")
    assert code == 0
    assert "bicubic x4" in out
    assert "2 pairs made" in out


@pytest.mark.parametrize("command", ["synth", "replay", "show", "preview", "diff", "import"])
def test_the_output_is_called_output(run: Run, command: str) -> None:
    assert {"--output", "-o"} <= set(re.findall(r"--?[a-z]+", run(command, "--help")[1]))


def test_skipped_files_are_told(run: Run, photos: Path) -> None:
    (photos / "no.png").write_text("no")
    code, out, err = run("synth", "-r", "bicubic", "-i", "photos", "--workers", "1")
    assert code == 0
    assert "2 pairs made, 1 skipped" in out
    assert "no.png: not an image of a known format" in err


WRONG = [
    (("synth", "-r", "realesrgn"), "realesrgn: no such recipe; did you mean realesrgan?"),
    (("synth", "-r", "RealESRGAN"), "RealESRGAN: no such recipe; did you mean realesrgan?"),
    (("synth", "bicubic", "-r", "bsrgan"), "two recipes, bicubic and --recipe bsrgan: give one"),
    (("synth", "-i", "nowhere"), "nowhere: does not exist"),
    (("synth", "-i", "empty"), "no images here"),
    (("synth", "-i", "bad"), "no pair could be made; all 1 sources were skipped"),
    (("synth", "--patch", "30"), "--patch 30: should be a multiple of the scale 4"),
    (("synth", "--device", "cuda:99"), "--device cuda:99:"),
    (("synth", "--device", "toaster"), "--device toaster:"),
    (("synth", "--small", "shrink"), "--small shrink: should be one of auto  reflect  skip"),
    (("synth", "--alpha", "x"), "--alpha x: should be one of drop  keep"),
    (("synth", "--set", "first.jpeg"), "--set first.jpeg: should be ADDRESS=VALUE"),
    (("synth", "--set", "first.jpeg.quality=[60"), "--set first.jpeg.quality:1: "),
    (("synth", "--set", "first.jpeg.quality=!!bool x"), "'x' is not of type bool"),
    (("synth", "--set", "first.jpeg.quality=2001-99-99"), "'2001-99-99' should be a number"),
    (("synth", "--set", "first.jpeg.quality=0"), "first.jpeg.quality: can draw 0 to 0"),
    (("synth", "--import", "no_such_module"), "--import no_such_module: No module named"),
    (("list", "--import", "no_such_module"), "--import no_such_module: No module named"),
    (("synth", "-o", "file.txt/out"), "file.txt"),
    (("replay", "nowhere"), "no such manifest"),
    (("replay", "empty"), "no such manifest"),
    (("show", "realesrgn"), "no such recipe"),
    (("show", "bicubic", "nowhere.png"), "nowhere.png: no such file"),
    (("show", "bicubic", "-o", "x.jpg"), "should end in .png"),
    (("show", "bicubic", "--draws", "100000"), "'--draws'"),
    (("show", "bicubic", "--draws", "0"), "'--draws'"),
    (("show", "bicubic", "--crop", "100000"), "'--crop'"),
    (("preview", "bicubic", "--draws", "100000"), "'--draws'"),
    (("preview", "bicubic", "--crop", "100000"), "'--crop'"),
    (("diff", "bicubic", "bsrgan", "--draws", "100000"), "'--draws'"),
    (("bench", "bicubic", "--batch", "0"), "'--batch'"),
    (("bench", "bicubic", "--batch", "1000000000000"), "'--batch'"),
    (("bench", "bicubic", "--batch", "4096", "--size", "4096"), "lower one of them"),
    (("bench", "bicubic", "--seconds", "nan"), "'--seconds'"),
    (("bench", "bicubic", "--seconds", "inf"), "'--seconds'"),
    (("bench", "bicubic", "--device", "meta"), "--device meta:"),
    (("synth", "--device", "meta"), "--device meta:"),
    (("doctor", "empty", "--workers", "-1"), "'--workers'"),
    (("doctor", "empty", "--workers", "100000"), "'--workers'"),
    (("doctor", "empty", "--softness", "nan"), "'--softness'"),
    (("doctor", "empty", "--softness", "inf"), "'--softness'"),
    (("doctor", "empty", "--quality", "101"), "'--quality'"),
    (("show", "bicubic", "--set", "scale=10000000"), "scale: 10000000 should be a whole"),
    (("show", "bicubic", "--set", "name=../x"), "name: '../x' should be a name of letters"),
    (("show", "bicubic", "--crop", "32", "--draws", "1", "-o", "no/such/x.png"), "o such file"),
    (("list", "blurr"), "blurr: no such recipe or operator; did you mean blur?"),
]


@pytest.mark.parametrize(
    ("args", "message"), WRONG, ids=[" ".join(args)[:50] for args, _ in WRONG]
)
def test_what_a_user_can_mend(
    run: Run, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_text("x")
    (tmp_path / "file.txt").write_text("x")
    code, _, err = run(*args)
    assert code == 2
    assert message in err
    assert err.count("error:") == 1
    assert "Traceback" not in err


def test_show(run: Run, tmp_path: Path, photos: Path) -> None:
    code, out, err = run("show", "bsrgan", "photos/0.png", "--draws", "2", "--crop", "48")
    assert (code, out) == (0, "Look at bsrgan.png\n"), err
    assert read_image(tmp_path / "bsrgan.png").pixels.shape[2] == 3


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("show", "bicubic", "--draws", "1", "--crop", "64"), "bicubic.png"),
        (("preview", "bicubic", "--draws", "1", "--crop", "64"), "bicubic.html"),
        (("import", "options.yml", "-o", "out.yaml"), "out.yaml"),
    ],
)
def test_a_file_of_someone_else_is_not_overwritten(
    run: Run, tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    (tmp_path / "options.yml").write_text("scale: 4\njpeg_prob: 1\nhigh_order_degradation: true\n")
    (tmp_path / path).write_text("mine")
    code, _, err = run(*command)
    assert (code, f"{path}: is already there" in err) == (2, True), err
    assert (tmp_path / path).read_text() == "mine"
    assert run(*command, "--force")[0] == 0
    assert (tmp_path / path).read_bytes() != b"mine"
    # A picture or page of ours may be made anew, but a recipe may have been edited.
    assert run(*command)[0] == (2 if command[0] == "import" else 0)


def test_check(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check", *names())
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == names()
    assert all(": fine, x" in line for line in out.splitlines())
    (tmp_path / "a.yaml").write_text(
        "name: a\nscale: 2\nfirst:\n  - blurr\n  - jpeg: {quality: 0}\n"
    )
    code, out, err = run("check", "bicubic", "a.yaml", "nowhere")
    assert code == 2
    assert out.splitlines()[1:] == [
        "a.yaml:4: first.blurr: no such operator; did you mean blur?",
        "a.yaml:5: first.jpeg.quality: can draw 0 to 0; it must stay in [1, 100]",
        out.splitlines()[-1],
    ]
    assert out.splitlines()[-1].startswith("nowhere: no such recipe")
    assert err == "3 problems\n"


def test_list(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert all(name in out for name in [*names(), *REGISTRY])
    for name in REGISTRY:
        code, out, _ = run("list", name)
        assert code == 0
        assert REGISTRY[name].summary()[:40] in out
    assert (
        run("list", "bicubic")[1].strip() == locate("bicubic").read_text(encoding="utf-8").strip()
    )


def test_plug_ins(run: Run, tmp_path: Path, photos: Path) -> None:
    """An operator of a module in the working directory, in worker processes too; afterwards
    ``sys.path`` is what it was.
    """
    (tmp_path / "plug_in_fade.py").write_text(
        "from typing import Annotated\nfrom degrade import Const, Dist, Operator, Range\n\n\n"
        'class Fade(Operator):\n    """Fades."""\n\n    name = "test_fade"\n'
        "    gain: Annotated[Dist, Range(0, 1)] = Const(1)\n\n"
        "    def apply(self, canvas, draw):\n"
        "        return canvas.with_pixels(canvas.pixels * draw.column('gain'))\n"
    )
    (tmp_path / "fade.yaml").write_text(
        "name: fade\nscale: 1\na:\n  - test_fade: {gain: [0, 1]}\n  - quantize\n"
    )
    before = sys.path.copy()
    assert run("check", "fade.yaml")[0] == 2
    try:
        args = (
            "-i",
            "photos",
            "--per-image",
            "8",
            "--import",
            "plug_in_fade",
            "--workers",
            "2",
            "-r",
            "fade.yaml",
        )
        code, out, err = run("synth", *args)
        assert code == 0, err
        assert "16 pairs made" in out
        assert sys.path == before
        assert ("plug_in_fade", str(tmp_path)) in plugins(), "what workers are told"
        assert run("replay", "synth/fade", "--row", "3")[0] == 0
    finally:
        REGISTRY.pop("test_fade", None)


# --- schema --------------------------------------------------------------------------------------


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON schema as ours uses."""
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        if not fits(value, target, root):
            return False
    if not all(fits(value, one, root) for one in schema.get("allOf", [])):
        return False
    if "anyOf" in schema and not any(fits(value, one, root) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": int | float,
        "boolean": bool,
        "null": type(None),
    }
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, kinds[kind]) for kind in wanted):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, int | float) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        return False
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        return all(fits(part, schema.get("items", {}), root) for part in value)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        if any(name not in value for name in schema.get("required", [])) or len(
            value
        ) < schema.get("minProperties", 0):
            return False
        if len(value) > schema.get("maxProperties", len(value)):
            return False
        if not all(fits(str(name), schema.get("propertyNames", {}), root) for name in value):
            return False
        for name, part in value.items():
            expected = known.get(str(name), others)
            if expected is False or (expected is not True and not fits(part, expected, root)):
                return False
    return True


def test_schema_accepts_every_recipe(run: Run) -> None:
    code, out, _ = run("schema")
    assert code == 0
    schema = json.loads(out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name in names():
        assert fits(yaml.safe_load(locate(name).read_text(encoding="utf-8")), schema, schema), name
        assert fits(Recipe.load(name).dump(), schema, schema), f"{name}, resolved"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 3},
        {"scale": 17},
        {"first": [{"blurr": None}]},
        {"first": [{"blur": {"sigmaa": 1}}]},
        {"first": [{"jpeg": {"quality": {"some": [1]}}}]},
        {"first": [{"resize": {"filter": "cubic"}}]},
        {"first": [{"shuffle": ["clip"]}]},
        {"first": 3},
    ],
)
def test_schema_refuses(run: Run, wrong: dict[str, Any]) -> None:
    schema = json.loads(run("schema")[1])
    assert not fits({"name": "x", "scale": 2, **wrong}, schema, schema)
