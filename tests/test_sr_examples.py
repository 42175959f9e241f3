"""Sets to judge on: every image under a name of its own, read one by one, against HR as it was."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from degrade.cli import app as degrade_app
from degrade.errors import UserError
from degrade.images.pixels import encode_png
from degrade.recipe import Recipe
from sr.alignment import Alignment, shift
from sr.cli import app
from sr.color import rgb_to_y
from sr.comparison.compare import plan_comparison
from sr.comparison.config import Comparison
from sr.evaluation import Results, evaluate
from sr.examples import Example, load_examples
from sr.metrics import Metric, open_metrics
from sr.metrics.psnr_ssim import psnr
from sr.models import build
from sr.models.interpolation import reduce

PATHS = ["a/0000.png", "b/0000.png", "cat.bmp", "cat.png", "mean.png", "x [red].png"]


def photo(seed: int, height: int = 40, width: int = 36, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def put(folder: Path, names: list[str], **options: int) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_png(photo(seed, **options)))
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return put(tmp_path / "val", PATHS)


def judged(*arguments: object, model: str = "bicubic", scale: int = 2) -> str:
    words = ["eval", "-m", model, "--scale", str(scale), *map(str, arguments)]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def results_of(data: object, folder: Path, *arguments: object) -> dict:
    judged("--data", data, "--json", folder / "e.json", *arguments)
    return json.loads((folder / "e.json").read_text())


# --- names ---------------------------------------------------------------------------------------


def test_every_image_has_a_row(mixed: Path, tmp_path: Path) -> None:
    """Of one stem in several folders, of one stem with several suffixes, called like the mean."""
    found = results_of(mixed, tmp_path, "--csv", tmp_path / "e.csv")
    assert list(found["images"]) == PATHS
    alone = [results_of(mixed / path, tmp_path)["mean"]["psnr_y"] for path in PATHS]
    assert [row["psnr_y"] for row in found["images"].values()] == pytest.approx(alone)
    assert found["mean"]["psnr_y"] == pytest.approx(sum(alone) / len(alone))
    rows = list(csv.reader(io.StringIO((tmp_path / "e.csv").read_text())))
    assert [row[0] for row in rows] == ["image", *PATHS, ""]


def test_globs_and_files_have_names_too(mixed: Path) -> None:
    recipe = Recipe.load("bicubic", 2)
    assert load_examples(f"{mixed}/*/0000.png", recipe).names == ("a/0000.png", "b/0000.png")
    assert load_examples(mixed / "cat.png", recipe).names == ("cat.png",)


@pytest.mark.parametrize("names", [["a/0.png", "b/0.png", "mean.png"]])
def test_pairs_have_rows_of_their_own(names: list[str], tmp_path: Path) -> None:
    for side, size in (("hr", 40), ("lr", 20)):
        put(tmp_path / "set" / side, names, height=size, width=size)
    found = results_of(f"pairs:{tmp_path / 'set'}", tmp_path)
    assert list(found["images"]) == names
    assert found["protocol"]["recipe"] == "ready-made pairs"
    assert len({row["psnr_y"] for row in found["images"].values()}) == len(names)


# --- values --------------------------------------------------------------------------------------


def test_numbers_stay_finite_and_say_so(tmp_path: Path) -> None:
    """A black image has no error: 100 dB, not infinity, in every file and in the mean."""
    folder = put(tmp_path / "val", ["a.png"])
    (folder / "black.png").write_bytes(encode_png(np.zeros((40, 40, 3), np.uint8)))
    found = results_of(folder, tmp_path, "--csv", tmp_path / "e.csv")
    assert found["images"]["black.png"]["psnr_y"] == 100
    assert found["mean"]["psnr_y"] == pytest.approx((100 + found["images"]["a.png"]["psnr_y"]) / 2)
    assert "100" in found["protocol"]["metrics"]["psnr_y"]
    assert "inf" not in (tmp_path / "e.csv").read_text()


def test_what_has_no_value_is_left_out_and_named() -> None:
    results = Results("m", {}, {"a": {"x": 2.0, "y": math.nan}, "b": {"x": 4.0, "y": 1.0}})
    assert results.mean == {"x": 3, "y": 1}
    assert results.left_out == {"y": ["a"]}
    text = json.dumps(results.as_dict(), allow_nan=False)
    assert json.loads(text)["images"]["a"]["y"] is None
    assert results.to_csv().splitlines() == ["image,x,y", "a,2,", "b,4,1", ",3,1"]
    none = Results("m", {}, {"a": {"y": math.nan}})
    assert json.loads(json.dumps(none.as_dict(), allow_nan=False))["mean"]["y"] is None


def test_hr_is_the_image_as_it_was(tmp_path: Path) -> None:
    """A recipe that sharpens its target changes what a model learns, not what it is judged on."""
    folder = put(tmp_path / "val", ["a.png"], height=64, width=64)
    recipe = Recipe.load("realesrgan", 4)
    raw, sharpened = (load_examples(folder, recipe, target=kind)[0] for kind in ("raw", "recipe"))
    assert torch.equal((raw.hr * 255).round()[0].permute(1, 2, 0), torch.tensor(photo(0, 64, 64)))
    assert torch.equal(raw.lr, sharpened.lr)
    assert not torch.equal(raw.hr, sharpened.hr)
    said = {}
    for kind in ("raw", "recipe"):
        words = ["--recipe", "realesrgan", "--target", kind, "--json", tmp_path / "e.json"]
        judged("--data", folder, *words, scale=4)
        said[kind] = json.loads((tmp_path / "e.json").read_text())
    assert said["raw"]["mean"] != said["recipe"]["mean"]
    assert said["raw"]["protocol"]["target"] == "the HR image as it was"
    assert "sharpened" in said["recipe"]["protocol"]["target"]


def test_hr_of_pairs_is_the_image_as_it_was_where_it_was_kept(tmp_path: Path) -> None:
    put(tmp_path / "hr", ["a.png", "b.png"], height=64, width=64)
    made = tmp_path / "made"
    words = ["synth", "--recipe", "realesrgan", "--input", str(tmp_path / "hr"), "--patch", "64"]
    result = CliRunner().invoke(degrade_app, [*words, "--output", str(made), "--keep-raw"])
    assert result.exit_code == 0, result.output

    def found(*options: str) -> tuple[float, dict[str, Any]]:
        judged("--data", f"pairs:{made}", *options, "--json", tmp_path / "e.json", scale=4)
        data = json.loads((tmp_path / "e.json").read_text())
        return data["mean"]["psnr_y"], data["protocol"]

    raw, about = found()
    assert about["target"] == "the HR image as it was"
    sharpened, about = found("--target", "recipe")
    assert about["target"] == "the recipe's target, which it may have sharpened"
    two_folders = f"pairs:lr={made / 'lr'},hr={made / 'hr_raw'}"
    examples = load_examples(two_folders, None)
    assert examples.target == "files"
    wanted = evaluate(build("bicubic", scale=4), "m", examples).mean["psnr_y"]
    assert raw == pytest.approx(wanted)
    assert raw != sharpened
    shards = tmp_path / "shards"
    into = ["--output", str(shards), "--keep-raw", "--format", "webdataset"]
    assert CliRunner().invoke(degrade_app, [*words, *into]).exit_code == 0
    for root in (f"file://{made}", shards, next(shards.glob("*.tar"))):
        examples = load_examples(f"pairs:{root}", None)
        assert examples.target == "raw"
        assert evaluate(build("bicubic", scale=4), "m", examples).mean["psnr_y"] == raw
        assert load_examples(f"pairs:{root}", None, target="recipe").target == "recipe"
    shutil.rmtree(made / "hr_raw")
    without, about = found()
    assert without == sharpened
    assert about["notes"] == ["HR is the target of the recipe realesrgan; it is not as it was"]
    (made / "recipe.yaml").write_text("name: odd\nfirst: [nonsense]")
    assert "recipe.yaml: not read, so it may have" in found()[1]["notes"][0]


def test_grey_files_are_measured_on_their_own_values(tmp_path: Path) -> None:
    """As MATLAB does, and Set14's published rows; Y of grey has 219 levels, 1.32 dB more."""
    folder = put(tmp_path / "val", ["grey.png"], channels=1)
    recipe, model = Recipe.load("bicubic", 2), build("bicubic", scale=2)
    examples = load_examples(folder, recipe)
    example = examples[0]
    sr = (model(example.lr).clamp(0, 1) * 255).round() / 255
    scores = evaluate(model, "m", examples).images["grey.png"]
    wanted = psnr(sr[:, :1], example.hr[:, :1], 2).item()
    assert scores["psnr_y"] == scores["psnr_rgb"] == pytest.approx(wanted)
    on_y = psnr(rgb_to_y(sr) / 255, rgb_to_y(example.hr) / 255, 2).item()
    assert on_y - wanted == pytest.approx(20 * math.log10(255 / 219), abs=0.02)


