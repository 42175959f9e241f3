"""Graph: the second-order degradation that Real-ESRGAN's descendants share, from their keys to a
recipe's data.

.. math:: y = \\mathrm{order}_2(\\mathrm{order}_1(x)), \\qquad
          \\mathrm{order} = \\mathrm{jpeg} \\circ \\mathrm{noise} \\circ \\mathrm{resize} \\circ
          \\mathrm{blur}

where the last resize, a sinc filter and the second JPEG come in either order. All projects name
the keys alike and put a 2 behind those of the second order; :class:`Traits` says what else each
project's code does. One constraint: a recipe says what upstream's *code* does, not what its keys
suggest. Where the two differ, there is a finding.

References:
    | Real-ESRGAN (Wang et al., 2021), ``realesrgan/{models/realesrgan_model,data/realesrgan_dataset}.py``
      | https://github.com/xinntao/Real-ESRGAN
    | traiNNer-redux, ``traiNNer/models/realesrgan_model.py`` | https://github.com/the-database/traiNNer-redux
    | neosr, ``neosr/models/otf.py``, ``neosr/data/otf_dataset.py`` | https://github.com/neosr-project/neosr
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from degrade.importers.options import Interval, Options
from degrade.ops.blur import KERNELS

__all__ = ["KERNEL_KEYS", "STAGE_KEYS", "Traits", "orders"]

Data = dict[str, Any]

STAGE_KEYS = frozenset(
    f"{key}{order}"
    for order in ("", "2")
    for key in (
        *(
            "resize_prob",
            "resize_range",
            "gaussian_noise_prob",
            "noise_range",
            "poisson_scale_range",
        ),
        *("gray_noise_prob", "jpeg_range"),
    )
)
"""What every project reads for the two orders, but for kernels."""

KERNEL_KEYS = frozenset(
    [
        f"{key}{order}"
        for order in ("", "2")
        for key in (
            *(
                "blur_kernel_size",
                "kernel_list",
                "kernel_prob",
                "sinc_prob",
                "blur_sigma",
                "betag_range",
            ),
            "betap_range",
        )
    ]
    + ["final_sinc_prob"]
)
"""What every project reads for its kernels."""

SIZES = (7, 9, 11, 13, 15, 17, 19, 21)
MODES = {
    **{"bilinear": "bilinear", "bicubic": "bicubic", "area": "area", "lanczos": "lanczos"},
    **{"nearest-exact": "nearest", "nearest": "nearest"},
}


@dataclass(frozen=True)
class Traits:
    """What a project's code does with the keys.

    Args:
        blur: Key of the probability of each order's blur; "" if the blur always runs.
        jpeg: Key of the probability of each order's JPEG; "" if it always runs.
        ranges: Whether ``kernel_range`` keys give the kernel sizes; if not, they are 7 to 21.
        modes: Whether keys give the resize filters; if not, they are area, bilinear and bicubic.
        antialias: Whether resizing stretches its kernel, and clips to [0, 1].
        keeps: Whether "keep" skips the resize; if not, that of the second order goes to the LR
            size.
    """

    blur: tuple[str, str] = ("", "second_blur_prob")
    jpeg: tuple[str, str] = ("", "")
    ranges: bool = False
    modes: bool = False
    antialias: bool = False
    keeps: bool = False


def orders(options: Options, traits: Traits, before: list[Data]) -> tuple[list[Data], list[Data]]:
    """The two stages of a recipe.

    Args:
        options: Read from the file.
        traits: The project's.
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
        options.say(
            "note",
            "resize_prob",
            "resize without antialias, as upstream; antialias differs in traiNNer-redux",
        )
    options.say(
        "note",
        "resize_prob",
        "upstream draws size, filter, kind of noise, second blur and final order once per batch; here per sample",
    )
    return first, [*second, {"quantize": {}}]


# --- steps ---------------------------------------------------------------------------------------


