"""The paired bootstrap, held against theory, scipy and a simulation of what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sr.comparison.bootstrap import Interval, counts, interval

SAMPLES = {
    "normal": np.random.default_rng(0).normal(30, 2, 40),
    "skewed": np.random.default_rng(1).exponential(3, 25),
    "two": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_against_scipy(name: str) -> None:
    values = SAMPLES[name]
    ours = interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    )
    error = values.std() / math.sqrt(len(values))
    # Quantiles at 2.5 % of 2000 resamples are off by about 0.06 standard errors; 0.2 is three
    # times that.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.2 * error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.2 * error)
    assert ours.mean == pytest.approx(values.mean(), rel=1e-12)


def test_resamples_are_uniform() -> None:
    found = counts(7)
    assert (found.sum(1) == 7).all()
    # Each image is taken once a resample on average; 2000 x 7 takes have a standard error of 0.02.
    np.testing.assert_allclose(found.mean(0), 1, atol=0.1)
    # A fair draw of 7 from 7 leaves an image out with probability (6/7)^7 = 0.34.
    np.testing.assert_allclose((found == 0).mean(0), (6 / 7) ** 7, atol=0.05)


def test_covers_the_true_mean() -> None:
    """Over many samples of 30 the 95 % interval holds the true mean nearly as often as it says."""
    samples = np.random.default_rng(2).normal(0, 1, (300, 30))
    held = [found.low <= 0 <= found.high for found in map(interval, samples)]
    assert 0.89 <= np.mean(held) <= 0.98


def test_pairing_finds_what_two_intervals_hide() -> None:
    hardness = np.random.default_rng(3).normal(28, 4, 20)
    one, other = hardness + 0.1, hardness + np.random.default_rng(4).normal(0, 0.05, 20)
    apart = interval(one), interval(other)
    assert apart[0].low < apart[1].high
    assert interval(one - other).clear
    assert not interval(other - other).clear


def test_repeats_and_shifts() -> None:
    values = SAMPLES["normal"]
    assert interval(values) == interval(list(values))
    assert interval(values, seed=1) != interval(values)
    assert interval(values + 5).low == pytest.approx(interval(values).low + 5)
    wide, narrow = interval(values, 0.99), interval(values, 0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_what_cannot_be_known() -> None:
    one = interval([3.0])
    assert one.mean == 3
    assert math.isnan(one.low)
    assert not one.clear
    assert interval([1.0, math.inf]).mean == math.inf
    assert math.isnan(interval([1.0, math.inf]).high)
    assert Interval(0.2, 0.1, 0.3).clear
    assert not Interval(0.2, -0.1, 0.5).clear
    with pytest.raises(ValueError, match="one an image"):
        interval([])
    with pytest.raises(ValueError, match=r"level 95: must be in \(0, 1\)"):
        interval([1.0], 95)
