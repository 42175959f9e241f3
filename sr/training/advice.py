"""Advice before a run: what it took where nothing was said, and what is likely a mistake."""

from __future__ import annotations

import torch

from sr.examples import PAIRS
from sr.training.precision import slow_bfloat16
from sr.training.settings import Config

__all__ = ["advice"]


def advice(config: Config, resume: bool = False) -> list[str]:
    """Return sentences for the user of ``sr train``.

    >>> advice(Config(method="srgan", trainer="gan"))[1]
    'srgan: its generator starts from random weights, of which GANs make noise; give \
--init RUN of a run that minimized a pixel loss, or --set gan.pretrain=STEPS'
    """
    name = config.method
    if (config.trainer, config.architecture) != ("pixel", config.method):
        name += f" ({config.trainer} of {config.architecture})"
    validated = "not validated" if config.val is None else f"validated on {config.val}"
    lines = [f"{name} x{config.scale}, recipe {config.recipe}, {validated}, into {config.out}"]
    if config.recipe.startswith(PAIRS) and config.data:
        lines.append(
            f"--data {' '.join(config.data)}: not used; {config.recipe} has its own images"
        )
    if config.trainer == "gan" and config.init is None and not config.gan.pretrain and not resume:
        lines.append(
            f"{config.method}: its generator starts from random weights, of which GANs make "
            "noise; give --init RUN of a run that minimized a pixel loss, or "
            "--set gan.pretrain=STEPS"
        )
    on_cpu = config.device == "cpu" or (
        config.device == "auto" and not torch.accelerator.is_available()
    )
    if config.precision == "bf16-mixed" and on_cpu and slow_bfloat16():
        lines.append(
            "--amp: this CPU has no bfloat16 instructions, and emulates them many times slower; "
            "leave --amp out"
        )
    return lines