def kernel(options: Options, order: str, traits: Traits) -> list[Data]:
    """A blur or a sinc filter."""
    p = chance(options, traits.blur[order == "2"])
    used = f"blur_kernel_size{order}"
    if used in options:
        how = f"kernel_range{order} counts" if traits.ranges else "sizes are 7 to 21, hard-coded"
        harmless = traits.ranges or options.number(used) == 21
        options.say(
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
        options.say(
            "warning",
            f"blur_sigma{order}",
            "is a single width; upstream stops (assert: Wrong sigma_x_range)",
        )
    betas = beta(options, f"betag_range{order}"), beta(options, f"betap_range{order}")
    sinc = exact(options.chance(f"sinc_prob{order}"))
    blur: Data = {"kernel": any_of(kernels), "size": any_of(sizes), "sigma": uniform(sigma)}
    if any("aniso" in name for name in kernels):
        blur |= {"sigma_y": uniform(sigma), "angle": [-math.pi, math.pi]}
    if any(name.startswith("generalized") for name in kernels):
        blur["beta_generalized"] = betas[0]
    if any(name.startswith("plateau") for name in kernels):
        blur["beta_plateau"] = betas[1]
    # The cut-off's range depends on the size.
    small, large = [size for size in sizes if size < 13], [size for size in sizes if size >= 13]
    branches = [(1 - sinc, {"blur": blur})]
    for some, cutoff in ((small, ["1/3", 1]), (large, ["1/5", 1])):
        weight = sinc * Fraction(len(some), len(sizes))
        branches.append((weight, {"sinc": {"size": any_of(some), "cutoff": cutoff}}))
    return pick("kernel", branches, p)


def resize(options: Options, order: str, traits: Traits) -> list[Data]:
    """The random resize of an order."""
    key = f"resize_range{order}"
    up, down, keep = map(exact, options.weights(f"resize_prob{order}", 3))
    low, high = options.interval(key)
    if high < 1 and up:
        options.say(
            "warning",
            key,
            f"its upper end is {high:g}: 'up' draws from [{high:g}, 1] upstream, and shrinks",
        )
    if low > 1 and down:
        options.say(
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
    body: Data = {"factor": mix(parts), **of, **filters(options, order, traits)}
    if not (traits.keeps and keep):
        return clipped("rescale", body, Fraction(1), traits)
    if order:
        options.say(
            "note",
            f"resize_prob{order}",
            "'keep' leaves the size of the first order; in Real-ESRGAN it is LR's",
        )
    body["factor"] = mix([(down, parts[0][1]), (up, parts[2][1])])
    return clipped("rescale", body, 1 - keep / total, traits)


def clipped(label: str, body: Data, p: Fraction, traits: Traits) -> list[Data]:
    """A resize, and the clip that comes with it where upstream clips."""
    if not p:
        return []
    if not traits.antialias:
        return [{**chosen(p), "resize": body}]
    return [{"as": label, **chosen(p), "steps": [{"resize": body}, {"clip": {}}]}]


def resize_back(options: Options, traits: Traits) -> list[Data]:
    """The resize to the LR size, which always runs."""
    back: list[Data] = [
        {"as": "resize_back", "resize": {"of": "target", **filters(options, "3", traits)}}
    ]
    return [*back, {"as": "clip_back", "clip": {}}] if traits.antialias else back


def noise(options: Options, order: str) -> list[Data]:
    """Gaussian or else Poisson noise."""
    gaussian = exact(options.chance(f"gaussian_noise_prob{order}"))
    gray = plain(options.chance(f"gray_noise_prob{order}"))
    sigma, scale = (
        options.interval(f"noise_range{order}"),
        options.interval(f"poisson_scale_range{order}"),
    )
    if not ((gaussian and sigma[1]) or (gaussian < 1 and scale[1])):
        options.say(
            "note",
            f"gaussian_noise_prob{order}",
            "the noise that is drawn has strength 0, so there is none",
        )
        return []
    branches = [
        (gaussian, {"gaussian_noise": {"sigma": uniform(sigma), "gray": gray}}),
        (1 - gaussian, {"poisson_noise": {"scale": uniform(scale), "gray": gray}}),
    ]
    return pick("noise", branches, Fraction(1))


def compress(options: Options, order: str, traits: Traits) -> list[Data]:
    """JPEG of a drawn quality."""
    quality = options.interval(
        f"jpeg_range{order}", "upstream stops (uniform_ expects from <= to)"
    )
    p = chance(options, traits.jpeg[order == "2"])
    return [{**chosen(p), "jpeg": {"quality": uniform(quality)}}] if p else []


def final_sinc(options: Options, traits: Traits) -> list[Data]:
    """The sinc filter that goes with the resize to the LR size."""
    p = exact(options.chance("final_sinc_prob"))
    sizes = kernel_sizes(options, "final_kernel_range") if traits.ranges else list(SIZES)
    return (
        [{"as": "final_sinc", **chosen(p), "sinc": {"size": any_of(sizes), "cutoff": ["1/3", 1]}}]
        if p
        else []
    )


# --- fields --------------------------------------------------------------------------------------


def kernel_sizes(options: Options, key: str) -> list[int]:
    """The odd sizes of a range, both ends included."""
    low, high = options.interval(key)
    if not (low % 2 == 1 and low >= 1 and high <= 21):
        options.say(
            "error",
            key,
            f"[{low:g}, {high:g}] should begin odd and lie in [1, 21]; upstream pads to 21 x 21",
        )
        return [21]
    return list(range(int(low), int(high) + 1, 2))


def filters(options: Options, order: str, traits: Traits) -> Data:
    """The resampling filters and whether they are stretched."""
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
        options.say(
            "note",
            key,
            "upstream's lanczos is a Lanczos low-pass, then bicubic; here Lanczos-3, stretched",
        )
    if "nearest" in modes:
        options.say(
            "warning",
            key,
            "upstream's nearest moves the image by up to half a pixel; here it does not",
        )
    return {"filter": any_of(found), "antialias": 1}


def beta(options: Options, key: str) -> Any:
    """Half of the time U(low, 1), else U(1, high), whatever the range suggests."""
    low, high = options.interval(key)
    if low == 1 or high == 1:
        options.say(
            "note", key, f"[{low:g}, {high:g}] draws exactly 1 half of the time, upstream as here"
        )
    if low > 1 or high < 1:
        options.say(
            "warning",
            key,
            f"[{low:g}, {high:g}] does not hold 1, at which upstream splits it in two halves",
        )
    lower, upper = (min(low, 1), max(low, 1)), (min(high, 1), max(high, 1))
    half = Fraction(1, 2)
    return mix([(half, uniform(lower)), (half, uniform(upper))])


def chance(options: Options, key: str) -> Fraction:
    return exact(options.chance(key)) if key else Fraction(1)


def exact(number: float) -> Fraction:
    """The decimal that was written, so that 1 - 0.1 is 0.9."""
    return Fraction(repr(number))


def plain(number: float | Fraction) -> float | int:
    return int(number) if number == int(number) else float(number)


def chosen(p: Fraction) -> Data:
    return {} if p == 1 else {"p": plain(p)}


def uniform(interval: Interval) -> Any:
    low, high = map(plain, interval)
    return low if low == high else [low, high]


def any_of(values: Iterable[Any]) -> Any:
    """One of these, with weights if it is a mapping."""
    if isinstance(values, dict) and len(set(values.values())) > 1:
        return {"any": values}
    listed = list(values)
    return listed[0] if len(listed) == 1 else {"any": listed}


def mix(parts: list[tuple[Fraction, Any]]) -> Any:
    live = [(weight, of) for weight, of in parts if weight]
    total = sum(weight for weight, _ in live)
    return (
        live[0][1]
        if len(live) == 1
        else {"mix": [{"p": plain(w / total), "of": of} for w, of in live]}
    )


def pick(label: str, branches: list[tuple[Fraction, Data]], p: Fraction) -> list[Data]:
    """One of the branches, none if the step never runs."""
    live = [(weight, step) for weight, step in branches if weight]
    if not p:
        return []
    if len(live) == 1:
        return [{"as": label, **chosen(p), **live[0][1]}]
    return [{"as": label, **chosen(p), "one_of": [{"p": plain(w), **step} for w, step in live]}]
