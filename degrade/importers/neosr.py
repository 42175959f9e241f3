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

MOST_LINES, LONGEST_LINE = 2_000, 500
"""An option file has a few hundred lines."""


def neosr(text: str, file: str) -> tuple[Options, Config]:
    """Read neosr's options; return findings and the stages of a recipe.

    Raises:
        RecipeError: The file is not TOML.
    """
    data, lines = read_toml(text, file)
    train, given = table(data, "datasets", "train"), table(data, "degradations")
    keys = STAGE_KEYS | KERNEL_KEYS | {"second_blur_prob"}
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


def read_toml(text: str, file: str) -> tuple[Config, dict[str, dict[str, int]]]:
    """Return the data of a TOML file, and table -> key -> line.

    Raises:
        RecipeError: It is not TOML, has more than :data:`MOST_LINES` lines or one of more than
            :data:`LONGEST_LINE` characters: the time of ``tomllib`` grows with their square.
    """
    all_lines = text.splitlines()
    if len(all_lines) > MOST_LINES:
        raise RecipeError([Problem(file, MOST_LINES, "", f"has more than {MOST_LINES} lines")])
    for number, line in enumerate(all_lines, 1):
        if len(line) > LONGEST_LINE:
            message = f"a line of more than {LONGEST_LINE} characters"
            raise RecipeError([Problem(file, number, "", message)])
    try:
        return tomllib.loads(text), line_numbers(text)
    except RecursionError:
        raise RecipeError([Problem(file, 1, "", "nested too deeply")]) from None
    except ValueError as error:  # such as TOMLDecodeError, or a number of too many digits
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else 1
        raise RecipeError([Problem(file, line, "", f"not TOML: {error}")]) from None


def table(data: Config, *path: str) -> Config:
    """Return the table at a path of keys, empty if there is none."""
    for name in path:
        inner = data.get(name)
        data = inner if isinstance(inner, dict) else {}
    return data


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
