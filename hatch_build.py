"""Builds degrade/native with the C compiler that there is; without one the package works all the same, more slowly.

``CC`` names the compiler. ``DEGRADE_BUILD_NATIVE=0`` leaves it out, ``=1`` makes its failure an error.
"""

from __future__ import annotations

import os
import platform
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
    # Products are fused with sums where the sources say so, or results would hang on the processor.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)


class Native(BuildHookInterface[Any]):
    """The hook that hatchling runs before it builds a wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("DEGRADE_BUILD_NATIVE", "")
        if wanted == "0" or self.target_name != "wheel":
            return
        folder = Path(self.root) / "degrade/native"
        told = runpy.run_path(str(folder / "targets.py"))  # the package itself needs NumPy, which is not here
        sources = [f'-DDIGEST="{told["digest"](folder)}"', *(str(folder / name) for name in told["SOURCES"])]
        for name, flags in told["targets"](platform.machine()).items():
            path = folder / f"{name}.so"
            path.unlink(missing_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, *flags, *sources, "-o", str(part)]
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                part.unlink(missing_ok=True)
                if wanted == "1":
                    raise
                sys.stderr.write(f"degrade: no native kernels for {name} ({error}); OpenCV and PyTorch do their work\n")
                continue
            part.replace(path)
            build_data["artifacts"].append(f"/{path.relative_to(self.root).as_posix()}")
            build_data["pure_python"], build_data["infer_tag"] = False, True
