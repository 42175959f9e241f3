"""Laws of the kernels and of the operators that use them."""

import math

import backends
import numpy as np
import pytest
import torch
from backends import BACKENDS, use_backend
from pydantic import ValidationError
from scipy import special, stats
from skimage import data

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.kernels import psf
from degrade.ops.blur import KERNELS, Blur, Sinc
from degrade.ops.lens import Lens, Motion
from degrade.rng import Key

ANGLE = [-math.pi, math.pi]
SIZES = {"any": [7, 9, 11, 13, 15, 17, 19, 21]}

DRAWN = [
    Blur(size=SIZES, sigma=[0.2, 3]),
    Blur(kernel="aniso", size=SIZES, sigma=[0.2, 3], angle=ANGLE),
    Blur(
        kernel={"any": list(KERNELS)},
        size=SIZES,
        sigma=[0.2, 3],
        angle=ANGLE,
        beta_generalized=[0.5, 4],
        beta_plateau=[1, 2],
    ),
    Blur(
        kernel="plateau_aniso",
        sigma=[1, 3],
        angle=ANGLE,
        beta_plateau=[1, 2],
        border="replicate",
        shift=1.5,
    ),
    Sinc(size=SIZES, cutoff=[0.3, 1]),
    Motion(length={"any": [3, 9, 15]}, angle=[0, 360], direction=[-1, 1]),
    Lens(radius=[0, 6]),
]
NEUTRAL = [
    *(Blur(kernel=kernel, sigma=0, beta_generalized=0.5, beta_plateau=0.5) for kernel in KERNELS),
    *(Blur(kernel=kernel, sigma=3, size=1) for kernel in KERNELS),
    Sinc(size=1, cutoff=0.5),
    Motion(length=1, angle=33, direction=1),
    Lens(radius=0),
    Lens(radius=0.5),
]
SYMMETRIC = [*DRAWN[:3], *DRAWN[4:5], Motion(length=9, angle=[0, 360]), Lens(radius=[0, 6])]


def name(operator: Operator) -> str:
    return repr(operator)[:60]


def draw(operator: Operator, canvas: Canvas, rows: np.ndarray | None = None) -> Draw:
    """Draws row by row as a plan does: a row's values depend on its key alone."""
    key = Key.of(3, np.arange(len(canvas)) if rows is None else rows)
    values = {}
    for field, variable in operator.variables().items():
        dist = getattr(operator, field)
        values[field] = variable.encode(dist, dist.quantile(key.fold(field).uniform()))
    return Draw(operator, values, key, canvas)


def apply(operator: Operator, canvas: Canvas, rows: np.ndarray | None = None) -> Canvas:
    return backends.apply(operator, canvas, draw(operator, canvas, rows))


@pytest.fixture(scope="module")
def photos() -> Canvas:
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    return Canvas.of(
        [photo[:, :90, 150:220], photo[:, 100:160, 100:196], photo[:, 40:47, 200:209]]
    )


# --- kernels -------------------------------------------------------------------------------------


def formula(kernel, size, sigma_x, sigma_y, angle, beta, shift=0.0) -> np.ndarray:
    """Tap by tap, with SciPy's density."""
    if kernel.endswith("_iso") or kernel == "iso":
        sigma_y, angle = sigma_x, 0.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    density = stats.multivariate_normal(
        [shift, shift], turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
    )
    half = size // 2
    taps = np.empty((size, size))
    for y in range(size):
        for x in range(size):
            q = -2 * (density.logpdf([x - half, y - half]) - density.logpdf([shift, shift]))
            q = max(q, 0.0)
            taps[y, x] = (
                1 / (1 + q**beta) if kernel.startswith("plateau") else math.exp(-0.5 * q**beta)
            )
    return taps / taps.sum()


def centred(kernel: np.ndarray, size: int) -> np.ndarray:
    edge = (kernel.shape[-1] - size) // 2
    inner = kernel[edge : edge + size, edge : edge + size]
    assert np.abs(kernel).sum() == pytest.approx(np.abs(inner).sum(), abs=1e-15)
    return inner


