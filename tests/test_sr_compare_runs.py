"""sr compare: what it trains, reuses, resumes and tests on, and what it costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_sr_compare import place, settings  # noqa: F401  (place is a fixture)
from typer.testing import CliRunner

from degrade.cli import app as degrade_app
from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from degrade.recipe import Recipe
from degrade.rng import Key
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings
from sr import checkpoint
from sr.cli import app
from sr.comparison import cells, workers
from sr.comparison.cells import Cell, read_cell
from sr.comparison.columns import Column, read_columns
from sr.comparison.compare import cells_of, plan_comparison, run_comparison
from sr.comparison.config import Comparison
from sr.comparison.cost import estimate
from sr.comparison.html_report import render, report_data
from sr.comparison.runs import LAST, run_name
from sr.comparison.seal import choose
from sr.comparison.tables import to_csv
from sr.evaluation import evaluate
from sr.examples import load_examples
from sr.figures import to_pixels
from sr.models import build

TINY = {"model.kernels": [3, 1, 3], "model.filters": [4, 4], "batch": 2, "patch": 24}
GAN = {
    "srgan": {
        **{"model.blocks": 1, "model.channels": 4, "batch": 2, "patch": 24, "steps": 2},
        **{"gan.perceptual": "none", "gan.discriminator": {"channels": 4, "dense": 8}},
    },
    "srresnet": {"batch": 2, "patch": 24},
}


def alone(place: Path, tmp_path: Path, **more: Any) -> Comparison:  # noqa: F811
    """One model on one recipe, in a folder of its own."""
    base = {"train": ("bicubic",), "test": ("bicubic",), "out": str(tmp_path), "steps": 3}
    return settings(place, **{**base, "settings": {"srcnn": TINY}, **more})


def told(comparison: Comparison) -> list[str]:
    """What a comparison trains and tests."""
    names: list[str] = []
    run_comparison(
        comparison, lambda name, status: None if status is not None else names.append(name)
    )
    return names


# --- reuse ---------------------------------------------------------------------------------------


def test_a_run_and_its_folder_are_reused_alike(place: Path, tmp_path: Path) -> None:  # noqa: F811
    first = run_comparison(alone(place, tmp_path / "first", models=("srcnn",)))
    file = first.rows[0].runs[0].file
    # A checkpoint that was best by some validation is not what a matrix uses.
    shutil.copy(file, file.parent / "best.safetensors")
    for source in (file, file.parent, file.parent.parent):
        again = alone(place, tmp_path / "again", models=("srcnn",), reuse=(str(source),))
        row = run_comparison(again).rows[0]
        assert row.runs[0].file == file, source
    with pytest.raises(UserError, match=r"--reuse .*: no last.safetensors here or one folder"):
        run_comparison(alone(place, tmp_path / "again", reuse=(str(tmp_path),)))


def test_unfinished_runs_are_not_taken_for_finished_ones(
    place: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    run = run_comparison(alone(place, tmp_path / "first", models=("srcnn",))).rows[0].runs[0]
    model = checkpoint.load(run.file)
    metadata = dict(run.metadata) | {"step": "2"}
    notes = {name: metadata[name] for name in ("recipe", "hash", "step", "training")}
    checkpoint.save(run.file, model, notes)
    # Its own comparison goes on with it, another one trains anew and says why.
    plan = plan_comparison(alone(place, tmp_path / "first", models=("srcnn",)))
    assert [run.finished for run in plan.rows[0].runs] == [False]
    other = alone(place, tmp_path / "other", models=("srcnn",), reuse=(str(run.file.parent),))
    names = told(other)
    assert names[0] == f"not reused: {run.file.parent} has done 2 of 3 steps"
    assert names[1] == "training srcnn / bicubic, seed 0"
    with pytest.raises(UserError, match=r"this run has done 2 of 3 steps; finish it with"):
        run_comparison(alone(place, tmp_path / "row", models=(str(run.file.parent),), settings={}))


def test_names_of_runs_know_subfolders(place: Path, tmp_path: Path) -> None:  # noqa: F811
    config = plan_comparison(alone(place, tmp_path)).rows[1].runs[0].config
    recipe = Recipe.load("bicubic", 2)
    names = set[str]()
    for layout in (("a/0.png", "b/1.png"), ("b/0.png", "a/1.png"), ("0.png", "1.png")):
        folder = tmp_path / str(len(names))
        for name, source in zip(layout, sorted((place / "train").iterdir()), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
        names.add(run_name(config.model_copy(update={"data": (str(folder),)}), recipe))
    assert len(names) == 3


def test_images_left_out_by_a_list_are_as_if_not_there(place: Path, tmp_path: Path) -> None:  # noqa: F811
    config = plan_comparison(alone(place, tmp_path)).rows[1].runs[0].config
    recipe = Recipe.load("bicubic", 2)
    whole, left, listed = tmp_path / "whole", tmp_path / "left", tmp_path / "list.txt"
    shutil.copytree(place / "train", whole)
    shutil.copytree(place / "train", left)
    gone = sorted(left.iterdir())[0]
    gone.unlink()
    listed.write_text(f"{gone.name}\n")
    names = [
        run_name(config.model_copy(update={"data": (str(folder),), "exclude": lists}), recipe)
        for folder, lists in [(left, ()), (whole, (str(listed),)), (whole, ())]
    ]
    assert names[0] == names[1] != names[2]


# --- adversarial runs ----------------------------------------------------------------------------


def test_a_gan_begins_from_its_own_regimes_generator(
    place: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    noisy = str(place / "noisy.yaml")
    comparison = alone(
        place,
        tmp_path,
        models=("srgan",),
        train=("bicubic", noisy),
        steps=2,
        settings=GAN,
    )
    plan = plan_comparison(comparison)
    for row in plan.rows:
        [run] = row.runs
        assert run.needs is not None
        assert run.needs.config.recipe == run.config.recipe
        assert run.needs.config.model == run.config.model
    # A network that is set up for either is that of both.
    size = {"model.blocks": 1, "model.channels": 6}
    plain = {name: value for name, value in GAN["srgan"].items() if name not in size}
    for of in GAN:
        given = {"srgan": plain, "srresnet": GAN["srresnet"]}
        given[of] = {**given[of], **size}
        sized = plan_comparison(comparison.model_copy(update={"settings": given}))
        [run] = sized.rows[0].runs
        assert run.needs is not None
        assert run.config.model == run.needs.config.model == {"blocks": 1, "channels": 6}
    # The generator's settings are part of what the run depends on.
    other = {**GAN, "srresnet": {**GAN["srresnet"], "rate": 0.01}}
    changed = plan_comparison(comparison.model_copy(update={"settings": other}))
    assert changed.rows[0].runs[0].config.out != plan.rows[0].runs[0].config.out

    names = told(comparison)
    assert [name for name in names if name.startswith("training")] == [
        *(f"training srresnet / {recipe}, seed 0" for recipe in ("bicubic", "noisy")),
        *(f"training srgan / {recipe}, seed 0" for recipe in ("bicubic", "noisy")),
    ]
    assert told(comparison) == []
    given = {"srgan": {**GAN["srgan"], "gan.pretrain": 1}}
    own = plan_comparison(comparison.model_copy(update={"settings": given}))
    assert own.rows[0].runs[0].needs is None


# --- cells ---------------------------------------------------------------------------------------


def test_a_stopped_comparison_tests_only_what_is_left(
    place: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    comparison = alone(place, tmp_path, test=("bicubic", str(place / "noisy.yaml")))

    def stop(name: str, _status: object) -> None:
        if name == "testing bicubic on noisy":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_comparison(comparison, stop)
    assert told(comparison) == ["testing bicubic on noisy", "testing srcnn / bicubic on noisy"]
    assert told(comparison) == []


def test_damaged_cells_are_made_again(place: Path, tmp_path: Path) -> None:  # noqa: F811
    comparison = alone(place, tmp_path, models=("bicubic",), settings={})
    before = run_comparison(comparison)
    plan = plan_comparison(comparison)
    [cell] = cells_of(plan, plan.rows[0], plan.columns[0])
    whole = cell.file.read_bytes()
    for damage in (b"", whole[:100], b"\0" * len(whole)):
        cell.file.write_bytes(damage)
        assert read_cell(cell) is None
        assert told(comparison) == ["testing bicubic on bicubic"]
    after = run_comparison(comparison)
    assert np.array_equal(after.scores["psnr_y"][0][0], before.scores["psnr_y"][0][0])


def test_severity_and_draws(place: Path, tmp_path: Path) -> None:  # noqa: F811
    noisy = str(place / "noisy.yaml")
    comparison = alone(
        place,
        tmp_path,
        models=("bicubic",),
        settings={},
        test=("bicubic", noisy, f"{noisy}@0.5"),
        severity=(0.0, 0.9),
        draws=2,
    )
    names = [column.name for column in read_columns(comparison, comparison.test)]
    assert names == ["bicubic", "noisy", "noisy@0", "noisy@0.9", "noisy@0.5"]
    found = run_comparison(comparison)
    shapes = [scores.shape for scores in found.scores["psnr_y"][0]]
    assert shapes == [(1, 1, 3), (1, 2, 3), (1, 1, 3), (1, 1, 3), (1, 1, 3)]
    mild, severe = (found.by_image("psnr_y", 0, column).mean() for column in (2, 3))
    assert mild > severe + 3
    plans = found.tests[1].plans
    recipe = Recipe.load(noisy, 2)
    for seed, plan in enumerate(plans):
        assert np.array_equal(plan.values, recipe.plan(Key.of(seed, np.arange(3))).values)
    level = found.tests[3]
    assert (level.base, level.level, level.hash) == ("noisy", 0.9, recipe.hash)


def test_representatives(
    place: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sr.comparison.compare.choose", partial(choose, candidates=20))
    comparison = alone(
        place, tmp_path, test=("bicubic", str(place / "noisy.yaml")), representatives=3
    )
    with pytest.raises(UserError, match="are judged by psnr_y; add it to --metrics"):
        plan_comparison(comparison.model_copy(update={"metrics": ("ssim_y",)}))
    found = run_comparison(comparison).representatives
    assert found is not None
    assert [scores.shape for scores in found.scores] == [(3, 3), (3, 3)]
    assert set(found.recipes) == {"noisy"}
    assert "stand-ins: acceptance is bicubic" in found.about
    np.testing.assert_allclose(found.lines[0], found.scores[0].mean(1))
    lines = tmp_path / "lines.csv"
    lines.write_text("acceptance,excellence\n" + "20,30\n" * 3)
    given = run_comparison(comparison.model_copy(update={"lines": str(lines)})).representatives
    assert given is not None
    assert given.lines[1].tolist() == [30, 30, 30]


# --- any model, any test set ---------------------------------------------------------------------


def test_a_foreign_model_is_a_row(place: Path, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    network = build("rrdb", scale=2, channels=8, growth=4, blocks=1)
    torch.save({"params_ema": network.state_dict()}, tmp_path / "theirs.pth")
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def enlarge(lr):\n"
        "    return torch.nn.functional.interpolate(lr, scale_factor=2, mode='nearest')\n"
    )
    models = ("bicubic", str(tmp_path / "theirs.pth"), "python:mine:enlarge")
    sys.path.insert(0, str(tmp_path))
    try:
        comparison = alone(place, tmp_path / "out", models=models, settings={})
        found = run_comparison(comparison)
        assert told(comparison) == []
    finally:
        sys.path.remove(str(tmp_path))
    assert [row.label for row in found.rows] == ["bicubic", "theirs", "enlarge"]
    assert found.trained == []  # though the settings name a recipe to train on
    assert found.rows[1].train == "none"
    means = [found.by_image("psnr_y", row, 0).mean() for row in range(3)]
    assert len(set(means)) == 3
    assert "theirs" in render(found)


def test_pairs_and_unpaired_images_are_columns(place: Path, tmp_path: Path) -> None:  # noqa: F811
    recipe = Recipe.load("bicubic", 2)
    for folder in ("hr", "lr"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for i, path in enumerate(sorted((place / "test").iterdir())):
        pair = recipe(path, seed=0, index=i)
        for side in ("hr", "lr"):
            pixels = to_pixels(getattr(pair, side))
            (tmp_path / "set" / side / f"{i}.png").write_bytes(encode_png(pixels))
    comparison = alone(
        place,
        tmp_path / "out",
        models=("bicubic",),
        settings={},
        test=("bicubic", f"pairs:{tmp_path / 'set'}", f"lr:{tmp_path / 'set' / 'lr'}"),
        metrics=("psnr_y", "blind_metric:brightness"),
        modules=("blind_metric",),
    )
    (tmp_path / "blind_metric.py").write_text(
        "from sr.metrics import Metric\n"
        "def brightness() -> Metric:\n"
        "    return Metric(lambda sr, hr, shave: float(sr.mean()), 'mean', blind=True, lower=True)"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        found = run_comparison(comparison)
    finally:
        sys.path.remove(str(tmp_path))
    psnr, blind = (
        [found.scores[name][0][column].ravel() for column in range(3)] for name in found.metrics
    )
    np.testing.assert_allclose(psnr[0], psnr[1], atol=1e-6)
    assert np.isnan(psnr[2]).all()
    np.testing.assert_allclose(blind[1], blind[2], atol=1e-6)
    assert list(found.lower) == ["blind_metric:brightness"]
    page = report_data(found)
    assert page["cells"]["psnr_y"][0][2]["value"]["mean"] is None
    assert [cell["rank"] for cell in page["cells"]["psnr_y"][0]][2] is None
    assert [test["truth"] for test in page["tests"]] == [True, True, False]
    assert "\nbicubic,none,lr:" in to_csv(found)
    assert [": HR and LR are aligned" in note for note in found.notes] == [True]
    assert page["protocol"]["notes"] == found.notes


def test_sr_is_compared_with_hr_as_it_was(place: Path, tmp_path: Path) -> None:  # noqa: F811
    base = {"models": ("bicubic",), "settings": {}, "test": ("realesrgan",)}
    found = {}
    for target, words in (("raw", "the HR image as it was"), ("recipe", "the recipe's target")):
        named = {} if target == "raw" else {"target": target}
        matrix = run_comparison(alone(place, tmp_path, **base, **named))
        assert matrix.tests[0].protocol["target"].startswith(words)
        assert words in report_data(matrix)["protocol"]["line"]
        examples = load_examples(place / "test", Recipe.load("realesrgan", 2), target=target)
        wanted = evaluate(build("bicubic", scale=2), "bicubic", examples).mean["psnr_y"]
        found[target] = float(matrix.scores["psnr_y"][0][0].mean())
        assert found[target] == pytest.approx(wanted)
    assert found["raw"] != pytest.approx(found["recipe"], abs=0.1)


@pytest.mark.parametrize("kind", ["files", "lmdb", "webdataset", "two folders"])
def test_pairs_of_every_kind_are_columns(kind: str, place: Path, tmp_path: Path) -> None:  # noqa: F811
    made = tmp_path / "made"
    command = ["synth", "--recipe", "bicubic", "--scale", "2", "--patch", "48", "--output"]
    command += [str(made), "--input", str(place / "test")]
    command += ["--format", kind] if kind in ("lmdb", "webdataset") else []
    result = CliRunner().invoke(degrade_app, command)
    assert result.exit_code == 0, result.output
    source = f"lr={made / 'lr'},hr={made / 'hr'}" if kind == "two folders" else str(made)
    flags = ["--test", f"bicubic,pairs:{source}", "--val", str(place / "test"), "--scale", "2"]
    flags += ["--models", "bicubic", "--output", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, ["compare", *flags, "--metrics", "ssim_y, psnr_rgb"])
    assert result.exit_code == 0, result.output
    # Metrics that were asked for, with their digits, PSNR on Y not among them.
    assert re.search(r"ssim y ↑.*\n.*\n.*\n.*\n +bicubic +0\.\d{4} ", result.output)
    assert re.search(r"psnr rgb ↑.*\n.*\n.*\n.*\n +bicubic +\d\d\.\d\d ", result.output)
    table = (tmp_path / "out" / "matrix.csv").read_text()
    assert table.count("\nbicubic,none,") == 4
    assert ",," not in table
    assert '"PSNR on RGB"' in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("kind", ["folder", "lmdb", "webdataset", "sides"])
def test_every_dataset_of_pairs_is_a_column(
    kind: str,
    place: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """What sr eval reads; it is measured once, and anew when a file has changed."""
    pairs, format = tmp_path / "pairs", "folder" if kind == "sides" else kind
    recipe = Recipe.load("bicubic", 2)
    job = prepare(recipe, SynthSettings(str(place / "test")), pairs, format)
    synthesize(job, recipe, in_process)
    source = f"lr={pairs / 'lr'},hr={pairs / 'hr'}" if kind == "sides" else str(pairs)
    comparison = alone(
        place,
        tmp_path / "out",
        models=("bicubic",),
        settings={},
        test=(f"pairs:{source}",),
        metrics=("psnr_y",),
    )
    assert [name.split(":")[0] for name in told(comparison)] == ["testing bicubic on pairs"]
    assert told(comparison) == []
    plan = plan_comparison(comparison)
    [cell] = cells_of(plan, plan.rows[0], plan.columns[0])
    before = cell.file
    if format == "folder":
        image = sorted((pairs / "lr").iterdir())[0]
        os.utime(image, (0, 0))
        cells._images.cache_clear()
        assert cell.file != before


def test_shifted_pairs_are_said(place: Path, tmp_path: Path) -> None:  # noqa: F811
    for i, path in enumerate(sorted((place / "test").iterdir())):
        pixels = read_image(path).pixels
        for side, start in (("hr", 0), ("lr", 8)):
            (tmp_path / "set" / side).mkdir(parents=True, exist_ok=True)
            cut = np.ascontiguousarray(pixels[start:, :][:32, :32][:: 1 + (side == "lr")])
            cut = np.ascontiguousarray(cut[:, :: 1 + (side == "lr")])
            (tmp_path / "set" / side / f"{i}.png").write_bytes(encode_png(cut))
    pairs = f"pairs:{tmp_path / 'set'}"
    command = ["compare", "--models", "bicubic", "--test", pairs, "--scale", "2"]
    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "HR and LR are not aligned" in " ".join(result.output.split())


@pytest.mark.parametrize("device", ["tpu", "cpu,tpu", "cpu,", "meta"])
def test_every_device_is_there(device: str, place: Path, tmp_path: Path) -> None:  # noqa: F811
    command = ["compare", "--models", "srcnn_x4", "--test", "bicubic", "--device", device]
    command += ["--val", str(place / "test"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith(f"--device {device.removeprefix('cpu,')}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["matrix.csv", "matrix.json", "report.html"])
def test_files_of_others_are_kept(name: str, place: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / name).write_text("mine")
    command = ["compare", "--models", "bicubic", "--test", "bicubic", "--scale", "2"]
    command += ["--val", str(place / "test"), "--output", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert f"{name}: is already there" in str(result.exception)
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_set_without_ground_truth_needs_a_metric_without(place: Path, tmp_path: Path) -> None:  # noqa: F811
    lr = f"lr:{place / 'test'}"
    with pytest.raises(UserError, match=r"lr:.* has no HR images.*--metrics"):
        plan_comparison(alone(place, tmp_path, test=(lr,), metrics=("psnr_y",)))


# --- processes and cost --------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_give_what_one_gives(place: Path, tmp_path: Path) -> None:  # noqa: F811
    one = run_comparison(alone(place, tmp_path / "one", seeds=2))
    names: list[str] = []
    two = run_comparison(
        alone(place, tmp_path / "two", seeds=2, jobs=2), lambda name, _status: names.append(name)
    )
    assert sorted(name.split("  ")[1] for name in names if name.startswith("training")) == [
        "(1 of 2)",
        "(2 of 2)",
    ]
    for row in (0, 1):
        # Threads of a convolution may sum in another order.
        np.testing.assert_allclose(
            two.scores["psnr_y"][row][0], one.scores["psnr_y"][row][0], atol=0.01
        )


def test_a_function_is_the_same_in_processes_that_have_not_loaded_it(
    place: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or one process looks for its results in files that no other has written."""
    (tmp_path / "doubling.py").write_text("def up(image):\n    return image\n")
    monkeypatch.syspath_prepend(tmp_path)
    column, comparison = Column("bicubic", str(place / "test")), Comparison(metrics=("psnr_y",))
    cell = Cell("", "python:doubling:up", column, comparison)
    files: list[Path] = []
    for _ in range(2):
        cells._content.cache_clear()
        files.append(cell.file)
        assert sys.modules["doubling"]
    monkeypatch.delitem(sys.modules, "doubling")
    assert files[0] == files[1]


