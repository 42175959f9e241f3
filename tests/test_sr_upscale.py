"""Upscaling: tiles leave no trace, and what a file held beside colour is kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageCms
from typer.testing import CliRunner

from degrade.errors import UserError
from degrade.images.alpha import fill_transparent
from degrade.images.files import Image, read_image
from degrade.images.pixels import encode_png, to_tensor
from sr.cli import app
from sr.models import Model, build
from sr.models.interpolation import enlarge
from sr.png import png_writer, software
from sr.tiles import OVERLAP, enlarge_parts, enlarge_tiled, overlap_of
from sr.upscale import upscale_file, upscale_image, upscale_rows

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
    ("rrdb", {"scale": 2, "channels": 4, "blocks": 1, "growth": 4, "unshuffle": 1}),
    ("compact", {"scale": 3, "channels": 4, "convolutions": 2}),
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
    tiled = enlarge_tiled(model, lr, tile, model.reach)
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


# --- memory --------------------------------------------------------------------------------------


def test_deep_networks_share_32_pixels_by_default():
    deep = build("rrdb", blocks=23, channels=4, growth=4)
    assert deep.reach is not None
    assert deep.reach > 300
    assert overlap_of(deep) == OVERLAP == 32
    assert overlap_of(deep, 100) == 100
    assert overlap_of(deep, 10**6) == deep.reach
    assert overlap_of(build("bicubic")) == 2
    deep.reach = None
    assert overlap_of(deep) is None
    assert overlap_of(deep, 7) == 7


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_come_as_they_are_made(channels: int):
    """No more at a time than a row of tiles; together the whole image, with its alpha."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (41, 30, channels)).astype(np.uint8)
    source = Image(pixels, rng.integers(0, 256, (41, 30)).astype(np.uint8))
    model = build("bicubic", scale=3).eval()
    rows = list(upscale_rows(model, source, tile=8))
    assert [len(band) for band in rows] == [24, 24, 24, 24, 24, 3]
    whole = upscale_image(model, source)
    assert np.abs(np.concatenate(rows).astype(int) - whole).max() <= 1
    parts = list(enlarge_parts(model, image(41, 30), tile=8))
    assert max(part.shape[-1] for _, _, part in parts) == 24


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_files_hold_what_is_written(tmp_path: Path, channels: int, depth: int):
    """Read by OpenCV, which had no part in writing, and by Pillow for the profile."""
    rng = np.random.default_rng(0)
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = rng.integers(0, 2**depth, (7, 5, channels)).astype(dtype)
    path = tmp_path / "a.png"
    with png_writer(path, 7, 5, channels, depth, "me", b"a profile") as png:
        png.write(pixels[:3])
        png.write(pixels[3:])
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    order = {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(channels, [0])
    np.testing.assert_array_equal(found.reshape(7, 5, -1), pixels[..., order])
    assert PIL.Image.open(path).info["icc_profile"] == b"a profile"
    assert software(path) == "me"


def test_a_file_that_fails_leaves_nothing(tmp_path: Path):
    def write() -> None:
        with png_writer(tmp_path / "a.png", 7, 5, 3, 8, "me") as png:
            png.write(np.zeros((3, 5, 3), np.uint8))
            raise UserError("interrupted")

    with pytest.raises(UserError):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 3, 8, 32, 40, 60])
def test_files_of_others_have_no_maker(tmp_path: Path, size: int):
    with png_writer(tmp_path / "a.png", 1, 1, 1, 8, "x" * 30) as png:
        png.write(np.zeros((1, 1, 1), np.uint8))
    (tmp_path / "cut").write_bytes((tmp_path / "a.png").read_bytes()[:size])
    assert software(tmp_path / "cut") in (None, "x" * max(0, size - 50))
    (tmp_path / "b.png").write_bytes(encode_png(np.zeros((1, 1, 1), np.uint8)))
    assert software(tmp_path / "b.png") is None
    assert software(tmp_path / "nothing") is None


def test_files(tmp_path: Path):
    """16-bit RGB with alpha, and 8-bit grey with alpha, through PNG."""
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (6, 5, 4)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    model = build("bicubic", scale=3).eval()
    done = upscale_file(model, tmp_path / "deep.png", tmp_path / "out.png")
    assert (done.height, done.width, done.notes) == (18, 15, ("16-bit",))
    out = read_image(tmp_path / "out.png")
    assert out.pixels.dtype == np.uint16
    assert out.alpha is not None
    assert out.alpha.shape == (18, 15)
    grey = Image(deep[..., :1].astype(np.uint8), deep[..., 1].astype(np.uint8))
    assert upscale_image(model, grey).shape == (18, 15, 2)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("mode", "suffix", "kept"),
    [
        *(("RGB", suffix, True) for suffix in ("png", "jpg", "webp", "tif")),
        *((mode, "png", mode != "L") for mode in ("RGBA", "P", "L")),
        ("CMYK", "jpg", False),
    ],
)
def test_profiles_are_kept_if_they_fit(tmp_path: Path, mode: str, suffix: str, kept: bool):
    """An RGB profile fits RGB results only, and what is not kept is said."""
    source, target = tmp_path / f"a.{suffix}", tmp_path / "b.png"
    profile = PROFILE if mode != "CMYK" else PROFILE[:16] + b"CMYK" + PROFILE[20:]
    PIL.Image.new(mode, (6, 4)).save(source, icc_profile=profile)
    done = upscale_file(build("bicubic", scale=2).eval(), source, target)
    info = PIL.Image.open(target).info
    assert ("icc_profile" in info) is kept
    assert any("ICC profile" in note and ("not kept" in note) is not kept for note in done.notes)
    if kept:
        assert info["icc_profile"] == PROFILE


# --- many files ----------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    words = ["upscale", "-m", "bicubic", "--scale", "2", *map(str, arguments)]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a/0000.png", "b/0000.png", "cat.png", "cat.bmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (5, 4)).save(folder / name)
    return folder


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_folders_keep_their_places(photos: Path, tmp_path: Path):
    run(photos, "--out", tmp_path / "up")
    ends = ["a/0000", "b/0000", "cat.bmp", "cat.png"]
    assert below(tmp_path / "up") == [f"{end}_bicubic_x2.png" for end in ends]


def test_results_in_the_folder_are_not_upscaled_again(photos: Path):
    run(photos)
    once = below(photos)
    assert "4 results of sr upscale in the folder are left out" in run(photos)
    assert below(photos) == once
    assert len(once) == 8


def test_every_file_is_tried(photos: Path, tmp_path: Path):
    """Bad files among good ones, first and last; missing ones too."""
    for name in ("0.png", "zz.png"):
        (photos / name).write_bytes(b"no image")
    with pytest.raises(UserError) as raised:
        run(tmp_path / "missing.png", photos, "--out", tmp_path / "up")
    assert len(below(tmp_path / "up")) == 4
    lines = str(raised.value).splitlines()
    for line, name in zip(lines, ("missing.png", "0.png", "zz.png"), strict=True):
        assert name in line


def test_only_results_of_ours_are_replaced(photos: Path, tmp_path: Path):
    target = photos / "cat.bmp_bicubic_x2.png"
    for foreign in (b"my own", encode_png(np.zeros((1, 1, 3), np.uint8))):
        target.write_bytes(foreign)
        with pytest.raises(UserError, match="--force"):
            run(photos / "cat.bmp", photos / "cat.png")
        assert target.read_bytes() == foreign
    run(photos / "cat.bmp", photos / "cat.png", "--force")
    run(photos / "cat.bmp", photos / "cat.png")
    assert software(target) == "sr upscale, model bicubic"
