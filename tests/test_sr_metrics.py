"""Metrics against other implementations and the published bicubic rows; metrics as plug-ins."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from degrade.errors import UserError
from sr.color import rgb_to_y
from sr.metrics import FIDELITY, METRICS, Metric, open_metrics
from sr.metrics.dists import DISTS, WEIGHTS
from sr.metrics.lpips import published, vgg16
from sr.metrics.niqe import NaturalModel, load_natural_model, niqe
from sr.metrics.psnr_ssim import ms_ssim, psnr, ssim
from sr.models import build
from sr.pretrained import cache

SET5 = Path(__file__).parents[2] / "shared/data/set5"
NIQE = (cache() / "niqe_pris_params.npz").is_file()


def pair(rows=3):
    hr = (
        torch.from_numpy(data.astronaut()[: 64 * rows, :80].copy())
        .reshape(rows, 64, 80, 3)
        .permute(0, 3, 1, 2)
        / 255
    )
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    return hr + torch.linspace(0.01, 0.1, rows).view(-1, 1, 1, 1) * noise, hr


def levels(image, channel):
    """The images that the metrics compare, by another way: skimage for luma."""
    from skimage.color import rgb2ycbcr

    rounded = (image.double().clamp(0, 1) * 255).round()
    if channel == "rgb":
        return rounded
    y = rgb2ycbcr(rounded.permute(0, 2, 3, 1).numpy() / 255)[..., :1]
    return torch.from_numpy(y).permute(0, 3, 1, 2)


@pytest.mark.parametrize("channel", ["y", "rgb"])
@pytest.mark.parametrize("shave", [0, 4])
def test_equal_torchmetrics(channel, shave):
    functional = pytest.importorskip("torchmetrics.functional.image")
    sr, hr = pair()
    got = psnr(sr, hr, shave, channel), ssim(sr, hr, shave, channel)
    for row in range(len(hr)):
        a, b = (
            levels(x[row : row + 1], channel)[..., shave : 64 - shave, shave : 80 - shave]
            for x in (sr, hr)
        )
        expected = functional.peak_signal_noise_ratio(a, b, data_range=255.0)
        assert got[0][row].item() == pytest.approx(
            expected.item(), abs=1e-5
        )  # skimage's coefficients end earlier
        # torchmetrics averages over a reflected border as well; the valid region is cut from its
        # map
        _, similarity = functional.structural_similarity_index_measure(
            a, b, sigma=1.5, data_range=255.0, return_full_image=True
        )
        assert got[1][row].item() == pytest.approx(
            similarity[..., 5:-5, 5:-5].mean().item(), abs=1e-6
        )


def test_ssim_equals_skimage():
    from skimage.metrics import structural_similarity

    sr, hr = pair(1)
    a, b = (levels(x, "rgb")[0].permute(1, 2, 0).numpy() for x in (sr, hr))
    expected = structural_similarity(
        a,
        b,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(sr, hr, 0, "rgb").item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_laws(metric, channel):
    sr, hr = pair()
    values = metric(sr, hr, 2, channel)
    assert values.dtype == torch.float64
    assert values.shape == (3,)
    assert (values.diff() < 0).all()  # the noise grows
    torch.testing.assert_close(
        metric(sr[1:2], hr[1:2], 2, channel), values[1:2], rtol=1e-12, atol=0
    )
    assert metric(hr, hr, 2, channel)[0] == (float("inf") if metric is psnr else 1)
    border = hr.clone()
    border[..., :2, :] = border[..., :2] = 0
    assert metric(border, hr, 2, channel)[0] == metric(hr, hr, 2, channel)[0]
    below = hr + 0.4 / 255  # rounds away
    assert metric(below, hr, 2, channel)[0] == metric(hr, hr, 2, channel)[0]


def test_rgb_to_y():
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]).view(3, 3, 1, 1)
    assert rgb_to_y(corners).flatten().tolist() == pytest.approx([16, 235, 81.481])


def test_errors():
    sr, hr = pair()
    with pytest.raises(ValueError, match="crop hr to a multiple of the scale"):
        psnr(sr, hr[..., 1:], 2)
    with pytest.raises(ValueError, match="channel 'lab': must be y or rgb"):
        psnr(sr, hr, 2, "lab")
    with pytest.raises(ValueError, match="11 x 11 must remain"):
        ssim(sr, hr, 27)


@pytest.mark.skipif(not SET5.is_dir(), reason="the Set5 images are not on this machine")
@pytest.mark.parametrize(
    ("scale", "decibels", "similarity"),
    [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)],
)
def test_published_bicubic(scale, decibels, similarity):
    from PIL import Image

    def read(path):
        return (
            torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
            / 255
        )

    model = build("bicubic", scale=scale)
    scores = []
    for place in range(1, 6):
        lr, hr = (
            read(SET5 / f"x{scale}" / f"img_{place:03d}_{kind}.png") for kind in ("LR", "HR")
        )
        sr = model(lr)
        scores.append([psnr(sr, hr, scale).item(), ssim(sr, hr, scale).item()])
    mean = np.mean(scores, 0)
    assert mean[0] == pytest.approx(decibels, abs=0.02)
    assert mean[1] == pytest.approx(similarity, abs=0.001)


# --- MS-SSIM, DISTS, NIQE ------------------------------------------------------------------------


def by_hand(x, y):
    """MS-SSIM of two planes in levels, with SciPy."""
    from scipy.ndimage import correlate1d

    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(plane):
        return correlate1d(correlate1d(plane, taps, 0), taps, 1)[5:-5, 5:-5]

    result = 1.0
    for j, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        a, b = blur(x), blur(y)
        cross, square = blur(x * y) - a * b, blur(x * x) + blur(y * y) - a * a - b * b
        term = (2 * cross + 7.65**2) / (square + 7.65**2)
        if j == 4:
            term *= (2 * a * b + 2.55**2) / (a * a + b * b + 2.55**2)
        result *= max(0, term.mean()) ** weight
        h, w = (n // 2 * 2 for n in x.shape)
        x, y = (
            (z[:h:2, :w:2] + z[1:h:2, :w:2] + z[:h:2, 1:w:2] + z[1:h:2, 1:w:2]) / 4 for z in (x, y)
        )
    return result


def test_ms_ssim():
    hr = torch.from_numpy(data.astronaut()[:197, :181].copy()).permute(2, 0, 1)[None] / 255
    sr = hr + 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    planes = (levels(x, "y")[0, 0, 2:-2, 2:-2].numpy() for x in (sr, hr))
    assert ms_ssim(sr, hr, 2).item() == pytest.approx(by_hand(*planes), abs=1e-6)
    assert ms_ssim(hr, hr, 0).item() == pytest.approx(1)
    assert ms_ssim(1 - hr, hr, 0).item() >= 0
    with pytest.raises(ValueError, match="176 x 176 must remain"):
        ms_ssim(sr, hr, 10)


def test_dists_equals_torchmetrics(monkeypatch):
    """With random weights of VGG16: its own are not on every machine."""
    reason = "torchmetrics is not installed, or older than its DISTS"
    theirs = pytest.importorskip("torchmetrics.functional.image.dists", reason=reason)
    torch.manual_seed(0)
    body = vgg16()
    layers = torch.nn.Sequential(*body.body, torch.nn.MaxPool2d(2, 2))
    monkeypatch.setattr(theirs, "_TORCHVISION_AVAILABLE", True)
    stand_in = types.SimpleNamespace(features=layers)
    monkeypatch.setattr(theirs, "vgg16", lambda weights: stand_in, raising=False)
    monkeypatch.setattr(
        theirs, "VGG16_Weights", types.SimpleNamespace(DEFAULT=None), raising=False
    )
    state = torch.load(published("DISTS", WEIGHTS), weights_only=True)
    ours = DISTS(body, state["alpha"].flatten(), state["beta"].flatten())
    sr, hr = (torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    wanted = theirs.DISTSNetwork()(sr, hr)
    torch.testing.assert_close(ours(sr, hr), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours(hr, hr), torch.zeros(2), atol=1e-5, rtol=0)


def natural_model():
    """A model of the right shape, but not of photographs: the authors' file is not shipped."""
    x = np.arange(-3.0, 4)
    side = np.exp(-(x**2) / (2 * (7 / 6) ** 2))
    window = np.outer(side, side)
    mean, covariance = np.linspace(0.5, 2, 36), np.diag(np.linspace(0.01, 1, 36))
    return NaturalModel(mean, covariance, window / window.sum())


