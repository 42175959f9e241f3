"""Convert the keys of Real-ESRGAN's second-order degradation, which its descendants share, to the
stages of a recipe.

.. math:: y = \\mathrm{order}_2(\\mathrm{order}_1(x)), \\qquad
          \\mathrm{order} = \\mathrm{jpeg} \\circ \\mathrm{noise} \\circ \\mathrm{resize} \\circ
          \\mathrm{blur}

where the last resize, a sinc filter and the second JPEG come in either order. All projects use the
same keys, with a 2 appended for the second order; :class:`Traits` says how their code differs. A
recipe does what upstream's *code* does, not what its keys suggest. Where the two differ, there is
a finding.

References:
    | Real-ESRGAN (Wang et al., 2021), ``realesrgan/models/realesrgan_model.py``,
      ``realesrgan/data/realesrgan_dataset.py`` | https://github.com/xinntao/Real-ESRGAN
    | traiNNer-redux, ``traiNNer/models/realesrgan_model.py``
      | https://github.com/the-database/traiNNer-redux
    | neosr, ``neosr/models/otf.py``, ``neosr/data/otf_dataset.py``
      | https://github.com/neosr-project/neosr
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from degrade.importers.expressions import (
    categorical,
    exact,
    mixture,
    number,
    one_of,
    probability,
    uniform,
)
from degrade.importers.options import Config, Options
from degrade.ops.blur import KERNELS

__all__ = ["KERNEL_KEYS", "STAGE_KEYS", "Traits", "both_orders", "orders", "report_pool"]


def both_orders(*keys: str) -> frozenset[str]:
    """Return the keys of both orders: as given, and with a 2 appended.

    >>> sorted(both_orders("jpeg_range"))
    ['jpeg_range', 'jpeg_range2']
    """
    return frozenset(f"{key}{order}" for key in keys for order in ("", "2"))


STAGE_KEYS = both_orders(
    *("resize_prob", "resize_range", "gaussian_noise_prob", "noise_range"),
    *("poisson_scale_range", "gray_noise_prob", "jpeg_range"),
)
"""The keys of both orders that every project reads, except those of kernels."""

KERNEL_KEYS = frozenset(["final_sinc_prob"]) | both_orders(
    *("blur_kernel_size", "kernel_list", "kernel_prob", "sinc_prob"),
    *("blur_sigma", "betag_range", "betap_range"),
)
"""The keys of kernels that every project reads."""

SIZES = (7, 9, 11, 13, 15, 17, 19, 21)
MODES = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "area": "area",
    "lanczos": "lanczos",
    "nearest-exact": "nearest",
    "nearest": "nearest",
}
"""Resize mode upstream -> filter of a recipe."""


@dataclass(frozen=True)
class Traits:
    """What a project's code does with the keys.

    Args:
        blur: Key of the probability of each order's blur; "" if the blur always runs.
        jpeg: Key of the probability of each order's JPEG; "" if it always runs.
        ranges: Whether ``kernel_range`` keys give the kernel sizes; if not, they are 7 to 21.
        modes: Whether keys give the resize filters; if not, they are area, bilinear and bicubic.
        antialias: Whether resizing widens its kernel (antialias), and clips to [0, 1].
        keeps: Whether "keep" skips the resize; if not, that of the second order goes to the LR
            size.
    """

    blur: tuple[str, str] = ("", "second_blur_prob")
    jpeg: tuple[str, str] = ("", "")
    ranges: bool = False
    modes: bool = False
    antialias: bool = False
    keeps: bool = False


def orders(
    options: Options, traits: Traits, before: list[Config]
) -> tuple[list[Config], list[Config]]:
    """Return the two stages of a recipe.

    Args:
        options: The option file.
        traits: Those of its project.
        before: Steps to run before the first blur.
    """
    first = [*before, *kernel(options, "", traits), *resize(options, "", traits)]
    first += [*noise(options, ""), *compress(options, "", traits)]
    second = [*kernel(options, "2", traits), *resize(options, "2", traits), *noise(options, "2")]
    back = [*resize_back(options, traits), *final_sinc(options, traits)]
    jpeg = compress(options, "2", traits)
    group = back if len(back) == 1 else [{"as": "back", "steps": back}]
    second += [{"shuffle": [*jpeg, *group]}] if jpeg else back
    if not traits.modes:
        options.report(
            "note",
            "resize_prob",
            "resize without antialias, as upstream; antialias differs in traiNNer-redux",
        )
    options.report(
        "note",
        "resize_prob",
        "upstream draws size, filter, kind of noise, second blur and final order once per batch; "
        "here per sample",
    )
    return first, [*second, {"quantize": {}}]


def report_pool(options: Options) -> None:
    """Report that upstream's pool of pairs is not needed."""
    if "queue_size" in options:
        options.report(
            "note",
            "queue_size",
            "ignored: every sample draws its own degradation, so no pool is needed",
        )