@pytest.mark.parametrize("shift", [0.0, 0.5, -1.5])
@pytest.mark.parametrize("kernel", KERNELS)
def test_elliptic_formula(kernel, shift):
    rng = np.random.default_rng(KERNELS.index(kernel))
    rows = 12
    size = rng.choice(np.arange(7, 22, 2), rows)
    sigma_x, sigma_y = rng.uniform(0.2, 3, (2, rows))
    angle = rng.uniform(*ANGLE, rows)
    beta = rng.uniform(0.5, 4, rows) if "_" in kernel else np.ones(rows)
    iso = "aniso" not in kernel
    found = psf.elliptic(
        size,
        sigma_x,
        sigma_x if iso else sigma_y,
        np.zeros(rows) if iso else angle,
        beta,
        np.full(rows, kernel.startswith("plateau")),
        shift,
    )
    np.testing.assert_allclose(found.sum((1, 2)), 1, atol=1e-12)
    for i in range(rows):
        wanted = formula(kernel, size[i], sigma_x[i], sigma_y[i], angle[i], beta[i], shift)
        np.testing.assert_allclose(centred(found[i], size[i]), wanted, atol=1e-6)
    if kernel == "iso":
        row = psf.gaussian(size, sigma_x, shift)
        np.testing.assert_allclose(row[:, :, None] * row[:, None], found, atol=1e-12)


def test_sinc_formula():
    size, cutoff = np.array([7, 13, 21]), np.array([1.0, 0.6, 0.25])
    found = psf.sinc(size, cutoff)
    for kernel, n, w in zip(found, size, cutoff * np.pi, strict=True):
        y, x = np.mgrid[:n, :n] - n // 2
        r = np.sqrt(x**2 + y**2)
        wanted = np.where(
            r > 0,
            w * special.jv(1, w * r) / (2 * np.pi * np.where(r > 0, r, 1)),
            w**2 / (4 * np.pi),
        )
        np.testing.assert_allclose(centred(kernel, n), wanted / wanted.sum(), atol=1e-6)


def test_sinc_is_a_low_pass():
    """Frequencies inside the circle pass, others do not; the truncation ripples a few per cent."""
    response = np.abs(np.fft.fft2(psf.sinc(np.array([101]), np.array([0.5]))[0]))
    fy, fx = np.meshgrid(np.fft.fftfreq(101), np.fft.fftfreq(101), indexing="ij")
    radius = 2 * np.hypot(fy, fx)
    np.testing.assert_allclose(response[radius < 0.4], 1, atol=0.06)
    np.testing.assert_allclose(response[radius > 0.6], 0, atol=0.06)


def test_motion_is_kornias():
    from kornia.filters import get_motion_kernel2d

    angle, direction = np.array([0.0, 30, 90, 137, -45, 359]), np.array([0.0, 1, -1, 0.3, -0.5, 0])
    for length in (3, 9, 15):
        found = psf.motion(np.full(6, float(length)), angle, direction)
        wanted = get_motion_kernel2d(
            length, torch.from_numpy(angle), torch.from_numpy(direction), mode="bilinear"
        )
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    ragged = psf.motion(np.array([3.0, 15]), angle[1:3], direction[1:3])
    np.testing.assert_allclose(
        centred(ragged[0], 3), psf.motion(np.array([3.0]), angle[1:2], direction[1:2])[0]
    )


@pytest.mark.parametrize("radius", [1.0, 2.5, 7.3])
def test_disk(radius):
    """Flat inside, zero outside, its second moment that of a disk of this radius: r^2 / 4 on
    each axis, to 1/5 px^2.
    """
    kernel = psf.disk(np.array([radius, 9.0]))[0]
    y, x = np.mgrid[-9:10, -9:10]
    r = np.hypot(x, y)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel[r <= radius - 0.5], kernel[9, 9])
    assert not kernel[r >= radius + 0.5].any()
    assert (kernel * x * x).sum() == pytest.approx(radius**2 / 4, abs=0.2)


