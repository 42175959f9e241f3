"""Upscaling: tiles leave no trace, and what a file held beside colour is kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from degrade.images.alpha import fill_transparent
from degrade.images.files import Image, read_image
from degrade.images.pixels import to_tensor
from sr.models import Model, build
from sr.models.interpolation import enlarge
from sr.upscale import enlarge_tiled, upscale_file, upscale_image

MODELS: list[tuple[str, dict[str, object]]] = [
    ("bicubic", {"scale": 3}),
    ("srcnn", {"scale": 2, "filters": [6, 4], "init": "kaiming"}),
    (
        "srcnn",
        {
            "scale": 3,
            "kernels": [9, 5, 5],
            "filters": [6, 4],
            "padding": "valid",
            "init": "kaiming",
        },
    ),
    ("srcnn", {"scale": 4, "filters": [6, 4], "color": "rgb", "init": "kaiming"}),
    ("srresnet", {"scale": 4, "channels": 4, "blocks": 2}),
    ("msrresnet", {"scale": 3, "channels": 4, "blocks": 2}),
    ("rrdb", {"scale": 4, "channels": 4, "blocks": 1, "growth": 4}),
    ("rrdb", {"scale": 2, "channels": 4, "blocks": 1, "growth": 4}),
    ("rrdb", {"scale": 1, "channels": 4, "blocks": 1, "growth": 4}),
]


def made(name: str, config: dict[str, object]) -> Model:
    """A model whose every weight matters: those that begin near zero are moved."""
    torch.manual_seed(0)
    model = build(name, **config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.05 * torch.randn(tensor.shape))
    return model


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "config"), MODELS)
@pytest.mark.parametrize("tile", [8, 13])
def test_tiles_leave_no_trace(name: str, config: dict[str, object], tile: int):
    """Equal to the whole image but for the order of float sums."""
    model = made(name, config)
    lr = image(45, 38)
    with torch.no_grad():
        whole = model(lr)
    tiled = enlarge_tiled(model, lr, tile)
    assert tiled.shape == whole.shape
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=2e-6)


def test_the_reach_is_needed():
    """With less overlap than the reach, tiles do show: the test above can fail."""
    model = made(*MODELS[1])
    lr = image(45, 38)
    exact = enlarge_tiled(model, lr, 8)
    assert model.reach is not None
    model.reach -= 3
    assert not torch.allclose(enlarge_tiled(model, lr, 8), exact, atol=1e-4)


def test_a_model_that_sees_everything_gets_one_tile():
    model = made(*MODELS[0])
    model.reach = None
    lr = image(20, 20)
    assert torch.equal(enlarge_tiled(model, lr, 4), model(lr))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_depth_channels_and_alpha_are_kept(depth: type, channels: int, alpha: bool):
    rng = np.random.default_rng(0)
    top = np.iinfo(depth).max
    pixels = rng.integers(0, top + 1, (9, 7, channels)).astype(depth)
    cover = rng.integers(0, top + 1, (9, 7)).astype(depth) if alpha else None
    found = upscale_image(build("bicubic", scale=2).eval(), Image(pixels, cover))
    assert found.dtype == depth
    assert found.shape == (18, 14, channels + alpha)
    planes = pixels
    if cover is not None:
        planes = np.dstack([fill_transparent(pixels, cover), cover])
    wanted = enlarge(to_tensor(planes)[None], 2)[0].clamp(0, 1).double() * top
    assert (
        np.abs(found.astype(np.float64) - wanted.permute(1, 2, 0).numpy()).max()
        <= 0.5 + top * 1e-6
    )


def test_files(tmp_path: Path):
    """16-bit RGB with alpha, and 8-bit grey with alpha, through PNG."""
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (6, 5, 4)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    model = build("bicubic", scale=3).eval()
    assert upscale_file(model, tmp_path / "deep.png", tmp_path / "out.png") == (18, 15)
    out = read_image(tmp_path / "out.png")
    assert out.pixels.dtype == np.uint16
    assert out.alpha is not None
    assert out.alpha.shape == (18, 15)
    grey = Image(deep[..., :1].astype(np.uint8), deep[..., 1].astype(np.uint8))
    assert upscale_image(model, grey).shape == (18, 15, 2)
