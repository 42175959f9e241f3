"""Noise and pixel operators: stated variance, whiteness, independence, and the laws every
operator obeys.
"""

from __future__ import annotations

import backends
import numpy as np
import pytest
import torch
from backends import BACKENDS, use_backend
from scipy import stats
from skimage import data

from degrade.base import Draw, Operator
from degrade.canvas import Canvas
from degrade.execution import Backend
from degrade.kernels.noise import channel_mixing, gray_levels, luma, poisson_quantile
from degrade.kernels.quantize import quantize
from degrade.ops.noise import (
    GaussianNoise,
    PoissonNoise,
    SaltPepper,
    SpeckleNoise,
)
from degrade.ops.pixel import Clip, Quantize
from degrade.rng import Key, uniform_field

NOISES: list[Operator] = [
    GaussianNoise(sigma=20),
    GaussianNoise(sigma=[1, 30], gray=0.5, correlated=0.5),
    SpeckleNoise(sigma=20),
    SpeckleNoise(sigma=[1, 30], gray=0.5, correlated=0.5),
    PoissonNoise(scale=[0.05, 3], gray=0.5),
    PoissonNoise(peak={"any": [0, 2, 30, 4000]}, gray=0.5),
    SaltPepper(amount=[0, 0.5], gray=0.5),
]
NEUTRAL: list[Operator] = [
    GaussianNoise(),
    GaussianNoise(gray=1),
    GaussianNoise(correlated=1),
    SpeckleNoise(),
    PoissonNoise(scale=0),
    PoissonNoise(scale=0, gray=1),
    SaltPepper(amount=0),
    Clip(),
]


def run(operator: Operator, canvas: Canvas, key: Key) -> torch.Tensor:
    """Applies an operator as a recipe does: a column for each random field."""
    values = {
        name: variable.encode(
            getattr(operator, name), getattr(operator, name).quantile(key.fold(name).uniform())
        )
        for name, variable in operator.variables().items()
    }
    return backends.apply(operator, canvas, Draw(operator, values, key, canvas)).pixels


def photographs(channels: int = 3) -> list[torch.Tensor]:
    """Five of different sizes, two of them dark."""
    crops = [
        data.astronaut()[:61, :80],
        data.chelsea()[50:107, 100:167],
        data.coffee()[:33, :41] // 8,
        data.rocket()[:48, :120],
        data.astronaut()[200:201, :5],
    ]
    return [
        torch.from_numpy(crop[..., :channels] / np.float32(255)).permute(2, 0, 1) for crop in crops
    ]


def flat(value: float, rows: int = 8, channels: int = 3, size: int = 128) -> Canvas:
    return Canvas.of(torch.full((rows, channels, size, size), value))


def keys(rows: int = 8) -> Key:
    return Key.of(0, np.arange(rows)).fold("first.noise")


# --- laws of every operator ----------------------------------------------------------------------


