"""Public names of sr: lazy, complete, and functions rather than the modules that hold them."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import sr


def test_public_names() -> None:
    assert {"build", "Model", "Config", "configure", "train", "evaluate", "load"} <= {*sr.__all__}
    assert sr.__all__ == sorted(sr.__all__)
    for _ in range(2):  # importing a submodule must not replace a function
        for name in sr.__all__:
            assert not isinstance(getattr(sr, name), ModuleType), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sr.nothing


def test_import_is_light() -> None:
    code = (
        "import sr, sys; print({'torch', 'numpy', 'pydantic', 'degrade.recipe'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
