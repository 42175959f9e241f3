"""Weights of other programs: files of PyTorch or safetensors that hold tensors and no settings.

The architecture is found by the names and shapes of the tensors. Built in are ESRGAN's RRDBNet (in
BasicSR's names, those of its first release, and those before it), MSRResNet and SRVGGNetCompact,
and what :mod:`sr.export.spandrel` writes; all others are left to spandrel, if it is installed.
Reading a file never runs code, and memory is bounded by the file's size.
"""

# torch, safetensors, spandrel: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degrade.errors import UserError
from sr.models import Model, build
from sr.models.spandrel import load_by_spandrel
from sr.pretrained import read_tensors

__all__ = [
    "CONFIG",
    "MODEL_ERRORS",
    "assemble",
    "check_plausible",
    "check_shapes",
    "detect",
    "load_foreign",
    "read_weights",
]

Tensors = dict[str, Tensor]
Found = tuple[str, dict[str, Any], Tensors]
"""A model's name and config, and its tensors under our names."""

CONFIG = "sr_config"
"""Tensor of a file for spandrel that holds our model's name and config, as bytes of JSON."""
CONTAINERS = (
    *("params_ema", "params-ema", "params", "state_dict", "model_state_dict"),
    *("g_ema", "generator", "model", "net", "netG"),
)
"""Keys under which programs keep the weights, the most wanted first."""
PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.", "generator.", "model.")
"""Prefixes of all names, of wrappers around the network."""
MODEL_ERRORS = (
    *(ValueError, TypeError, RuntimeError),
    *(LookupError, AttributeError, ArithmeticError),
)
"""What constructors raise for the settings of a damaged or hostile file."""


# --- files ---------------------------------------------------------------------------------------


def load_foreign(path: Path) -> Model:
    """Build the model of a file of weights.

    Raises:
        UserError: If the file is damaged, its architecture is unknown, or its shapes do not fit.
    """
    tensors = read_weights(path)
    try:
        found = detect(tensors)
        if found is not None:
            return assemble(*found)
    except MODEL_ERRORS as error:
        raise UserError(f"{path}: cannot be built: {error}") from None
    unknown = (
        f"{path}: its architecture is none of RRDBNet (ESRGAN), MSRResNet and SRVGGNetCompact; "
        f"its tensors are {', '.join(list(tensors)[:3])}, .."
    )
    try:
        model = load_by_spandrel(tensors)
    except ImportError as error:
        raise UserError(f"{unknown}; some 45 others need spandrel: {error}") from None
    except Exception as error:  # spandrel, and the code of its architectures
        raise UserError(f"{unknown}; spandrel: {type(error).__name__}: {error}") from None
    if model is None:
        raise UserError(
            f"{unknown}; spandrel does not know it either; "
            "run its own code as python:MODULE:FUNCTION or command:PROGRAM"
        )
    return model


def read_weights(path: Path) -> Tensors:
    """Read a file of PyTorch or safetensors: its tensors by name, as float32 if they are of less.

    Raises:
        UserError: If it is damaged, or holds no tensors.
    """
    try:
        data = read_tensors(path) if _is_pickle(path) else _read_safetensors(path)
        tensors = unwrap(data)
    except Exception as error:  # torch.load raises whatever a damaged or hostile file provokes
        raise UserError(f"{path}: not weights of a model ({error})") from None
    half = (torch.float16, torch.bfloat16)
    return {name: x.float() if x.dtype in half else x for name, x in tensors.items()}