@pytest.mark.parametrize("operator", [*NOISES, Quantize(), Clip()], ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_alone_equals_the_row_in_a_ragged_batch(operator: Operator, channels: int) -> None:
    images, key = photographs(channels), keys(5)
    batch = Canvas.of(images)
    together = batch.with_pixels(run(operator, batch, key))
    for i, image in enumerate(images):
        alone = run(operator, Canvas.of(image[None]), key[i : i + 1])
        assert torch.equal(together.image(i), alone[0]), f"row {i}"


@pytest.mark.parametrize(
    "operator",
    [
        GaussianNoise(sigma=20, gray=0.5, correlated=0.5),
        SpeckleNoise(sigma=20, gray=0.5, correlated=0.5),
        PoissonNoise(scale=[0.05, 3]),
        PoissonNoise(peak={"any": [2, 30]}),
        SaltPepper(amount=[0, 0.5], gray=0.5),
    ],
    ids=repr,
)
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_channels_than_those_of_images(
    operator: Operator, channels: int, backend: Backend
) -> None:
    """A packed Bayer mosaic, say, that an operator of a user's made. Native code has no noise
    for them.
    """
    canvas = Canvas.of([torch.cat([image, image])[:channels] for image in photographs()])
    with use_backend(backend):
        found = canvas.with_pixels(run(operator, canvas, keys(5)))
    with use_backend("reference"):
        wanted = canvas.with_pixels(run(operator, canvas, keys(5)))
    for i in range(5):
        torch.testing.assert_close(found.image(i), wanted.image(i), rtol=0, atol=1e-6)
    with use_backend(backend), pytest.raises(ValueError, match="4 channels have no luma"):
        run(PoissonNoise(gray=1), flat(0.5, channels=4), keys())


@pytest.mark.parametrize("operator", NEUTRAL, ids=repr)
def test_the_neutral_parameter_is_the_identity(operator: Operator) -> None:
    canvas = Canvas.of(photographs())
    assert torch.equal(run(operator, canvas, keys(5)), canvas.pixels)


@pytest.mark.parametrize("operator", [*NOISES, Quantize(), Clip()], ids=repr)
def test_values_are_in_range_and_outside_pixels_are_never_read(operator: Operator) -> None:
    canvas = Canvas.of(photographs())
    outside = torch.full_like(canvas.pixels, 37.0)
    for i, (h, w) in enumerate(canvas.sizes):
        outside[i, :, :h, :w] = canvas.pixels[i, :, :h, :w]
    before, after = (
        run(operator, canvas, keys(5)),
        run(operator, canvas.with_pixels(outside), keys(5)),
    )
    for i in range(5):
        image = canvas.with_pixels(after).image(i)
        assert torch.equal(canvas.with_pixels(before).image(i), image)
        assert 0 <= image.min() <= image.max() <= 1
    assert after.isfinite().all()


@pytest.mark.parametrize("operator", [*NOISES, Quantize(), Clip()], ids=repr)
def test_pixels_stay_channels_last(operator: Operator) -> None:
    """Else the next operator's OpenCV backend would copy every image."""
    assert run(operator, Canvas.of(photographs()), keys(5)).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("operator", [*NOISES, Quantize(), Clip()], ids=repr)
def test_gradients_are_finite(operator: Operator) -> None:
    pixels = torch.full((2, 3, 16, 16), 0.5, requires_grad=True)
    run(operator, Canvas.of(pixels), keys(2)).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.isfinite().all()
    assert pixels.grad.abs().sum() > 0


# --- statistics ----------------------------------------------------------------------------------

LEVELS = [
    (GaussianNoise(sigma=20), 20 / 255),
    (GaussianNoise(sigma=20, gray=1), 20 / 255),
    (SpeckleNoise(sigma=30), 0.5 * 30 / 255),
    (PoissonNoise(peak=256), np.sqrt(0.50196 / 256)),
    (PoissonNoise(scale=2, peak=1000), 2 * np.sqrt(0.50196 / 1000)),
    (PoissonNoise(scale=0.1, peak=4, gray=1), 0.1 * np.sqrt(0.50196 / 4)),
]


@pytest.mark.parametrize(("operator", "std"), LEVELS, ids=repr)
def test_noise_has_the_stated_variance_and_no_mean(operator: Operator, std: float) -> None:
    noise = (run(operator, flat(0.5), keys()) - 0.5).numpy().astype(np.float64)
    independent = noise[:, :1] if np.ptp(noise, axis=1).max() == 0 else noise
    n = independent.size
    bias = (
        0 if not isinstance(operator, PoissonNoise) else 2e-4 * std
    )  # luma's weights sum to 0.9999
    assert abs(noise.mean()) < 4 * std / np.sqrt(n) + bias
    assert abs(noise.var() / std**2 - 1) < 4 * np.sqrt(3 / n) + 1e-3


@pytest.mark.parametrize(("operator", "std"), LEVELS, ids=repr)
def test_noise_is_white_and_independent_between_channels_and_samples(
    operator: Operator, std: float
) -> None:
    noise = (run(operator, flat(0.5), keys()) - 0.5).numpy().astype(np.float64) / std
    gray = np.ptp(noise, axis=1).max() == 0
    assert gray == bool(operator.gray.quantile(np.zeros(1))[0])
    lags = [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 0, 1, 1),
        (1, 0, 0, 0),
        *([] if gray else [(0, 1, 0, 0), (0, 2, 0, 0)]),
    ]
    for lag in lags:
        a = noise[tuple(slice(step, None) for step in lag)]
        b = noise[
            tuple(slice(0, size - step) for size, step in zip(noise.shape, lag, strict=True))
        ]
        assert abs((a * b).mean()) < 4.5 / np.sqrt(a[:, :1].size if gray else a.size), lag
    power = np.abs(np.fft.rfft2(noise)) ** 2 / noise[0, 0].size
    power = power[:, :1] if gray else power
    ring = [
        power[:, :, :32, 1:32],
        power[:, :, 32:96, 1:32],
        power[:, :, :32, 32:64],
        power[:, :, 32:96, 32:64],
    ]
    for part in ring:
        assert abs(part.mean() - 1) < 5 / np.sqrt(part.size)


