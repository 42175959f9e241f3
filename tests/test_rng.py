"""Addressed randomness: replay, independence, and the statistics of the pixel hash.

Thresholds are in standard errors of fixed keys, so a test cannot fail by chance; 4 to 6 of them,
by how many values are looked at. A hash with one round fewer fails the spectrum and the
autocorrelation at once.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from degrade.rng import Key, normal_field, uniform_field

KEY = Key.of(7, np.arange(24))


def planes(count: int = 24, channels: int = 3, height: int = 128, width: int = 160) -> np.ndarray:
    return normal_field(KEY[:count], channels, height, width).numpy().astype(np.float64)


# --- scalar draws --------------------------------------------------------------------------------


def test_draws_replay() -> None:
    a, b = (Key.of(3, [5, 9], epoch=2).fold("first.jpeg.quality").uniform() for _ in range(2))
    assert (a == b).all()


def test_draws_depend_on_seed_epoch_index_and_address() -> None:
    base = Key.of(0, 0).fold("a").uniform()[0]
    others = [
        Key.of(1, 0).fold("a"),
        Key.of(0, 0, epoch=1).fold("a"),
        Key.of(0, 1).fold("a"),
        Key.of(0, 0).fold("b"),
    ]
    values = [
        base,
        *(other.uniform()[0] for other in others),
        Key.of(1, 1, epoch=1).fold("a").uniform()[0],
    ]
    assert len(set(values)) == len(values)


def test_draws_do_not_depend_on_the_batch() -> None:
    whole = Key.of(0, np.arange(100)).fold("x").uniform()
    assert (whole[[7, 93]] == Key.of(0, [7, 93]).fold("x").uniform()).all()
    assert (whole[10:20] == Key.of(0, np.arange(100))[10:20].fold("x").uniform()).all()


def test_uniforms_are_folds() -> None:
    addresses = ("first.blur.sigma", "first.blur.angle", "x")
    both = np.stack([KEY.fold(address).uniform() for address in addresses], 1)
    assert (KEY.uniforms(addresses) == both).all()


@pytest.mark.parametrize("vary", ["index", "seed", "epoch", "address"])
def test_draws_are_uniform_and_independent(vary: str) -> None:
    n = range(8_000)
    draws = {
        "index": lambda: Key.of(0, np.arange(20_000)).fold("x").uniform(),
        "seed": lambda: np.concatenate([Key.of(i, 0).fold("x").uniform() for i in n]),
        "epoch": lambda: np.concatenate([Key.of(0, 0, epoch=i).fold("x").uniform() for i in n]),
        "address": lambda: np.concatenate([Key.of(0, 0).fold(f"step.{i}").uniform() for i in n]),
    }
    u = draws[vary]()
    assert ((u >= 0) & (u < 1)).all()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / np.sqrt(len(u))


def test_folded_addresses_are_independent() -> None:
    u = Key.of(0, np.arange(50_000)).uniforms(("a", "b", "a.b", "b.a", "stage.0", "stage.1"))
    off_diagonal = np.corrcoef(u.T) - np.eye(6)
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(50_000)


def test_integers_are_seeds() -> None:
    seeds = KEY.integers()
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


# --- pixel fields --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [normal_field, uniform_field])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (17, 33), (64, 61), (50, 400)])
def test_a_crop_is_the_smaller_field(field, height: int, width: int) -> None:
    """Bit for bit, whatever the vector width of the machine: the batch law rests on it."""
    large = field(KEY[:3], 3, 71, 413)
    assert torch.equal(field(KEY[1:3], 2, height, width), large[1:3, :2, :height, :width])


def test_uniform_field_stays_inside() -> None:
    u = uniform_field(KEY, 3, 256, 256)
    assert u.min() > 0
    assert u.max() < 1


def test_uniform_field_is_uniform() -> None:
    u = uniform_field(KEY, 3, 128, 160).numpy().ravel()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    counts = np.bincount((u * 4096).astype(int), minlength=4096)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_normal_field_is_normal() -> None:
    z = planes().ravel()
    error = 1 / np.sqrt(len(z))
    assert abs(z.mean()) < 4 * error
    assert abs(z.var() - 1) < 4 * error * np.sqrt(2)
    assert abs(stats.skew(z)) < 4 * error * np.sqrt(6)
    assert abs(stats.kurtosis(z)) < 4 * error * np.sqrt(24)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert 4.5 < np.abs(z).max() < 5.5


@pytest.mark.parametrize(
    "shape", [lambda z: z, lambda z: z**2 - 1, np.sign], ids=["z", "z^2", "sign"]
)
@pytest.mark.parametrize("axis", [2, 3], ids=["y", "x"])
def test_spectrum_of_lines_is_flat(shape, axis: int) -> None:
    """Averaged over n lines: the power at a frequency is exponential of mean 1, so its mean has
    error n^-1/2.
    """
    f = shape(planes())
    n = f.shape[axis]
    power = np.moveaxis(np.abs(np.fft.rfft(f, axis=axis)) ** 2 / (n * f.var()), axis, -1)[
        ..., 1 : n // 2
    ]
    lines = power[..., 0].size
    score = (power.reshape(lines, -1).mean(0) - 1) * np.sqrt(lines)
    assert np.abs(score).max() < 4
    assert 0.7 < score.std() < 1.3


def test_spectrum_of_planes_is_flat() -> None:
    z = planes()
    power = (np.abs(np.fft.fft2(z)) ** 2 / z[0, 0].size).mean((0, 1))
    half = power[:, 1:80]  # the other half mirrors it
    n = z.shape[0] * z.shape[1]
    assert (
        np.abs((half - 1) * np.sqrt(n)).max() < 7
    )  # means of 72 exponentials have a heavy right tail
    assert abs(np.mean((half - 1) ** 2) * n - 1) < 0.05


@pytest.mark.parametrize("shape", [lambda z: z, lambda z: z**2 - 1], ids=["z", "z^2"])
@pytest.mark.parametrize(
    "lag",
    [
        (0, 0, 0, 1),
        (0, 0, 0, 2),
        (0, 0, 1, 0),
        (0, 0, 2, 1),
        (0, 1, 0, 0),
        (0, 2, 0, 0),
        (1, 0, 0, 0),
        (1, 1, 1, 1),
    ],
)
def test_lagged_pixels_are_uncorrelated(shape, lag: tuple[int, ...]) -> None:
    """Along x, y, channels and samples."""
    f = shape(planes())
    a = f[tuple(slice(step, None) for step in lag)]
    b = f[tuple(slice(0, size - step) for size, step in zip(f.shape, lag, strict=True))]
    assert abs((a * b).mean() / f.var()) < 4 / np.sqrt(a.size)


def test_neighbours_are_jointly_uniform() -> None:
    u = uniform_field(KEY, 3, 128, 160).numpy()
    q = (u * 32).astype(int)
    for a, b in [
        (q[..., 1:], q[..., :-1]),
        (q[..., 1:, :], q[..., :-1, :]),
        (q[:, 1:], q[:, :-1]),
        (q[1:], q[:-1]),
    ]:
        counts = np.bincount((a * 32 + b).ravel(), minlength=1024)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_no_line_is_a_weak_one() -> None:
    """Per line: the mean, and the autocorrelation at every lag, vary over lines as those of
    independent pixels do.
    """
    z = planes().reshape(-1, 160)
    lines = len(z)
    assert abs(z.mean(1).var() * 160 - 1) < 4 * np.sqrt(2 / lines)
    spectrum = np.abs(np.fft.rfft(z, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, 1:80] / np.sqrt(160)
    assert np.abs(correlation.var(0) - 1).max() < 5 * np.sqrt(2 / lines)
    assert np.abs(correlation).max() < 7


@pytest.mark.parametrize("kind", ["one bit", "sequential words", "sequential seeds"])
def test_planes_of_different_keys_are_not_shifted_copies(kind: str) -> None:
    """The largest cross-correlation over all shifts of all pairs, in standard errors."""
    words = {
        "one bit": np.array([2**40, *(2**40 ^ (1 << bit) for bit in range(64))], np.uint64),
        "sequential words": np.arange(40, dtype=np.uint64),
        "sequential seeds": np.concatenate([Key.of(seed, 0).words for seed in range(40)]),
    }[kind]
    z = normal_field(Key(words), 1, 64, 64)[:, 0].numpy().astype(np.float64)
    f = np.fft.fft2(z)
    first = 1 if kind == "one bit" else len(z) - 1
    peak = max(
        np.abs(np.fft.ifft2(f[i] * f[i + 1 :].conj()).real).max() / 64 for i in range(first)
    )
    assert peak < 6.5


def test_fields_of_other_addresses_differ() -> None:
    a, b = (
        normal_field(KEY[:4].fold(address), 3, 64, 64).flatten() for address in ("noise", "noise2")
    )
    assert abs((a * b).mean().item()) < 4 / np.sqrt(a.numel())


def test_no_two_lines_share_a_run() -> None:
    """Without the second word of a line, some 20 of these 18432 lines would be shifted copies
    of another.
    """
    bits = uniform_field(KEY, 3, 256, 256).numpy().view(np.uint32).astype(np.uint64)
    pairs = np.sort((bits[..., 1:] << np.uint64(32) | bits[..., :-1]).ravel())
    assert (pairs[1:] != pairs[:-1]).all()
