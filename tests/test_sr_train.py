"""Training: a run is a function of its config, whatever interrupts it; what goes wrong leaves
the last checkpoint.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from degrade.images.samples import sample_images
from degrade.recipe import Recipe
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings
from sr import checkpoint
from sr.figures import plot_curves
from sr.models import build
from sr.training.config import Config, configure
from sr.training.data import ShardedBatchSampler, dataloader, open_dataset
from sr.training.history import read_history
from sr.training.loop import Status, launch, train
from sr.training.optimization import split
from sr.training.run import LATER, STATE
from sr.training.trainers import build_trainer
from sr.training.trainers.gan import GANTrainer

SRCNN = {"model.kernels": [3, 1, 3], "model.filters": [6, 4]}
TINY = {
    "srcnn": SRCNN,
    "srresnet": {"model.channels": 4, "model.blocks": 1},
    "srgan": {
        **{
            "model.channels": 4,
            "model.blocks": 1,
            "perceptual": "none",
            "gan.pretrain": 2,
            "gan.tv": 1e-3,
        },
        **{"gan.discriminator": {"channels": 4, "dense": 8}},
    },
}
"""Settings that make each method quick."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs of 96 x 80."""
    folder = tmp_path_factory.mktemp("hr")
    for i, path in enumerate(sample_images()):
        (folder / f"{i}.png").write_bytes(encode_png(read_image(path).pixels[100:196, 120:200]))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(method: str, data: Path, out: Path, **changes: object) -> Config:
    quick = {
        "batch": 4,
        "patch": 32,
        "log_every": 1,
        "save_every": 100,
        "val_every": 100,
        "tensorboard": False,
        "val": None,
    }
    flags = {
        "recipe": "bicubic",
        "scale": 2,
        "data": (str(data),),
        "out": str(out),
        "device": "cpu",
        "steps": 6,
    }
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return configure(method, flags, changes={"ema": 0.9, **quick, **TINY.get(method, {}), **named})


def interrupt_at(step: int):
    def callback(status: Status) -> None:
        if status.done == step:
            signal.raise_signal(signal.SIGINT)

    return callback


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "last.safetensors").state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- config --------------------------------------------------------------------------------------


