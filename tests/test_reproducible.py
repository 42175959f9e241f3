"""The same bytes on every machine of a kind, and the same draws on all: hashes that were recorded
once.

``DATASETS`` holds, by platform, the SHA-256 of the manifest that README's first command writes:
each row of it names the hashes of its two files and all that was drawn. It holds for the versions
of ``constraints.txt``. To renew it, or to add a platform, take the line that ``pytest -rs
tests/test_reproducible.py`` prints, or::

    degrade synth --recipe realesrgan --output made && sha256sum made/manifest.csv

A platform is a system, a processor's family and a backend: native code, which has the same bits on
all processors of a family, or the reference (its line was recorded with torch's code for AVX-512,
for AVX2 and for neither, which agreed). On a platform without a line the test skips and prints the
one to add; what nobody recorded can be neither right nor wrong.
"""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from degrade import Key, Recipe
from degrade.execution import choose_for
from degrade.loading.search_path import names
from degrade.storage.files import sha256
from degrade.synthesis.engines import in_process
from degrade.synthesis.job import prepare
from degrade.synthesis.run import synthesize
from degrade.synthesis.settings import SynthSettings

ROOT = Path(__file__).parent.parent

DATASETS = {
    "Linux x86_64 native": "631c8a241fc8db823a0bf36dfc34ec85089e8666199cd7b9b2ad267235cc694a",
    "Linux x86_64 reference": "5c14c8db0be531288950015c7fc94b45f0c82dc503ad638ae7cc2ecb4e75adf9",
}
DECIDING = ("numpy", "opencv-python-headless", "pillow", "scipy", "torch")
"""The packages whose arithmetic or codecs are in the bytes."""

PLANS = {
    "bd": "1e9fa46e714648dc",
    "bicubic": "1e9fa46e714648dc",
    "bsrgan": "ec35307463684fe5",
    "bsrgan_plus": "725629c50d360481",
    "clean": "1e9fa46e714648dc",
    "dasr_severe": "d9b6b850202e75c2",
    "dasr_standard": "35c21d4743dc77b2",
    "dasr_weak": "335588082f4b59b8",
    "dn": "1e9fa46e714648dc",
    "realesrgan": "617cfa6448009c82",
    "realesrgan_light": "613df53690800353",
    "realesrgan_x2": "617cfa6448009c82",
    "realesrnet": "617cfa6448009c82",
    "resshift": "2cb709a44e0aaa86",
    "srcnn": "1e9fa46e714648dc",
}
"""By recipe, the SHA-256 of what it draws for 64 samples, to nine digits: ``exp`` may differ in
the last.
"""


RECIPES = {
    "bd": "7c4e06a6a5879bfd",
    "bicubic": "bf95fdf30008e0b3",
    "bsrgan": "9bfe174203582904",
    "bsrgan_plus": "1a73258e6cc03baf",
    "clean": "0944cce849b3f7b3",
    "dasr_severe": "6b20140a8d968a64",
    "dasr_standard": "c89bd5c4a5a63465",
    "dasr_weak": "835f751464023129",
    "dn": "5ea0a2bd93df6a3b",
    "realesrgan": "358a1532cf255a45",
    "realesrgan_light": "bee3ce2495612d09",
    "realesrgan_x2": "852b505fa8e2f9c9",
    "realesrnet": "358a1532cf255a45",
    "resshift": "579b6284cf566ea3",
    "srcnn": "17b0efff4a24de97",
}
"""By recipe, the beginning of :attr:`degrade.Recipe.hash`, which manifests name."""


def here() -> str:
    """This platform, and the backend that works on it."""
    return f"{platform.system()} {platform.machine()} {choose_for('cpu')}"


def pins(file: str) -> dict[str, str]:
    """The versions of a constraints file by package."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))


def installed(package: str) -> str:
    """Its version, without the label of a build (torch's ``+cpu``)."""
    return metadata.version(package).split("+")[0]


def versions_that_differ() -> list[str]:
    pinned = pins("constraints.txt")
    return [
        f"{name} {installed(name)}, not {pinned[name]}"
        for name in DECIDING
        if installed(name) != pinned[name]
    ]


def test_the_dataset_of_the_first_command(tmp_path: Path) -> None:
    if differ := versions_that_differ():
        pytest.skip(f"recorded for the versions of constraints.txt; here {', '.join(differ)}")
    recipe = Recipe.load("realesrgan")
    synthesize(prepare(recipe, SynthSettings(), tmp_path), recipe, in_process)
    found = sha256(tmp_path / "manifest.csv")
    line = f'"{here()}": "{found}",'
    if here() not in DATASETS:
        pytest.skip(f"nobody recorded this platform yet; add to DATASETS: {line}")
    assert DATASETS[here()] == found, (
        f"other bytes than were recorded; if that is meant, put into DATASETS: {line}"
    )


def digest(name: str) -> str:
    plan = Recipe.load(name).plan(Key.of(0, np.arange(64)))
    cells = [[f"{value:.9g}" for value in row] for row in plan.values]
    return sha256(repr((plan.addresses, plan.key.words.tolist(), cells)).encode())[:16]


@pytest.mark.parametrize("name", names())
def test_what_is_drawn(name: str) -> None:
    """Equal on every platform, under any versions."""
    assert digest(name) == PLANS.get(name), (
        f'put into PLANS, if draws were meant to change: "{name}": "{digest(name)}",'
    )


@pytest.mark.parametrize("name", names())
def test_recipe_hash(name: str) -> None:
    found = Recipe.load(name).hash[:16]
    assert found == RECIPES.get(name), (
        f'put into RECIPES if the recipe changed: "{name}": "{found}",'
    )


# --- versions ------------------------------------------------------------------------------------

BOUND = re.compile(r"([\w.-]+)(?:\[.*\])?(?:[=>]=([\d.]+))?")


def bounds() -> dict[str, dict[str, str]]:
    """Extra (empty for degrade itself) -> package -> lower bound, of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = {"": project["dependencies"], **project["optional-dependencies"]}
    found = {extra: [BOUND.match(need) for need in each] for extra, each in needs.items()}
    return {
        extra: {match[1].lower(): match[2] for match in matches if match}
        for extra, matches in found.items()
    }


@pytest.mark.parametrize("extra", bounds())
def test_bounds_are_tested(extra: str) -> None:
    """All is pinned, and a lower bound is the version that ``make test-minimum`` installs; of
    tools, ``make test``.
    """
    lowest = pins("constraints.txt" if extra in ("docs", "dev") else "constraints-minimum.txt")
    newest = pins("constraints.txt")
    for name, bound in bounds()[extra].items():
        assert name in newest, f"{name} is not in constraints.txt"
        assert bound == lowest[name], (
            f"pyproject.toml asks for {name}>={bound}, tests run with {lowest[name]}"
        )