# --- steps ---------------------------------------------------------------------------------------


def kernel(options: Options, order: str, traits: Traits) -> list[Config]:
    """Return the blur or sinc filter of an order."""
    p = optional_probability(options, traits.blur[order == "2"])
    used = f"blur_kernel_size{order}"
    if used in options:
        how = f"kernel_range{order} counts" if traits.ranges else "sizes are 7 to 21, hard-coded"
        harmless = traits.ranges or options.number(used) == 21
        options.report(
            "note" if harmless else "warning", used, f"is read and never used upstream; {how}"
        )
    sizes = kernel_sizes(options, f"kernel_range{order}") if traits.ranges else list(SIZES)
    names = options.names(f"kernel_list{order}", KERNELS)
    weights = options.weights(f"kernel_prob{order}", len(names))
    kernels: dict[str, float] = {}
    for name, weight in zip(names, weights, strict=True):
        if weight:
            kernels[name] = kernels.get(name, 0) + weight
    sigma = options.interval(f"blur_sigma{order}", "upstream stops (assert: Wrong sigma_x_range)")
    if sigma[0] == sigma[1]:
        options.report(
            "warning",
            f"blur_sigma{order}",
            "is a single width; upstream stops (assert: Wrong sigma_x_range)",
        )
    beta_generalized = beta(options, f"betag_range{order}")
    beta_plateau = beta(options, f"betap_range{order}")
    sinc = exact(options.probability(f"sinc_prob{order}"))
    blur: Config = {
        "kernel": categorical(kernels),
        "size": categorical(sizes),
        "sigma": uniform(sigma),
    }
    if any("aniso" in name for name in kernels):
        blur |= {"sigma_y": uniform(sigma), "angle": [-math.pi, math.pi]}
    if any(name.startswith("generalized") for name in kernels):
        blur["beta_generalized"] = beta_generalized
    if any(name.startswith("plateau") for name in kernels):
        blur["beta_plateau"] = beta_plateau
    # The range of the cutoff depends on the size.
    small, large = [size for size in sizes if size < 13], [size for size in sizes if size >= 13]
    branches = [(1 - sinc, {"blur": blur})]
    for some, cutoff in ((small, ["1/3", 1]), (large, ["1/5", 1])):
        weight = sinc * Fraction(len(some), len(sizes))
        branches.append((weight, {"sinc": {"size": categorical(some), "cutoff": cutoff}}))
    return one_of("kernel", branches, p)


def resize(options: Options, order: str, traits: Traits) -> list[Config]:
    """Return the random resize of an order."""
    key = f"resize_range{order}"
    up, down, keep = map(exact, options.weights(f"resize_prob{order}", 3))
    low, high = options.interval(key)
    if high < 1 and up:
        options.report(
            "warning",
            key,
            f"its upper end is {high:g}: 'up' draws from [{high:g}, 1] upstream, and shrinks",
        )
    if low > 1 and down:
        options.report(
            "warning",
            key,
            f"its lower end is {low:g}: 'down' draws from [1, {low:g}] upstream, and enlarges",
        )
    parts = [
        (down, uniform((min(low, 1), max(low, 1)))),
        (keep, 1),
        (up, uniform((min(1, high), max(1, high)))),
    ]
    total, of = up + down + keep, {"of": "target"} if order else {}
    body: Config = {"factor": mixture(parts), **of, **filters(options, order, traits)}
    if not (traits.keeps and keep):
        return clipped("rescale", body, Fraction(1), traits)
    if order:
        options.report(
            "note",
            f"resize_prob{order}",
            "'keep' leaves the size of the first order; in Real-ESRGAN it is LR's",
        )
    body["factor"] = mixture([(down, parts[0][1]), (up, parts[2][1])])
    return clipped("rescale", body, 1 - keep / total, traits)


def clipped(label: str, body: Config, p: Fraction, traits: Traits) -> list[Config]:
    """Return a resize, followed by a clip if upstream clips."""
    if not p:
        return []
    if not traits.antialias:
        return [{**probability(p), "resize": body}]
    return [{"as": label, **probability(p), "steps": [{"resize": body}, {"clip": {}}]}]