def test_later_settings_win(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("steps: 7\nrate: 0.5\nseed: 3\n")
    made = configure(
        "srcnn", {"steps": 8, "seed": None}, file, {"rate": "1e-3", "model.kernels": [9, 1, 5]}
    )
    assert (made.steps, made.rate, made.seed) == (8, 1e-3, 3)
    assert made.model["kernels"] == [9, 1, 5]
    assert made.model["residual"] is True, "the defaults beside it stay"


def test_config_file_gives_the_same_config(tmp_path: Path, data: Path):
    one = config("srgan", data, tmp_path)
    (tmp_path / "c.yaml").write_text(one.to_yaml())
    assert configure("srgan", {}, tmp_path / "c.yaml") == one


def test_all_wrong_settings_are_told_at_once():
    with pytest.raises(UserError) as told:
        configure("srcnn", {"steps": 0}, changes={"rat": 1, "loss": "l3"})
    assert all(name in str(told.value) for name in ("steps", "rat", "loss"))


def test_the_scale_is_the_recipes_own_unless_said():
    assert configure("srcnn", {"recipe": "realesrgan_x2"}).scale == 2
    assert configure("srcnn", {"recipe": "realesrgan_x2", "scale": 4}).scale == 4


def test_images_are_left_out_by_a_list_for_each_folder(data: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("0.png", "1.png"):
        (other / name).write_bytes((data / name).read_bytes())
    first, none = tmp_path / "first.txt", tmp_path / "none.txt"
    first.write_text("1.png\n3.png\n")
    none.write_text("")
    for folders, lists, left in [
        ([data], [], ["0", "1", "2", "3", "4"]),
        ([data], [first], ["0", "2", "4"]),
        ([data, other], [first, none], ["0", "2", "4", "0", "1"]),
        ([other, data], [none, first], ["0", "1", "0", "2", "4"]),
    ]:
        made = config("srcnn", data, tmp_path).model_copy(
            update={"data": tuple(map(str, folders)), "exclude": tuple(map(str, lists))}
        )
        assert [Path(path).stem for path in open_dataset(made).paths] == left
    alone = made.model_copy(update={"data": (str(data / "0.png"),), "exclude": (str(first),)})
    with pytest.raises(UserError, match=r"first\.txt: names none of the 1 images"):
        open_dataset(alone)


def test_unknown_method_and_setting_of_a_model(data: Path, tmp_path: Path):
    with pytest.raises(UserError, match="did you mean srcnn"):
        configure("srcn", {})
    with pytest.raises(UserError, match="no setting depth"):
        train(config("srcnn", data, tmp_path, model__depth=3))


# --- data ----------------------------------------------------------------------------------------


def test_order_is_a_function_of_seed_and_step():
    whole = list(ShardedBatchSampler(7, 4, 0, 9, seed=1))
    assert list(ShardedBatchSampler(7, 4, 5, 9, seed=1)) == whole[5:]
    assert list(ShardedBatchSampler(7, 4, 0, 9, seed=2)) != whole
    flat = [index for step in whole for index in step]
    assert len(set(flat)) == len(flat)
    for epoch in range(5):
        assert sorted(index % 7 for index in flat[7 * epoch : 7 * epoch + 7]) == list(range(7))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_out_each_step(world: int):
    whole = list(ShardedBatchSampler(7, 4, 0, 9))
    parts = [
        list(ShardedBatchSampler(7, 4, 0, 9, rank=rank, world=world)) for rank in range(world)
    ]
    for step, batch in enumerate(whole):
        shares = [set(part[step]) for part in parts]
        assert sum(map(len, shares)) == len(batch)
        assert set().union(*shares) == set(batch)


def test_pairs_do_not_depend_on_where_the_run_began(data: Path, tmp_path: Path):
    made, recipe = config("srcnn", data, tmp_path, patch=24), Recipe.load("realesrgan", 2)
    fabric = launch(made)
    from_start = list(dataloader(made, recipe, open_dataset(made), 0, fabric))
    resumed = list(dataloader(made, recipe, open_dataset(made), 4, fabric))
    assert len(resumed) == 2
    for a, b in zip(from_start[4:], resumed, strict=True):
        assert torch.equal(a.lr, b.lr)
        assert torch.equal(a.hr, b.hr)


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["srcnn", "srresnet", "srgan"])
def test_resume_is_exact_to_the_last_bit(method: str, data: Path, tmp_path: Path):
    train(config(method, data, tmp_path / "whole"))
    halves = config(method, data, tmp_path / "halves")
    with pytest.raises(KeyboardInterrupt):
        train(halves, callback=interrupt_at(3))
    assert not equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
    train(halves, resume=True)
    assert equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
    steps = [row["step"] for row in read_history(tmp_path / "halves" / "curves.csv")]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_seed_decides_the_weights(data: Path, tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(config("srcnn", data, tmp_path / name, steps=1, seed=seed))
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_parts_of_a_batch_change_nothing_but_rounding(data: Path, tmp_path: Path):
    for parts in (1, 2):
        train(
            config(
                "srcnn", data, tmp_path / str(parts), accumulate=parts, optimizer="sgd", rate=0.1
            )
        )
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


def test_run_folder(data: Path, tmp_path: Path):
    train(config("srcnn", data, tmp_path / "run", val=str(data), val_every=3, tensorboard=True))
    found = {
        str(path.relative_to(tmp_path / "run"))
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }
    logs = {name for name in found if name.startswith("tensorboard")}
    assert logs
    assert found - logs == {
        *(".lock", "config.yaml", "recipe.yaml", "versions.json", "curves.csv", "curves.png"),
        *("last.safetensors", "last.state.pt", "best.safetensors"),
        *("samples/0000003.png", "samples/0000006.png"),
    }
    recipe = Recipe.load(tmp_path / "run" / "recipe.yaml")
    assert f"hash: {recipe.hash}" in (tmp_path / "run" / "recipe.yaml").read_text()
    metadata = checkpoint.read_metadata(tmp_path / "run" / "best.safetensors")
    assert {metadata["name"], metadata["scale"], metadata["recipe"], metadata["hash"]} == {
        *("srcnn", "2", "bicubic", recipe.hash)
    }
    rows = read_history(tmp_path / "run" / "curves.csv")
    assert float(metadata["psnr_y"]) == pytest.approx(
        max(row.get("psnr_y", 0) for row in rows), abs=1e-5
    )


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_curves_of_short_runs_are_seen(rows: int):
    history = [{"step": i + 1, "loss": 0.1 / (i + 1)} for i in range(rows)]
    picture = np.asarray(Image.open(io.BytesIO(plot_curves(history, "run"))).convert("RGB"))
    assert (np.ptp(picture, axis=2) > 100).sum() > 20  # only the curve has a colour


def test_without_images_of_its_own_a_run_is_validated_on_samples(data: Path, tmp_path: Path):
    run = train(config("srcnn", data, tmp_path, steps=1, val="samples"))
    assert run.scores
    assert (tmp_path / "samples" / "0000001.png").exists()
    assert (tmp_path / "best.safetensors").exists()


def test_ready_made_pairs_train_with_the_same_code(data: Path, tmp_path: Path):
    recipe = Recipe.load("bicubic", 2)
    for folder in ("lr", "hr"):
        (tmp_path / folder).mkdir()
    for path in data.iterdir():
        pair = recipe(path)
        for folder, image in (("lr", pair.lr), ("hr", pair.hr)):
            levels = (image[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
            (tmp_path / folder / path.name).write_bytes(encode_png(levels))
    source = f"pairs:{tmp_path}"
    run = train(config("srcnn", data, tmp_path / "run", recipe=source, val=source))
    assert run.scores["psnr_y"] > 20
    assert not (tmp_path / "run" / "recipe.yaml").exists()
    with pytest.raises(UserError, match="x2"):
        train(config("srcnn", data, tmp_path / "other", recipe=source, scale=4))
    with pytest.raises(UserError, match="give --val pairs:DIR"):
        train(config("srcnn", data, tmp_path / "other", recipe=source, val="samples"))


def test_a_gan_on_pairs_sees_hr_as_it_was(data: Path, tmp_path: Path):
    """What ``degrade synth --keep-raw`` kept, turned and cropped as the target is; the target of
    the pixel loss is sharpened.
    """
    recipe = Recipe.load("realesrgan", 2)
    settings = SynthSettings(str(data), keep_raw=True)
    synthesize(prepare(recipe, settings, tmp_path / "pairs", "folder"), recipe, in_process)
    made = config("srgan", data, tmp_path / "run", recipe=f"pairs:{tmp_path / 'pairs'}")
    pair = next(dataloader(made, None, open_dataset(made), 0, launch(made)))
    assert pair.hr_raw.shape == pair.hr.shape
    assert not torch.equal(pair.hr_raw, pair.hr)
    torch.testing.assert_close(pair.hr_raw, pair.hr, atol=0.3, rtol=0)
    plain = made.model_copy(update={"trainer": "pixel"})
    pair = next(dataloader(plain, None, open_dataset(plain), 0, launch(plain)))
    assert torch.equal(pair.hr_raw, pair.hr)


def test_sparse_coding_trains(data: Path, tmp_path: Path):
    settings = {"model__atoms": 16, "model__nonzeros": 2, "steps": 3, "batch": 8}
    run = train(config("sparse", data, tmp_path / "run", val=str(data), **settings))
    assert run.scores["psnr_y"] > 20
    first = checkpoint.load(tmp_path / "run")
    assert first.scale == 2
    again = config("sparse", data, tmp_path / "next", init=str(tmp_path / "run"), **settings)
    begun = build_trainer(again, launch(again)).model.state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in first.state_dict().items())


# --- trainers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["srcnn", "srresnet", "msrresnet", "rrdb"])
def test_steps_lower_the_pixel_loss(method: str, data: Path, tmp_path: Path):
    small = {"model": {"channels": 16, "blocks": 1}} if method in ("msrresnet", "rrdb") else {}
    made = config(method, data, tmp_path, rate=1e-3, schedule="constant", loss="mse", **small)
    fabric = launch(made)
    trainer = build_trainer(made, fabric)
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    losses = [float(trainer.step(pair)["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_a_step_lowers_the_loss_it_is_for(data: Path, tmp_path: Path):
    """The generator's step its own weighted sum, the discriminator's step its own, on the batch
    they saw.
    """
    made = config("srgan", data, tmp_path, gan__pretrain=0, schedule="constant", rate=1e-4, ema=0)
    fabric = launch(made)
    gan = build_trainer(made, fabric)
    assert isinstance(gan, GANTrainer)
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    with torch.no_grad():
        images = (pair.hr_raw, gan.generator.network(pair.lr))
    for state, part, loss in (
        (gan.generator, pair, gan.generator_terms),
        (gan.discriminator, images, gan.discriminator_terms),
    ):
        before = state.optimizer_step([part], loss, 0.0)["loss"]
        with torch.no_grad():
            after = torch.stack(list(loss(part)[0].values())).sum()
        assert after < before


def test_generator_steps_leave_the_discriminator_alone(data: Path, tmp_path: Path):
    made = config("srgan", data, tmp_path, gan__pretrain=1)
    fabric = launch(made)
    gan = build_trainer(made, fabric)
    assert isinstance(gan, GANTrainer)
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, fabric))
    parameters = [tensor.clone() for tensor in gan.discriminator.module.parameters()]
    assert set(gan.step(pair)) == {"pixel", "loss"}, "while pretraining"
    assert all(
        torch.equal(a, b)
        for a, b in zip(parameters, gan.discriminator.module.parameters(), strict=True)
    )
    assert set(gan.step(pair)) == {
        *("adversarial", "content", "tv", "loss", "discriminator", "d_hr", "d_sr")
    }
    assert not all(
        torch.equal(a, b)
        for a, b in zip(parameters, gan.discriminator.module.parameters(), strict=True)
    )
    assert all(tensor.requires_grad for tensor in gan.discriminator.module.parameters())


@pytest.mark.slow
def test_gan_stays_balanced(data: Path, tmp_path: Path):
    """Over 300 steps neither side wins outright: the discriminator's loss stays off 0 and near
    2 log 2 = 1.39.
    """
    made = config(
        "srgan",
        data,
        tmp_path,
        steps=300,
        gan__pretrain=50,
        rate=1e-4,
        gan__smoothing=0.1,
        log_every=10,
    )
    train(made)
    rows = [row for row in read_history(tmp_path / "curves.csv") if "discriminator" in row]
    late = [row["discriminator"] for row in rows[-10:]]
    assert min(late) > 0.1
    assert max(late) < 3
    assert np.mean([row["content"] for row in rows[-5:]]) < 0.05


def test_missing_weights_name_the_remedy(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        UserError, match=r"(?s)sr fetch vgg19.*perceptual=efficientnet_lite0.*perceptual=none"
    ):
        train(config("srgan", data, tmp_path / "run", perceptual="vgg19"))


def test_generator_to_begin_with(data: Path, tmp_path: Path):
    train(config("srresnet", data, tmp_path / "first", steps=1))
    made = config("srgan", data, tmp_path / "second", gan__init=str(tmp_path / "first"), steps=1)
    start = build_trainer(made, launch(made)).model
    assert equal(start.state_dict(), weights(tmp_path / "first"))
    with pytest.raises(UserError, match=r"has channels \d+; .*--set 'model.channels=\d+'"):
        train(
            config(
                "srgan",
                data,
                tmp_path / "third",
                gan__init=str(tmp_path / "first"),
                model__channels=6,
            )
        )


def test_split_keeps_rows_together(data: Path, tmp_path: Path):
    made = config("srcnn", data, tmp_path)
    pair = next(dataloader(made, Recipe.load("bicubic", 2), open_dataset(made), 0, launch(made)))
    parts = split(pair, 2)
    assert torch.equal(torch.cat([part.lr for part in parts]), pair.lr)
    assert [len(part.plan) for part in parts] == [2, 2]


# --- what goes wrong -----------------------------------------------------------------------------


def test_nan_ends_the_run_and_leaves_the_checkpoint(data: Path, tmp_path: Path):
    train(config("srcnn", data, tmp_path, steps=2))
    files = {path: path.read_bytes() for path in tmp_path.glob("last.*")}
    with pytest.raises(UserError, match=r"step \d+: the loss \w+ is (nan|inf).*rate"):
        train(config("srcnn", data, tmp_path, steps=9, rate=1e30), resume=True)
    assert {path: path.read_bytes() for path in files} == files
    with pytest.raises(UserError, match=r"is (nan|inf); nothing was saved yet"):
        train(config("srcnn", data, tmp_path / "new", steps=9, rate=1e30))


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path):
    model = build("srcnn", scale=2)
    checkpoint.save(tmp_path / "m.safetensors", model)
    before = (tmp_path / "m.safetensors").read_bytes()
    with torch.no_grad():
        model.get_parameter("conv2.bias")[0] = float("nan")
    with pytest.raises(UserError, match=r"conv2\.bias is not finite"):
        checkpoint.save(tmp_path / "m.safetensors", model)
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_full_disk(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(config("srcnn", data, tmp_path, steps=2))
    files = {path: path.read_bytes() for path in tmp_path.glob("last.*")}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    with pytest.raises(UserError, match=r"No space left on device.*the previous file is intact"):
        train(config("srcnn", data, tmp_path, steps=4), resume=True)
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("srcnn", {"scale": 4}, "its scale is 2"),
        ("srcnn", {"seed": 9}, "its seed is 0"),
        ("srcnn", {"recipe": "srcnn"}, "its recipe is"),
        ("srresnet", {}, "its kind is 'srcnn'"),
        ("srcnn", {"model.filters": [5, 4]}, "its model is .*--init"),
        ("srcnn", {"architecture": "srresnet"}, "its architecture is 'srcnn'"),
        ("srcnn", {"trainer": "gan"}, "its trainer is 'pixel'"),
        ("srcnn", {"optimizer": "sgd"}, "its optimizer is 'adam'"),
        ("srcnn", {"steps": 1}, "steps 1: .* has 2 already"),
    ],
)
def test_resume_of_another_run(
    method: str, changes: dict[str, object], message: str, data: Path, tmp_path: Path
):
    train(config("srcnn", data, tmp_path, steps=2))
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=message):
        train(config(method, data, tmp_path, **changes), resume=True)
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_a_resumed_run_has_the_optimizer_settings_of_its_config(data: Path, tmp_path: Path):
    made = config("srcnn", data, tmp_path, momentum=0.5, beta2=0.6)
    trainer = build_trainer(config("srcnn", data, tmp_path), launch(made))
    trainer.load(build_trainer(made, launch(made)).state())
    assert {group["betas"] for group in trainer.generator.optimizer.param_groups} == {(0.9, 0.999)}


def test_states_of_earlier_versions_are_resumed(data: Path, tmp_path: Path):
    train(config("srcnn", data, tmp_path, steps=1))
    state = checkpoint.load_state(tmp_path / STATE)
    earlier = {name: value for name, value in state.items() if name not in LATER}
    checkpoint.save_state(tmp_path / STATE, earlier)
    assert earlier.keys() < state.keys()
    assert train(config("srcnn", data, tmp_path, steps=2), resume=True).history[-1]["step"] == 2


def test_a_run_that_is_not_there_or_further_is_not_resumed(data: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"run: there is no run to resume here; leave out"):
        train(config("srcnn", tmp_path / "no data", tmp_path / "run"), resume=True)
    assert not (tmp_path / "run").exists()
    train(config("srcnn", data, tmp_path / "run", steps=3))
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"--steps 2: .*run has 3 already; give more"):
        train(config("srcnn", data, tmp_path / "run", steps=2), resume=True)
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_a_run_is_not_written_over(data: Path, tmp_path: Path):
    train(config("srcnn", data, tmp_path, steps=1))
    with pytest.raises(UserError, match="--resume"):
        train(config("srcnn", data, tmp_path, steps=1))


