"""Validation: a record that a program cannot hold is refused on the host, before C reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import native_programs as p
import numpy as np
import pytest
from test_native_run import KERNELS, TABLES

from degrade import Draw, Key, Operator, Recipe
from degrade.base import REGISTRY
from degrade.kernels import native
from degrade.kernels.base import Call, Data, Samples
from degrade.kernels.convolve import CORRELATE
from degrade.kernels.validation import validate


def checked(records: Any, arrays: Any, channels: int) -> None:
    data = Data()
    data.add(arrays)
    for record in records:
        call = Call(KERNELS[int(record[0])], record[1:2].astype(np.intp), record[None])
        validate(call, data, channels)


def test_what_is_right_passes() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        program = p.random_program(rng, 8)
        checked(*program.lower(), program.channels)


@pytest.mark.parametrize("code", p.CODES)
@pytest.mark.skipif(not native.available(), reason="native code was not built")
def test_what_is_damaged_is_refused_or_harmless(code: int) -> None:
    """One word of a record is set to something else. What passes, C can run."""
    refused = 0
    for seed in range(120):
        rng = np.random.default_rng((code, seed))
        size = p.random_size(rng)
        channels = int(rng.choice([1, 3]))
        step = p.random_step(rng, code, size, channels)
        program = p.Program(channels, size, [step])
        records, arrays = program.lower()
        word = int(rng.choice([k for k in range(2, 14) if k not in (2, 3)]))
        records[0, word] = rng.choice([-1, 0, 2, 7, 2**20, -(2**31), 2**31 - 1, 0x7FC00000])
        if records[0, 4:6].max() > 4096:
            records[0, 4:6] = np.minimum(records[0, 4:6], 4096)
        try:
            checked(records, arrays, channels)
        except ValueError:
            refused += 1
            continue
        out = np.empty((*records[0, 4:6].tolist(), channels), np.float32)
        image = p.random_image(rng, size, channels)
        job = p.job_of(program, image, out, (records, arrays), TABLES)
        work = np.empty(native.run(job, 0, np.empty(0, np.uint8)), np.uint8)
        assert native.run(job, 0, work) == 0
    assert refused or code in (p.NORMAL, p.SALT_PEPPER, p.CLIP)


@pytest.fixture
def registry() -> Iterator[None]:
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.usefixtures("registry")
def test_a_plug_in_is_told_what_is_wrong() -> None:
    class Far(Operator):
        name = "far"

        def lower(self, draw: Draw, samples: Samples) -> list[Call]:
            return [CORRELATE.call(samples, taps=10**6, rows=3, columns=3)]

    recipe = Recipe.load({"name": "x", "scale": 1, "a": ["far"]})
    with pytest.raises(ValueError, match=r"a\.far: correlate, sample 0: its arrays should lie"):
        recipe.lower(recipe.plan(Key.of(0, 0)), 8, 8)