def resize_back(options: Options, traits: Traits) -> list[Config]:
    """Return the resize to the LR size, which always runs."""
    back: list[Config] = [
        {"as": "resize_back", "resize": {"of": "target", **filters(options, "3", traits)}}
    ]
    return [*back, {"as": "clip_back", "clip": {}}] if traits.antialias else back


def noise(options: Options, order: str) -> list[Config]:
    """Return Gaussian or Poisson noise."""
    gaussian = exact(options.probability(f"gaussian_noise_prob{order}"))
    gray = number(options.probability(f"gray_noise_prob{order}"))
    sigma = options.interval(f"noise_range{order}")
    scale = options.interval(f"poisson_scale_range{order}")
    if not ((gaussian and sigma[1]) or (gaussian < 1 and scale[1])):
        options.report(
            "note",
            f"gaussian_noise_prob{order}",
            "the noise has strength 0; left out",
        )
        return []
    branches = [
        (gaussian, {"gaussian_noise": {"sigma": uniform(sigma), "gray": gray}}),
        (1 - gaussian, {"poisson_noise": {"scale": uniform(scale), "gray": gray}}),
    ]
    return one_of("noise", branches, Fraction(1))


def compress(options: Options, order: str, traits: Traits) -> list[Config]:
    """Return JPEG compression of a random quality."""
    quality = options.interval(
        f"jpeg_range{order}", "upstream stops (uniform_ expects from <= to)"
    )
    p = optional_probability(options, traits.jpeg[order == "2"])
    return [{**probability(p), "jpeg": {"quality": uniform(quality)}}] if p else []


def final_sinc(options: Options, traits: Traits) -> list[Config]:
    """Return the sinc filter that runs with the resize to the LR size."""
    p = exact(options.probability("final_sinc_prob"))
    sizes = kernel_sizes(options, "final_kernel_range") if traits.ranges else list(SIZES)
    if not p:
        return []
    sinc = {"size": categorical(sizes), "cutoff": ["1/3", 1]}
    return [{"as": "final_sinc", **probability(p), "sinc": sinc}]


# --- fields --------------------------------------------------------------------------------------


def kernel_sizes(options: Options, key: str) -> list[int]:
    """Return the odd sizes of a range, both ends included."""
    low, high = options.interval(key)
    if not (low % 2 == 1 and low >= 1 and high <= 21):
        options.report(
            "error",
            key,
            f"[{low:g}, {high:g}] should begin with an odd number and lie in [1, 21]; "
            "upstream pads to 21 x 21",
        )
        return [21]
    return list(range(int(low), int(high) + 1, 2))


def filters(options: Options, order: str, traits: Traits) -> Config:
    """Return the fields ``filter`` and ``antialias`` of a resize."""
    if not traits.modes:
        return {"filter": ["area", "bilinear", "bicubic"]}
    key = f"resize_mode_list{order}"
    modes = options.names(key, [*MODES])
    weights = options.weights(f"resize_mode_prob{order}", len(modes))
    found: dict[str, float] = {}
    for mode, weight in zip(modes, weights, strict=True):
        if weight:
            found[MODES[mode]] = found.get(MODES[mode], 0) + weight
    if "lanczos" in found:
        options.report(
            "note",
            key,
            "upstream's lanczos is a Lanczos low-pass, then bicubic; here Lanczos-3, stretched",
        )
    if "nearest" in modes:
        options.report(
            "warning",
            key,
            "upstream's nearest moves the image by up to half a pixel; here it does not",
        )
    return {"filter": categorical(found), "antialias": 1}


def beta(options: Options, key: str) -> Any:
    """Return U(low, 1) or U(1, high), each with probability 1/2, as upstream's code draws."""
    low, high = options.interval(key)
    if low == 1 or high == 1:
        options.report(
            "note", key, f"[{low:g}, {high:g}] draws exactly 1 half of the time, upstream as here"
        )
    if low > 1 or high < 1:
        options.report(
            "warning",
            key,
            f"[{low:g}, {high:g}] does not contain 1, where upstream splits it into halves",
        )
    lower, upper = (min(low, 1), max(low, 1)), (min(high, 1), max(high, 1))
    half = Fraction(1, 2)
    return mixture([(half, uniform(lower)), (half, uniform(upper))])


def optional_probability(options: Options, key: str) -> Fraction:
    """Return the value of a key, 1 if the project has no such key."""
    return exact(options.probability(key)) if key else Fraction(1)
