"""PSNR and SSIM against torchmetrics, and against the published bicubic rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from sr.color import rgb_to_y
from sr.metrics.psnr_ssim import psnr, ssim
from sr.models import build

SET5 = Path(__file__).parents[2] / "shared/data/set5"


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
