"""Import neosr's option files (TOML): ``[degradations]`` overrides ``[datasets.train]``.

The degradation is Real-ESRGAN's, without sharpening. ``tomllib`` gives no line numbers, so lines
are found by searching for ``[table]`` and ``key =`` at their beginning.

References:
    | neosr, ``train.py:71``, ``neosr/models/otf.py``, ``options/train_compact_otf.toml``
      | https://github.com/neosr-project/neosr
"""

# Data from YAML and JSON narrows to dict[Unknown, Unknown].
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import re
import tomllib

from degrade.errors import Problem, RecipeError
from degrade.importers.options import Config, Options, Section, split_keys
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, orders, report_pool

__all__ = ["neosr"]

ROOT = split_keys(
    "name model_type num_gpu use_amp bfloat16 fast_matmul compile manual_seed monitoring "
    "launcher dist_params datasets degradations val path network_g network_d train logger "
    "deterministic default_compile"
)
TRAIN = split_keys(
    "name type phase scale dataroot_gt dataroot_lq meta_info io_backend filename_tmpl "
    "batch_size accumulate augmentation aug_prob use_hflip use_rot num_worker_per_gpu "
    "dataset_enlarge_ratio prefetch_mode pin_memory color mean std"
)


def neosr(text: str, file: str) -> tuple[Options, Config]:
    """Read neosr's options; return findings and the stages of a recipe.

    Raises:
        RecipeError: The file is not TOML.
    """
    try:
        data: Config = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else 1
        raise RecipeError([Problem(file, line, "", f"not TOML: {error}")]) from None
    lines = line_numbers(text)
    datasets = data.get("datasets", {})
    train: Config = datasets.get("train", {}) if isinstance(datasets, dict) else {}
    keys = STAGE_KEYS | KERNEL_KEYS | {"second_blur_prob"}
    given = data.get("degradations", {})
    options = Options(
        file,
        [
            Section("degradations", given, lines.get("degradations", {}), keys),
            # neosr reads the keys here too: those of the other table override them.
            Section(
                "datasets.train",
                train,
                lines.get("datasets.train", {}),
                keys | {"queue_size", "patch_size"},
                TRAIN,
            ),
            Section("", data, lines.get("", {}), frozenset(["scale"]), ROOT),
        ],
    )
    first, second = orders(options, Traits(), [])
    report_pool(options)
    if "patch_size" in options and "scale" in options:
        size = options.number("patch_size") * options.number("scale")
        what = f"scale times that, --patch {size:g}; upstream cuts it from 512 x 512 degraded"
        options.report("note", "patch_size", f"the side of LR patches; of HR patches it is {what}")
    return options, {"first": first, "second": second}


def line_numbers(text: str) -> dict[str, dict[str, int]]:
    """Return table -> key -> line, counted from 1.

    >>> line_numbers("a = 1\\n[x]\\nb = 2")
    {'': {'a': 1}, 'x': {'b': 3}}
    """
    found: dict[str, dict[str, int]] = {"": {}}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]+\s*(#.*)?$", line):
            table = header[1]
            found.setdefault(table, {})
        elif key := re.match(r"\s*([\w\-]+)\s*=", line):
            found[table].setdefault(key[1], number)
    return found