# --- files that cannot be judged -----------------------------------------------------------------


def test_an_unreadable_image_does_not_end_the_others(mixed: Path, tmp_path: Path) -> None:
    for name in ("0.png", "a/zz.png"):
        (mixed / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"(?s)0\.png.*a/zz\.png.*not evaluated: 2 of 8") as raised:
        judged("--data", mixed, "--json", tmp_path / "e.json")
    assert len(str(raised.value).splitlines()) == 3
    assert list(json.loads((tmp_path / "e.json").read_text())["images"]) == PATHS


def test_where_nothing_can_be_judged_every_reason_is_told(mixed: Path) -> None:
    for name in PATHS:
        (mixed / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="no images to evaluate on") as raised:
        judged("--data", mixed)
    for line, name in zip(str(raised.value).splitlines(), PATHS, strict=False):
        assert name in line


def overflowing(image: torch.Tensor) -> torch.Tensor:
    """x2; infinite of a dark image."""
    factor = 1 if image.mean() > 0.1 else torch.inf
    return factor + image.repeat_interleave(2, 2).repeat_interleave(2, 3) - factor


def test_what_is_not_finite_is_neither_judged_nor_written(tmp_path: Path) -> None:
    folder = put(tmp_path / "val", ["good.png", "dark.png"])
    (folder / "dark.png").write_bytes(encode_png(np.zeros((40, 36, 3), np.uint8)))
    model = f"python:{__name__}:overflowing"
    with pytest.raises(
        UserError, match=r"dark\.png: .*returned NaN or infinite pixels.*\n.* 1 of 2"
    ):
        judged("--data", folder, "--metrics", "psnr_y", model=model)
    words = ["upscale", str(folder), "--model", model, "--output", str(tmp_path / "up")]
    with pytest.raises(UserError, match="returned NaN or infinite pixels"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert [path.name for path in (tmp_path / "up").iterdir()] == ["good_overflowing_x2.png"]


def test_lpips_is_said_to_be_missing_only_where_it_is(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SR_CACHE", str(tmp_path))
    assert "lpips: not measured" in judged("--data", mixed)
    assert "lpips" not in judged("--data", mixed, "--metrics", "psnr_y")
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"weights")
    fidelity = "psnr_y,ssim_y,psnr_rgb,ssim_rgb"
    assert "lpips" not in judged("--data", mixed, "--metrics", fidelity)


def failing() -> Metric:
    return Metric(lambda sr, hr, shave: 1 / 0, "fails")


def of_text() -> Metric:
    return Metric(lambda sr, hr, shave: "much", "no number")


def not_built() -> Metric:
    raise RuntimeError("no weights of mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("failing", "ZeroDivisionError: division by zero"),
        ("of_text", "ValueError: could not convert string to float: 'much'"),
        ("not_built", "RuntimeError: no weights of mine"),
    ],
)
def test_a_metric_that_fails_is_said(name: str, message: str, mixed: Path) -> None:
    with pytest.raises(UserError, match=f"metric {__name__}:{name}: {message}"):
        judged("--data", mixed, "--metrics", f"psnr_y,{__name__}:{name}")