def fail(argument: str, device: str, _callback: object) -> None:
    """A task of a worker process."""
    if argument == "stopped":
        raise KeyboardInterrupt
    raise UserError(f"{argument} on {device}")


def test_errors_of_a_process_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some errors cannot be pickled, and an interrupted worker prints no traceback."""
    before = signal.getsignal(signal.SIGINT)
    try:
        assert workers.work(workers.Task("one", fail, "bad")) == "bad on cpu"
        words = workers.work(workers.Task("one", fail, "stopped"))
        assert words == "one: stopped; run the same command again to go on"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_begins_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def note(task: workers.Task) -> str | None:
        begun.append(task.name)
        return None

    monkeypatch.setattr(workers, "work", note)
    tasks = [workers.Task(str(i), fail, "") for i in range(20)]
    with ThreadPoolExecutor(2) as pool:
        for task, _ in workers.work_all(pool, tasks, 2):
            if task.name == "2":  # where an interrupt ends the loop
                break
    assert len(begun) <= 5


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failed_task_stops_no_other(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is wrong is said when it happens, and at the end."""
    begun: list[str] = []

    def note(argument: str, _device: str, _callback: object) -> None:
        begun.append(argument)
        if argument in "25":
            raise UserError(f"{argument} is odd\nand ugly")

    def work(task: workers.Task) -> str | None:
        try:
            task.function(task.argument, "cpu", None)
        except UserError as error:
            return str(error)
        return None

    tasks = [workers.Task(f"task {i}", note, str(i)) for i in range(8)]
    told: list[str] = []
    monkeypatch.setattr(workers, "work", work)
    monkeypatch.setattr(workers.Workers, "_start", lambda _: ThreadPoolExecutor(2))
    with pytest.raises(UserError) as raised, workers.Workers(processes, ["cpu"]) as pool:
        pool.run(tasks, lambda name, _status: told.append(name))
    assert sorted(begun) == list("01234567")
    lines = str(raised.value).splitlines()
    ugly = ["and ugly", "and ugly"]
    assert sorted(lines[:4]) == [*ugly, "task 2: 2 is odd", "task 5: 5 is odd"]
    assert lines[4].startswith("2 of 8 trainings or evaluations failed; the others are kept")
    assert "failed task 2: 2 is odd\nand ugly" in told


