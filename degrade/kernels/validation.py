"""Validation of calls before native code reads them: what a record says must fit its program.

Calls of degrade's own operators are right by construction, and tested; those of plug-ins are
checked here, once, on the host. C and Triton check nothing.
"""

# NumPy: the types of structured arrays are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degrade.kernels.base import Call, Data, Records
from degrade.kernels.convolve import CORRELATE, SEPARABLE
from degrade.kernels.jpeg import CHROMA, JPEG
from degrade.kernels.noise import NORMAL, POISSON, SALT_PEPPER
from degrade.kernels.quantize import QUANTIZE
from degrade.kernels.resample import DECIMATE, MATLAB, RESAMPLE
from degrade.kernels.unsharp import UNSHARP

__all__ = ["validate"]

Mask = NDArray[np.bool_]
Checks = dict[str, Mask]
"""What is to hold of each record, in words."""

LONGEST = 401
"""Taps of a kernel's side."""
RESIZING = (RESAMPLE.code, MATLAB.code, DECIMATE.code)


def validate(call: Call, data: Data, channels: int) -> None:
    """Check the records of a call.

    Args:
        call: The call.
        data: The program's arrays, all there already.
        channels: Of the images.

    Raises:
        ValueError: a record does not fit; it names the kernel, the sample and what should hold.
    """
    own, records = call.kernel, call.records
    checks = _header(call)
    if own.code in _CHECKS and all(mask.all() for mask in checks.values()):
        checks |= _CHECKS[own.code](records, data, channels)
    for what, mask in checks.items():
        if not mask.all():
            sample = int(call.rows[np.flatnonzero(~mask)[0]])
            raise ValueError(f"{own.name}, sample {sample}: {what}")


def _header(call: Call) -> Checks:
    words = call.words
    sizes, after = words[:, 2:4], words[:, 4:6]
    checks: Checks = {
        "the record should be of this kernel": words[:, 0] == call.kernel.code,
        "the record should be of this sample": words[:, 1] == call.rows,
        "sizes should be at least 1": np.all(words[:, 2:6] > 0, axis=1),
    }
    if 0 < call.kernel.code <= 12 and call.kernel.code not in RESIZING:
        checks["the size should stay"] = np.all(sizes == after, axis=1)
    return checks


def _held(data: Data, start: Any, count: Any, words: int = 1) -> Mask:
    """Whether arrays lie in the program's data."""
    start, count = np.asarray(start, np.int64), np.asarray(count, np.int64)
    return (start >= 0) & (count >= 0) & (start + count * words <= data.used)


def _odd(count: Any) -> Mask:
    return (count > 0) & (count <= LONGEST) & (count % 2 == 1)


_HELD = "its arrays should lie in the program's data"
_SIDES = f"numbers of taps should be odd, at most {LONGEST}"
_BORDER = "border should be 0 (reflect) or 1 (replicate)"
_FINITE = "numbers should be finite"


def _correlate(r: Records, data: Data, channels: int) -> Checks:
    taps = r["rows"].astype(np.int64) * r["columns"]
    return {
        _SIDES: _odd(r["rows"]) & _odd(r["columns"]),
        _BORDER: np.isin(r["border"], (0, 1)),
        _HELD: _held(data, r["taps"], taps),
    }


def _separable(r: Records, data: Data, channels: int) -> Checks:
    down = _held(data, r["down"], r["down_count"])
    return {
        _SIDES: _odd(r["down_count"]) & _odd(r["across_count"]),
        _BORDER: np.isin(r["border"], (0, 1)),
        _HELD: down & _held(data, r["across"], r["across_count"]),
    }


def _unsharp(r: Records, data: Data, channels: int) -> Checks:
    return {
        _SIDES: _odd(r["count"]),
        _HELD: _held(data, r["taps"], r["count"]),
        _FINITE: np.isfinite(r["amount"]) & np.isfinite(r["threshold"]),
    }


_AXES = (("down", "height", "out_height"), ("across", "width", "out_width"))


def _matrices(r: Records, data: Data, channels: int) -> Checks:
    words = 2 if int(r["kernel"][0]) == MATLAB.code else 1
    held = np.ones(len(r), np.bool_)
    inside = np.ones(len(r), np.bool_)
    for axis, before, after in (
        ("down", "height", "out_height"),
        ("across", "width", "out_width"),
    ):
        taps = r[f"{axis}_taps"].astype(np.int64)
        count = taps * r[after]
        held &= (taps > 0) & (r[f"{axis}_weight"] % words == 0)
        held &= _held(data, r[f"{axis}_index"], count)
        held &= _held(data, r[f"{axis}_weight"], count, words)
        for i in np.flatnonzero(held):
            index = data.read(int(r[f"{axis}_index"][i]), int(count[i]), np.int32)
            inside[i] &= bool((index >= 0).all() and (index < r[before][i]).all())
    return {_HELD: held, "columns should lie in the image": inside}


def _decimate(r: Records, data: Data, channels: int) -> Checks:
    inside = np.ones(len(r), np.bool_)
    for axis, before, after in (("y", "height", "out_height"), ("x", "width", "out_width")):
        first, step = r[f"first_{axis}"].astype(np.int64), r[f"step_{axis}"].astype(np.int64)
        inside &= (first >= 0) & (step > 0) & (first + step * (r[after] - 1) < r[before])
    return {"pixels should lie in the image": inside}


def _noise(r: Records, channels: int, *numbers: str) -> Checks:
    return {
        f"planes should be 1 or {channels}": np.isin(r["planes"], (1, channels)),
        _FINITE: np.all([np.isfinite(r[name]) for name in numbers], axis=0),
    }


def _normal(r: Records, data: Data, channels: int) -> Checks:
    return _noise(r, channels, "sigma")


def _poisson(r: Records, data: Data, channels: int) -> Checks:
    table = _held(data, r["steps"], r["dark"], 28) & (r["dark"] <= 256)
    return {
        **_noise(r, channels, "peak", "scale"),
        _HELD: (r["peak"] == 0) | ((r["peak"] > 0) & table),
    }


def _salt_pepper(r: Records, data: Data, channels: int) -> Checks:
    return _noise(r, channels, "white", "black")


def _jpeg(r: Records, data: Data, channels: int) -> Checks:
    spans = np.stack([r["chroma_rows"], r["chroma_columns"]], 1)
    known = [(spans == span).all(1) for span in CHROMA.values()]
    return {
        "quality should be in [1, 100]": (r["quality"] >= 1) & (r["quality"] <= 100),
        "the chroma span should be (2, 2), (1, 2) or (1, 1)": np.any(known, axis=0),
    }


def _quantize(r: Records, data: Data, channels: int) -> Checks:
    levels = [2.0**bits - 1 for bits in range(1, 17)]
    return {"levels should be 2^n - 1, n from 1 to 16": np.isin(r["levels"], levels)}


_CHECKS: dict[int, Callable[[Records, Data, int], Checks]] = {
    CORRELATE.code: _correlate,
    SEPARABLE.code: _separable,
    UNSHARP.code: _unsharp,
    RESAMPLE.code: _matrices,
    MATLAB.code: _matrices,
    DECIMATE.code: _decimate,
    NORMAL.code: _normal,
    POISSON.code: _poisson,
    SALT_PEPPER.code: _salt_pepper,
    JPEG.code: _jpeg,
    QUANTIZE.code: _quantize,
}
