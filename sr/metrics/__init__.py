"""Metrics by name.

.. code-block:: text

    psnr_y ssim_y psnr_rgb ssim_rgb      the protocol of the literature
    ms_ssim lpips dists niqe             built in too
    pyiqa:musiq                          any metric of the package pyiqa
    my_module:mine                       one's own: a function annotated to return a Metric

Packages bring metrics by the entry-point group ``sr.metrics``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from degrade.errors import UserError
from sr.metrics.base import Metric
from sr.metrics.dists import dists_metric
from sr.metrics.external import PYIQA, pyiqa_metric
from sr.metrics.lpips import lpips_metric
from sr.metrics.niqe import niqe_metric
from sr.metrics.psnr_ssim import ms_ssim_metric, psnr_metric, ssim_metric
from sr.pretrained import MissingWeightsError
from sr.registry import Registry

__all__ = ["FIDELITY", "METRICS", "Metric", "default_metrics", "digits_of", "open_metrics"]


def _returns_metric(found: Any) -> bool:
    try:
        returned = inspect.signature(found).return_annotation
    except (TypeError, ValueError):
        return False
    return returned is Metric or str(returned).rpartition(".")[2] == "Metric"


METRICS: Registry[Callable[[], Metric]] = Registry(
    "metric", "sr.metrics", _returns_metric, "a function that is annotated to return a Metric"
)
"""What builds each metric, by name; weights are read when it is built."""
METRICS.update(
    {
        "psnr_y": lambda: psnr_metric("y"),
        "ssim_y": lambda: ssim_metric("y"),
        "psnr_rgb": lambda: psnr_metric("rgb"),
        "ssim_rgb": lambda: ssim_metric("rgb"),
        "ms_ssim": ms_ssim_metric,
        "lpips": lpips_metric,
        "dists": dists_metric,
        "niqe": niqe_metric,
    }
)
FIDELITY = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
"""What is measured in any case."""


def digits_of(name: str) -> int:
    """Return how many decimals a metric is reported with: 2 for dB, else 4."""
    return 2 if name.startswith("psnr") else 4


def default_metrics() -> dict[str, Metric]:
    """Return :data:`FIDELITY`, and LPIPS if its weights are installed."""
    found = open_metrics(FIDELITY)
    try:
        return {**found, "lpips": lpips_metric()}
    except MissingWeightsError:
        return found


def open_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """Build metrics.

    >>> list(open_metrics(["psnr_y", "ms_ssim"]))
    ['psnr_y', 'ms_ssim']

    Raises:
        UserError: A name is unknown, weights are missing, or a metric of one's own cannot be
            built; all problems at once.
    """
    found: dict[str, Metric] = {}
    problems: list[str] = []
    for name in dict.fromkeys(names):
        try:
            found[name] = _open(name)
        except (ValueError, MissingWeightsError) as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return found


def _open(name: str) -> Metric:
    if name.startswith(PYIQA):
        return pyiqa_metric(name.removeprefix(PYIQA))
    build = METRICS.find(name)
    try:
        metric: Any = build()
    except (UserError, MissingWeightsError):
        raise
    except Exception as error:  # whatever a metric of one's own raises
        raise ValueError(f"metric {name}: {type(error).__name__}: {error}") from error
    if not isinstance(metric, Metric):
        raise ValueError(
            f"metric {name}: should return a sr.metrics.Metric, returned {type(metric).__name__}"
        )
    return metric
