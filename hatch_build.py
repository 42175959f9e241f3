"""Builds degrade/kernels/native with the C compiler that there is; without one the package works
all the same, more slowly.

``CC`` names the compiler. ``DEGRADE_BUILD_NATIVE=0`` leaves it out, ``=1`` makes its failure an
error.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
    # Products are fused with sums where the sources say so, or results would hang on the
    # processor.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)


class Native(BuildHookInterface[Any]):
    """The hook that hatchling runs before it builds a wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / "degrade/kernels/native"
        told = runpy.run_path(
            str(folder / "targets.py")
        )  # the package itself needs NumPy, which is not here
        digest, sources = told["digest"](folder), [str(folder / file) for file in told["SOURCES"]]
        wanted = os.environ.get("DEGRADE_BUILD_NATIVE", "")
        if sys.platform == "win32":  # where a C long has 32 bits, which the sources do not expect
            wanted = "0"
        for name, flags in told["targets"](platform.machine()).items():
            path = folder / f"{name}.so"
            try:
                if wanted == "0":
                    if version == "editable":  # which would go on using what lies in the tree
                        path.unlink(missing_ok=True)
                    continue
                compile_to(path, [*flags, f'-DDIGEST="{digest}"', *sources])
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                if wanted == "1":
                    raise
                with suppress(OSError):  # there is none, or nothing can be changed there
                    if digest.encode() not in path.read_bytes():
                        path.unlink()  # one of other sources, which would be refused
                sys.stderr.write(
                    f"degrade: no native kernels for {name} ({error}); OpenCV and "
                    "PyTorch do their work\n"
                )
                continue
            build_data["artifacts"].append(f"/{path.relative_to(self.root).as_posix()}")
            build_data["pure_python"], build_data["tag"] = False, f"py3-none-{system()}"


def system() -> str:
    """The platform of a wheel. Not the Python's: ctypes loads the code into any."""
    if sys.platform == "darwin":  # where an interpreter may be of two processors, and this is not
        return f"macosx_11_0_{platform.machine()}"
    return re.sub(r"[.-]", "_", sysconfig.get_platform())


def compile_to(path: Path, arguments: list[str]) -> None:
    """Puts a library there in one step, so that what uses the one before never finds none.

    Raises OSError, ValueError (``CC`` is no command) or CalledProcessError.
    """
    part = path.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run(
            [
                *shlex.split(os.environ.get("CC") or "cc"),
                *FLAGS,
                *arguments,
                "-lm",
                "-o",
                str(part),
            ],
            check=True,
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