@pytest.mark.parametrize(("metric", "least"), [("psnr_y", 6), ("ssim_y", 16), ("ms_ssim", 180)])
def test_small_images_are_named_before_anything_starts(
    metric: str, least: int, tmp_path: Path
) -> None:
    folder = put(tmp_path / "val", ["good.png"], height=least, width=least)
    for name, height in (("thin.png", least - 2), ("low.png", least - 1)):
        (folder / name).write_bytes(encode_png(photo(0, height, 200)))
    with pytest.raises(UserError, match=r"(?s)low\.png.*thin\.png") as raised:
        judged("--data", folder, "--metrics", metric)
    assert "good.png" not in str(raised.value)
    assert f"at least {least} pixels" in str(raised.value)
    judged("--data", folder / "good.png", "--metrics", metric)


def test_small_pairs_are_named_too(tmp_path: Path) -> None:
    for side, size in (("hr", 14), ("lr", 7)):
        put(tmp_path / side, ["a.png", "b.png"], height=size, width=size)
    with pytest.raises(UserError, match=r"(?s)a\.png.*b\.png.*at least 16"):
        load_examples(f"pairs:{tmp_path}", None)


def wide() -> Metric:
    """Without reference, of images of at least 8 x 20 pixels."""
    return Metric(lambda sr, hr, shave: float(sr.mean()), "", blind=True, window=(8, 20))


