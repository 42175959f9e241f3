"""Defaults by method, and those of papers by their option files.

The settings of SRCNN's papers are in docs/training.md.

References:
    | ESRGAN: enhanced super-resolution generative adversarial networks (Wang et al., 2018);
    | BasicSR ``options/train/ESRGAN/train_ESRGAN_x4.yml``
    | Real-ESRGAN (Wang et al., 2021); ``options/train_realesrnet_x4plus.yml``,
    | ``options/train_realesrgan_x4plus.yml``
"""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULTS"]

PIXEL: dict[str, Any] = {
    "trainer": "pixel",
    "steps": 100_000,
    "rate": 2e-4,
    "schedule": "cosine",
}
BASICSR: dict[str, Any] = {
    "architecture": "rrdb",
    "loss": "l1",
    "rate": 1e-4,
    "momentum": 0.9,
    "beta2": 0.99,
    "ema": 0.999,
    # The state is 270 MB, and a validation stops the training.
    "val_every": 5000,
    "save_every": 5000,
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "srcnn": {
        "trainer": "pixel",
        "architecture": "srcnn",
        "steps": 20_000,
        "patch": 60,
        "rate": 1e-3,
        "last_rate": 1.0,
        "schedule": "cosine",
        "warmup": 100,
        "ema": 0.998,
        "model": {"kernels": [9, 5, 5], "padding": "valid", "residual": True, "init": "kaiming"},
    },
    "srresnet": {**PIXEL, "architecture": "srresnet"},
    "msrresnet": {**PIXEL, "architecture": "msrresnet", "loss": "l1"},
    "rrdb": {**PIXEL, "architecture": "rrdb", "loss": "l1"},
    "srgan": {
        "trainer": "gan",
        "architecture": "srresnet",
        "steps": 200_000,
        "rate": 1e-4,
        "schedule": "step",
        "ema": 0.999,
    },
    "sparse": {
        "trainer": "sparse",
        "architecture": "sparse",
        "steps": 32,
        "batch": 32,
        "log_every": 1,
        "val_every": 10**9,
        "save_every": 10**9,
    },
    "esrgan": {
        **BASICSR,
        "trainer": "gan",
        "steps": 400_000,
        "batch": 16,
        "patch": 128,
        "schedule": "step",
        "milestones": (0.125, 0.25, 0.5, 0.75),
        "gamma": 0.5,
        "gan": {
            "perceptual": "vgg19",
            "layers": {"conv5_4": 1.0},
            "criterion": "l1",
            "content": 1.0,
            "pixel": 1e-2,
            "adversarial": 5e-3,
            "relativistic": True,
            "architecture": "esrgan",
        },
    },
    "realesrnet": {
        **BASICSR,
        "trainer": "pixel",
        "recipe": "realesrgan",
        "steps": 1_000_000,
        "batch": 48,
        "patch": 256,
        "margin": 72,
        "rotate": False,
        "rate": 2e-4,
    },
    "realesrgan": {
        **BASICSR,
        "trainer": "gan",
        "recipe": "realesrgan",
        "steps": 400_000,
        "batch": 48,
        "patch": 256,
        "margin": 72,
        "rotate": False,
        "gan": {
            "perceptual": "vgg19",
            "layers": {
                **{"conv1_2": 0.1, "conv2_2": 0.1},
                **{"conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
            },
            "criterion": "l1",
            "content": 1.0,
            "pixel": 1.0,
            "adversarial": 0.1,
            "architecture": "unet",
        },
    },
}
"""Defaults by method."""
