"""Native code: the same bits whatever it was compiled for, and nothing lost without it. That it
agrees with the references, and with the oracles, is tested with those: tests of native_run,
convolve, jpeg, noise, sharpen, and the laws.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from degrade.errors import UserError
from degrade.kernels import native
from degrade.kernels.native.targets import HEADERS, SOURCES, targets

HERE = Path(native.__file__).parent
BUILT = [name for name in targets(platform.machine()) if (HERE / f"{name}.so").exists()]

DIGEST = """
import hashlib, numpy as np, torch
from degrade import Key, Recipe
from degrade.kernels import native
from degrade.images.files import read_image
from degrade.images.pixels import to_tensor
from degrade.images.samples import sample_images
photo = to_tensor(read_image(sample_images()[0]))
hr = torch.stack([photo[:, y:y + 104, y:y + 132] for y in range(0, 120, 10)])
total = hashlib.sha256()
for name in ("realesrgan", "bsrgan_plus", "resshift"):
    recipe = Recipe.load(name)
    for images in (hr, hr[:, :1], hr[:, :, :12, :20]):
        pair = recipe.apply(images, recipe.plan(Key.of(1, np.arange(len(hr)))))
        total.update(pair.lr.numpy().tobytes() + pair.hr.numpy().tobytes())
print(native.available() or "none", total.hexdigest())
"""


def run(setting: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEGRADE_NATIVE": setting}
    return subprocess.run(
        [sys.executable, "-c", DIGEST],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(len(BUILT) < 2, reason="one instruction set")
def test_same_bits_on_every_instruction_set() -> None:
    """Whole pairs, sides that are no multiple of a vector, and images smaller than a block of
    registers.
    """
    digests = {}
    for name in BUILT:
        done = run(name)
        if "what runs here" in done.stderr:
            continue  # built, but not for this processor
        used, digests[name] = done.stdout.split()
        assert used == name, done.stderr
    if len(digests) < 2:
        pytest.skip(f"this processor runs {', '.join(digests)} alone")
    assert len(set(digests.values())) == 1, digests


def test_without_it_the_others_do_its_work() -> None:
    done = run("0")
    assert done.stdout.split()[0] == "none", done.stderr


def test_an_unknown_instruction_set_is_refused() -> None:
    done = run("avx9")
    assert done.returncode != 0
    assert "DEGRADE_NATIVE=avx9: should be 0, 1 or what runs here: " in done.stderr


def test_sources_are_listed() -> None:
    assert {path.name for path in HERE.glob("*.c")} == set(SOURCES)
    assert {path.name for path in HERE.glob("*.h")} == set(HEADERS)


@pytest.mark.skipif(not native.available(), reason="no native code here")
def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "digest", lambda folder: "another")
    with pytest.raises(
        UserError,
        match="was built from other sources; install degrade again, or set DEGRADE_NATIVE=0",
    ):
        native._load.__wrapped__()


@pytest.mark.skipif(not native.available(), reason="no native code here")
def test_a_library_that_cannot_be_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BUILT:
        (tmp_path / f"{name}.so").touch()
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UserError, match="install degrade again, or set DEGRADE_NATIVE=0"):
        native._load.__wrapped__()