def test_small_images_without_ground_truth_are_named_too(tmp_path: Path) -> None:
    """By the size that they have when upscaled."""
    folder = tmp_path / "lr"
    folder.mkdir()
    for name, size in {"a": (6, 12), "b": (12, 6), "c": (5, 30), "d": (11, 11)}.items():
        (folder / f"{name}.png").write_bytes(encode_png(photo(0, *size)))
    metric = f"{__name__}:wide"
    with pytest.raises(UserError) as told:
        judged("--data", f"lr:{folder}", "--metrics", metric)
    assert str(told.value).splitlines() == [
        f"{folder}/c.png: 60 x 10 pixels",
        f"{folder}/d.png: 22 x 22 pixels",
        "to be measured at x2, each side must be at least 12 and one 24 pixels (a window of "
        "8 x 20, and 2 shaved off each side); leave out these images",
    ]
    comparison = Comparison(
        models=("bicubic",),
        test=(f"lr:{folder}",),
        metrics=("psnr_y", metric),
        scale=2,
        out=str(tmp_path / "cmp"),
    )
    with pytest.raises(UserError, match=r"(?s)c\.png.*d\.png.*one 24"):
        plan_comparison(comparison)
    for name in ("c", "d"):
        (folder / f"{name}.png").unlink()
    judged("--data", f"lr:{folder}", "--metrics", metric)


# --- sets ----------------------------------------------------------------------------------------


def test_examples_are_read_when_asked_for(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sr.examples

    read: list[str] = []

    def count(path: Path, *arguments: object) -> object:
        read.append(path.name)
        return original(path, *arguments)

    original = sr.examples.read_image
    monkeypatch.setattr(sr.examples, "read_image", count)
    examples = load_examples(mixed, Recipe.load("bicubic", 2))
    assert len(examples) == len(PATHS)
    assert not read
    assert [example.name for example in examples] == PATHS
    assert torch.equal(examples[-1].hr, examples[5].hr)
    assert len(read) == 8
    assert [example.name for example in examples[1:3]] == PATHS[1:3]
    with pytest.raises(IndexError):
        examples[6]


def test_lr_images_without_ground_truth(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no HR images, which psnr_y.*--metrics niqe"):
        judged("--data", f"lr:{mixed}")
    with pytest.raises(UserError, match=r"--figure .*: shows HR images, which lr:.* has not"):
        judged("--data", f"lr:{mixed}", "--figure", tmp_path / "f.png")
    (example,) = load_examples(f"lr:{mixed / 'cat.png'}", None)
    with pytest.raises(UserError, match=r"cat\.png: has no HR image"):
        _ = example.hr
    blind = open_metrics([f"{__name__}:brightness"])
    model, examples = build("bicubic", scale=2), load_examples(f"lr:{mixed}", None)
    found = evaluate(model, "m", examples, metrics=blind)
    assert list(found.images) == PATHS
    assert found.protocol["recipe"] == "LR images on disk"
    assert 0.4 < found.mean[f"{__name__}:brightness"] < 0.6


def brightness() -> Metric:
    return Metric(lambda sr, hr, shave: float(sr.mean()), "mean of SR", blind=True)


# --- alignment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, -2), (1, 3), (-6, 8)])
@pytest.mark.parametrize("scale", [2, 4])
def test_shifts_are_found(down: int, right: int, scale: int) -> None:
    from skimage import data

    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    hr = photo[..., 20:276, 20:276]
    moved = photo[..., 20 - down : 276 - down, 20 - right : 276 - right]
    assert shift(reduce(moved, scale), hr) == pytest.approx((down, right), abs=0.1 * scale)


def test_pairs_that_are_not_aligned_are_named() -> None:
    pairs = Alignment()
    for name, found in (("a", (0.1, 0.2)), ("b", (0.0, 3.0)), ("c", (-9.0, 1.0))):
        pairs.shifts[name] = found
    pairs.scale = 4
    assert "2 of 3 pairs" in pairs.describe()
    assert "c by -9.0 down, +1.0 right, b by +0.0 down, +3.0 right" in pairs.describe()
    pairs.shifts = {"a": (0.1, 0.2)}
    assert pairs.describe() == "HR and LR are aligned: shifts of at most 0.2 HR pixels"


def test_a_list_of_examples_will_do() -> None:
    hr = torch.rand(1, 3, 24, 24)
    recipe = Recipe.load("bicubic", 2)
    found = evaluate(build("bicubic"), "m", [Example("a", reduce(hr, 2), hr)], recipe)
    assert found.protocol["recipe"] == "bicubic"
    assert list(found.images) == ["a"]
    with pytest.raises(UserError, match="its scale is 3, that of a is 2"):
        evaluate(build("bicubic", scale=3), "m", [Example("a", reduce(hr, 2), hr)])