def test_gray_rows_stand_beside_colour_rows() -> None:
    """Each row is grey or not by its own draw, and two grey rows share no plane (as they do in
    the reference).
    """
    operator, key = GaussianNoise(sigma=20, gray=0.5), keys(32)
    noise = (run(operator, flat(0.5, rows=32, size=48), key) - 0.5).numpy()
    gray = np.ptp(noise, axis=1).max((1, 2)) == 0
    assert (gray == (key.fold("gray").uniform() < 0.5)).all()
    assert 8 < gray.sum() < 24
    planes = noise[gray][:, 0].reshape(gray.sum(), -1)
    assert np.abs(np.corrcoef(planes) - np.eye(len(planes))).max() < 5 / 48


# --- correlated channels -------------------------------------------------------------------------


def test_channel_mixing_has_the_covariance_of_the_reference() -> None:
    """|U^T D U| with U = scipy.linalg.orth, as KAIR writes it, from the same uniforms."""
    from scipy.linalg import orth

    key = keys(50).fold("correlated")
    mixing = channel_mixing(key)
    for i in range(50):
        u = np.array(
            [
                [key[i : i + 1].fold(f"basis.{r}.{c}").uniform()[0] for c in range(3)]
                for r in range(3)
            ]
        )
        d = np.diag([key[i : i + 1].fold(f"variance.{c}").uniform()[0] for c in range(3)])
        u = orth(u)
        np.testing.assert_allclose(mixing[i] @ mixing[i].T, np.abs(u.T @ d @ u), atol=1e-12)
    assert (
        abs(
            np.einsum("bij,bij->b", *[channel_mixing(Key.of(0, np.arange(4000)))] * 2).mean() / 3
            - 0.5
        )
        < 0.01
    )
    assert (channel_mixing(key, 1) == 1).all()


def test_correlated_noise_has_that_covariance() -> None:
    key, operator = keys(), GaussianNoise(sigma=20, correlated=1)
    noise = (
        (run(operator, flat(0.5), key) - 0.5).numpy().astype(np.float64).reshape(8, 3, -1)
        * 255
        / 20
    )
    mixing = channel_mixing(key.fold("correlated"))
    covariance = np.einsum("bin,bjn->bij", noise, noise) / noise.shape[-1]
    np.testing.assert_allclose(
        covariance, mixing @ mixing.transpose(0, 2, 1), atol=5 * np.sqrt(2) / 128
    )


# --- Poisson -------------------------------------------------------------------------------------


def counts(mean: float) -> np.ndarray:
    u = uniform_field(keys(16), 1, 256, 256)
    return poisson_quantile(torch.full_like(u, mean), u).numpy().ravel().astype(int)