# --- operators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", DRAWN, ids=name)
def test_forms_agree(operator, photos):
    with use_backend("reference"):
        batched = apply(operator, photos)
    for a, b in zip(batched.images(), apply(operator, photos).images(), strict=True):
        torch.testing.assert_close(a, b, atol=5e-3 / 255, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", DRAWN, ids=name)
def test_row_alone(operator, backend, photos):
    with use_backend(backend):
        whole = apply(operator, photos)
        for i in range(len(photos)):
            row = np.array([i])
            alone = apply(operator, photos.take(row), row)
            torch.testing.assert_close(whole.image(i), alone.image(0), atol=2e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", NEUTRAL, ids=name)
def test_neutral(operator, backend, photos):
    with use_backend(backend):
        found = apply(operator, photos)
    for a, b in zip(found.images(), photos.images(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("operator", DRAWN, ids=name)
def test_changes_the_image_but_not_a_flat_one(operator, photos):
    assert any(
        not torch.equal(a, b)
        for a, b in zip(apply(operator, photos).images(), photos.images(), strict=True)
    )
    flat = photos.with_pixels(torch.full_like(photos.pixels, 0.7))
    for image in apply(operator, flat).images():
        torch.testing.assert_close(image, torch.full_like(image, 0.7), atol=2e-6, rtol=0)


def centroid(operator: Operator, shape: tuple[int, int] = (61, 61)) -> np.ndarray:
    """(B, 2): where impulses at the middle end up, on average, from there."""
    pixels = torch.zeros(16, 1, *shape)
    pixels[:, :, shape[0] // 2, shape[1] // 2] = 1
    image = apply(operator, Canvas.of(pixels)).pixels[:, 0].double()
    image = image / image.sum((1, 2), keepdim=True)
    y = (image.sum(2) * (torch.arange(shape[0]) - shape[0] // 2)).sum(1)
    x = (image.sum(1) * (torch.arange(shape[1]) - shape[1] // 2)).sum(1)
    return torch.stack([y, x], 1).numpy()


@pytest.mark.parametrize("backend", BACKENDS)
def test_impulse_response(backend):
    """In a batch of all kernels, each row gets its own: what an impulse becomes is the formula,
    turned about.
    """
    rows = 24
    pixels = torch.zeros(rows, 1, 31, 31)
    pixels[:, :, 15, 15] = 1
    canvas = Canvas.of(pixels)
    drawn = draw(DRAWN[2], canvas)
    with use_backend(backend):
        found = backends.apply(DRAWN[2], canvas, drawn).pixels[:, 0].numpy()
    assert set(drawn.names("kernel")) == set(KERNELS)
    for i, kernel in enumerate(drawn.names("kernel")):
        size, sigma, sigma_y, angle = (
            drawn.host(field)[i] for field in ("size", "sigma", "sigma_y", "angle")
        )
        beta = drawn.host(f"beta_{kernel.split('_')[0]}")[i] if "_" in kernel else 1.0
        wanted = formula(kernel, int(size), sigma, sigma_y, angle, beta)[::-1, ::-1]
        edge = 15 - int(size) // 2
        np.testing.assert_allclose(found[i], np.pad(wanted, edge), atol=1e-6)


@pytest.mark.parametrize("operator", SYMMETRIC, ids=name)
def test_registered(operator):
    np.testing.assert_allclose(centroid(operator), 0, atol=1e-4)


@pytest.mark.parametrize("kernel", ["iso", "aniso"])
def test_shift(kernel):
    """A correlation centred at s gathers from s to the right and below, so that what was at 0
    appears at -s.
    """
    operator = Blur(kernel=kernel, size=25, sigma=[1, 2.4], angle=ANGLE, shift=1.5)
    np.testing.assert_allclose(centroid(operator), -1.5, atol=2e-3)


def test_shift_registers_a_decimation():
    """Pixel 0 of every 4, after a blur centred 1.5 further, is the mean of a ramp over the
    block of 4.
    """
    ramp = torch.arange(80.0).expand(1, 1, 80, 80) / 80
    blurred = apply(Blur(size=25, sigma=1, shift=1.5), Canvas.of(ramp)).pixels[..., ::4, ::4]
    wanted = ramp.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    torch.testing.assert_close(
        blurred[..., 3:-4, 3:-4], wanted[..., 3:-4, 3:-4], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("operator", DRAWN, ids=name)
def test_gradient(operator, photos):
    pixels = photos.pixels.clone().requires_grad_()
    found = apply(operator, photos.with_pixels(pixels))
    (found.image(0) ** 2).sum().backward()
    assert pixels.grad is not None
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad[0].abs().sum() > 0
    assert not pixels.grad[1:].any()


def test_second_axis():
    """Left out, it is distributed as the first, but drawn on its own; given, it is what is
    given.
    """
    both = Blur(kernel="aniso", sigma=[0.2, 3])
    assert both.sigma_y == both.sigma
    drawn = draw(both, Canvas.of(torch.zeros(8, 1, 2, 2)))
    assert not np.isclose(drawn.host("sigma"), drawn.host("sigma_y")).any()
    assert Blur(kernel="aniso", sigma=2, sigma_y=1).sigma_y.support == (1, 1)
    assert Blur(sigma=[0.2, 3]).sigma_y.support == (1, 1)
    assert Blur.model_validate(both.model_dump()) == both


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 4}, "must be odd"),
        ({"sigma": -1}, "can draw -1 to -1"),
        ({"kernel": "box"}, "box: unknown"),
        ({"border": "wrap"}, "'reflect' or 'replicate'"),
    ],
)
def test_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Blur(**fields)
