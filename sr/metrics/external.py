"""Metrics of the package pyiqa, some fifty, with and without reference.

References:
    IQA-PyTorch (Chen and Mo, 2022) https://github.com/chaofengc/IQA-PyTorch
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import Tensor

from degrade.extras import optional
from sr.metrics.base import Metric, as_rgb

__all__ = ["PYIQA", "pyiqa_metric"]

PYIQA = "pyiqa:"
"""Prefix of its names."""


def pyiqa_metric(name: str) -> Metric:
    """Return a metric of pyiqa, which downloads its weights when it is first used.

    Args:
        name: pyiqa's own: ``musiq``, ``clipiqa``, ``topiq_fr``, ..

    Raises:
        ValueError: If pyiqa is not installed, has no such metric, or cannot load its weights.
    """
    try:
        pyiqa = optional("pyiqa", "pip install pyiqa")  # no dependency: it pulls transformers
    except ImportError as error:
        raise ValueError(f"metric {PYIQA}{name}: {error}") from None
    try:
        measure: Any = pyiqa.create_metric(name, as_loss=False, device="cpu")
        lower, blind = bool(measure.lower_better), measure.metric_mode == "NR"
    except Exception as error:  # pyiqa asserts, and downloads
        raise ValueError(f"metric {PYIQA}{name}: {str(error) or type(error).__name__}") from None

    def value(sr: Tensor, hr: Tensor, _shave: int) -> float:
        return float(measure(as_rgb(sr)) if blind else measure(as_rgb(sr), as_rgb(hr)))

    try:
        library = f"pyiqa {version('pyiqa')}"
    except PackageNotFoundError:
        library = "pyiqa"
    return Metric(
        value, f"{name} of {library}, given RGB, nothing shaved", lower=lower, blind=blind
    )