@pytest.mark.parametrize("mean", [0.0, 1e-3, 0.1, 0.5, 1.0, 3.0, 7.99])
def test_small_means_are_exact(mean: float) -> None:
    drawn = counts(mean)
    seen = np.bincount(drawn, minlength=2)
    expected = stats.poisson.pmf(np.arange(len(seen)), mean) * len(drawn)
    common = expected > 20
    seen, expected = (
        np.append(x[common], x[~common].sum()) for x in (seen.astype(float), expected)
    )
    expected[-1] = len(drawn) - expected[:-1].sum()
    assert ((seen - expected) ** 2 / np.maximum(expected, 1)).sum() < stats.chi2.ppf(
        0.999, max(common.sum() - 1, 1)
    ) + 1


@pytest.mark.parametrize("mean", [0.0, 0.3, 2.0, 6.0, 7.9])
def test_small_means_invert_the_distribution_function(mean: float) -> None:
    """All but the levels within float32 rounding of a step."""
    u = torch.linspace(2e-6, 1 - 2e-6, 20_001)
    ours = poisson_quantile(torch.full_like(u, mean), u).numpy()
    below, above = (stats.poisson.ppf(u.double().numpy() + shift, mean) for shift in (-1e-6, 1e-6))
    assert ((ours >= below) & (ours <= above)).all()


@pytest.mark.parametrize(
    ("mean", "distance"), [(8, 5e-4), (12, 3e-4), (16, 2e-4), (64, 2e-4), (255, 2e-4), (1e4, 8e-4)]
)
def test_large_means_are_close(mean: float, distance: float) -> None:
    """Total variation distance to SciPy's law, over a grid of 2^19 levels, which itself costs
    up to a level a count.
    """
    u = (torch.arange(2**19) + 0.5) / 2**19
    drawn = poisson_quantile(torch.full_like(u, mean), u).numpy().astype(int)
    share = np.bincount(drawn) / len(drawn)
    law = stats.poisson.pmf(np.arange(len(share)), mean)
    assert (np.abs(share - law).sum() + 1 - law.sum()) / 2 < distance
    assert abs(drawn.mean() / mean - 1) < 1e-4
    assert abs(drawn.var() / mean - 1) < 5e-4


def test_counts_are_never_negative() -> None:
    """The expansion is, at the lowest levels of the least of the large means."""
    u = torch.full((1000,), 2.0**-25)
    assert (poisson_quantile(torch.linspace(0, 20, 1000), u) >= 0).all()


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "reference"])
def test_the_device_form_gives_the_same_noise(backend: Backend) -> None:
    """A device works all pixels both ways and picks one; the CPU inverts the dark ones only.

    To the bit in OpenCV's backend, which calls the same erfinv. Native code has its own: 1 count
    in 10,000 may differ.
    """
    canvas = Canvas.of(photographs())
    for operator in (PoissonNoise(gray=0.5), PoissonNoise(peak=[1, 40])):
        with use_backend(backend):
            plain = canvas.with_pixels(run(operator, canvas, keys(5)))
        with use_backend("reference"):
            torch_form = canvas.with_pixels(run(operator, canvas, keys(5)))
        apart = torch.cat(
            [(plain.image(i) - torch_form.image(i)).abs().flatten() for i in range(5)]
        )
        assert (apart > 1e-6).float().mean() <= (1e-4 if backend == "native" else 0)


def test_gray_levels_follow_the_reference() -> None:
    """2 ** ceil(log2(len(unique))) inside each image."""
    canvas = Canvas.of(photographs())
    levels = canvas.pixels.mul(255).round()
    expected = [
        2 ** np.ceil(np.log2(len(torch.unique(image))))
        for image in canvas.with_pixels(levels).images()
    ]
    assert gray_levels(levels, canvas.sizes).tolist() == expected
    assert gray_levels(torch.zeros(1, 1, 3, 3), np.array([[3, 3]])).tolist() == [1]


