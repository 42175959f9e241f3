"""The command line of sr: what each command writes, and how it fails."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from degrade.errors import UserError
from degrade.images.files import image_size, read_image
from degrade.images.pixels import encode_png
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from sr import checkpoint
from sr.cli import app
from sr.evaluation import evaluate
from sr.examples import hr_images, load_examples
from sr.models import build

SET5 = Path(__file__).parents[2] / "shared/data/set5"
PUBLISHED = {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)}
"""Bicubic on Set5: PSNR and SSIM on Y."""


def sr(*arguments: object) -> str:
    """What a command prints; its errors are raised."""
    result = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hr")
    for i, path in enumerate(sample_images()[:2]):
        (folder / f"{i}.png").write_bytes(encode_png(read_image(path).pixels[100:197, 120:201]))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(
        path,
        build("srcnn", scale=2, filters=[4, 3]),
        {"recipe": "bicubic", "hash": "0", "step": 0},
    )
    return path


def test_help_does_not_wait_for_torch():
    heavy = "{'torch', 'numpy', 'cv2', 'lightning_fabric'}"
    code = f"import sys, sr.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_are_a_message_and_exit_code_2(tmp_path: Path):
    command = [sys.executable, "-m", "sr", "upscale", "x.png", "--model", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_train_then_eval_by_folder(data: Path, tmp_path: Path):
    out = tmp_path / "run"
    quick = [
        "batch=2",
        "patch=16",
        "tensorboard=false",
        "model.filters=[4,3]",
        "model.kernels=[3,1,3]",
    ]
    sets = [word for setting in quick for word in ("--set", setting)]
    common = [
        "train",
        "srcnn",
        "--data",
        data,
        "--data",
        data,
        "--scale",
        2,
        "--out",
        out,
        "--device",
        "cpu",
        *sets,
    ]
    assert "Look at" in sr(*common, "--steps", 2, "--val", data)
    sr("train", "srcnn", "--out", out, "--steps", 3, "--resume")
    assert checkpoint.load_state(out / "last.state.pt")["method"]["done"] == 3
    assert "mean" in sr("eval", "--model", out, "--data", data)


def test_eval_writes_what_it_measured_and_how(data: Path, tmp_path: Path):
    files = [
        "--json",
        tmp_path / "e.json",
        "--csv",
        tmp_path / "e.csv",
        "--figure",
        tmp_path / "e.png",
    ]
    sr("eval", "--model", "bicubic", "--scale", 3, "--data", data, *files)
    found = json.loads((tmp_path / "e.json").read_text())
    assert found.keys() == {"model", "protocol", "mean", "left_out", "images"}
    assert {"psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"} <= found["mean"].keys()
    assert found["images"].keys() == {"0.png", "1.png"}
    assert found["protocol"]["metrics"].keys() >= found["mean"].keys()
    assert found["protocol"]["shave"] == 3
    assert found["protocol"]["recipe"] == "bicubic"
    mean = sum(row["psnr_y"] for row in found["images"].values()) / 2
    assert found["mean"]["psnr_y"] == pytest.approx(mean)
    rows = list(csv.DictReader((tmp_path / "e.csv").open()))
    assert [row["image"] for row in rows] == ["0.png", "1.png", ""]
    assert float(rows[2]["psnr_y"]) == pytest.approx(mean, abs=1e-3)
    assert min(image_size(tmp_path / "e.png")) > 256


def test_eval_takes_hr_files_where_pairs_lie_together(tmp_path: Path, data: Path):
    for name in ("a_HR", "a_LR", "b_HR", "b_LR"):
        (tmp_path / f"{name}.png").write_bytes((data / "0.png").read_bytes())
    assert [path.stem for path in hr_images(tmp_path)] == ["a_HR", "b_HR"]
    (tmp_path / "b_LR.png").unlink()
    assert [path.stem for path in hr_images(tmp_path)] == ["a_HR", "b_HR"]
    for name in ("c", "d_LR", "e_LR4", "e_HR"):
        (tmp_path / f"{name}.png").write_bytes((data / "0.png").read_bytes())
    wanted = ["a_HR", "b_HR", "c", "d_LR", "e_HR"]
    assert [path.stem for path in hr_images(tmp_path)] == wanted, "a lone pair is not all"
    examples = load_examples(tmp_path, Recipe.load("bicubic", 2))
    assert examples.names == tuple(f"{name}.png" for name in wanted)
    assert examples.notes == ("2 files X_LR beside X_HR are left out",)


@pytest.mark.skipif(not SET5.is_dir(), reason="the images of Set5 are not here")
@pytest.mark.parametrize("scale", PUBLISHED)
def test_bicubic_has_its_published_rows(scale: int, tmp_path: Path):
    sr(
        "eval",
        "--model",
        "bicubic",
        "--scale",
        scale,
        "--data",
        SET5 / f"x{scale}",
        "--json",
        tmp_path / "e.json",
    )
    mean = json.loads((tmp_path / "e.json").read_text())["mean"]
    psnr, ssim = PUBLISHED[scale]
    assert mean["psnr_y"] == pytest.approx(psnr, abs=0.02)
    assert mean["ssim_y"] == pytest.approx(ssim, abs=0.001)


def test_upscale(data: Path, tmp_path: Path, model: Path):
    output = sr(
        "upscale",
        data / "0.png",
        data / "1.png",
        "--model",
        model,
        "--tile",
        16,
        "--out",
        tmp_path / "up",
    )
    assert "162 x 194" in output
    assert image_size(tmp_path / "up" / "0_tiny_x2.png") == (194, 162)
    whole = tmp_path / "whole"
    sr("upscale", data / "0.png", "--model", model, "--tile", 0, "--out", whole)
    a, b = (
        read_image(folder / "0_tiny_x2.png").pixels.astype(int)
        for folder in (tmp_path / "up", whole)
    )
    assert abs(a - b).max() <= 1, "a last bit may fall on either side of a rounding"
    assert (a != b).mean() < 1e-3


def test_upscale_does_not_write_a_file_twice(data: Path, tmp_path: Path, model: Path):
    (tmp_path / "0.png").write_bytes((data / "0.png").read_bytes())
    with pytest.raises(UserError, match="written twice"):
        sr("upscale", data / "0.png", tmp_path / "0.png", "--model", model, "--out", tmp_path)
    assert "162 x 194" in sr("upscale", *[data / "0.png"] * 2, "-m", model, "--out", tmp_path)


def test_wrong_scale(data: Path, model: Path):
    with pytest.raises(UserError, match="for scale 2, not for 4"):
        sr("eval", "--model", model, "--scale", 4, "--data", data)
    with pytest.raises(UserError, match=r"bicubic: scale 5: .* must be one of 1, 2, 3, 4, 8"):
        sr("eval", "--model", "bicubic", "--scale", 5, "--data", data)


def test_fetch_of_an_unknown_name():
    with pytest.raises(UserError, match="vgg19"):
        sr("fetch", "resnet")


def test_export_for_openmodeldb(tmp_path: Path, model: Path):
    sr("export", "--model", model, "--openmodeldb", tmp_path / "m.json", "--author", "me")
    entry = json.loads((tmp_path / "m.json").read_text())
    required = {
        "name",
        "author",
        "license",
        "tags",
        "description",
        "date",
        "architecture",
        "size",
        "scale",
    }
    assert required | {"inputChannels", "outputChannels", "resources", "images"} <= entry.keys()
    assert entry["scale"] == 2
    assert len(entry["resources"][0]["sha256"]) == 64
    with pytest.raises(UserError, match="give --onnx"):
        sr("export", "--model", model)


FILES = ["--onnx", "--spandrel", "--openmodeldb", "--json", "--csv", "--figure"]
"""Options that name a file to write."""


@pytest.mark.parametrize("option", FILES)
def test_nobodys_file_is_written_over(option: str, tmp_path: Path, model: Path, data: Path):
    file = tmp_path / "file"
    file.write_bytes(b"a diary")
    evaluates = FILES.index(option) > 2
    command = ["eval", "--data", data, "--metrics", "psnr_y"] if evaluates else ["export"]
    command += ["--model", model, option, file]
    with pytest.raises(UserError, match=r"file: is already there; give another name, or --force"):
        sr(*command)
    assert file.read_bytes() == b"a diary"
    if option != "--onnx":
        sr(*command, "--force")
        assert file.read_bytes() != b"a diary"
    if evaluates:
        sr(*command)  # its own


def test_spandrel_file_carries_its_config(tmp_path: Path, model: Path):
    from safetensors.torch import load_file

    from sr.export.spandrel import from_state
    from sr.foreign import CONFIG_KEY

    sr("export", "--model", model, "--spandrel", tmp_path / "s.safetensors")
    again = from_state(load_file(tmp_path / "s.safetensors"))
    lr = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert torch.equal(again(lr), checkpoint.load(model)(lr))
    plain = build("rrdb", scale=4, channels=8, blocks=1, growth=32)
    checkpoint.save(tmp_path / "r.safetensors", plain)
    sr("export", "--model", tmp_path / "r.safetensors", "--spandrel", tmp_path / "t.safetensors")
    assert CONFIG_KEY not in load_file(tmp_path / "t.safetensors")


SPANDREL = [
    ("srcnn", {"scale": 3, "filters": [4, 3]}, True),
    ("srresnet", {"scale": 2, "channels": 4, "blocks": 1}, True),
    ("msrresnet", {"scale": 4, "channels": 4, "blocks": 1}, True),
    ("compact", {"scale": 2, "channels": 4, "convolutions": 1}, False),
    *(("rrdb", {"scale": s, "channels": 8, "blocks": 1, "growth": 32}, False) for s in (2, 4)),
    ("rrdb", {"scale": 2, "channels": 8, "blocks": 1, "unshuffle": 1}, True),
]


@pytest.mark.parametrize(("name", "config", "key"), SPANDREL, ids=str)
def test_spandrel_files_are_read_again(
    name: str,
    config: dict[str, object],
    key: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """What was written gives the same results, or it is not written."""
    from safetensors.torch import load_file

    from sr.export import spandrel
    from sr.foreign import CONFIG_KEY

    file, model = tmp_path / "a.safetensors", build(name, **config)
    _, worst = spandrel.to_spandrel(model, file)
    assert worst < 1e-5
    assert (CONFIG_KEY in load_file(file)) is key
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(checkpoint.load(file)(lr), model.eval()(lr), atol=1e-5)
    original = spandrel.to_state

    def damaged(model: Any) -> dict[str, torch.Tensor]:
        state = original(model)
        last = [place for place in state if place != CONFIG_KEY][-1]
        return {**state, last: state[last] + 1}

    file.unlink()
    monkeypatch.setattr(spandrel, "to_state", damaged)
    with pytest.raises(UserError, match="not written, what is read again differs"):
        spandrel.to_spandrel(model, file)
    assert not file.exists()


def test_what_spandrel_files_may_not_say_is_not_written(tmp_path: Path):
    """A setting that no file may have without tensors of its size."""
    from sr.export.spandrel import to_spandrel

    model = build("srresnet", scale=2, channels=4, blocks=1)
    model.config["blocks"] = 10**6
    with pytest.raises(UserError, match=r"not written: its config has 1e\+06"):
        to_spandrel(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["--onnx", "--spandrel"])
def test_what_is_no_network_is_not_exported(tmp_path: Path, kind: str):
    name = "python:torch.nn.functional:relu"
    with pytest.raises(UserError, match="is not a network of sr"):
        sr("export", "--model", name, kind, tmp_path / "a")
    with pytest.raises(UserError, match="bicubic has no weights"):
        sr("export", "--model", "bicubic", "--openmodeldb", tmp_path / "a")


@pytest.mark.slow
def test_onnx_is_checked_against_torch(tmp_path: Path, model: Path):
    pytest.importorskip("onnxruntime")
    assert "differs from torch" in sr("export", "--model", model, "--onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size > 0


def test_list():
    output = sr("list")
    for path in checkpoint.ZOO.glob("*.safetensors"):
        assert path.stem in output
        assert path.stat().st_size < 8_000_000


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_packaged_models_beat_bicubic(scale: int):
    """On photographs that are in no training set; measured 1.88, 1.30 and 1.01 dB."""
    recipe = Recipe.load("bicubic", scale)
    data = list(load_examples("samples", recipe))
    scores = [
        evaluate(checkpoint.load(name, scale), name, data, recipe).mean["psnr_y"]
        for name in ("bicubic", f"srcnn_x{scale}")
    ]
    assert scores[1] - scores[0] > 0.8


@pytest.mark.skipif(not SET5.is_dir(), reason="the images of Set5 are not here")
@pytest.mark.parametrize(("scale", "least"), [(2, 36.28), (3, 32.37), (4, 30.08)])
def test_packaged_models_reach_the_papers_rows(scale: int, least: float):
    """SRCNN, ECCV 2014, trained on T91: PSNR of Y on Set5."""
    recipe = Recipe.load("bicubic", scale)
    model = checkpoint.load(f"srcnn_x{scale}", scale)
    assert (
        evaluate(model, "srcnn", load_examples(SET5 / f"x{scale}", recipe), recipe).mean["psnr_y"]
        >= least
    )
