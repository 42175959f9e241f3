"""What the packaged recipes draw has the stated distributions: KS tests for real variables,
chi-square for choices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from degrade import Key, Plan, Recipe

COUNT = 20_000
LEAST = 1e-4
"""Below this p-value a test fails; the seeds are fixed, so it fails always or never."""


@pytest.fixture(scope="module")
def realesrgan() -> Plan:
    return Recipe.load("realesrgan").plan(Key.of(1, np.arange(COUNT)))


@pytest.fixture(scope="module")
def bsrgan() -> Plan:
    return Recipe.load("bsrgan").plan(Key.of(2, np.arange(COUNT)))


def drawn(plan: Plan, address: str) -> np.ndarray:
    values = plan[address]
    return values[~np.isnan(values)]


def uniform(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    return stats.uniform(low, high - low).cdf


def shares(plan: Plan, address: str) -> dict[str, float]:
    """How often each label was drawn, of all samples."""
    variable = next(column.variable for column in plan.columns if column.address == address)
    values, counts = np.unique(drawn(plan, address), return_counts=True)
    return {
        variable.label(value): count / len(plan)
        for value, count in zip(values, counts, strict=True)
    }


def assert_shares(found: dict[str, float], expected: dict[str, float]) -> None:
    names = sorted(expected)
    assert sorted(found) == names
    rest = 1 - sum(expected.values())
    observed, wanted = [found[n] * COUNT for n in names], [expected[n] * COUNT for n in names]
    if rest > 1e-9:
        observed, wanted = [*observed, (1 - sum(found.values())) * COUNT], [*wanted, rest * COUNT]
    assert stats.chisquare(observed, wanted).pvalue > LEAST, found


@pytest.mark.parametrize(
    ("address", "low", "high"),
    [
        ("first.blur.sigma", 0.2, 3),
        ("first.blur.sigma_y", 0.2, 3),
        ("second.blur.sigma", 0.2, 1.5),
        ("first.blur.angle", -np.pi, np.pi),
        ("first.gaussian_noise.sigma", 1, 30),
        ("second.gaussian_noise.sigma", 1, 25),
        ("first.poisson_noise.scale", 0.05, 3),
        ("second.poisson_noise.scale", 0.05, 2.5),
        ("first.jpeg.quality", 30, 95),
        ("second.jpeg.quality", 30, 95),
        ("second.final_sinc.cutoff", 1 / 3, 1),
    ],
)
def test_realesrgan_is_uniform_where_it_says(
    realesrgan: Plan, address: str, low: float, high: float
) -> None:
    assert stats.kstest(drawn(realesrgan, address), uniform(low, high)).pvalue > LEAST


def test_realesrgan_kernels(realesrgan: Plan) -> None:
    """The reference's kernel_prob 0.45, 0.25, 0.12, 0.03, 0.12, 0.03, after sinc_prob 0.1;
    second blur_prob 0.8.
    """
    sizes = {"blur": 0.9, "sinc": 0.0375, "sinc 2": 0.0625}
    assert_shares(shares(realesrgan, "first.kernel"), sizes)
    assert_shares(
        shares(realesrgan, "second.kernel"), {name: 0.8 * share for name, share in sizes.items()}
    )
    kinds = {
        **{"iso": 0.405, "aniso": 0.225, "generalized_iso": 0.108, "generalized_aniso": 0.027},
        **{"plateau_iso": 0.108, "plateau_aniso": 0.027},
    }
    assert_shares(shares(realesrgan, "first.blur.kernel"), kinds)
    assert_shares(
        shares(realesrgan, "second.blur.kernel"),
        {name: 0.8 * share for name, share in kinds.items()},
    )
    size = drawn(realesrgan, "first.blur.size")
    assert stats.chisquare(np.unique(size, return_counts=True)[1]).pvalue > LEAST
    assert set(size) == {7, 9, 11, 13, 15, 17, 19, 21}
    assert_shares(shares(realesrgan, "second.final_sinc.p"), {"yes": 0.8, "no": 0.2})


def test_realesrgan_cutoffs(realesrgan: Plan) -> None:
    """omega_c from pi/3 for kernels below 13, from pi/5 for the others."""
    size, cutoff = realesrgan["first.sinc.size"], realesrgan["first.sinc.cutoff"]
    assert stats.kstest(cutoff[size < 13], uniform(1 / 3, 1)).pvalue > LEAST
    assert stats.kstest(cutoff[size >= 13], uniform(1 / 5, 1)).pvalue > LEAST


@pytest.mark.parametrize(
    ("address", "up", "down", "low", "high"),
    [("first.resize.factor", 0.2, 0.7, 0.15, 1.5), ("second.resize.factor", 0.3, 0.4, 0.3, 1.2)],
)
def test_realesrgan_resizes(
    realesrgan: Plan, address: str, up: float, down: float, low: float, high: float
) -> None:
    factor = drawn(realesrgan, address)
    found = {"up": (factor > 1).mean(), "down": (factor < 1).mean(), "keep": (factor == 1).mean()}
    assert_shares(found, {"up": up, "down": down, "keep": 1 - up - down})
    assert stats.kstest(factor[factor > 1], uniform(1, high)).pvalue > LEAST
    assert stats.kstest(factor[factor < 1], uniform(low, 1)).pvalue > LEAST


def test_realesrgan_shares(realesrgan: Plan) -> None:
    for stage in ("first", "second"):
        assert_shares(
            shares(realesrgan, f"{stage}.noise"), {"gaussian_noise": 0.5, "poisson_noise": 0.5}
        )
        assert_shares(shares(realesrgan, f"{stage}.gaussian_noise.gray"), {"yes": 0.2, "no": 0.3})
        assert_shares(shares(realesrgan, f"{stage}.poisson_noise.gray"), {"yes": 0.2, "no": 0.3})
        thirds = dict.fromkeys(("area", "bilinear", "bicubic"), 1 / 3)
        assert_shares(shares(realesrgan, f"{stage}.resize.filter"), thirds)
    assert_shares(shares(realesrgan, "second.shuffle"), {"1-2": 0.5, "2-1": 0.5})


def test_realesrgan_betas(realesrgan: Plan) -> None:
    """Half below 1, half above, of generalised kernels; plateaus: half exactly 1."""
    beta = drawn(realesrgan, "first.blur.beta_generalized")
    assert stats.binomtest(int((beta < 1).sum()), len(beta)).pvalue > LEAST
    assert stats.kstest(beta[beta < 1], uniform(0.5, 1)).pvalue > LEAST
    assert stats.kstest(beta[beta > 1], uniform(1, 4)).pvalue > LEAST
    plateau = drawn(realesrgan, "first.blur.beta_plateau")
    assert stats.binomtest(int((plateau == 1).sum()), len(plateau)).pvalue > LEAST
    assert stats.kstest(plateau[plateau > 1], uniform(1, 2)).pvalue > LEAST


def test_bsrgan_shares(bsrgan: Plan) -> None:
    """A quarter halved first; 3 in 4 downsample by a factor, 1 in 4 by an aligned decimation; a
    first JPEG for 0.9.
    """
    assert_shares(shares(bsrgan, "mix.route"), {"halved": 0.25, "whole": 0.75})
    assert_shares(shares(bsrgan, "mix.downsample"), {"resize": 0.75, "aligned": 0.25})
    assert_shares(shares(bsrgan, "mix.kernel"), {"blur": 0.5, "blur 2": 0.5})
    assert_shares(shares(bsrgan, "mix.jpeg.p"), {"yes": 0.9, "no": 0.1})
    assert_shares(shares(bsrgan, "mix.gaussian_noise.gray"), {"yes": 0.4, "no": 0.6})


def test_bsrgan_draws(bsrgan: Plan) -> None:
    whole, halved = (bsrgan["mix.route"] == k for k in (1, 0))
    aniso = bsrgan["mix.kernel"] == 0
    for rows, variance, width, most in ((whole, 8, 2.8, 8), (halved, 6, 2.4, 4)):
        assert (
            stats.kstest(bsrgan["mix.blur.sigma"][rows & aniso] ** 2, uniform(0, variance)).pvalue
            > LEAST
        )
        assert (
            stats.kstest(bsrgan["mix.blur.sigma"][rows & ~aniso], uniform(0, width)).pvalue > LEAST
        )
        factor = bsrgan["mix.resize.factor"][rows & (bsrgan["mix.downsample"] == 0)]
        assert stats.kstest(1 / factor, uniform(1, most)).pvalue > LEAST
    values, counts = np.unique(drawn(bsrgan, "last.jpeg.quality"), return_counts=True)
    assert values.tolist() == list(range(30, 96))
    assert stats.chisquare(counts).pvalue > LEAST
    # Correlated noise, a fifth of all, has the reference's fixed strength 25.
    values, counts = np.unique(drawn(bsrgan, "mix.gaussian_noise.sigma"), return_counts=True)
    assert values.tolist() == list(range(2, 26))
    assert stats.chisquare(counts[:-1]).pvalue > LEAST
    assert stats.binomtest(int(counts[-1]), COUNT, 0.2 + 0.8 / 24).pvalue > LEAST


def test_bsrgan_orders(bsrgan: Plan) -> None:
    """The downsampling (the reference's 2) always before the resize (3), and the order uniform
    otherwise.
    """
    recipe = Recipe.load("bsrgan")
    [shuffle] = [n.nodes[0] for n in recipe.stages[0].nodes[0].branches if n.label == "whole"]  # type: ignore[attr-defined] # tree
    labels = [node.label for node in shuffle.nodes]
    down, back = labels.index("downsample"), labels.index("resize_target")
    orders = np.array([shuffle.order(int(rank)) for rank in drawn(bsrgan, "mix.shuffle")])
    place = np.argsort(orders, 1)
    assert (place[:, down] < place[:, back]).all()
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 360, "6! / 2"
    assert stats.chisquare(counts).pvalue > LEAST


def test_variables_do_not_depend_on_each_other(realesrgan: Plan) -> None:
    """No pair of variables that all samples draw correlates; nor does one with its successor in
    the batch.
    """
    columns = [
        j for j in range(realesrgan.values.shape[1]) if not np.isnan(realesrgan.values[:, j]).any()
    ]
    table = stats.rankdata(realesrgan.values[:, columns], axis=0)
    links = np.corrcoef(table.T) - np.eye(len(columns))
    assert np.abs(links).max() < 5 / np.sqrt(COUNT)
    successors = [np.corrcoef(table[:-1, j], table[1:, j])[0, 1] for j in range(len(columns))]
    assert np.abs(successors).max() < 5 / np.sqrt(COUNT)


def test_every_sample_of_a_batch_differs() -> None:
    """The reference draws resize, filter, noise and order once a batch."""
    plan = Recipe.load("realesrgan").plan(Key.of(0, np.arange(64)))
    for address in ("first.resize.factor", "first.jpeg.quality"):
        assert len(set(plan[address])) > 40
    for address in ("first.resize.filter", "first.noise", "second.shuffle"):
        assert len(set(plan[address])) > 1


def test_grey_noise_is_each_sample_s_own() -> None:
    """The reference shares one plane among the grey samples of a batch."""
    recipe = Recipe.load(
        {"name": "x", "scale": 1, "a": [{"gaussian_noise": {"sigma": 20, "gray": 1}}]}
    )
    pair = recipe.apply(torch.full((8, 3, 64, 64), 0.5), recipe.plan(Key.of(0, np.arange(8))))
    noise = pair.lr - 0.5
    assert torch.equal(noise[:, 0], noise[:, 1]), "grey: the same in all channels"
    links = np.corrcoef(noise[:, 0].flatten(1).numpy()) - np.eye(8)
    assert np.abs(links).max() < 5 / 64


def test_epochs_and_seeds_differ() -> None:
    recipe = Recipe.load("realesrgan")
    plans = [
        recipe.plan(key)["first.jpeg.quality"]
        for key in (Key.of(0, [0, 1]), Key.of(0, [0, 1], 1), Key.of(1, [0, 1]))
    ]
    assert len(np.unique(np.concatenate(plans))) == 6
