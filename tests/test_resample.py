"""The resample primitive, ``resize`` and ``decimate``: equal to torch, OpenCV, Pillow and
MATLAB, and registered.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backends import BACKENDS, resampled, use_backend
from PIL import Image
from skimage import data

from degrade.base import Draw
from degrade.canvas import Canvas
from degrade.execution import Backend
from degrade.kernels.resample import FILTERS, band, decimate, resample
from degrade.ops.resize import Decimate, Resize
from degrade.rng import Key

LEVEL = 1 / 255
SIZES = [(37, 23), (8, 9), (64, 40), (1, 1), (63, 41), (200, 7), (20, 1), (130, 90)]
SET5 = Path(__file__).parents[2] / "shared/data/set5"
CASES = [(name, flag) for name in FILTERS for flag in (False, True)]


def photo(height: int, width: int, channels: int = 3) -> torch.Tensor:
    image = torch.from_numpy(
        data.astronaut()[60 : 60 + height, 130 : 130 + width, :channels].copy()
    )
    return image.permute(2, 0, 1).float() / 255


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def one(
    image: torch.Tensor, size: tuple[int, int], name: str, antialias: bool = False
) -> torch.Tensor:
    """One image resized alone."""
    return resampled(Canvas.of(image[None]), np.array([size]), [name], [antialias]).pixels[0]


# --- oracles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_torch(name: str, antialias: bool, size: tuple[int, int]) -> None:
    """In float64, where torch's own coordinates are exact too, the torch backend equals
    F.interpolate to 1e-6.
    """
    image = noise(3, 64, 40).double()
    flags = {} if name == "area" else {"align_corners": False, "antialias": antialias}
    # Channels-last: torch 2.13 is wrong by up to 0.17 for contiguous images, antialias and one
    # column out.
    batch = image[None].contiguous(memory_format=torch.channels_last)
    want = F.interpolate(batch, size=size, mode=name, **flags)[0]
    with use_backend("reference"):
        got = one(image, size, name, antialias)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_nearest(size: tuple[int, int]) -> None:
    image = noise(3, 64, 40)
    want = F.interpolate(image[None].double(), size=size, mode="nearest-exact")[0].float()
    torch.testing.assert_close(one(image, size, "nearest"), want, atol=0, rtol=0)


@pytest.mark.parametrize("size", [(37, 23), (64, 21), (16, 10), (1, 1), (70, 47), (128, 80)])
def test_coverage_is_opencv_area(size: tuple[int, int]) -> None:
    image = noise(3, 64, 40)
    want = cv2.resize(image.permute(1, 2, 0).numpy(), size[::-1], interpolation=cv2.INTER_AREA)
    got = one(image, size, "coverage").permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "resampling"),
    [
        ("bilinear", Image.Resampling.BILINEAR),
        ("bicubic", Image.Resampling.BICUBIC),
        ("catmull_rom", Image.Resampling.BICUBIC),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_pillow(name: str, resampling: Image.Resampling, size: tuple[int, int]) -> None:
    image = noise(1, 64, 40)
    want = np.array(Image.fromarray(image[0].numpy()).resize(size[::-1], resampling))
    np.testing.assert_allclose(
        one(image, size, name, antialias=True)[0].numpy(), want, atol=2e-6, rtol=0
    )


def imresize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """MATLAB's imresize of a uint8 image, written sample by sample from its documentation."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    for axis, count in enumerate(size):
        image = np.moveaxis(image, axis, 0)
        n = len(image)
        scale = count / n
        kernel_scale = min(scale, 1.0)
        padded = np.concatenate([image[::-1], image, image[::-1]]).astype(np.float64)
        out = []
        for i in range(1, count + 1):
            centre = i / scale + 0.5 * (1 - 1 / scale)
            left = int(np.floor(centre - 2 / kernel_scale))
            places = np.arange(left, left + int(np.ceil(4 / kernel_scale)) + 2)
            weights = np.array([kernel_scale * cubic(kernel_scale * (centre - p)) for p in places])
            out.append(np.tensordot(weights / weights.sum(), padded[places - 1 + n], 1))
        image = np.floor(np.clip(np.array(out), 0, 255) + 0.5 + 1e-9).astype(np.uint8)
        image = np.moveaxis(image, 0, axis)
    return image