@pytest.mark.parametrize(
    ("photo", "area", "wanted"),
    [
        ("chelsea", (slice(None), slice(300)), (14.7396, 14.7275)),
        ("coffee", (slice(100, 300), slice(100, 500)), (19.9664, 19.0883)),
    ],
)
def test_niqe_equals_basicsr(photo, area, wanted):
    """Values of BasicSR's ``niqe`` on the same model, after its own conversion to Y."""
    pixels = getattr(data, photo)()[area]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    for shave, value in zip((0, 4), wanted, strict=True):
        assert niqe(image, natural_model(), shave) == pytest.approx(value, rel=1e-3)


def test_niqe_has_no_value_of_flat_or_small_images():
    model = natural_model()
    small = [torch.rand(1, 3, *size) for size in ((100, 100), (96, 191), (192, 95))]
    for image in (torch.zeros(1, 3, 200, 200), *small):
        assert np.isnan(niqe(image, model))
    assert np.isfinite(niqe(torch.rand(1, 3, 192, 96), model))


def test_niqe_says_where_its_parameters_come_from(tmp_path):
    for name, content in (("missing", None), ("bad", b"x"), ("other", "npz")):
        path = tmp_path / name
        if content == "npz":
            with open(path, "wb") as file:
                np.savez(file, mu_pris_param=np.zeros(3))
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(RuntimeError, match="sr fetch niqe"):
            load_natural_model(path)


