"""``params_realesrgan.yml``: the file that OSEDiff and its relatives put beside their own copy of
the degradation.

Stages stand at the top level, kernels under ``kernel_info``. One constraint: the code around the
file differs from project to project, and some of it ignores the file. Read here is OSEDiff's: the
target is not sharpened, and scale 4 is hard-coded.

References:
    | OSEDiff (Wu et al., 2024), ``dataloaders/params_realesrgan.yml``, ``dataloaders/realesrgan.py``
      | https://github.com/cswry/OSEDiff
    | ResShift (Yue et al., 2023), ``trainer.py``, for ``second_order_prob`` | https://github.com/zsyOAOA/ResShift
"""

from __future__ import annotations

from typing import Any

from degrade.importers.options import Options, Section
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, chosen, exact, orders
from degrade.loading.positions import Document

__all__ = ["params"]

Data = dict[str, Any]

COLOUR = ("color_jitter_prob", "gray_prob")


def params(document: Document, file: str) -> tuple[Options, Data]:
    """The options of OSEDiff and relatives: findings and recipe data."""
    data: Data = document.data
    info: Any = data.get("kernel_info")
    kernels: Data = info if isinstance(info, dict) else {}
    home = STAGE_KEYS | {"scale", "second_blur_prob", "second_order_prob", "kernel_info", *COLOUR}
    training = frozenset(["gt_path", "gt_size", "use_hflip", "use_rot"])
    options = Options(
        file,
        [
            Section("", data, {key: document.position((key,))[1] for key in data}, home, training),
            Section(
                "kernel_info",
                kernels,
                {k: document.position(("kernel_info", k))[1] for k in kernels},
                KERNEL_KEYS,
            ),
        ],
    )
    first, second = orders(options, Traits(), [])
    if "second_order_prob" in options:
        # As in ResShift: blur, resize and noise run together or not at all; the end always runs.
        p = exact(options.chance("second_order_prob"))
        ends = next(i for i, step in enumerate(second) if "shuffle" in step)
        second = [{"as": "order", **chosen(p), "steps": second[:ends]}] * bool(p) + second[ends:]
        options.say(
            "warning",
            "second_order_prob",
            "OSEDiff does not read it; taken as ResShift's: blur, resize, noise",
        )
    for key, what in zip(COLOUR, ("colour jitter", "grey images"), strict=True):
        if key in options and options.chance(key):
            options.say(
                "warning", key, f"{what} of the LR image alone: no counterpart here, left out"
            )
    scale = options.number("scale", 1, 16)
    if scale != 4:
        options.say(
            "warning",
            "scale",
            f"is read and never used by OSEDiff, which degrades by 4; taken as {scale:g}",
        )
    options.say(
        "note",
        "scale",
        "OSEDiff enlarges the LR image back to the HR size afterwards; here it stays small",
    )
    options.say(
        "note",
        "",
        "the target is not sharpened (in OSEDiff's code the unsharp mask is commented out)",
    )
    return options, {"first": first, "second": second}
