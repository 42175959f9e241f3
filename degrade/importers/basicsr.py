"""Import Real-ESRGAN's and Real-ESRNet's option files (BasicSR YAML).

Stages are keys of the top level, kernels of ``datasets.train``. Real-ESRGAN's LR image is made
from the *sharpened* HR image, whatever the ``*_gt_usm`` flags; these choose which loss uses which
target.

References:
    | Real-ESRGAN, ``options/train_realesrgan_x4plus.yml``,
      ``realesrgan/models/realesrgan_model.py``, ``realesrgan/models/realesrnet_model.py``
"""

from __future__ import annotations

from degrade.importers.options import Config, Options, Section, split_keys, yaml_section
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, orders, report_pool
from degrade.loading.positions import Document

__all__ = ["ROOT", "TRAIN", "basicsr", "root_section", "train_section", "uses_given_pairs"]

USM: list[Config] = [{"unsharp": {"amount": 0.5, "sigma": 8, "threshold": 10}}, {"quantize": {}}]

# Keys of training, from the option files and the code of the project.
ROOT = split_keys(
    "name model_type num_gpu manual_seed datasets network_g network_d path train val logger "
    "dist_params find_unused_parameters is_train dist rank world_size auto_resume"
)
TRAIN = split_keys(
    "name type phase scale dataroot_gt dataroot_lq meta_info meta_info_file io_backend "
    "filename_tmpl use_hflip use_rot use_shuffle num_worker_per_gpu batch_size_per_gpu "
    "dataset_enlarge_ratio prefetch_mode pin_memory gt_size num_prefetch_queue crop_size "
    "color mean std"
)
FLAGS = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "gt_usm")


def basicsr(document: Document, file: str) -> tuple[Options, Config]:
    """Read Real-ESRGAN's and Real-ESRNet's options; return findings and the stages of a recipe."""
    known = STAGE_KEYS | {
        "scale",
        "second_blur_prob",
        "queue_size",
        "gt_size",
        "high_order_degradation",
        *FLAGS,
    }
    options = Options(
        file, [root_section(document, known, ROOT), train_section(document, KERNEL_KEYS, TRAIN)]
    )
    if uses_given_pairs(options, default=True):
        return options, {}
    first, second = orders(options, Traits(), [])
    hr, before = _sharpening(options)
    if "gt_size" in options:
        size = f"{options.number('gt_size'):g}"
        options.report(
            "note",
            "gt_size",
            f"the side of HR patches, --patch {size}; upstream cuts it from 400 x 400 degraded",
        )
    report_pool(options)
    return options, {"hr": hr, "first": [*before, *first], "second": second}


def _sharpening(options: Options) -> tuple[list[Config], list[Config]]:
    """Return the steps that sharpen the HR image, and those for LR alone."""
    flags = {flag: options.flag(flag) for flag in FLAGS if flag in options}
    if "gt_usm" in flags:
        if flags["gt_usm"]:
            return USM, []
        options.report("note", "gt_usm", "is off: neither target nor LR image is sharpened")
        return [], []
    if flags and not any(flags.values()):
        options.report(
            "note",
            "l1_gt_usm",
            "no loss uses the sharpened target, which is made for the LR image alone",
        )
        return [], USM
    off = [flag for flag, on in flags.items() if not on]
    if off:
        remedy = f"for {' and '.join(off)} off, use pair.hr_raw there"
        options.report("note", off[0], f"pair.hr is sharpened; {remedy}")
    return USM, []


def uses_given_pairs(options: Options, default: bool) -> bool:
    """Whether upstream trains on given pairs, so that there is nothing to import: an error."""
    key = "high_order_degradation"
    if not (options.flag(key) if key in options else default):
        options.report("error", key, "is off: upstream degrades nothing, it reads given pairs")
    elif default and not any(wanted in options for wanted in STAGE_KEYS | KERNEL_KEYS):
        options.report(
            "error", "", "has no key of a degradation, such as resize_prob or kernel_list"
        )
    else:
        return False
    return True


def root_section(document: Document, known: frozenset[str], training: frozenset[str]) -> Section:
    """Return the top level of a YAML file."""
    return yaml_section(document, (), known, training)


def train_section(document: Document, known: frozenset[str], training: frozenset[str]) -> Section:
    """Return ``datasets.train`` of a YAML file, empty if it has none."""
    return yaml_section(document, ("datasets", "train"), known, training)
