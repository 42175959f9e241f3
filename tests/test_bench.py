"""Bench: speeds against operators of known cost, and what the command prints."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Annotated

import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from degrade.base import REGISTRY, Draw, Operator
from degrade.canvas import Canvas
from degrade.cli import app
from degrade.console import Console
from degrade.distributions import Const, Dist
from degrade.fields import Range
from degrade.inspection.bench import BenchResult, BenchSettings, benchmark
from degrade.inspection.bench_table import print_benchmark
from degrade.inspection.throughput import StepTime, throughput
from degrade.recipe import Recipe


@pytest.fixture
def sleepy():
    """A recipe of two steps that take 4 and, in half of the pairs, 12 ms."""

    class Sleep(Operator):
        """Takes its time."""

        name = "sleep_for_bench"
        ms: Annotated[Dist, Range(0, 100, unit="ms")] = Const(1)

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            time.sleep(float(draw.host("ms").sum()) / 1000)
            return canvas

    steps = [
        {"as": "short", "sleep_for_bench": {"ms": 4}},
        {"as": "long", "p": 0.5, "sleep_for_bench": {"ms": 12}},
        {"resize": {"of": "target"}},
    ]
    yield Recipe.load({"name": "sleepy", "scale": 2, "lr": steps})
    del REGISTRY["sleep_for_bench"]


def test_bench_finds_the_time_that_steps_take(sleepy: Recipe, tmp_path: Path):
    Image.fromarray(data.astronaut()[:40, :40]).save(tmp_path / "small.png")  # decoded in no time
    settings = BenchSettings(input=str(tmp_path), batch=2, size=32, seconds=0.4, workers=(1,))
    found = benchmark(sleepy, settings)
    steps = {step.address: step for step in found.steps}
    # Sleeping never takes less than asked for, and on a busy machine more.
    assert 4 <= steps["lr.short"].milliseconds < steps["lr.long"].milliseconds
    assert steps["lr.long"].milliseconds >= 12
    assert steps["lr.short"].ran == 1
    assert 0.2 < steps["lr.long"].ran < 0.8
    assert sum(step.share for step in found.steps) == pytest.approx(1)
    assert found.degrade < 1000 / 7
    assert found.end_to_end[1] < 1000 / 7
    assert found.limit == "degradation"
    assert "lr." in found.advice
    assert found.workers == 1
    assert found.memory > 50
    assert found.worker_memory > 10
    assert found.device_memory is None


def test_speed_counts_what_was_done():
    calls: list[int] = []

    def work(i: int) -> int:
        calls.append(i)
        time.sleep(0.01)
        return 5

    speed = throughput(work, 0.1)
    assert calls == list(range(len(calls)))
    assert 5 / 0.05 < speed <= 5 / 0.01


def of(
    load: float, degrade: float, end_to_end: dict[int, float], workers: int, limit: str
) -> BenchResult:
    steps = (StepTime("lr.[b]blur[/b]", 2.0, 1.0, 0.75), StepTime("lr.jpeg", 1.0, 0.5, 0.25))
    return BenchResult(
        "x", 4, "cpu", 16, 256, 4, load, degrade, end_to_end, workers, limit, steps, 300, 200, None
    )


def test_advice():
    assert (
        "Use 2 workers: 80 pairs/s. Degradation"
        in of(100, 50, {1: 40, 2: 80, 4: 82}, 2, "degradation").advice
    )
    assert "Decoding is the limit" in of(10, 50, {1: 8}, 1, "loader").advice


def test_tables_show_names_as_they_are():
    console = Console(width=100, file=io.StringIO())
    print_benchmark(console, of(100, 50, {1: 40, 2: 80}, 2, "degradation"))
    text = console.file.getvalue()
    assert "lr.[b]blur[/b]" in text
    assert "end to end, 2 workers *" in text
    assert "Peak memory: this process 300 MiB" in text


def test_command_prints_json():
    arguments = ["bench", "bicubic", "--seconds", "0.05", "--batch", "2", "--size", "64", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["recipe"] == "bicubic"
    assert found["size"] == 64
    assert all(speed > 0 for speed in found["end_to_end"].values())
    assert {step["address"] for step in found["steps"]} == {"resample.resize", "resample.quantize"}