@pytest.mark.parametrize("name", ["config.yaml", "recipe.yaml", "best.safetensors", "curves.csv"])
def test_nobodys_files_are_written_over(name: str, data: Path, tmp_path: Path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}: is already there, and is of no run"):
        train(config("srcnn", data, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_nothing_to_train_on(data: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for changes, message in (
        ({"data": (str(tmp_path / "empty"),)}, "no images here"),
        ({"data": ()}, "--data is missing"),
        ({"patch": 33}, "multiple of the scale"),
        ({"batch": 3, "accumulate": 2}, "multiple of 1 processes x 2 parts"),
        ({"device": "nonsense"}, "device nonsense"),
    ):
        made = config("srcnn", data, tmp_path / "run").model_copy(update=changes)
        with pytest.raises(UserError, match=message):
            train(made)


def test_checkpoints_say_what_they_are(data: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no such file, nor one of bicubic"):
        checkpoint.load("srcnn_x9")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="not weights of a model"):
        checkpoint.load(tmp_path / "junk.safetensors")
    train(config("srcnn", data, tmp_path / "run", steps=1))
    with pytest.raises(UserError, match="for scale 2, not for 3"):
        checkpoint.load(tmp_path / "run", scale=3)
    assert checkpoint.load("bicubic", 3).scale == 3


def test_a_state_cannot_run_code(tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "last.state.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError):
        checkpoint.load_state(tmp_path / "last.state.pt")
    torch.save({"x": Payload()}, tmp_path / "torch.pt")
    with pytest.raises(UserError):
        checkpoint.load_state(tmp_path / "torch.pt")
    assert not (tmp_path / "made").exists()


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_what_one_would(data: Path, tmp_path: Path):
    settings = {"optimizer": "sgd", "rate": 0.1}
    train(config("srcnn", data, tmp_path / "one", **settings))
    two = config("srcnn", data, tmp_path / "two", **settings)
    (tmp_path / "two.yaml").write_text(two.to_yaml())
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*command, "-m", "sr", "train", "srcnn", "--config", str(tmp_path / "two.yaml")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, both = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(both[name], one[name], rtol=1e-4, atol=1e-6)
