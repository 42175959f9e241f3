"""Import ``params_realesrgan.yml``, the option file of OSEDiff and related projects.

Stages are keys of the top level, kernels of ``kernel_info``. The code that reads the file differs
between projects, and some of it ignores the file. The recipe does what OSEDiff's code does: the
target is not sharpened, and scale 4 is hard-coded.

References:
    | OSEDiff (Wu et al., 2024), ``dataloaders/params_realesrgan.yml``,
      ``dataloaders/realesrgan.py`` | https://github.com/cswry/OSEDiff
    | ResShift (Yue et al., 2023), ``trainer.py``, for ``second_order_prob``
      | https://github.com/zsyOAOA/ResShift
"""

from __future__ import annotations

from degrade.importers.expressions import exact, probability
from degrade.importers.options import Config, Options, yaml_section
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, orders
from degrade.loading.positions import Document

__all__ = ["osediff"]

COLOUR = ("color_jitter_prob", "gray_prob")


def osediff(document: Document, file: str) -> tuple[Options, Config]:
    """Read OSEDiff's options; return findings and the stages of a recipe."""
    known = STAGE_KEYS | {"scale", "second_blur_prob", "second_order_prob", "kernel_info", *COLOUR}
    training = frozenset(["gt_path", "gt_size", "use_hflip", "use_rot"])
    sections = [
        yaml_section(document, (), known, training),
        yaml_section(document, ("kernel_info",), KERNEL_KEYS, frozenset()),
    ]
    options = Options(file, sections)
    first, second = orders(options, Traits(), [])
    if "second_order_prob" in options:
        # As in ResShift: blur, resize and noise run together or not at all; the end always runs.
        p = exact(options.probability("second_order_prob"))
        end = next(i for i, step in enumerate(second) if "shuffle" in step)
        order = {"as": "order", **probability(p), "steps": second[:end]}
        second = [*([order] if p else []), *second[end:]]
        options.report(
            "warning",
            "second_order_prob",
            "OSEDiff does not read it; taken as ResShift's: blur, resize, noise",
        )
    for key, what in zip(COLOUR, ("colour jitter", "grey images"), strict=True):
        if key in options and options.probability(key):
            options.report(
                "warning", key, f"{what} of the LR image alone: no counterpart here, left out"
            )
    scale = options.number("scale", 1, 16)
    if scale != 4:
        options.report(
            "warning",
            "scale",
            f"is read and never used by OSEDiff, which degrades by 4; taken as {scale:g}",
        )
    options.report(
        "note",
        "scale",
        "OSEDiff enlarges the LR image back to the HR size afterwards; here it stays small",
    )
    options.report(
        "note",
        "",
        "the target is not sharpened (in OSEDiff's code the unsharp mask is commented out)",
    )
    return options, {"first": first, "second": second}
