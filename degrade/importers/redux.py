"""Import traiNNer-redux's option files, which extend Real-ESRGAN's.

It adds probabilities, resize filters and kernel sizes, and has a default for every key.

References:
    | traiNNer-redux, ``traiNNer/utils/redux_options.py``, ``traiNNer/models/realesrgan_model.py``
"""

from __future__ import annotations

from degrade.importers.basicsr import ROOT, TRAIN, root_section, train_section, uses_given_pairs
from degrade.importers.options import Config, Options, split_keys
from degrade.importers.second_order import KERNEL_KEYS, STAGE_KEYS, Traits, orders, report_pool
from degrade.loading.positions import Document

__all__ = ["REDUX_ONLY", "redux"]

REDUX_ROOT = ROOT | split_keys(
    "input_pixel_format output_pixel_format network_g_teacher network_ae deterministic "
    "launcher watch start_iter root_path switch_iter_per_epoch use_amp amp_bf16 "
    "use_channels_last fast_matmul use_compile compile_mode detect_anomaly "
    "high_order_degradations_debug high_order_degradations_debug_limit onnx contents"
)
REDUX_TRAIN = TRAIN | split_keys(
    "accum_iter persistent_workers prefetch_factor clip_size lq_resize_mode"
)
REDUX_STAGES = split_keys(
    "lq_usm lq_usm_radius_range thicklines_prob blur_prob blur_prob2 jpeg_prob jpeg_prob2 "
    "resize_mode_list resize_mode_list2 resize_mode_list3 resize_mode_prob resize_mode_prob2 "
    "resize_mode_prob3 dataroot_lq_prob"
)
REDUX_KERNELS = frozenset(["kernel_range", "kernel_range2", "final_kernel_range", "lq_size"])
REDUX_ONLY = REDUX_STAGES | REDUX_KERNELS
"""Keys that only traiNNer-redux has."""

MOST_TAPS = 401
"""Limit of ``unsharp: {size: ...}``."""
_MODES = ["bilinear", "bicubic", "nearest-exact", "lanczos"]
_KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
_ORDER: Config = {
    "blur_prob": 0,
    "kernel_list": _KERNELS,
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "kernel_range": [5, 17],
    "sinc_prob": 0,
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
    "gaussian_noise_prob": 0,
    "gray_noise_prob": 0,
    "noise_range": [0, 0],
    "poisson_scale_range": [0, 0],
    "jpeg_range": [75, 95],
    "jpeg_prob": 1,
}
"""The defaults that both orders share."""
REDUX_DEFAULTS: Config = {
    "high_order_degradation": False,
    "lq_usm": False,
    "lq_usm_radius_range": [1, 25],
    "thicklines_prob": 0,
    **{f"{key}{order}": value for order in ("", "2") for key, value in _ORDER.items()},
    **{f"resize_mode_list{i}": _MODES for i in ("", "2", "3")},
    **{f"resize_mode_prob{i}": [0.25] * 4 for i in ("", "2", "3")},
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.4, 1.5],
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.6, 1.2],
    "blur_sigma": [0.2, 2],
    "blur_sigma2": [0.2, 1],
    "final_sinc_prob": 0,
    "final_kernel_range": [5, 17],
}


def redux(document: Document, file: str) -> tuple[Options, Config]:
    """Read traiNNer-redux's options; return findings and the stages of a recipe."""
    known = STAGE_KEYS | REDUX_STAGES | {"scale", "queue_size", "high_order_degradation"}
    sections = [
        root_section(document, known, REDUX_ROOT),
        train_section(document, KERNEL_KEYS | REDUX_KERNELS, REDUX_TRAIN),
    ]
    options = Options(file, sections, REDUX_DEFAULTS)
    if uses_given_pairs(options, default=False):
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
    options.report(
        "note",
        "resize_mode_list",
        "antialias differs from Real-ESRGAN: on for bilinear and bicubic, and clipped",
    )
    if options.probability("thicklines_prob"):
        options.report(
            "warning", "thicklines_prob", "thick lines have no counterpart here and are left out"
        )
    if "dataroot_lq_prob" in options:
        options.report(
            "warning",
            "dataroot_lq_prob",
            "mixing in real LR images is not part of a recipe; left out",
        )
    if "lq_size" in options and "scale" in options:
        size = options.number("lq_size") * options.number("scale")
        options.report(
            "note",
            "lq_size",
            f"the side of LR patches; of HR patches it is scale times that, --patch {size:g}",
        )
    report_pool(options)
    return options, {"first": first, "second": second}


def sharpened(options: Options) -> list[Config]:
    """Return unsharp masking of a random number of taps; an even number is increased by 1."""
    low, high = (int(edge) for edge in options.interval("lq_usm_radius_range"))
    if high > MOST_TAPS - 1:
        options.report("error", "lq_usm_radius_range", f"should end at {MOST_TAPS - 1} at most")
        return []
    counts: dict[int, int] = {}
    for radius in range(max(low, 1), high + 1):
        taps = radius + 1 - radius % 2
        counts[taps] = counts.get(taps, 0) + 1
    # 1 tap is the identity. Up to 7 taps, OpenCV has fixed ones, a little off a Gaussian's.
    branches = [
        {"p": count, "unsharp": {"amount": 0.5, **_gaussian(taps), "threshold": 10}}
        for taps, count in counts.items()
    ]
    return [{"as": "sharpen", "one_of": branches}]


def _gaussian(taps: int) -> Config:
    return {"sigma": opencv_sigma(taps), "size": taps}


def opencv_sigma(taps: int) -> float:
    """Return the sigma of ``cv2.GaussianBlur`` for a number of taps: 0.3 ((n - 1) / 2 - 1) + 0.8.

    >>> opencv_sigma(5)
    1.1
    """
    return round(0.3 * ((taps - 1) * 0.5 - 1) + 0.8, 6)
