"""Laws of the xN models, and their agreement with an independent imresize."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sr.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.models import MODELS, SRCNN, Discriminator, build, name_of
from sr.models.base import count
from sr.models.interpolation import enlarge, reduce

SMALL = {"channels": 8, "blocks": 1}
MODELS_TO_TRY = [
    *(("bicubic", {"scale": scale}) for scale in (1, 2, 3, 4)),
    *(("srcnn", {"scale": scale, "init": "kaiming"}) for scale in (1, 2, 3, 4)),
    ("srcnn", {"scale": 3, "kernels": [9, 5, 5], "color": "rgb", "init": "kaiming"}),
    ("srcnn", {"scale": 2, "padding": "valid", "residual": True, "init": "kaiming"}),
    *(("srresnet", {"scale": scale, **SMALL}) for scale in (1, 2, 3, 4, 8)),
    *(("msrresnet", {"scale": scale, **SMALL}) for scale in (2, 3, 4)),
    *(("rrdb", {"scale": scale, "growth": 4, **SMALL}) for scale in (1, 2, 4)),
    *(("rrdb", {"scale": scale, "unshuffle": 1, "growth": 4, **SMALL}) for scale in (1, 2, 8)),
    *(("compact", {"scale": scale, "channels": 8, "convolutions": 2}) for scale in (1, 2, 4)),
]
each_model = pytest.mark.parametrize(("name", "config"), MODELS_TO_TRY, ids=str)


def make(name, config):
    torch.manual_seed(0)
    model = build(name, **config).eval()
    for (
        place,
        module,
    ) in model.named_modules():  # as if trained: neither branch of a residual vanishes
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.1)
        if isinstance(module, torch.nn.Conv2d) and "rdb" in place:
            module.weight.data *= 10
    return model


def image(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@each_model
def test_shape_and_batch(name, config):
    model, lr = make(name, config), image(3, 3, 13, 18)
    with torch.no_grad():
        sr = model(lr)
        assert sr.shape == (3, 3, 13 * model.scale, 18 * model.scale)
        assert sr.isfinite().all()
        torch.testing.assert_close(model(lr[1:2]), sr[1:2], atol=1e-5, rtol=0)


@each_model
def test_config_rebuilds(name, config):
    model = make(name, config)
    again = build(name_of(model), **json.loads(json.dumps(model.config)))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    lr = image(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.eval()(lr), model(lr))


@each_model
def test_reach(name, config):
    """A pixel changes the output nowhere beyond ``reach``, and ``reach`` is not wastefully
    large.
    """
    model = make(name, config).double()
    size, centre = 2 * (model.reach + 4) + 1, model.reach + 4
    centre -= centre % model.multiple
    lr = image(1, 3, size, size).double()
    other = lr.clone()
    other[..., centre, centre] = 1 - other[..., centre, centre]
    with torch.no_grad():
        moved = (model(other) - model(lr)).abs().amax((0, 1)) > 1e-13
    cells = F.max_pool2d(moved[None, None].double(), model.scale)[0, 0] > 0
    rows = torch.nonzero(cells.any(1))[:, 0]
    seen = max(centre - int(rows.min()), int(rows.max()) - centre)
    assert seen <= model.reach
    assert seen >= model.reach - 3 * model.multiple


@each_model
def test_tiles_equal_the_whole(name, config):
    model = make(name, config).double()
    step = 8
    halo = -(-model.reach // model.multiple) * model.multiple
    lr = image(1, 3, 2 * step + halo, step).double()
    with torch.no_grad():
        whole = model(lr)[:, :, : step * model.scale]
        tile = model(lr[:, :, : step + halo])[:, :, : step * model.scale]
    torch.testing.assert_close(tile, whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("name", "config"), [case for case in MODELS_TO_TRY if case[0] != "bicubic"], ids=str
)
def test_one_step_lowers_the_loss(name, config):
    model = make(name, config).train()
    lr = image(2, 3, 16, 16)
    hr = image(2, 3, 16 * model.scale, 16 * model.scale, seed=1)
    hr = hr[
        ..., model.margin : hr.shape[2] - model.margin, model.margin : hr.shape[3] - model.margin
    ]
    optimiser = torch.optim.SGD(model.param_groups(1e-3))
    losses = []
    for _ in range(2):
        loss = F.mse_loss(model(lr), hr)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[1] < losses[0]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "config", "number"),
    [
        ("srresnet", {}, 1_549_462),
        ("msrresnet", {}, 1_517_571),  # BasicSR's own, counted
        ("rrdb", {}, 16_697_987),  # likewise
        ("compact", {}, 621_424),  # likewise
        ("bicubic", {}, 0),
    ],
)
def test_parameters(name, config, number):
    assert count(build(name, **config)) == number


@pytest.mark.parametrize(("kernels", "weights"), [([9, 1, 5], 8_032), ([9, 5, 5], 57_184)])
def test_srcnn_weights(kernels, weights):
    assert count(SRCNN(kernels=kernels), "weight") == weights


def test_keys():
    block = ["conv1.bias", "conv1.weight", "conv2.bias", "conv2.weight"]
    ends = ["conv_hr.bias", "conv_hr.weight", "conv_last.bias", "conv_last.weight"]
    first = ["conv_first.bias", "conv_first.weight"]
    ups = [f"upconv{i}.{part}" for i in (1, 2) for part in ("bias", "weight")]
    keys = sorted(build("msrresnet", **SMALL).state_dict())
    assert keys == sorted([f"body.0.{key}" for key in block] + first + ends + ups)
    dense = [
        f"body.0.rdb{i}.conv{j}.{part}"
        for i in (1, 2, 3)
        for j in range(1, 6)
        for part in ("bias", "weight")
    ]
    ups = [
        f"conv_{place}.{part}" for place in ("body", "up1", "up2") for part in ("bias", "weight")
    ]
    assert sorted(build("rrdb", **SMALL).state_dict()) == sorted(dense + first + ends + ups)
    assert list(build("srcnn").state_dict()) == [
        f"conv{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")
    ]
    # spandrel takes any file with body.0.weight for Compact
    assert [name for name in MODELS if "body.0.weight" in build(name).state_dict()] == ["compact"]


def test_srcnn_rates_and_init():
    model = SRCNN()
    first, last = model.param_groups(1e-4)
    assert (first["lr"], last["lr"]) == pytest.approx((1e-4, 1e-5))
    assert len(first["params"]) + len(last["params"]) == len(list(model.parameters()))
    assert model.conv1.weight.std().item() == pytest.approx(1e-3, rel=0.05)
    assert not model.conv1.bias.any()


def test_srcnn_residual_starts_as_bicubic():
    torch.manual_seed(0)
    model, lr = build("srcnn", residual=True, init="kaiming"), image(1, 3, 16, 16)
    with torch.no_grad():
        assert (model(lr) - enlarge(lr, 2)).abs().mean() < 0.02


def test_srcnn_luma():
    """Chroma is that of the enlargement, and a Y plane alone gives the Y of the RGB image."""
    model, lr = make("srcnn", {"scale": 2, "init": "kaiming"}), image(2, 3, 9, 11)
    with torch.no_grad():
        ycbcr = rgb_to_ycbcr(model(lr))
        torch.testing.assert_close(
            ycbcr[:, 1:], rgb_to_ycbcr(enlarge(lr, 2))[:, 1:], atol=1e-6, rtol=0
        )
        torch.testing.assert_close(ycbcr[:, :1], model(rgb_to_ycbcr(lr)[:, :1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("color", ["y", "rgb"])
@pytest.mark.parametrize("residual", [False, True])
def test_srcnn_valid_equals_same_inside(color, residual):
    config = {"scale": 2, "color": color, "residual": residual, "init": "kaiming"}
    same, valid = make("srcnn", config), make("srcnn", {**config, "padding": "valid"})
    lr, margin = image(1, 3, 12, 15), valid.margin
    with torch.no_grad():
        whole = same(lr)[..., margin:-margin, margin:-margin]
        torch.testing.assert_close(valid.train()(lr), whole, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            valid.eval()(lr)[..., margin:-margin, margin:-margin], whole, atol=1e-6, rtol=0
        )
    assert margin == 6


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (33, 47), (96, 96), (128, 128)], ids=str)
def test_discriminator_sizes(size, spectral):
    torch.manual_seed(0)
    model = Discriminator(channels=4, dense=16, spectral=spectral)
    logits = model(image(2, 3, *size))
    assert logits.shape == (2, 1)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_discriminator_as_published():
    convolutions = [
        layer for layer in Discriminator().features if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert count(Discriminator()) == 23_563_649


def test_spectral_norm_bounds_every_layer():
    model = Discriminator(channels=4, dense=16, spectral=True)
    for _ in range(30):  # the power iteration runs with the forward pass
        model(image(1, 3, 24, 24))
    layers = [
        layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    assert len(layers) == 10
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
            1, abs=0.02
        )


# --- colour and interpolation --------------------------------------------------------------------


def test_ycbcr():
    rgb = image(2, 3, 8, 8).double()
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=2e-6, rtol=0)
    from skimage.color import rgb2ycbcr

    expected = rgb2ycbcr(rgb.permute(0, 2, 3, 1).numpy()) / 255
    np.testing.assert_allclose(rgb_to_ycbcr(rgb).permute(0, 2, 3, 1), expected, atol=1e-6)


def imresize(plane, height, width):
    """MATLAB's imresize (contributions.m): any size, bicubic, antialiased; rows then columns."""
    for axis, size in ((0, height), (1, width)):
        plane = np.moveaxis(plane, axis, 0)
        length = plane.shape[0]
        scale = size / length
        stretch = min(scale, 1)
        support = 4 / stretch
        u = np.arange(1, size + 1) / scale + 0.5 * (1 - 1 / scale)
        left = np.floor(u - support / 2)
        taps = left[:, None] + np.arange(int(np.ceil(support)) + 2)
        x = np.abs(stretch * (u[:, None] - taps))
        inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weight = np.where(x <= 1, inner, np.where(x <= 2, outer, 0))
        weight /= weight.sum(1, keepdims=True)
        mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        rows = plane[mirror[np.mod(taps.astype(int) - 1, 2 * length)]]
        plane = np.moveaxis(np.einsum("pt,pt...->p...", weight, rows), 0, axis)
    return plane


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(7, 9), (2, 5), (1, 3)], ids=str)
def test_enlarge_is_imresize(scale, size):
    x = image(2, 2, *size).double()
    y = enlarge(x, scale)
    for plane, got in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        np.testing.assert_allclose(
            got, imresize(plane.numpy(), *(scale * side for side in size)), atol=2e-7
        )


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_reduce_is_imresize(scale):
    x = image(1, 1, 7 * scale, 9 * scale).double()
    np.testing.assert_allclose(reduce(x, scale)[0, 0], imresize(x[0, 0].numpy(), 7, 9), atol=2e-7)


def test_enlarge_keeps_its_precision_under_autocast():
    x = image(1, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(enlarge(x, 2), enlarge(x.clone(), 2))
        assert enlarge(x, 2).dtype == torch.float32
    assert torch.autograd.gradcheck(
        lambda x: enlarge(x, 2), x[..., :4, :3].double().requires_grad_()
    )


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("vdsr", {}, "model 'vdsr': unknown; there are bicubic, compact"),
        ("srcnn", {"depth": 20}, "model srcnn: no setting depth; it has scale, kernels"),
        (
            "srcnn",
            {"scale": 5},
            "model srcnn: scale 5: not supported by this model; must be one of 1, 2, 3, 4, 8",
        ),
        ("srcnn", {"kernels": [9, 2, 5]}, "must be three odd sizes"),
        ("srcnn", {"color": "lab"}, "color 'lab': must be one of y, rgb"),
        ("rrdb", {"scale": 3}, "must be one of 1, 2, 4"),
        ("rrdb", {"scale": 4, "unshuffle": 3}, "unshuffle 3: times the scale it must be 1, 2, 4"),
        ("sparse", {"nonzeros": 0}, "nonzeros 0: must be in"),
    ],
)
def test_errors(name, config, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        build(name, **config)
