"""Mixed precision: networks run under autocast; images, losses and weights stay float32."""

# lightning_fabric: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning_fabric.plugins.precision import Precision

__all__ = ["precision_plugin", "slow_bfloat16"]

CPUINFO = Path("/proc/cpuinfo")


def precision_plugin(precision: str, accelerator: str) -> Precision:
    """Return the plug-in of Fabric for ``32-true``, ``bf16-mixed`` or ``16-mixed`` on ``cpu``,
    ``cuda``, ``mps``, ``auto`` or ``gpu``.
    """
    from lightning_fabric.plugins.precision import MixedPrecision
    from lightning_fabric.plugins.precision import Precision as Full

    if precision == "32-true":
        return Full()

    class Float32Inputs(MixedPrecision):
        """Fabric's own rounds the inputs, hence a LR image to 8 bits of mantissa, of which
        residual networks return a part.
        """

        def convert_input(self, data: Any) -> Any:
            return data

    device = accelerator
    if accelerator in ("auto", "gpu"):
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        device = "cpu" if found is None else found.type
    return Float32Inputs("bf16-mixed" if precision == "bf16-mixed" else "16-mixed", device)


def slow_bfloat16() -> bool:
    """Return whether this CPU has no bfloat16 instructions, as far as Linux tells."""
    if not CPUINFO.is_file():
        return False
    flags = set(CPUINFO.read_text("utf-8", errors="replace").split())
    known = {"flags", "Features"} & flags
    return bool(known) and not flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}
