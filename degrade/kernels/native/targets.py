"""Targets: what the sources are built from and for. ``hatch_build.py`` reads this too: no
imports of ours.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

HEADERS = ("arena.h", "kernels.h", "simd.h", "words.h")
SOURCES = (
    "convolve.c",
    "jpeg.c",
    "lower.c",
    "noise.c",
    "pixels.c",
    "plan.c",
    "psf.c",
    "resample.c",
    "run.c",
    "schedule.c",
)

_AVX2 = ("-mavx2", "-mfma")
_X86: dict[str, tuple[str, ...]] = {
    "avx512": (
        *(
            "-mavx512f",
            "-mavx512bw",
            "-mavx512cd",
            "-mavx512dq",
            "-mavx512vl",
            *_AVX2,
            "-mprefer-vector-width=512",
        ),
    ),
    "avx2": _AVX2,
}
_TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": _X86,
    "amd64": _X86,
    "aarch64": {"neon": ()},
    "arm64": {"neon": ()},
}


def digest(folder: Path) -> str:
    """Of the sources: a library says which it was built from, so that it is not called as
    another version's.
    """
    total = hashlib.sha256()
    for name in (*HEADERS, *SOURCES):
        total.update((folder / name).read_bytes())
    return total.hexdigest()


def targets(machine: str) -> dict[str, tuple[str, ...]]:
    """The instruction sets of a family of processors, best first, and the compiler's flags for
    each.
    """
    return _TARGETS.get(machine.lower(), {})