def _is_pickle(path: Path) -> bool:
    """Whether a file is PyTorch's, a zip archive or a pickle, rather than safetensors."""
    with open(path, "rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _read_safetensors(path: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(path)


def unwrap(data: Any) -> Tensors:
    """Return the tensors of a file, out of the containers and prefixes that programs add.

    >>> sorted(unwrap({"params": {"module.a.weight": torch.zeros(1)}, "iter": 5}))
    ['a.weight']

    Raises:
        ValueError: If there are none.
    """
    for _ in range(len(CONTAINERS)):
        if not isinstance(data, Mapping):
            break
        inner = next((data[key] for key in CONTAINERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            break
        data = inner
    named = data.items() if isinstance(data, Mapping) else ()
    tensors = {str(name): x for name, x in named if isinstance(x, Tensor)}
    if not tensors:
        raise ValueError(f"a {type(data).__name__} without named tensors")
    for _ in range(len(PREFIXES)):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None)
        # Old ESRGAN's own names begin so.
        if prefix is None or "model.0.weight" in tensors:
            break
        tensors = {name.removeprefix(prefix): x for name, x in tensors.items()}
    return tensors


# --- architectures -------------------------------------------------------------------------------


def detect(tensors: Mapping[str, Tensor]) -> Found | None:
    """Return the name and config of a built-in architecture, and the tensors under our names; None
    if it is none of them.

    Raises:
        ValueError, LookupError: If it looks like one of them, but its shapes are no such network.
    """
    for architecture in (_described, _rrdb, _msrresnet, _compact):
        found = architecture(dict(tensors))
        if found is not None:
            return found
    return None


def check_plausible(config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError if a setting is larger than any that these tensors could need."""
    most = max(64, len(tensors), *(n for tensor in tensors.values() for n in tensor.shape))
    if isinstance(config, Mapping | list):
        for part in config.values() if isinstance(config, Mapping) else config:
            check_plausible(part, tensors)
    elif isinstance(config, int | float) and not abs(config) <= most:
        raise ValueError(f"its config has {config:g}, but its tensors allow at most {most}")


def assemble(name: str, config: Mapping[str, Any], tensors: Tensors) -> Model:
    """Build a model with weights. What a file says may ask for more memory than the machine has,
    however small the file, so shapes are checked on the meta device first.

    Raises:
        Exception: One of :data:`MODEL_ERRORS`, if they do not fit.
    """
    with torch.device("meta"):
        check_shapes(build(name, **config), tensors)
    model = build(name, **config)
    model.load_state_dict(tensors)
    return model


def check_shapes(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError if the tensors are not those of a model, which may be on meta."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{name} should be {wanted.get(name, 'absent')}, is {found.get(name, 'absent')}"
        )


def _described(tensors: Tensors) -> Found | None:
    """What a file of :mod:`sr.export.spandrel` says that it is."""
    if CONFIG not in tensors:
        return None
    entry: dict[str, Any] = json.loads(bytes(tensors[CONFIG].flatten().to(torch.uint8).tolist()))
    others = {name: tensor for name, tensor in tensors.items() if name != CONFIG}
    check_plausible(entry["config"], others)
    return entry["name"], entry["config"], others


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers the pattern's group takes in the names."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _rrdb(tensors: Tensors) -> Found | None:
    tensors = _before_basicsr(_first_release(tensors))
    if "body.0.rdb1.conv1.weight" not in tensors or "conv_first.weight" not in tensors:
        return None
    channels, inputs = tensors["conv_first.weight"].shape[:2]
    unshuffle = math.isqrt(inputs // 3)
    if inputs != 3 * unshuffle**2 or not unshuffle:
        raise ValueError(f"RRDBNet of {inputs} input channels; should be RGB")
    doublings = _count(tensors, r"conv_up(\d+)\.weight")
    config: dict[str, Any] = {
        "scale": 2**doublings // unshuffle,
        "channels": channels,
        "blocks": _count(tensors, r"body\.(\d+)\."),
        "growth": tensors["body.0.rdb1.conv1.weight"].shape[0],
    }
    if 2**doublings != 4:
        config["unshuffle"] = unshuffle
    return "rrdb", config, tensors


FIRST_RELEASE = (
    ("RRDB_trunk.", "body."),
    (".RDB", ".rdb"),
    ("trunk_conv.", "conv_body."),
    ("upconv", "conv_up"),
    ("HRconv.", "conv_hr."),
)


def _first_release(tensors: Tensors) -> Tensors:
    """BasicSR's names of those of ESRGAN's first release (``RRDB_trunk.0.RDB1.conv1``)."""
    if "RRDB_trunk.0.RDB1.conv1.weight" not in tensors:
        return tensors
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for old, new in FIRST_RELEASE:
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def _before_basicsr(tensors: Tensors) -> Tensors:
    """BasicSR's names of those before it (``model.1.sub.0.RDB1.conv1.0``).

    Its ``model`` is a sequence: the first convolution, the body with a convolution as its last
    part, the enlarging ones, and the last two.
    """
    if "model.1.sub.0.RDB1.conv1.0.weight" not in tensors:
        return tensors
    blocks = _count(tensors, r"model\.1\.sub\.(\d+)\.RDB1\.")
    places = sorted(
        {int(m[1]) for name in tensors if (m := re.fullmatch(r"model\.(\d+)\.weight", name))}
    )
    ups = places[1:-2]
    parts = {f"model.{places[0]}": "conv_first", f"model.1.sub.{blocks}": "conv_body"}
    parts |= {f"model.{place}": f"conv_up{i}" for i, place in enumerate(ups, 1)}
    parts |= {f"model.{places[-2]}": "conv_hr", f"model.{places[-1]}": "conv_last"}
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        part, _, kind = name.rpartition(".")
        dense = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0", part)
        ours = f"body.{dense[1]}.rdb{dense[2]}.{dense[3]}" if dense else parts.get(part, part)
        renamed[f"{ours}.{kind}"] = tensor
    return renamed


def _msrresnet(tensors: Tensors) -> Found | None:
    if "upconv1.weight" not in tensors or "body.0.conv1.weight" not in tensors:
        return None
    channels = tensors["conv_first.weight"].shape[0]
    phases = tensors["upconv1.weight"].shape[0] // channels
    scale = math.isqrt(phases) * (2 if "upconv2.weight" in tensors else 1)
    blocks = _count(tensors, r"body\.(\d+)\.")
    return "msrresnet", {"scale": scale, "channels": channels, "blocks": blocks}, tensors


def _compact(tensors: Tensors) -> Found | None:
    if not all(re.fullmatch(r"body\.\d+\.(weight|bias)", name) for name in tensors):
        return None
    convolutions = [name for name, x in tensors.items() if x.ndim == 4]
    if len(convolutions) < 2 or tensors["body.0.weight"].ndim != 4:
        return None
    if tensors.get("body.1.weight", torch.empty(0, 0)).ndim != 1:
        raise ValueError("SRVGGNetCompact without PReLU; its activation is not in the file")
    last = max(int(name.split(".")[1]) for name in convolutions)
    outputs = tensors[f"body.{last}.weight"].shape[0]
    config = {
        "scale": math.isqrt(outputs // 3),
        "channels": tensors["body.0.weight"].shape[0],
        "convolutions": len(convolutions) - 2,
    }
    return "compact", config, tensors