@pytest.mark.parametrize("size", [(24, 20), (16, 13), (12, 10), (31, 57), (96, 80)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_matlab(size: tuple[int, int], backend: str) -> None:
    image = data.chelsea()[100:148, 150:190].copy()
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    with use_backend(backend):
        got = one(tensor, size, "matlab").permute(1, 2, 0)
    want = imresize(image, size)
    assert np.array_equal(got.numpy(), want.astype(np.float32) / 255)


@pytest.mark.skipif(not SET5.is_dir(), reason="Set5 is not here")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5(scale: int) -> None:
    """MATLAB's own LR images, pixel by pixel, but for the border of 4 (they were cropped
    after).
    """
    for path in sorted((SET5 / f"x{scale}").glob("*_HR.png")):
        hr = (
            torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float()
            / 255
        )
        want = np.array(Image.open(str(path).replace("_HR", "_LR")).convert("RGB"))
        canvas = Canvas.of(hr[None], scale)
        got = (
            resample(canvas, canvas.target, ["matlab"], [False])
            .pixels[0]
            .permute(1, 2, 0)
            .mul(255)
            .round()
            .numpy()
        )
        assert np.array_equal(got[4:-4, 4:-4], want[4:-4, 4:-4]), path.name


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "antialias"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "reference"])
def test_forms_agree(name: str, antialias: bool, channels: int, backend: Backend) -> None:
    image = photo(150, 120, channels)
    for size in [(61, 90), (1, 7), (150, 50), (301, 187)]:
        with use_backend("reference"):
            want = one(image, size, name, antialias)
        with use_backend(backend):
            got = one(image, size, name, antialias)
        assert got.shape == (channels, *size)
        assert (got - want).abs().max() < 5e-3 * LEVEL


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_independent(backend: str) -> None:
    """Bit for bit, on a canvas of mixed sizes, filters and targets whose outside is full of
    rubbish.
    """
    sizes = [(40 + 7 * (i % 5), 30 + 5 * (i % 7)) for i in range(len(CASES))]
    images = [photo(*size) for size in sizes]
    goals = np.array(
        [
            [max(1, (h * (3 + i % 9)) // 6), max(1, (w * (2 + i % 8)) // 5)]
            for i, (h, w) in enumerate(sizes)
        ]
    )
    goals[3] = sizes[3]
    canvas = Canvas.of(images)
    for i, (h, w) in enumerate(sizes):
        canvas.pixels[i, :, h:], canvas.pixels[i, :, :, w:] = 1e6, -1e6
    names, flags = zip(*CASES, strict=True)
    with use_backend(backend):
        together = resampled(canvas, goals, names, flags)
        assert np.array_equal(together.sizes, goals)
        assert together.pixels.shape[-2:] == tuple(goals.max(0))
        assert together.pixels.isfinite().all()
        for i, image in enumerate(images):
            alone = one(image, tuple(goals[i]), names[i], flags[i])
            assert torch.equal(together.image(i), alone), names[i]


@pytest.mark.parametrize(("name", "antialias"), CASES)
def test_same_size_is_identity(name: str, antialias: bool) -> None:
    image = noise(3, 20, 30)
    canvas = Canvas.of(torch.stack([image, image]))
    for backend in BACKENDS:
        with use_backend(backend):
            both = resampled(canvas, np.array([[20, 30], [11, 30]]), [name] * 2, [antialias] * 2)
        assert torch.equal(both.image(0), image)
    assert resample(canvas, canvas.sizes, [name] * 2, [antialias] * 2) is canvas


@pytest.mark.parametrize(("name", "antialias"), CASES)
def test_weights(name: str, antialias: bool) -> None:
    """Each output sample is a mean of input samples: constants are kept, borders included."""
    for n_in, n_out in [(400, 61), (61, 400), (7, 1), (1, 9), (100, 99), (3, 2000)]:
        matrix = band(n_in, n_out, name, antialias)
        assert matrix.index.min() >= 0
        assert matrix.index.max() < n_in
        np.testing.assert_allclose(matrix.weight.sum(1), 1, atol=1e-12)


@pytest.mark.parametrize(("name", "antialias"), CASES)
@pytest.mark.parametrize("size", [(53, 41), (29, 37), (33, 33), (140, 171), (150, 203)])
def test_registered(name: str, antialias: bool, size: tuple[int, int]) -> None:
    """The centre of gravity of a smooth blob stays where it is, to 0.02 input pixels.

    To 0.1 for ``area`` and ``nearest``, whose single samples are up to half a pixel off either
    way, by definition.
    """
    tolerance = 0.1 if name in ("area", "nearest") else 0.02
    n = 99
    y, x = np.mgrid[:n, :n]
    blob = np.exp(-((y - 46.3) ** 2 + (x - 51.7) ** 2) / (2 * 9**2))
    image = torch.from_numpy(blob)[None].float()
    result = one(image, size, name, antialias)[0].double().numpy()
    for axis, (length, want) in enumerate(zip(size, (46.3, 51.7), strict=True)):
        profile = result.sum(1 - axis)
        centre = (profile * (np.arange(length) + 0.5)).sum() / profile.sum()
        assert abs(centre * n / length - (want + 0.5)) < tolerance


@pytest.mark.parametrize(("name", "antialias"), CASES)
@pytest.mark.parametrize("size", [(53, 41), (33, 1), (140, 203)])
def test_mirrored(name: str, antialias: bool, size: tuple[int, int]) -> None:
    """Neither end of the frame is preferred, so the mean shift is zero: a mirrored image gives
    the mirrored result.
    """
    image = photo(99, 75)
    result = one(image.flip(1, 2), size, name, antialias).flip(1, 2)
    torch.testing.assert_close(result, one(image, size, name, antialias), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("name", "antialias"), CASES)
def test_gradients(name: str, antialias: bool) -> None:
    image = photo(30, 20).requires_grad_()
    one(image, (13, 31), name, antialias).sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    # Weights sum to 1, so the gradients add up to the number of outputs.
    assert image.grad.sum().item() == pytest.approx(3 * 13 * 31, rel=1e-4)


def test_gradient_is_exact() -> None:
    image = noise(1, 6, 5).double().requires_grad_()
    for name, antialias in [("bicubic", False), ("lanczos", True), ("area", False)]:
        assert torch.autograd.gradcheck(lambda x, n=name, a=antialias: one(x, (4, 9), n, a), image)


def test_errors() -> None:
    canvas = Canvas.of(noise(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"row 0: unknown filter 'cubic'; use one of area"):
        resample(canvas, np.array([[2, 2]]), ["cubic"], [False])
    with pytest.raises(ValueError, match=r"row 0: size 0x2 is empty"):
        resample(canvas, np.array([[0, 2]]), ["area"], [False])
    with pytest.raises(ValueError, match=r"row 0: 4x4 is not a whole multiple of 3x2"):
        decimate(canvas, np.array([[3, 2]]), np.zeros((1, 2), np.int64))


# --- operators -----------------------------------------------------------------------------------


def apply(operator: Resize | Decimate, canvas: Canvas, **values: list[float]) -> Canvas:
    drawn = {name: np.array(value, np.float64) for name, value in values.items()}
    return operator.apply(canvas, Draw(operator, drawn, Key.of(0, np.arange(len(canvas))), canvas))


def test_resize_sizes() -> None:
    canvas = Canvas.of([noise(3, 40, 30), noise(3, 20, 50)], scale=2)
    assert apply(Resize(), canvas) is canvas
    halves = apply(Resize(), canvas, factor=[0.25, 0.01])
    assert halves.sizes.tolist() == [[10, 8], [1, 1]]  # 7.5 goes up; never below 1
    assert apply(Resize(of="target"), halves).sizes.tolist() == canvas.target.tolist()
    assert apply(Resize(of="hr"), halves).sizes.tolist() == canvas.hr.tolist()
    assert apply(Resize(of="target"), halves, factor=[1.5, 1.1]).sizes.tolist() == [
        [30, 23],
        [11, 28],
    ]


def test_resize_draws_filters() -> None:
    image = noise(3, 40, 30)
    canvas = Canvas.of(torch.stack([image] * 3), scale=2)
    places = [FILTERS.index(name) for name in ("lanczos", "area", "bilinear")]
    result = apply(Resize(of="target"), canvas, filter=places, antialias=[1, 0, 1])
    for i, (name, flag) in enumerate([("lanczos", True), ("area", False), ("bilinear", True)]):
        assert torch.equal(result.image(i), one(image, (20, 15), name, flag))


def test_size_is_declared() -> None:
    assert [Resize().size_after(s, 4) for s in (4, 1, None)] == [4, 1, None]
    assert Resize(of="target").size_after(None, 4) == 1
    assert Resize(of="hr").size_after(1, 4) == 4
    assert Resize(factor=0.5).size_after(4, 4) == 2
    assert Resize(factor=0.5, of="hr").size_after(None, 3) is None
    assert Resize(factor=[0.5, 1], of="target").size_after(1, 4) is None
    assert Decimate().size_after(4, 4) == 1
    with pytest.raises(ValueError, match="not be a whole multiple"):
        Decimate().size_after(None, 4)


@pytest.mark.parametrize(("scale", "centre"), [(2, 0), (3, 1), (4, 1), (5, 2)])
def test_decimate(scale: int, centre: int) -> None:
    images = [noise(3, 60, 120), noise(3, 120, 60)]
    canvas = Canvas.of(images, scale)
    result = apply(Decimate(), canvas, phase=[0, 1])
    assert torch.equal(result.image(0), images[0][:, centre::scale, centre::scale])
    assert torch.equal(result.image(1), images[1][:, ::scale, ::scale])
    assert result.sizes.tolist() == canvas.target.tolist()