def test_ranks_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    def environment(**values: str) -> None:
        for name in (*workers.TORCHRUN, "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    environment()
    assert workers.torchrun_processes() is None
    launch = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environment(**launch, RANK="1", GROUP_WORLD_SIZE="1")
    assert workers.torchrun_processes() == 0
    environment(**launch, RANK="0", GROUP_WORLD_SIZE="1")
    assert workers.torchrun_processes() == 2
    # The runs that rank 0 begins must not wait for others.
    assert not set(workers.TORCHRUN) & set(os.environ)
    environment(**launch, RANK="0", GROUP_WORLD_SIZE="2")
    with pytest.raises(UserError, match="torchrun started 2 nodes; sr compare uses one"):
        workers.torchrun_processes()


def test_cost(place: Path, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "comparison.yaml"
    comparison = alone(
        place, tmp_path / "out", seeds=2, train=("bicubic", str(place / "noisy.yaml"))
    )
    file.write_text(json.dumps(comparison.model_dump(mode="json")))
    tried: list[str] = []
    cost = estimate(plan_comparison(comparison), tried.append)
    assert tried == ["trying some steps of srcnn / bicubic, seed 0"]
    assert (cost.finished, cost.begun, cost.new, cost.steps) == (0, 0, 4, 12)
    assert (cost.cells, cost.measured, cost.images) == (5, 0, 15)
    assert min(cost.training, cost.testing) > 0
    assert not (tmp_path / "out").exists()
    printed = CliRunner().invoke(app, ["compare", "--config", str(file), "--dry-run"])
    assert printed.exit_code == 0, printed.output
    assert "4 trainings: 0 finished, 0 begun, 4 to begin; 12 steps to do" in printed.output
    assert "5 evaluations: 0 finished, 5 to do; 15 images to enlarge" in printed.output
    run_comparison(comparison)
    after = estimate(plan_comparison(comparison), tried.append)
    assert (after.finished, after.new, after.measured, after.training) == (4, 0, 5, 0)


@pytest.mark.parametrize(
    ("seconds", "pace"), [([40, 1, 1, 1], 1), ([40, 35, 35], 35), ([2, 3, 1, 9], 1), ([5], 5)]
)
def test_the_first_step_is_not_timed(
    seconds: list[int],
    pace: int,
    place: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits for loaders and libraries, however long; of a single step there is no other."""
    clock = [0.0]

    def train(_config: object, callback: Any) -> None:
        for i, step in enumerate(seconds, start=1):
            clock[0] += step
            callback(SimpleNamespace(done=i, steps=len(seconds)))

    monkeypatch.setattr("sr.comparison.cost.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("sr.comparison.cost.train", train)
    comparison = alone(place, tmp_path, models=("srcnn",), steps=100)
    found = estimate(plan_comparison(comparison), lambda _words: None)
    assert found.training == pytest.approx(100 * pace)


@pytest.mark.parametrize("model", ["sparse", "srresnet", "rrdb", "srgan"])
def test_every_method_has_a_cost(model: str, place: Path, tmp_path: Path) -> None:  # noqa: F811
    small = {
        "sparse": {"model.atoms": 8, "model.components": 4, "model.nonzeros": 2},
        "rrdb": {"model.channels": 4, "model.blocks": 1, "model.growth": 2, "batch": 2},
        **GAN,
    }
    needed = {name: small[name] for name in (model, "srresnet")[: 1 + (model == "srgan")]}
    comparison = alone(place, tmp_path, models=(model,), settings=needed)
    cost = estimate(plan_comparison(comparison), lambda line: None)
    assert min(cost.training, cost.testing) > 0


def test_last_is_what_a_matrix_uses(place: Path, tmp_path: Path) -> None:  # noqa: F811
    matrix = run_comparison(alone(place, tmp_path))
    assert matrix.rows[1].runs[0].file.name == LAST


@pytest.mark.slow
def test_a_killed_comparison_goes_on(place: Path, tmp_path: Path) -> None:  # noqa: F811
    """Killed when it trains and when it tests, it ends with the results of one that was not."""
    given = alone(place, tmp_path / "out", test=("bicubic", str(place / "noisy.yaml")), seeds=2)
    file = tmp_path / "comparison.yaml"
    file.write_text(json.dumps(given.model_dump(mode="json")))
    command = [sys.executable, "-m", "sr", "compare", "--config", str(file), "--jobs", "2"]
    for word in ("training", "testing"):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            assert next(line for line in process.stderr if line.startswith(word))
            os.killpg(process.pid, signal.SIGKILL)
    assert told(given)[0].startswith("testing")
    whole = run_comparison(given.model_copy(update={"out": str(tmp_path / "whole")}))
    again = run_comparison(given)
    for row in (0, 1):
        for column in (0, 1):
            # Threads of a convolution may sum in another order.
            np.testing.assert_allclose(
                again.scores["psnr_y"][row][column], whole.scores["psnr_y"][row][column], atol=0.01
            )
