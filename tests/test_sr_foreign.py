"""Weights and models of others: BasicSR's forward, old names, containers, ONNX, programs.

The forward passes are written here a second time, from the published architectures, on the raw
tensors of a file: they share no code with the models.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from degrade.errors import UserError
from sr import checkpoint
from sr.color import rgb_to_y, rgb_to_ycbcr
from sr.evaluation import evaluate
from sr.examples import Example
from sr.metrics import open_metrics
from sr.models import build
from sr.models.external import ExternalModel
from sr.models.interpolation import enlarge
from sr.models.luma import OfLuma
from sr.models.windows import Windowed, share_of
from sr.tiles import enlarge_tiled

Tensors = dict[str, Tensor]


def conv(x: Tensor, w: Tensors, name: str) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding="same")


def rrdb(x: Tensor, w: Tensors, scale: int, blocks: int) -> Tensor:
    """BasicSR's RRDBNet: pixel-unshuffled input for x2 and x1."""
    if scale < 4:
        x = F.pixel_unshuffle(x, 4 // scale)
    first = body = conv(x, w, "conv_first")
    for i in range(blocks):
        block = body
        for j in (1, 2, 3):
            dense = [block]
            for k in (1, 2, 3, 4):
                name = f"body.{i}.rdb{j}.conv{k}"
                dense.append(F.leaky_relu(conv(torch.cat(dense, 1), w, name), 0.2))
            block = block + 0.2 * conv(torch.cat(dense, 1), w, f"body.{i}.rdb{j}.conv5")
        body = body + 0.2 * block
    x = first + conv(body, w, "conv_body")
    for name in sorted(name[:-7] for name in w if name.startswith("conv_up") and "weight" in name):
        double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = F.leaky_relu(conv(double, w, name), 0.2)
    return conv(F.leaky_relu(conv(x, w, "conv_hr"), 0.2), w, "conv_last")


def msrresnet(x: Tensor, w: Tensors, scale: int, blocks: int) -> Tensor:
    y = F.leaky_relu(conv(x, w, "conv_first"), 0.1)
    for i in range(blocks):
        y = y + conv(F.relu(conv(y, w, f"body.{i}.conv1")), w, f"body.{i}.conv2")
    for name, factor in {2: {"upconv1": 2}, 3: {"upconv1": 3}, 4: {"upconv1": 2, "upconv2": 2}}[
        scale
    ].items():
        y = F.leaky_relu(F.pixel_shuffle(conv(y, w, name), factor), 0.1)
    y = conv(F.leaky_relu(conv(y, w, "conv_hr"), 0.1), w, "conv_last")
    return y + F.interpolate(x, scale_factor=float(scale), mode="bilinear")


def compact(x: Tensor, w: Tensors, scale: int, convolutions: int) -> Tensor:
    y = x
    for i in range(convolutions + 1):
        y = F.prelu(conv(y, w, f"body.{2 * i}"), w[f"body.{2 * i + 1}.weight"])
    y = F.pixel_shuffle(conv(y, w, f"body.{2 * convolutions + 2}"), scale)
    return y + x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


CASES: list[tuple[str, dict[str, Any], Any]] = [
    *(("rrdb", {"scale": s, "channels": 6, "blocks": 2, "growth": 4}, rrdb) for s in (4, 2, 1)),
    *(("msrresnet", {"scale": s, "channels": 6, "blocks": 2}, msrresnet) for s in (4, 3, 2)),
    *(("compact", {"scale": s, "channels": 6, "convolutions": 3}, compact) for s in (4, 2)),
]


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


each_case = pytest.mark.parametrize(("name", "config", "forward"), CASES, ids=_name)


def weights(name: str, config: dict[str, Any]) -> Tensors:
    """Weights of which every one counts, so that a wrong place of any shows."""
    generator = torch.Generator().manual_seed(0)
    state = build(name, **config).state_dict()
    return {
        key: torch.randn(x.shape, generator=generator) / x[0].numel() ** 0.5
        for key, x in state.items()
    }


def image(height: int = 16, width: int = 12) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@each_case
def test_the_forward_is_the_published_one(
    name: str, config: dict[str, Any], forward: Any, tmp_path: Path
) -> None:
    w, lr = weights(name, config), image()
    torch.save({"params_ema": w}, tmp_path / "net.pth")
    model = checkpoint.load(tmp_path / "net.pth")
    wanted = forward(lr, w, config["scale"], config.get("blocks", config.get("convolutions")))
    with torch.no_grad():
        torch.testing.assert_close(model(lr), wanted, atol=1e-6, rtol=1e-6)
    assert model.scale == config["scale"]
    tiled = enlarge_tiled(model, lr, 8, model.reach)
    torch.testing.assert_close(tiled, wanted, atol=2e-6, rtol=1e-5)


# --- names ---------------------------------------------------------------------------------------


def old_names(w: Tensors, blocks: int) -> Tensors:
    """The names of ESRGAN's models before BasicSR, ``model.N``: convolutions of a sequence."""
    ups = sum(name.startswith("conv_up") and name.endswith("weight") for name in w)
    places = {"conv_first": "0", "conv_body": f"1.sub.{blocks}"}
    places |= {f"conv_up{i}": str(3 * i) for i in range(1, ups + 1)}
    places |= {"conv_hr": str(3 * ups + 2), "conv_last": str(3 * ups + 4)}
    renamed: Tensors = {}
    for name, x in w.items():
        part, _, kind = name.rpartition(".")
        if part.startswith("body."):
            _, i, dense, last = part.split(".")
            renamed[f"model.1.sub.{i}.{dense.upper()}.{last}.0.{kind}"] = x
        else:
            renamed[f"model.{places[part]}.{kind}"] = x
    return renamed


def first_names(w: Tensors) -> Tensors:
    """The names of ESRGAN's first release."""
    changes = [("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), (".rdb", ".RDB")]
    changes += [("conv_up", "upconv"), ("conv_hr", "HRconv")]
    for new, old in changes:
        w = {name.replace(new, old): x for name, x in w.items()}
    return w


@pytest.mark.parametrize(("scale", "ups"), [(1, 0), (2, 1), (4, 2), (8, 3)])
def test_old_names_of_rrdb(scale: int, ups: int, tmp_path: Path) -> None:
    """Old models of any scale enlarge as often as it needs, without unshuffling."""
    config = {"scale": scale, "channels": 6, "blocks": 2, "growth": 4, "unshuffle": 1}
    w, lr = weights("rrdb", config), image(9, 7)
    assert sum(name.startswith("conv_up") for name in w) == 2 * ups
    wanted = rrdb(lr, w, 4, 2)
    for number, named in enumerate((old_names(w, 2), first_names(w))):
        file = tmp_path / f"{number}.pth"
        torch.save(named, file, _use_new_zipfile_serialization=bool(number))
        model = checkpoint.load(file, scale)
        with torch.no_grad():
            torch.testing.assert_close(model(lr), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("container", ["params_ema", "params", "params-ema", "state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "netG.", "module.generator."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_containers_and_prefixes(
    container: str, prefix: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    w = weights("compact", {"scale": 2, "channels": 4, "convolutions": 1})
    stored = {f"{prefix}{name}": x.to(dtype) for name, x in w.items()}
    torch.save({container: stored, "iter": 7, "args": {"lr": 0.1}}, tmp_path / "a.pth")
    found = checkpoint.load(tmp_path / "a.pth").state_dict()
    for name, x in w.items():
        assert torch.equal(found[name], x.to(dtype).float())


def test_the_average_is_preferred(tmp_path: Path) -> None:
    w = weights("compact", {"scale": 2, "channels": 4, "convolutions": 1})
    worse = {name: torch.zeros_like(x) for name, x in w.items()}
    torch.save({"params": worse, "params_ema": w}, tmp_path / "a.pth")
    assert torch.equal(
        checkpoint.load(tmp_path / "a.pth").state_dict()["body.0.weight"], w["body.0.weight"]
    )


def test_safetensors_without_our_metadata(tmp_path: Path) -> None:
    w = weights("msrresnet", {"scale": 3, "channels": 4, "blocks": 1})
    save_file(w, tmp_path / "a.safetensors")
    assert checkpoint.load(tmp_path / "a.safetensors").scale == 3
    assert checkpoint.describe(tmp_path / "a.safetensors") == {"name": "MSRResNet", "scale": "3"}
    with pytest.raises(UserError, match="is for scale 3, not for 4"):
        checkpoint.load(tmp_path / "a.safetensors", 4)


# --- refusals ------------------------------------------------------------------------------------


def described(text: bytes) -> Tensors:
    """A file for spandrel that says what it is of."""
    return {"sr_config": torch.tensor([*text], dtype=torch.uint8), "a": torch.zeros(1)}


SMALL = weights("rrdb", {"scale": 4, "channels": 4, "blocks": 1, "growth": 2})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "without named tensors"),
        ({"params": {"a": 1}}, "without named tensors"),
        (
            {"layers.0.attn.qkv.weight": torch.zeros(3)},
            "(?s)RRDBNet.*MSRResNet.*layers.0.*spandrel",
        ),
        ({**SMALL, "extra.weight": torch.zeros(1)}, "extra.weight should be absent"),
        ({n: x for n, x in SMALL.items() if n != "conv_hr.bias"}, "conv_hr.bias should be"),
        ({**SMALL, "conv_first.weight": torch.zeros(4, 4, 3, 3)}, "4 input channels"),
        ({**SMALL, "conv_last.weight": torch.zeros(1, 4, 3, 3)}, "conv_last.weight should be"),
        ({**SMALL, "body.99999.x": torch.zeros(1)}, "body.1.rdb1"),
        (
            {f"body.{i}.weight": torch.zeros(12, 3 if i == 0 else 12, 3, 3) for i in (0, 2)},
            "without PReLU",
        ),
        (described(b"{"), "cannot be built"),
        (described(b'["srcnn"]'), "cannot be built"),
        (described(b'{"name": "srcnn", "config": {"scale": 2, "filters": [1, 2]}}'), "conv1.weig"),
        (described(b'{"name": "srresnet", "config": {"blocks": 100000000}}'), "allow at most 64"),
        (described(b'{"name": "os:abort", "config": {}}'), "is not a subclass of sr.models.Model"),
        ({"sr_config": torch.tensor([[0.5]])}, "cannot be built"),
    ],
)
def test_what_is_no_known_network_is_said(state: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(state, path)
    with pytest.raises(UserError, match=message) as raised:
        checkpoint.load(path)
    assert str(raised.value).startswith(str(path))


class UnsupportedError(Exception):
    """As spandrel's, without a message."""


class Loader:
    """A stand-in for spandrel's, whose torchvision need not be here."""

    def __init__(self, device: str) -> None:
        self.device = device

    def load_from_state_dict(self, state: Tensors) -> Any:
        if "layers.0.weight" not in state:
            raise UnsupportedError
        network = torch.nn.Upsample(scale_factor=2)
        found = type("Descriptor", (), {"__call__": lambda self, x: network(x)})()
        found.model, found.scale = network, 2
        found.input_channels, found.output_channels = 3, len(state["layers.0.weight"])
        found.architecture = type("Architecture", (), {"name": "HAT"})
        return found


SPANDREL = type("spandrel", (), {"ModelLoader": Loader, "UnsupportedModelError": UnsupportedError})


def test_spandrel_takes_what_is_not_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", SPANDREL)
    torch.save({"params": {"layers.0.weight": torch.zeros(3)}}, tmp_path / "hat.pth")
    model = checkpoint.load(tmp_path / "hat.pth")
    assert model.scale == 2
    assert model.reach is None
    assert model(image()).shape == (1, 3, 32, 24)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"body.0.tail": torch.zeros(1)},
            "tensors are body.0.tail, ..; spandrel does not know it either",
        ),
        ({"layers.0.weight": torch.zeros(1)}, "3 to 1 channels, not RGB"),
    ],
)
def test_what_spandrel_does_not_take_is_said(
    state: Tensors, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", SPANDREL)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message):
        checkpoint.load(tmp_path / "a.pth")


BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')"
"""What spandrel's and pyiqa's imports do where torchvision is of another build than torch."""


@pytest.mark.parametrize(
    ("package", "attempt"),
    [
        ("spandrel", lambda file: checkpoint.load(file)),
        ("onnxruntime", lambda file: checkpoint.load(f"onnx:{file}")),
        ("pyiqa", lambda _: open_metrics(["pyiqa:niqe"])),
    ],
)
def test_packages_that_cannot_be_imported_are_said(
    package: str, attempt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{package}.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package, raising=False)
    torch.save({"body.0.tail": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=rf"{package} cannot be imported.*nms.*pip install"):
        attempt(tmp_path / "a.pth")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_that_were_packed_again(method: int, tmp_path: Path) -> None:
    torch.save({"params": SMALL}, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as old,
        zipfile.ZipFile(tmp_path / "again.pth", "w", method) as new,
    ):
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    again = checkpoint.load(tmp_path / "again.pth")
    torch.testing.assert_close(dict(again.state_dict()), SMALL, rtol=0, atol=0)


# --- programs and functions ----------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
from PIL import Image
low, high = sys.argv[-2:]
for file in Path(low).iterdir():
    picture = Image.open(file)
    picture.resize([3 * n for n in picture.size], 0).save(Path(high, file.name))
"""


def nearest(x: Tensor, scale: int) -> Tensor:
    return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def test_a_program_from_folder_to_folder(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PROGRAM)
    for arguments in ("", " {in} {out}"):
        model = checkpoint.load(f"command:'{sys.executable}' '{tmp_path / 'p.py'}'{arguments}")
        assert model.scale == 3
        lr = image()
        assert torch.equal(model(lr), nearest((lr * 255).round() / 255, 3))
    assert checkpoint.label(f"command:{sys.executable} p.py") == Path(sys.executable).name


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "should be command:PROGRAM"),
        ("'", "No closing quotation"),
        ("no-such-program-anywhere", "No such file"),
        (f"'{sys.executable}' -c 'print(1)'", "wrote 0 images of 1|no images here"),
        (
            f"'{sys.executable}' -c 'raise SystemExit(\"out of memory\")'",
            "(?s)ended with 1.*out of m",
        ),
    ],
)
def test_programs_that_fail_are_said(command: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checkpoint.load(f"command:{command}")


MODULE = """
import torch

def double(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

def wrong(x):
    return x[:, :, :-1].repeat_interleave(2, 2)

def plane(x):
    return x[0]

def failing(x):
    raise RuntimeError("no GPU")

class Triple(torch.nn.Module):
    def forward(self, x):
        assert not self.training
        return x.repeat_interleave(3, 2).repeat_interleave(3, 3)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_upscalers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield "my_upscalers"
    sys.modules.pop("my_upscalers", None)


def test_functions_and_modules(module: str) -> None:
    lr = image()
    for name, scale in (("double", 2), ("Triple", 3)):
        model = checkpoint.load(f"python:{module}:{name}")
        assert model.scale == scale
        assert torch.equal(model(lr), nearest(lr, scale))
        assert torch.equal(enlarge_tiled(model, lr, 5), nearest(lr, scale))
        assert torch.equal(enlarge_tiled(model, lr, 5, 2), nearest(lr, scale))
    assert checkpoint.label(f"python:{module}:double") == "double"
    with pytest.raises(UserError, match="at x4 it should be"):
        checkpoint.load(f"python:{module}:double", 4)(lr)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_upscalers", "should be python:module:function"),
        ("my_upscalers:nothing", "has no function nothing"),
        ("no_such_module:f", "No module named"),
        ("my_upscalers:wrong", "should be an integer multiple"),
        ("my_upscalers:plane", r"returned \[3, 24, 40\]"),
        ("my_upscalers:failing", "RuntimeError: no GPU"),
    ],
)
def test_functions_that_fail_are_said(module: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checkpoint.load(f"python:{name}")


def onnx_file(path: Path, shape: list[int | str], dtype: str = "FLOAT") -> str:
    """Write a network that doubles the sides of its input; return the name that loads it."""
    onnx: Any = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, getattr(onnx.TensorProto, dtype)
    scales = helper.make_tensor("scales", onnx.TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, ["b", "c", "H", "W"])],
        [scales],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(proto, path)
    return f"onnx:{path}"


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16"])
@pytest.mark.parametrize(
    "shape",
    [["b", 3, "h", "w"], [1, 3, "h", "w"], [3, 3, "h", "w"], ["b", "c", "h", "w"]],
)
def test_onnx(shape: list[int | str], dtype: str, tmp_path: Path) -> None:
    model = checkpoint.load(onnx_file(tmp_path / "net.onnx", shape, dtype))
    assert model.scale == 2
    lr = torch.cat([image(), 1 - image()])
    assert model(lr).shape == (2, 3, 32, 24)
    torch.testing.assert_close(model(lr)[1:], model(lr[1:]))


@pytest.mark.parametrize("shape", [["b", 1, "h", "w"], [1, 1, 24, 32], [4, 1, 8, "w"]])
def test_onnx_of_one_channel_is_of_y(shape: list[int | str], tmp_path: Path) -> None:
    """The Y plane is the network's, the chroma bicubic."""
    lr = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
    model = checkpoint.load(onnx_file(tmp_path / "net.onnx", shape))
    result = model(lr)
    y = rgb_to_y(lr).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(rgb_to_y(result), y)
    assert isinstance(model, ExternalModel)
    assert (model.windows is None) == (shape[2] == "h")
    torch.testing.assert_close(rgb_to_ycbcr(result)[:, 1:], rgb_to_ycbcr(enlarge(lr, 2))[:, 1:])


@pytest.mark.parametrize(
    "function",
    [lambda y: y.expand(-1, 3, -1, -1), lambda y: y[..., :-1], lambda y: y[..., ::2, ::2]],
    ids=["three planes", "a column less", "half the size"],
)
def test_what_is_no_larger_y_plane_is_said(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match=r"made \[1, .*; should be one Y plane"):
        OfLuma(function)(torch.rand(1, 3, 16, 12))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ([1, 2, 224, 224], "FLOAT"),
        ([1, 224, 224, 3], "FLOAT"),
        (["b", 3, "h", "w"], "UINT8"),
    ],
)
def test_onnx_of_other_inputs_is_said(shape: list[int | str], dtype: str, tmp_path: Path) -> None:
    name = onnx_file(tmp_path / "net.onnx", shape, dtype)
    with pytest.raises(
        UserError, match=r"inputs are x tensor\(.*should be one.*\(B, 1, h, w\) for"
    ):
        checkpoint.load(name)


