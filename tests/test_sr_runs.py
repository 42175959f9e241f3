"""What a run writes and when, where it starts, and what chooses its best checkpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import as_pixels, encode_png, to_tensor
from degrade.images.samples import sample_images
from degrade.recipe import Pair, Recipe
from degrade.rng import Key
from sr import checkpoint
from sr.evaluation import evaluate
from sr.examples import load_examples
from sr.metrics import METRICS, Metric, psnr_ssim
from sr.models import Model, build
from sr.training import precision, validation
from sr.training.advice import advice
from sr.training.config import Config, configure
from sr.training.data import dataloader, open_dataset, worker_count
from sr.training.history import read_history
from sr.training.loop import Status, launch, train
from sr.training.optimization import lr_lambda
from sr.training.progress import Lines
from sr.training.run import BEST, LAST, STATE
from sr.training.trainers import build_trainer
from sr.training.trainers.gan import GANTrainer

TINY = {"model.channels": 4, "model.blocks": 1}
GAN = {**TINY, "perceptual": "none", "gan.discriminator": {"channels": 4, "dense": 8}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hr")
    for i, path in enumerate(sample_images()[:3]):
        pixels = np.ascontiguousarray(read_image(path).pixels[100:148, 120:160])
        (folder / f"{i}.png").write_bytes(encode_png(pixels))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(method: str, data: Path, out: Path, **changes: object) -> Config:
    flags = {"scale": 2, "data": (str(data),), "out": str(out), "device": "cpu", "steps": 4}
    quick = {"batch": 2, "patch": 24, "log_every": 1, "save_every": 2, "tensorboard": False}
    own = GAN if method == "srgan" else TINY
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return configure(method, flags, changes={"val": None, **quick, **own, **named})


def metadata(file: Path) -> dict[str, str]:
    return checkpoint.read_metadata(file)


# --- best ----------------------------------------------------------------------------------------


def distance() -> Metric:
    """Stands in for LPIPS, whose weights are not here."""
    return Metric(lambda sr, hr, _shave: float((sr - hr).abs().mean()), "", window=32, lower=True)


@pytest.mark.parametrize("metric", ["lpips", "dists"])
def test_a_distance_chooses_the_best_where_it_is_there(
    metric: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    recipe, settings = Recipe.load("bicubic", 2), {"val": str(data)}
    with pytest.raises(UserError, match=f"best_by {metric}: .*sr fetch"):
        validation.Validation(config("srgan", data, tmp_path, best_by=metric, **settings), recipe)
    monkeypatch.setitem(METRICS, metric, distance)
    for best_by in (metric, "auto"):
        made = config("srgan", data, tmp_path, best_by=best_by, gan__pretrain=0, **settings)
        scores = validation.Validation(made, recipe)(checkpoint.load("bicubic", 2), 1)
        assert scores.chosen_by == metric
        assert scores.means[metric] > 0
    pixels = np.zeros((40, 30, 3), np.uint8)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "x.png").write_bytes(encode_png(pixels))
    small = config("srgan", data, tmp_path, val=str(tmp_path / "small"))
    with pytest.raises(UserError, match=r"x.png: 30 x 40 pixels\n.*a window of 32"):
        validation.Validation(small, recipe)


def test_psnr_does_not_choose_a_gans_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    settings = {"val": str(data), "val_every": 1, "gan__pretrain": 2}
    run = train(config("srgan", data, tmp_path / "plain", **settings))
    assert run.scores
    assert run.best is None
    assert not (tmp_path / "plain" / BEST).exists()
    assert metadata(tmp_path / "plain" / LAST)["trainer"] == "gan"
    with pytest.raises(UserError, match=r"best_by lpips: .*sr fetch alexnet"):
        train(config("srgan", data, tmp_path / "none", best_by="lpips", **settings))

    monkeypatch.setitem(METRICS, "lpips", distance)
    run = train(config("srgan", data, tmp_path / "lpips", **settings))
    best = metadata(tmp_path / "lpips" / BEST)
    rows = read_history(tmp_path / "lpips" / "curves.csv")
    later = {row["step"]: row["lpips"] for row in rows if row["step"] > 2}
    assert best["selected_by"] == "lpips"
    assert int(best["step"]) == min(later, key=later.__getitem__), "pretraining never counts"
    assert run.best == pytest.approx(min(later.values()), abs=1e-6)


def test_psnr_chooses_where_pixels_are_the_loss(data: Path, tmp_path: Path):
    train(config("srresnet", data, tmp_path / "run", val=str(data), val_every=2))
    best = metadata(tmp_path / "run" / BEST)
    assert (best["selected_by"], best["trainer"], best["steps"]) == ("psnr_y", "pixel", "4")
    train(config("srresnet", data, tmp_path / "none", val=str(data), best_by="none"))
    assert not (tmp_path / "none" / BEST).exists()


def test_an_exact_image_is_no_infinite_best(tmp_path: Path, data: Path):
    (tmp_path / "black").mkdir()
    black = np.zeros((32, 32, 3), np.uint8)
    (tmp_path / "black" / "0.png").write_bytes(encode_png(black))
    made = config("srresnet", data, tmp_path / "run", val=str(tmp_path / "black"))
    measure = validation.Validation(made, Recipe.load("bicubic", 2))
    scores = measure(checkpoint.load("bicubic", 2), 1)
    assert scores.means["psnr_y"] == psnr_ssim.EQUAL
    assert scores.means["ssim_y"] == pytest.approx(1)


# --- when things are written ---------------------------------------------------------------------


def test_a_checkpoint_comes_before_the_validation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = config("srresnet", data, tmp_path / "run", val=str(data), val_every=2)
    whole = config("srresnet", data, tmp_path / "whole", val=str(data), val_every=2)
    train(whole)

    def fails(*_: object) -> None:
        raise RuntimeError("the power fails")

    with monkeypatch.context() as patch:
        patch.setattr(validation.Validation, "__call__", fails)
        with pytest.raises(RuntimeError):
            train(made)
    assert checkpoint.load_state(tmp_path / "run" / STATE)["method"]["done"] == 2
    train(made, resume=True)
    rows = [read_history(tmp_path / name / "curves.csv") for name in ("run", "whole")]
    for a, b in zip(*rows, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}, "the validation that was owed is made"
    assert metadata(tmp_path / "run" / BEST)["step"] == metadata(tmp_path / "whole" / BEST)["step"]


def test_small_validation_images_are_named_before_anything_starts(data: Path, tmp_path: Path):
    (tmp_path / "val").mkdir()
    for name, side in (("a", 12), ("b", 40), ("c", 14)):
        pixels = np.zeros((40, side, 3), np.uint8)
        (tmp_path / "val" / f"{name}.png").write_bytes(encode_png(pixels))
    with pytest.raises(UserError, match=r"(?s)a.*12 x 40.*c.*14 x 40.*at least") as told:
        train(config("srresnet", data, tmp_path / "run", val=str(tmp_path / "val")))
    assert "40 x 40" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_validation_measures_what_eval_does(data: Path, tmp_path: Path):
    for i, path in enumerate(sorted(data.iterdir())):
        pixels = read_image(path).pixels
        pixels = pixels if i else pixels[..., 1:2]  # one grey file
        (tmp_path / f"{i}.png").write_bytes(encode_png(np.ascontiguousarray(pixels)))
    recipe, model = Recipe.load("realesrgan", 2), checkpoint.load("bicubic", 2)
    made = config("srresnet", data, tmp_path / "run", val=str(tmp_path))
    found = validation.Validation(made, recipe)(model, 1).means
    mean = evaluate(model, "bicubic", load_examples(tmp_path, recipe)).mean
    assert found == pytest.approx({name: mean[name] for name in found}, abs=1e-9)


def test_pairs_of_another_scale_are_named_before_anything_starts(data: Path, tmp_path: Path):
    recipe = Recipe.load("bicubic", 4)
    for path in data.iterdir():
        lr = recipe.apply(
            hr := recipe.crop(to_tensor(read_image(path))[None]), recipe.plan(Key.of(0, 0))
        ).lr
        for folder, image in (("lr", lr), ("hr", hr)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / path.name).write_bytes(encode_png(as_pixels(image)[0]))
    made = config("srresnet", data, tmp_path / "run", val=f"pairs:{tmp_path}")
    with pytest.raises(UserError, match=r"--val pairs:.*: its pairs are x4, not x2; give --scale"):
        train(made)
    assert not (tmp_path / "run").exists()


def test_a_run_on_pairs_is_validated_by_the_recipe_that_lies_there(data: Path, tmp_path: Path):
    recipe = Recipe.load("bicubic", 2)
    for folder in ("lr", "hr"):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
    for path in data.iterdir():
        pair = recipe(path)
        for folder, image in (("lr", pair.lr), ("hr", pair.hr)):
            levels = (image[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
            (tmp_path / "pairs" / folder / path.name).write_bytes(encode_png(levels))
    source = f"pairs:{tmp_path / 'pairs'}"
    made = config("srresnet", data, tmp_path / "run", recipe=source, val=str(data))
    with pytest.raises(UserError, match="give --val pairs:DIR"):
        train(made)
    (tmp_path / "pairs" / "recipe.yaml").write_text(recipe.to_yaml())
    assert train(made).scores


def test_numbered_checkpoints_stay(data: Path, tmp_path: Path):
    train(config("srresnet", data, tmp_path / "run", keep_every=2))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [int(metadata(path)["step"]) for path in kept] == [2, 4]
    assert [path.name for path in kept] == ["0000002.safetensors", "0000004.safetensors"]


def test_what_a_checkpoint_is_of(data: Path, tmp_path: Path):
    train(config("srresnet", data, tmp_path / "run"))
    found = metadata(tmp_path / "run" / LAST)
    assert (found["step"], found["steps"], found["trainer"]) == ("4", "4", "pixel")
    assert json.loads(found["training"])["architecture"] == "srresnet"
    assert checkpoint.describe("bicubic") == {"name": "bicubic", "scale": "4"}


# --- where a run starts --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["srresnet", "srgan"])
def test_every_trainer_starts_from_a_checkpoint_and_resumes_without_it(
    method: str, data: Path, tmp_path: Path
):
    train(config("srresnet", data, tmp_path / "first", steps=1))
    first = checkpoint.load(tmp_path / "first").state_dict()
    made = config(method, data, tmp_path / "next", init=str(tmp_path / "first"))
    started = build_trainer(made, launch(made)).model.state_dict()
    assert all(torch.equal(first[name], started[name]) for name in first)
    train(made.model_copy(update={"steps": 2}))
    (tmp_path / "first" / LAST).unlink()
    train(made, resume=True)
    with pytest.raises(UserError, match="first"):
        train(made.model_copy(update={"out": str(tmp_path / "again")}))


def test_earlier_names_of_settings_are_known(data: Path, tmp_path: Path):
    made = config("srgan", data, tmp_path, **{"gan.init": "x", "generator": "rrdb"})
    assert (made.init, made.architecture) == ("x", "rrdb")
    (tmp_path / "c.yaml").write_text("gan: {init: y, pretrain: 3}\ngenerator: msrresnet\n")
    read = configure("srgan", {}, tmp_path / "c.yaml")
    assert (read.init, read.architecture, read.gan.pretrain) == ("y", "msrresnet", 3)


def test_folders_say_what_is_in_them():
    assert configure("srcnn", {"scale": 2}).out == "runs/srcnn_x2_bicubic"
    assert configure("srcnn", {"recipe": "realesrgan"}).out == "runs/srcnn_x4_realesrgan"
    assert configure("srcnn", {"out": "mine"}).out == "mine"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"rate": float("inf")}, ["rate"]),
        ({"rate": True, "steps": True}, ["rate", "steps"]),
        ({"loss": "l3", "losses": {"nothing": 1.0}}, ["loss", "losses", "l3", "nothing"]),
        ({"architecture": "srresnt"}, ["architecture", "did you mean srresnet"]),
        ({"gan.layers": {"conv5_4": 1}, "perceptual": "none"}, ["gan", "layers", "of a VGG"]),
        ({"trainer": "gam"}, ["trainer", "did you mean gan"]),
        ({"device": "tpu"}, ["device tpu", "should be auto, cpu"]),
        ({"device": "cuda:x"}, ["device cuda:x"]),
        ({"losses": "ffl"}, ["losses", "should be a mapping of names to values (is 'ffl')"]),
        ({"options": {"weight": 1}}, ["options weight", "pixel has none"]),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], names: list[str]):
    with pytest.raises(UserError) as told:
        configure("srresnet", {}, changes=changes)
    assert all(name in str(told.value) for name in names)


def test_advice():
    assert "random weights" in " ".join(advice(configure("srgan", {})))
    for changes in ({"init": "x"}, {"gan.pretrain": 5}):
        assert "random weights" not in " ".join(advice(configure("srgan", {}, changes=changes)))
    assert advice(configure("srcnn", {}))[0].startswith("srcnn x4, recipe bicubic")
    told = advice(configure("srresnet", {}, preset="realesrgan"))[0]
    assert told.startswith("srresnet (gan of srresnet) x4, recipe realesrgan")


def test_a_cpu_without_bfloat16_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = configure("srcnn", {"device": "cpu", "precision": "bf16-mixed"})
    for flags, told in (("fpu avx2", True), ("fpu avx512_bf16", False)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
        monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
        assert ("bfloat16" in " ".join(advice(made))) == told


def test_lines_where_there_is_no_terminal():
    written: list[str] = []
    now = [0.0]
    lines = Lines(written.append, lambda: now[0])
    for done in range(50, 1001, 50):
        lines(Status(done, 1000, 0.5, {"psnr_y": 30.0, "ssim_y": 0.9, "lpips": 0.25}, 0.1))
        now[0] += 7.0
    assert written[0] == "step 50/1000, loss 0.5, 30.00 dB Y, lpips 0.2500, degrading 10%"
    assert written[1].startswith("step 300/1000, 7.1 it/s, 0:01:38 left")
    assert written[-1].startswith("step 1000/1000")
    assert len(written) == 5


# --- numbers -------------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_ends_with_a_sentence(data: Path, tmp_path: Path):
    made = config("srresnet", data, tmp_path / "run", rate=1e30, clip=1e30, optimizer="sgd")
    with pytest.raises(UserError, match=r"the loss \w+ is (nan|inf)"):
        train(made)


def test_the_gradient_scaler_is_saved(data: Path, tmp_path: Path):
    made = config("srresnet", data, tmp_path / "run", precision="16-mixed", steps=2)
    train(made)
    saved = checkpoint.load_state(tmp_path / "run" / STATE)
    scaler = saved["method"]["generator"]["scaler"]
    assert scaler["_growth_tracker"] == 2
    fabric = launch(made)
    build_trainer(made, fabric).load(saved["method"])
    assert fabric.strategy.precision.state_dict() == scaler


@pytest.mark.parametrize("bits", ["32-true", "bf16-mixed"])
def test_images_are_not_rounded_by_mixed_precision(bits: str, data: Path, tmp_path: Path):
    made = config("srresnet", data, tmp_path, precision=bits)
    fabric = launch(made)
    trainer = build_trainer(made, fabric)
    seen: list[torch.dtype] = []
    trainer.model.register_forward_pre_hook(lambda _m, args: seen.append(args[0].dtype))
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    trainer.step(pair)
    assert seen == [torch.float32]


def test_one_pass_of_the_generator_a_step_and_what_d_says(data: Path, tmp_path: Path):
    made = config("srgan", data, tmp_path, accumulate=2, ema=0)
    fabric = launch(made)
    gan = build_trainer(made, fabric)
    assert isinstance(gan, GANTrainer)
    passes: list[int] = []
    gan.generator.module.register_forward_hook(lambda *_: passes.append(1))
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    losses = gan.step(pair)
    assert len(passes) == 2, "one a part"
    assert all(0 < float(losses[name]) < 1 for name in ("d_hr", "d_sr"))


def test_workers_make_the_pairs_that_the_device_makes(data: Path, tmp_path: Path):
    recipe = Recipe.load("realesrgan", 2)
    batches = []
    for place in ("device", "workers"):
        made = config("srresnet", data, tmp_path, degrade=place)
        batches.append(list(dataloader(made, recipe, open_dataset(made), 2, launch(made))))
    for a, b in zip(*batches, strict=True):
        for name in ("lr", "hr", "hr_raw"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=1e-6)
        assert (a.index == b.index).all()


class Half(Model):
    """A model of one's own that does not enlarge."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale, 0, {"scale": scale})
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        (
            "srcnn",
            {"patch": 12, "model": {"kernels": [9, 1, 5], "padding": "valid"}},
            "srcnn lacks 6 pixels on each side",
        ),
        ("srresnet", {"patch": 8, "losses": {"ms_ssim": 1}}, "the loss ms_ssim cannot take"),
        (
            "srcnn",
            {
                "patch": 26,
                "model": {"kernels": [9, 5, 5], "padding": "valid"},
                "losses": {"ms_ssim": 1},
            },
            "the loss ms_ssim cannot take images of 10",
        ),
        ("srresnet", {"patch": 2, "batch": 1}, "model srresnet cannot take images of 1 x 1"),
        ("bicubic", {"model": {}}, "model bicubic: has no weights"),
        (
            "srresnet",
            {"architecture": f"{__name__}:Half", "model": {}},
            "should be (2, 3, 24, 24)",
        ),
        ("srresnet", {"model.channels": -1}, "model srresnet: Trying to create tensor"),
        (
            "srresnet",
            {"model.channels": "x"},
            "model srresnet: channels 'x': should be an integer",
        ),
        ("srgan", {"gan.discriminator": {"channel": 4}}, "no setting channel; it has channels"),
        ("srgan", {"patch": 28, "gan.architecture": "unet"}, "discriminator needs multiples of 8"),
        ("srgan", {"patch": 8, "gan.architecture": "patch"}, "the discriminator cannot take"),
        ("srresnet", {"loss": "ldl"}, r"--set 'losses={ldl: 1}'"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_said_before_training(
    method: str, changes: dict[str, object], words: str, data: Path, tmp_path: Path
):
    made = config(method, data, tmp_path, **{"gan.discriminator": {"channels": 4}, **changes})
    with pytest.raises(UserError, match=re.escape(words)):
        build_trainer(made, launch(made))


def test_rate_is_warmed_up_stable_and_falls():
    made = configure(
        "srcnn", {}, changes={"schedule": "wsd", "decay": 0.25, "floor": 0.1, "warmup": 10}
    )
    factors = [lr_lambda(made, step / 100, step) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10:76] == [1] * 66
    falls = [a - b for a, b in pairwise(factors[75:])]
    assert falls == pytest.approx([0.9 / 25] * 25), "linear"
    assert factors[100] == pytest.approx(0.1)


def test_number_of_workers():
    made = configure("srcnn", {})
    assert worker_count(made, torch.device("cpu")) == 0
    assert 0 < worker_count(made, torch.device("cuda"), 1) <= 8
    assert worker_count(made.model_copy(update={"workers": 3}), torch.device("cpu")) == 3


@pytest.mark.parametrize("loss", ["l1", "ffl", "ldl", "ms_ssim"])
def test_further_losses(loss: str, data: Path, tmp_path: Path):
    for method in ("srresnet", "srgan"):
        made = config(method, data, tmp_path, losses={loss: 0.5}, ema=0.9)
        fabric = launch(made)
        pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
        losses = build_trainer(made, fabric).step(pair)
        assert losses[f"{loss}_loss"] > 0
        assert losses["loss"] > losses[f"{loss}_loss"]
        assert not losses.keys() & METRICS.keys(), "columns of validations"
    if loss == "ldl":
        made = config("srresnet", data, tmp_path, losses={loss: 0.5}, ema=0)
        with pytest.raises(UserError, match=r"losses\.ldl: needs a moving average"):
            build_trainer(made, fabric)


@pytest.mark.parametrize("preset", ["esrgan", "realesrgan"])
def test_presets_train(preset: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A small network by a paper's settings, without VGG's weights."""
    flags = {"recipe": "bicubic", "scale": 2, "data": (str(data),), "out": str(tmp_path)}
    small = {"model": {"channels": 8, "blocks": 1, "growth": 4}, "batch": 2, "patch": 32}
    made = configure(
        preset,
        {**flags, "device": "cpu"},
        changes={
            **small,
            "gan.perceptual": "none",
            "gan.layers": {},
            "gan.discriminator": {"channels": 4},
        },
    )
    fabric = launch(made)
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    losses = build_trainer(made, fabric).step(pair)
    assert {"adversarial", "content", "pixel", "discriminator"} <= losses.keys()
    again = configure(preset, flags, changes={**small, "device": "cpu"})
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="sr fetch vgg19"):
        build_trainer(again, fabric)
    assert configure("gan", flags, preset=preset).architecture == "rrdb"
    assert configure("msrresnet", flags, preset=preset).architecture == "msrresnet"


@pytest.mark.parametrize(
    ("preset", "steps", "batch", "patch", "rates"),
    [
        ("esrgan", 400_000, 16, 128, {0: 1e-4, 49_999: 1e-4, 50_000: 5e-5, 399_999: 6.25e-6}),
        ("realesrnet", 1_000_000, 48, 256, {0: 2e-4, 999_999: 2e-4}),
        ("realesrgan", 400_000, 48, 256, {0: 1e-4, 399_999: 1e-4}),
    ],
)
def test_presets_are_the_option_files(
    preset: str, steps: int, batch: int, patch: int, rates: dict[int, float]
):
    """``train_ESRGAN_x4.yml``, ``train_realesr[net|gan]_x4plus.yml``."""
    made = configure(preset, {})
    assert (made.steps, made.batch, made.patch, made.scale) == (steps, batch, patch, 4)
    assert (made.optimizer, made.momentum, made.beta2, made.ema) == ("adam", 0.9, 0.99, 0.999)
    assert (made.loss, made.save_every, made.val_every) == ("l1", 5000, 5000)
    assert made.model.items() <= {"channels": 64, "blocks": 23, "growth": 32}.items()
    for step, rate in rates.items():
        assert made.rate * lr_lambda(made, step / steps, step) == pytest.approx(rate)
    assert made.recipe == ("bicubic" if preset == "esrgan" else "realesrgan")
    assert made.rotate == (preset == "esrgan")  # use_rot
    if preset != "esrgan":
        assert patch + 2 * (made.margin or 0) == 400  # crop_pad_size
    if made.trainer == "gan":
        weights = (made.gan.pixel, made.gan.content, made.gan.adversarial)
        assert weights == ((0.01, 1, 0.005) if preset == "esrgan" else (1, 1, 0.1))
        assert (made.gan.objective, made.gan.criterion) == ("vanilla", "l1")
        assert made.gan.relativistic == (preset == "esrgan")


class Counter:
    """A trainer of one's own that names no ``loss`` and returns numbers."""

    def __init__(self, config: Config, _fabric: object) -> None:
        self.model, self.done = build(config.architecture, scale=config.scale), 0

    def step(self, pair: Pair) -> dict[str, float]:
        self.done += 1
        return {"count": self.done, "mean": float(pair.hr.mean())}

    def finish(self) -> None:
        pass

    def state(self) -> dict[str, int]:
        return {"done": self.done}

    def load(self, state: dict[str, int]) -> None:
        self.done = state["done"]


def test_losses_of_ones_own_trainer_need_no_name(data: Path, tmp_path: Path):
    shown: list[float] = []
    made = config(
        "srresnet", data, tmp_path, trainer=f"{__name__}:Counter", architecture="bicubic"
    )
    train(made.model_copy(update={"log_every": 2}), callback=lambda one: shown.append(one.loss))
    assert shown == [1.5, 3.5]
    assert train(made.model_copy(update={"steps": 6}), resume=True).history[-1]["count"] == 6


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_ctrl_c_prints_how_to_go_on_and_no_traceback(data: Path, tmp_path: Path):
    """The terminal sends it to the workers too."""
    settings = ["batch=2", "patch=24", "log_every=1", "tensorboard=false", "model.filters=[4,3]"]
    words = ["train", "srcnn", "--data", str(data), "--scale", "2", "--device", "cpu"]
    words += ["--workers", "2", "--steps", "1000000", "--out", "run", "--set", "val=null"]
    command = [sys.executable, "-m", "sr", *words]
    command += [word for setting in settings for word in ("--set", setting)]
    run = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stderr is not None
    seen = ""
    while "step" not in seen:
        line = run.stderr.readline()
        assert line, seen
        seen += line
    os.killpg(run.pid, signal.SIGINT)
    _, rest = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "Traceback" not in seen + rest
    assert "sr train srcnn --output run --resume" in rest
    assert checkpoint.load_state(tmp_path / "run" / STATE)["method"]["done"] > 0


# --- compiled networks ---------------------------------------------------------------------------


def test_compiled_networks_train_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    weights = []
    for compiled in (False, True):
        made = config("srgan", data, tmp_path, compile=compiled, ema=0.9, accumulate=2)
        fabric = launch(made)
        if compiled:  # the graph alone: a compiler takes minutes
            monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        trainer = build_trainer(made, fabric)
        pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
        for _ in range(2):
            trainer.step(pair)
        weights.append(trainer.model.state_dict())
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-5)