def test_poisson_noise_is_the_reference_s_formula() -> None:
    """Per pixel mean and variance over many samples of one image: x, and scale^2 r / v."""
    image = torch.from_numpy(data.astronaut()[::32, ::32] / np.float32(255)).permute(2, 0, 1)[None]
    image = image * 0.5 + 0.2  # away from 0 and 1, where clipping would change both
    canvas = Canvas.of(image.expand(3000, -1, -1, -1).contiguous())
    for gray in (0, 1):
        out = run(PoissonNoise(scale=0.7, gray=gray), canvas, keys(3000)).double()
        r = ((luma(image) if gray else image) * 255).round() / 255
        v = 2 ** np.ceil(np.log2(len(torch.unique(r))))
        std = (0.49 * r / v).sqrt().expand_as(image)[0]
        assert ((out.mean(0) - image[0]).abs() / std).max() < 5 / np.sqrt(3000)
        assert (out.var(0) / std**2 - 1).abs().max() < 5 * np.sqrt(2 / 3000)


# --- salt and pepper, quantize -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "salt"), [(0.1, 0.5), (0.3, 0.2), (1.0, 0.5), (0.5, 1.0), (0.5, 0.0)]
)
@pytest.mark.parametrize("gray", [0, 1])
def test_salt_and_pepper_shares(amount: float, salt: float, gray: int) -> None:
    out = run(SaltPepper(amount=amount, salt=salt, gray=gray), flat(0.5), keys()).numpy()
    error = 4 * np.sqrt(0.25 / (8 * 128**2 * (1 if gray else 3)))
    assert abs((out == 1).mean() - amount * salt) < error
    assert abs((out == 0).mean() - amount * (1 - salt)) < error
    assert ((out == 0) | (out == 1) | (out == 0.5)).all()
    assert (np.ptp(out, axis=1).max() == 0) == bool(gray)


def test_quantize_survives_a_png(tmp_path) -> None:
    import cv2

    levels = torch.arange(256) / 255
    pixels = torch.cat([levels, torch.linspace(-0.1, 1.1, 3 * 64 * 64 - 256)]).reshape(
        1, 3, 64, 64
    )
    y = quantize(pixels)
    assert torch.equal(y.flatten()[:256], levels)
    cv2.imwrite(
        str(tmp_path / "y.png"), y[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    )
    back = (
        torch.from_numpy(cv2.imread(str(tmp_path / "y.png"))).permute(2, 0, 1)[None].float() / 255
    )
    assert torch.equal(y, back)
    assert torch.equal(quantize(y), y)


@pytest.mark.parametrize("bits", [1, 4, 8, 12])
def test_quantize_has_so_many_levels(bits: int) -> None:
    y = quantize(torch.linspace(-0.2, 1.2, 100_000), bits)
    assert len(y.unique()) == 2**bits
    assert (y.min(), y.max()) == (0, 1)


def test_quantize_passes_gradients_straight_through() -> None:
    x = torch.tensor([-0.5, 0.2501, 0.7777, 1.5], requires_grad=True)
    quantize(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor([0.0, 1.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GaussianNoise(sigma=[1, 300]),
            "can draw 1 to 300; it must stay in [0, 255] grey levels",
        ),
        (
            lambda: GaussianNoise(sigma=-1),
            "can draw -1 to -1; it must stay in [0, 255] grey levels",
        ),
        (lambda: GaussianNoise(gray=2), "2 should be a probability in [0, 1]"),
        (lambda: SaltPepper(amount=2), "can draw 2 to 2; it must stay in [0, 1] of all pixels"),
        (lambda: Quantize(bits=0), "Input should be greater than or equal to 1"),
    ],
)
def test_errors_say_what_is_allowed(make, message: str) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        make()
    assert message in str(caught.value)
