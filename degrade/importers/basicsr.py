"""BasicSR YAML: Real-ESRGAN's option files, and those of traiNNer-redux, which grew out of them.

Stages stand at the top level, kernels under ``datasets.train``; traiNNer-redux adds probabilities,
filters and kernel sizes and has a default for every key. One constraint: Real-ESRGAN's LR image
comes from the *sharpened* HR image, whatever the ``*_gt_usm`` flags; these choose which loss sees
which target.

References:
    | Real-ESRGAN, ``options/train_realesrgan_x4plus.yml``, ``realesrgan/models/realesr{gan,net}_model.py``
    | traiNNer-redux, ``traiNNer/utils/redux_options.py``, ``traiNNer/models/realesrgan_model.py``
"""

from __future__ import annotations

from typing import Any

from degrade.importers.options import Options, Section, words
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, orders
from degrade.loading.positions import Document

__all__ = ["REDUX_ONLY", "basicsr", "redux"]

Data = dict[str, Any]

USM: list[Data] = [{"unsharp": {"amount": 0.5, "sigma": 8, "threshold": 10}}, {"quantize": {}}]

# Keys of training, as the option files and the code of the projects have them.
ROOT = words(
    "name model_type num_gpu manual_seed datasets network_g network_d path train val logger dist_params "
    "find_unused_parameters is_train dist rank world_size auto_resume"
)
TRAIN = words(
    "name type phase scale dataroot_gt dataroot_lq meta_info meta_info_file io_backend filename_tmpl use_hflip use_rot "
    "use_shuffle num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode pin_memory gt_size "
    "num_prefetch_queue crop_size color mean std"
)
FLAGS = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "gt_usm")

REDUX_ROOT = ROOT | words(
    "input_pixel_format output_pixel_format network_g_teacher network_ae deterministic launcher watch start_iter "
    "root_path switch_iter_per_epoch use_amp amp_bf16 use_channels_last fast_matmul use_compile compile_mode "
    "detect_anomaly high_order_degradations_debug high_order_degradations_debug_limit onnx contents"
)
REDUX_TRAIN = TRAIN | words(
    "accum_iter persistent_workers prefetch_factor clip_size lq_resize_mode"
)
REDUX_STAGES = words(
    "lq_usm lq_usm_radius_range thicklines_prob blur_prob blur_prob2 jpeg_prob jpeg_prob2 resize_mode_list "
    "resize_mode_list2 resize_mode_list3 resize_mode_prob resize_mode_prob2 resize_mode_prob3 dataroot_lq_prob"
)
REDUX_KERNELS = frozenset(["kernel_range", "kernel_range2", "final_kernel_range", "lq_size"])
REDUX_ONLY = REDUX_STAGES | REDUX_KERNELS
"""Keys by which a file is known to be traiNNer-redux's."""

_MODES = ["bilinear", "bicubic", "nearest-exact", "lanczos"]
_KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
REDUX_DEFAULTS: Data = {
    **{
        "lq_usm": False,
        "lq_usm_radius_range": [1, 25],
        "thicklines_prob": 0,
        "high_order_degradation": False,
    },
    **{"resize_prob": [0.2, 0.7, 0.1], "resize_range": [0.4, 1.5], "jpeg_range": [75, 95]},
    **{"resize_prob2": [0.3, 0.4, 0.3], "resize_range2": [0.6, 1.2], "jpeg_range2": [75, 95]},
    **{f"resize_mode_list{i}": _MODES for i in ("", "2", "3")},
    **{f"resize_mode_prob{i}": [0.25] * 4 for i in ("", "2", "3")},
    **{
        f"{key}{i}": 0
        for i in ("", "2")
        for key in ("blur_prob", "gaussian_noise_prob", "gray_noise_prob")
    },
    **{f"{key}{i}": [0, 0] for i in ("", "2") for key in ("noise_range", "poisson_scale_range")},
    **{f"jpeg_prob{i}": 1 for i in ("", "2")},
    **{f"kernel_list{i}": _KERNELS for i in ("", "2")},
    **{f"kernel_prob{i}": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03] for i in ("", "2")},
    **{f"{key}{i}": [5, 17] for i in ("", "2") for key in ("kernel_range",)},
    **{f"sinc_prob{i}": 0 for i in ("", "2")},
    **{f"betag_range{i}": [0.5, 4] for i in ("", "2")},
    **{f"betap_range{i}": [1, 2] for i in ("", "2")},
    **{
        "blur_sigma": [0.2, 2],
        "blur_sigma2": [0.2, 1],
        "final_sinc_prob": 0,
        "final_kernel_range": [5, 17],
    },
}


