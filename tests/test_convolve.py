"""Laws of the convolve primitive. The oracle is SciPy's direct correlation in float64."""

import numpy as np
import pytest
import torch
from backends import BACKENDS, convolve, convolve_separable, use_backend
from scipy import ndimage

from degrade.canvas import Canvas
from degrade.kernels import convolve as module

BORDERS = {"reflect": "mirror", "replicate": "nearest"}
# Float32 sums of a few hundred products; OpenCV's Fourier transform above 160 taps.
TOLERANCE = 3e-6


def ragged(channels: int = 3, seed: int = 0) -> Canvas:
    """Three sizes; what lies outside is large, so that reading it shows."""
    rng = np.random.default_rng(seed)
    images = [
        torch.from_numpy(rng.random((channels, h, w), np.float32))
        for h, w in [(40, 57), (71, 30), (3, 5)]
    ]
    canvas = Canvas.of(images)
    pixels = torch.full_like(canvas.pixels, 1e6)
    for row, image in zip(pixels, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return canvas.with_pixels(pixels)


def taps(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Kernels of no symmetry, summing to 1."""
    kernels = np.random.default_rng(seed).uniform(-0.3, 1, shape)
    return kernels / kernels.sum(tuple(range(1, len(shape))), keepdims=True)


def difference(a: Canvas, b: Canvas) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a.images(), b.images(), strict=True))


def expected(canvas: Canvas, kernels: np.ndarray, border: str) -> Canvas:
    pixels = torch.zeros_like(canvas.pixels)
    for i, kernel in enumerate(kernels):
        image = canvas.image(i).double().numpy()
        h, w = image.shape[1:]
        pixels[i, :, :h, :w] = torch.from_numpy(
            ndimage.correlate(image, kernel[None], mode=BORDERS[border])
        )
    return canvas.with_pixels(pixels)


def block(height: int, width: int, side: int) -> np.ndarray:
    """Three kernels with (height, width) taps in a square of ``side``."""
    kernels = np.zeros((3, side, side))
    y, x = (side - height) // 2, (side - width) // 2
    kernels[:, y : y + height, x : x + width] = taps((3, height, width))
    return kernels


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    ("height", "width"),
    # Alone, direct, in bands of rows (the 151 wide one cannot be), through the Fourier transform.
    [(1, 1), (3, 3), (11, 11), (1, 9), (5, 31), (31, 5), (1, 151), (21, 21)],
)
def test_equals_scipy(backend, channels, border, height, width):
    canvas = ragged(channels)
    kernels = block(height, width, max(height, width))
    with use_backend(backend):
        found = convolve(canvas, kernels, border)
    assert difference(found, expected(canvas, kernels, border)) < TOLERANCE
    assert torch.isfinite(found.pixels).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", BORDERS)
def test_separable_equals_scipy(backend, channels, border):
    canvas, rows, columns = ragged(channels), taps((3, 21), 2), taps((3, 21), 3)
    with use_backend(backend):
        found = convolve_separable(canvas, rows, columns, border)
    assert (
        difference(found, expected(canvas, columns[:, :, None] * rows[:, None], border))
        < TOLERANCE
    )


def test_bands_are_tiled():
    """An image of several tiles, the last one short."""
    rng = np.random.default_rng(0)
    canvas = Canvas.of(torch.from_numpy(rng.random((1, 3, 150, 20), np.float32)))
    kernels = taps((1, 13, 13)) * (np.arange(13) % 4 > 0)
    assert kernels.size > 129
    assert np.count_nonzero(kernels) < 160
    assert difference(convolve(canvas, kernels), expected(canvas, kernels, "reflect")) < TOLERANCE


@pytest.mark.parametrize("backend", BACKENDS)
def test_orientation(backend):
    """The tap right of the centre brings in the pixel to the right; the tap below, the one
    below.
    """
    canvas = ragged()
    right, below = np.zeros((3, 3, 3)), np.zeros((3, 3, 3))
    right[:, 1, 2] = below[:, 2, 1] = 1
    with use_backend(backend):
        assert torch.equal(convolve(canvas, right).image(0)[:, :, :-1], canvas.image(0)[:, :, 1:])
        assert torch.equal(convolve(canvas, below).image(0)[:, :-1], canvas.image(0)[:, 1:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_row_alone(backend):
    """Whatever the widths beside it."""
    canvas = ragged()
    kernels = np.zeros((3, 21, 21))
    for i, side in enumerate([5, 21, 13]):
        edge = (21 - side) // 2
        kernels[i, edge : 21 - edge, edge : 21 - edge] = taps((1, side, side), i)[0]
    with use_backend(backend):
        whole = convolve(canvas, kernels)
        for i in range(3):
            row = np.array([i])
            alone = convolve(canvas.take(row), kernels[row])
            torch.testing.assert_close(whole.image(i), alone.image(0), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tails_are_dropped_unnoticed(backend):
    """A narrow Gaussian on a wide support costs few taps, and gives what all its taps give."""
    x = np.arange(-15, 16)
    row = np.exp(-0.5 * (x / 0.8) ** 2)
    kernels = np.tile(np.outer(row, row) / row.sum() ** 2, (3, 1, 1))
    canvas = ragged()
    with use_backend(backend):
        found = convolve(canvas, kernels)
    assert difference(found, expected(canvas, kernels, "reflect")) < 1e-6
    assert np.count_nonzero(module._without_tails(kernels)[0]) < 90


def test_mask():
    """Bytes come out as floats."""
    canvas = ragged()
    rows = taps((3, 15))
    mask = canvas.with_pixels((canvas.pixels > 0.5).to(torch.uint8))
    found = module.convolve_separable(mask, rows, rows)
    floating = module.convolve_separable(mask.with_pixels(mask.pixels.float()), rows, rows)
    assert found.pixels.dtype == torch.float32
    assert difference(found, floating) < TOLERANCE


def test_gradient():
    """The gradient of a correlation is exact; PyTorch's own differences are the oracle."""
    canvas = Canvas.of(
        [torch.rand(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]
    )
    kernels, rows = taps((1, 5, 5)), taps((1, 3))
    pixels = canvas.pixels.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: convolve(canvas.with_pixels(x), kernels).pixels, pixels
    )
    assert torch.autograd.gradcheck(
        lambda x: convolve_separable(canvas.with_pixels(x), rows, rows).pixels, pixels
    )


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 4, 4), (3, 3, 5)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"kernels of shape .* for 3 images"):
        convolve(ragged(), np.ones(shape))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_tf32():
    canvas = ragged()
    canvas = canvas.with_pixels(canvas.pixels.clamp(0, 1))
    kernels = taps((3, 11, 11))
    device = canvas.with_pixels(canvas.pixels.cuda())
    found = convolve(device, kernels)
    assert (
        difference(found.with_pixels(found.pixels.cpu()), expected(canvas, kernels, "reflect"))
        < TOLERANCE
    )