@pytest.mark.skipif(not NIQE, reason="the parameters of NIQE are not on this machine")
def test_niqe_of_the_authors_parameters():
    """BasicSR: 2.6255 on this photograph."""
    image = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None] / 255
    assert open_metrics(["niqe"])["niqe"](image, image, 0) == pytest.approx(2.62554, abs=1e-3)


# --- plug-ins ------------------------------------------------------------------------------------


def test_every_metric_says_how_it_measures():
    for name, metric in open_metrics([*FIDELITY, "ms_ssim"]).items():
        assert metric.protocol, name
        assert "\n" not in metric.protocol
        assert not metric.lower
        image = torch.rand(1, 3, metric.window + 4, metric.window + 4)
        assert np.isfinite(metric(image, image, 2)), name
        assert np.isfinite(metric(image[:, :1], image[:, :1], 2)), name
        if metric.window > 1:
            with pytest.raises(ValueError, match="must remain"):
                metric(image, image, 3)


def test_equal_images_have_a_finite_psnr():
    image = torch.rand(1, 3, 8, 8)
    for name in ("psnr_y", "psnr_rgb"):
        metric = open_metrics([name])[name]
        assert metric(image, image, 1) == 100
        assert "100" in metric.protocol


def difference() -> Metric:
    return Metric(
        lambda sr, hr, shave: float((sr - hr).abs().mean()), "mean difference", lower=True
    )


def test_a_metric_of_ones_own(monkeypatch):
    name = f"{__name__}:difference"
    assert open_metrics([name])[name](torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), 0) == 1
    monkeypatch.setitem(METRICS, "mine", difference)
    assert open_metrics(["psnr_y", "mine"])["mine"].lower
    monkeypatch.setitem(METRICS, "no_value", lambda: Metric(lambda *_: float("inf"), "none"))
    assert np.isnan(open_metrics(["no_value"])["no_value"](torch.ones(1), torch.ones(1), 0))


def test_all_unknown_metrics_are_named():
    name = f"{__name__}:pair"
    with pytest.raises(
        UserError, match=r"(?s)psnry.*did you mean psnr_y.*no_module.*--import.*pair"
    ):
        open_metrics(["psnry", "no_module:f", name])


@pytest.mark.parametrize("mode", ["FR", "NR"])
def test_pyiqa(monkeypatch, mode):
    """With a stand-in for the package, which is not a dependency."""

    class Found:
        lower_better, metric_mode = mode == "NR", mode

        def __call__(self, sr, hr=None):
            assert sr.shape[1] == 3
            return torch.tensor([0.5 if hr is None else 0.25])

    def create(name, as_loss, device):
        assert name == "known", "no such metric"
        return Found()

    monkeypatch.setitem(sys.modules, "pyiqa", types.SimpleNamespace(create_metric=create))
    metric = open_metrics(["pyiqa:known"])["pyiqa:known"]
    assert metric.blind is metric.lower is (mode == "NR")
    grey = torch.zeros(1, 1, 4, 4)
    assert metric(grey, grey, 0) == (0.5 if mode == "NR" else 0.25)
    with pytest.raises(UserError, match="no such metric"):
        open_metrics(["pyiqa:other"])
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match="pip install pyiqa"):
        open_metrics(["pyiqa:known"])