def basicsr(document: Document, file: str) -> tuple[Options, Data]:
    """Real-ESRGAN's and Real-ESRNet's options: findings and recipe data."""
    home = STAGE_KEYS | {
        "scale",
        "second_blur_prob",
        "queue_size",
        "gt_size",
        "high_order_degradation",
        *FLAGS,
    }
    options = Options(file, [_root(document, home, ROOT), _train(document, KERNEL_KEYS, TRAIN)])
    if _paired(options, default=True):
        return options, {}
    first, second = orders(options, Traits(), [])
    steps = USM
    flags = {flag: options.flag(flag) for flag in FLAGS if flag in options}
    if "gt_usm" in flags and not flags["gt_usm"]:
        options.say("note", "gt_usm", "is off: neither target nor LR image is sharpened")
        steps = []
    elif flags and "gt_usm" not in flags and not any(flags.values()):
        options.say(
            "note",
            "l1_gt_usm",
            "no loss sees the sharpened target, which is made for the LR image alone",
        )
        first, steps = [*USM, *first], []
    elif "gt_usm" not in flags:
        plain = [flag for flag, on in flags.items() if not on]
        if plain:
            options.say(
                "note",
                plain[0],
                f"pair.hr is sharpened; for {' and '.join(plain)} off, use pair.hr_raw there",
            )
    if "gt_size" in options:
        size = f"{options.number('gt_size'):g}"
        options.say(
            "note",
            "gt_size",
            f"the side of HR patches, --patch {size}; upstream cuts it from 400 x 400 degraded",
        )
    _pool(options)
    return options, {"hr": steps, "first": first, "second": second}


def redux(document: Document, file: str) -> tuple[Options, Data]:
    """traiNNer-redux's options: findings and recipe data."""
    home = STAGE_KEYS | REDUX_STAGES | {"scale", "queue_size", "high_order_degradation"}
    sections = [
        _root(document, home, REDUX_ROOT),
        _train(document, KERNEL_KEYS | REDUX_KERNELS, REDUX_TRAIN),
    ]
    options = Options(file, sections, REDUX_DEFAULTS)
    if _paired(options, default=False):
        return options, {}
    traits = Traits(
        ("blur_prob", "blur_prob2"),
        ("jpeg_prob", "jpeg_prob2"),
        ranges=True,
        modes=True,
        antialias=True,
        keeps=True,
    )
    first, second = orders(options, traits, sharpened(options) if options.flag("lq_usm") else [])
    options.say(
        "note",
        "resize_mode_list",
        "antialias differs from Real-ESRGAN: on for bilinear and bicubic, and clipped",
    )
    if options.chance("thicklines_prob"):
        options.say(
            "warning", "thicklines_prob", "thick lines have no counterpart here and are left out"
        )
    if "dataroot_lq_prob" in options:
        options.say(
            "warning",
            "dataroot_lq_prob",
            "mixing in real LR images is not part of a recipe; left out",
        )
    if "lq_size" in options and "scale" in options:
        size = options.number("lq_size") * options.number("scale")
        options.say(
            "note",
            "lq_size",
            f"the side of LR patches; of HR patches it is scale times that, --patch {size:g}",
        )
    _pool(options)
    return options, {"first": first, "second": second}


def sharpened(options: Options) -> list[Data]:
    """Unsharp masking of a drawn radius; an even one is one more, and gives OpenCV's sigma for
    that many taps.
    """
    low, high = (int(edge) for edge in options.interval("lq_usm_radius_range"))
    counts: dict[int, int] = {}
    for radius in range(max(low, 1), high + 1):
        taps = radius + 1 - radius % 2
        counts[taps] = counts.get(taps, 0) + 1
    # 1 tap is the identity. Up to 7, OpenCV has fixed taps, a little off a Gaussian's.
    branches = [
        {
            "p": n,
            "unsharp": {
                "amount": 0.5,
                "sigma": round(0.3 * ((k - 1) * 0.5 - 1) + 0.8, 6),
                "size": k,
                "threshold": 10,
            },
        }
        for k, n in counts.items()
    ]
    return [{"as": "sharpen", "one_of": branches}]


def _paired(options: Options, default: bool) -> bool:
    """Whether upstream trains on given pairs, in which case there is nothing to import."""
    key = "high_order_degradation"
    if not (options.flag(key) if key in options else default):
        options.say("error", key, "is off: upstream degrades nothing, pairs are given")
    elif default and not any(wanted in options for wanted in STAGE_KEYS | KERNEL_KEYS):
        options.say(
            "error", "", "holds no key of a degradation, such as resize_prob or kernel_list"
        )
    else:
        return False
    return True


def _pool(options: Options) -> None:
    if "queue_size" in options:
        options.say(
            "note",
            "queue_size",
            "ignored: every sample draws its own degradation, so no pool is needed",
        )


def _root(document: Document, home: frozenset[str], training: frozenset[str]) -> Section:
    data: Data = document.data
    return Section("", data, {key: document.position((key,))[1] for key in data}, home, training)


def _train(document: Document, home: frozenset[str], training: frozenset[str]) -> Section:
    name = ("datasets", "train")
    data: Any = document.data
    for part in name:
        data = data.get(part) if isinstance(data, dict) else None
    found: Data = data if isinstance(data, dict) else {}
    return Section(
        ".".join(name),
        found,
        {key: document.position((*name, key))[1] for key in found},
        home,
        training,
    )