@pytest.mark.parametrize("size", [(64, 48), (65, 200), (131, 17), (12, 40)])
@pytest.mark.parametrize("window", [(64, 48), (32, 64), (None, 16), (7, 5)])
def test_windows_equal_the_whole(size: tuple[int, int], window: tuple[int | None, int]) -> None:
    """If the receptive field reaches no further than what is left out at their borders."""
    reach = min(share_of(side) for side in window if side)
    sizes: set[tuple[int, int]] = set()

    def blur(image: Tensor) -> Tensor:
        sizes.add((image.shape[-2], image.shape[-1]))
        wide = F.pad(image, (reach,) * 4, mode="replicate")
        mean = F.avg_pool2d(wide, 2 * reach + 1, stride=1)
        return mean.repeat_interleave(2, 2).repeat_interleave(2, 3)

    whole = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    wanted = blur(whole)
    sizes.clear()
    torch.testing.assert_close(Windowed(blur, *window)(whole), wanted)
    assert sizes == {(window[0] or size[0], window[1])}


def test_onnx_of_one_size(tmp_path: Path) -> None:
    """Whatever the image's size; the protocol says how it was cut."""
    model = checkpoint.load(onnx_file(tmp_path / "net.onnx", [1, 3, 64, 48]))
    assert model.scale == 2
    for height, width in ((64, 48), (100, 48), (30, 200)):
        lr = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
        wanted = lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(model(lr), wanted)
    example = Example("a.png", lr[:1], wanted[:1])
    said = evaluate(model, "net", [example]).protocol["tiles"]
    assert said.startswith("windows of 48 x 64 LR pixels, the model's only size")


@pytest.mark.parametrize(
    ("name", "message"), [("bad.onnx", "not a model"), ("missing.onnx", "no such file")]
)
def test_what_is_no_onnx_is_said(name: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=message):
        checkpoint.load(f"onnx:{tmp_path / name}")


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "wanted"),
    [
        ({"method": "srcnn", "trainer": "pixel"}, "best"),
        ({"method": "esrgan", "trainer": "gan"}, "last"),
        ({"method": "srresnet", "trainer": "gan"}, "last"),
        ({"method": "gan", "trainer": "pixel"}, "best"),
        ({"method": "srgan"}, "last"),
        ({"method": "srcnn"}, "best"),
    ],
)
def test_an_adversarial_run_is_its_last_checkpoint(
    training: dict[str, str], wanted: str, tmp_path: Path
) -> None:
    for name in ("best", "last"):
        model = build("srcnn", scale=2, filters=[4, 3])
        notes = {"training": {**training, "seed": 0}}
        checkpoint.save(tmp_path / f"{name}.safetensors", model, notes)
    assert checkpoint.weights_file(tmp_path).stem == wanted
    (tmp_path / f"{wanted}.safetensors").unlink()
    assert checkpoint.weights_file(tmp_path).stem != wanted
