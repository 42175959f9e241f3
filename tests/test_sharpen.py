"""Laws of unsharp masking. The oracle is the formula with a dense 51 x 51 kernel, in float64."""

import backends
import cv2
import numpy as np
import pytest
import torch
from backends import BACKENDS, use_backend
from scipy import ndimage
from skimage import data

from degrade.base import Draw
from degrade.canvas import Canvas
from degrade.ops.sharpen import Unsharp
from degrade.rng import Key


@pytest.fixture(scope="module")
def photos() -> Canvas:
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    return Canvas.of(
        [photo[:, :70, 150:220], photo[:, 100:160, 100:190], photo[:, 40:50, 200:213]]
    )


def apply(operator: Unsharp, canvas: Canvas, values: dict | None = None) -> Canvas:
    values = {field: np.array(column, np.float64) for field, column in (values or {}).items()}
    draw = Draw(operator, values, Key.of(0, np.arange(len(canvas))), canvas)
    return backends.apply(operator, canvas, draw)


def reference(image: np.ndarray, amount: float, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The sharpened (C, h, w) image, and its residual in grey levels."""
    row = cv2.getGaussianKernel(51, 0)
    kernel = (row @ row.T)[None]
    residual = image - ndimage.correlate(image, kernel, mode="mirror")
    mask = (np.abs(residual) * 255 > threshold).astype(np.float64)
    soft = ndimage.correlate(mask, kernel, mode="mirror")
    return soft * np.clip(image + amount * residual, 0, 1) + (1 - soft) * image, np.abs(
        residual
    ) * 255


@pytest.mark.parametrize("form", BACKENDS)
@pytest.mark.parametrize(("amount", "threshold"), [(0.5, 10), (2, 3.3)])
def test_formula(form, amount, threshold, photos):
    """To 1e-5, about 3e-3 grey levels, where no residual is so near the threshold that float32
    may decide otherwise.
    """
    with use_backend(form):
        found = apply(Unsharp(amount=amount, threshold=threshold), photos)
    for i in range(len(photos)):
        wanted, residual = reference(photos.image(i).double().numpy(), amount, threshold)
        assert np.abs(residual - threshold).min() > 1e-4
        assert np.abs(wanted - photos.image(i).numpy()).max() > 0.01
        np.testing.assert_allclose(found.image(i).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("form", BACKENDS)
def test_a_tall_image(form):
    """Of which native code keeps a few rows at a time."""
    photo = torch.from_numpy(data.astronaut()[100:370, 200:224]).permute(2, 0, 1).float() / 255
    with use_backend(form):
        found = apply(Unsharp(threshold=9.9), Canvas.of([photo]))
    wanted, residual = reference(photo.double().numpy(), 0.5, 9.9)
    assert np.abs(residual - 9.9).min() > 1e-4
    np.testing.assert_allclose(found.image(0).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("form", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_row_alone(form, channels, photos):
    """Each row with its own parameters."""
    photos = photos.with_pixels(photos.pixels[:, :channels])
    values = {
        "amount": [0.5, 1, 2],
        "sigma": [8, 2, 5],
        "size": [51, 11, 31],
        "threshold": [10, 2, 0],
    }
    with use_backend(form):
        whole = apply(Unsharp(), photos, values)
        for i in range(3):
            row = np.array([i])
            alone = apply(
                Unsharp(),
                photos.take(row),
                {field: column[i : i + 1] for field, column in values.items()},
            )
            torch.testing.assert_close(whole.image(i), alone.image(0), atol=2e-6, rtol=0)


@pytest.mark.parametrize("form", BACKENDS)
@pytest.mark.parametrize(
    "operator", [Unsharp(amount=0), Unsharp(threshold=255), Unsharp(size=1), Unsharp(sigma=0)]
)
def test_neutral(form, operator, photos):
    with use_backend(form):
        found = apply(operator, photos)
    for a, b in zip(found.images(), photos.images(), strict=True):
        assert torch.equal(a, b)


def test_default_is_opencvs_kernel():
    """OpenCV's width for 51 taps is 8."""
    np.testing.assert_allclose(
        cv2.getGaussianKernel(51, 0), cv2.getGaussianKernel(51, 8.0), atol=1e-12
    )


def test_gradient(photos):
    pixels = photos.pixels.clone().requires_grad_()
    apply(Unsharp(), photos.with_pixels(pixels)).image(0).sum().backward()
    assert pixels.grad is not None
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad[0].abs().sum() > 0
    assert not pixels.grad[1:].any()
