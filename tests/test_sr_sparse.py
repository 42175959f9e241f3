"""Sparse coding: its pursuit against scikit-learn, its dictionaries against bicubic."""

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional as F

from sr.color import rgb_to_ycbcr
from sr.metrics.psnr_ssim import psnr
from sr.models import build
from sr.models.interpolation import enlarge, reduce
from sr.models.sparse import derivatives, pursue

linear_model = pytest.importorskip("sklearn.linear_model")

SETTINGS = {"atoms": 48, "components": 24, "nonzeros": 3}


def photo(name):
    rgb = (
        torch.from_numpy(np.ascontiguousarray(getattr(data, name)()[:240, :240])).permute(2, 0, 1)[
            None
        ]
        / 255
    )
    return rgb


def planes(name, scale):
    hr = rgb_to_ycbcr(photo(name))[0, 0]
    return reduce(hr[None, None], scale)[0, 0], hr


@pytest.fixture(scope="module", params=[2, 3])
def model(request):
    scale = request.param
    pairs = [planes(name, scale) for name in ("astronaut", "coffee")]
    return build("sparse", scale=scale, **SETTINGS).fit(pairs, patches=3000)


def test_beats_bicubic(model):
    hr = photo("chelsea")
    lr = reduce(hr, model.scale)
    gain = psnr(model(lr), hr, model.scale) - psnr(enlarge(lr, model.scale), hr, model.scale)
    assert gain.item() > 0.4


def test_pursuit_is_scikit_learns():
    rng = np.random.default_rng(0)
    atoms = F.normalize(torch.from_numpy(rng.normal(size=(40, 16))))
    signals = torch.from_numpy(rng.normal(size=(50, 16)))
    support, weight = pursue(signals, atoms, 4)
    codes = torch.zeros(50, 40, dtype=torch.float64).scatter(1, support, weight)
    expected = linear_model.orthogonal_mp(atoms.T.numpy(), signals.T.numpy(), n_nonzero_coefs=4).T
    np.testing.assert_allclose(codes, expected, atol=1e-4)


def test_pursuit_of_nothing():
    """Flat patches and atoms that were never learned give finite zeros."""
    atoms = torch.eye(4, 6)
    atoms[3] = 0
    support, weight = pursue(torch.zeros(2, 6), atoms, 3)
    assert support.shape == (2, 3)
    assert not weight.any()


def test_derivatives():
    """A ramp along x has first derivatives across only, and no second ones."""
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    maps = derivatives(ramp).view(4, 36, 10, 10)[
        :, :, 3:7, 3:7
    ]  # first across, first down, second across, second down
    torch.testing.assert_close(
        maps[0], torch.ones_like(maps[0]), atol=1e-4, rtol=0
    )  # two fine pixels: one LR pixel
    assert maps[1:].abs().max() < 1e-4


def test_model_laws(model):
    lr = reduce(photo("chelsea"), model.scale)[..., :40, :44].repeat(2, 1, 1, 1)
    lr[1] = lr[1].flip(-1)
    sr = model(lr)
    assert sr.shape == (2, 3, 40 * model.scale, 44 * model.scale)
    torch.testing.assert_close(model(lr[1:]), sr[1:], atol=1e-4, rtol=0)
    # chroma is bicubic, a Y plane alone gives the same Y
    base = rgb_to_ycbcr(enlarge(lr, model.scale))
    torch.testing.assert_close(rgb_to_ycbcr(sr)[:, 1:], base[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        model(rgb_to_ycbcr(lr)[:, :1]), rgb_to_ycbcr(sr)[:, :1], atol=1e-4, rtol=0
    )


def test_reach(model):
    model = build("sparse", **model.config).double()
    model.load_state_dict(_fitted(model))
    side = 2 * model.reach + 5
    centre = side // 2
    lr = reduce(photo("chelsea"), model.scale)[:, :1, :side, :side].double()
    other = lr.clone()
    other[..., centre, centre] += 0.5
    moved = (model(other) - model(lr)).abs()[0, 0] > 1e-9
    cells = torch.nonzero(F.max_pool2d(moved[None, None].double(), model.scale)[0, 0])
    assert (cells - centre).abs().max() <= model.reach


def _fitted(model):
    state = model.state_dict()
    rng = torch.Generator().manual_seed(0)
    for name in ("low", "high", "basis"):
        state[name] = torch.randn(state[name].shape, generator=rng, dtype=torch.float64)
    state["low"], state["fitted"] = F.normalize(state["low"]), torch.ones_like(state["fitted"])
    return state


def test_back_projection_agrees_with_the_image(model):
    lr = rgb_to_ycbcr(reduce(photo("chelsea"), model.scale))[:, :1]
    free = build("sparse", **{**model.config, "back_projections": 0})
    free.load_state_dict(model.state_dict())
    errors = [(reduce(m(lr), model.scale) - lr).square().mean() for m in (free, model)]
    assert errors[1] < 0.2 * errors[0]


def test_fit_is_seeded_and_saved(model, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    pairs = [planes("coffee", model.scale)]
    fits = [
        build("sparse", scale=model.scale, **SETTINGS).fit(pairs, patches=500, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(fits[0].high, fits[1].high)
    assert not torch.equal(fits[0].high, fits[2].high)
    safetensors.save_file(model.state_dict(), tmp_path / "sparse.safetensors")
    again = build("sparse", **model.config)
    again.load_state_dict(safetensors.load_file(tmp_path / "sparse.safetensors"))
    lr = image = reduce(photo("chelsea"), model.scale)
    assert torch.equal(again(lr), model(image))


def test_errors():
    model = build("sparse", scale=2, **SETTINGS)
    with pytest.raises(RuntimeError, match="the dictionaries are not learned"):
        model(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"pair 0: LR .* not x2"):
        model.fit([(torch.rand(8, 8), torch.rand(24, 24))])
    for pairs in ([], [(torch.zeros(16, 16), torch.zeros(32, 32))]):
        with pytest.raises(ValueError, match="0 patches with detail for 48 atoms"):
            model.fit(pairs)
