"""Peers, loaded from checkouts given by path: single files of theirs, with stubs for what they
import and do not need.

None of their code is here. What has to differ for them to run on a CPU and on current libraries is
said at each place:

- BasicSR imports torchvision for one function, ``rgb_to_grayscale``; here it is the same formula.
- Real-ESRGAN calls ``.cuda()`` on construction and in its pair pool. The model is made without its
  constructor, and the pool, a copy, is left out, which is in its favour.
- After ``DiffJPEG`` a CPU tensor has channels-last strides, which ``filter2D``'s ``.view``
  refuses: a ``.contiguous()`` follows.
- KAIR uses SciPy's removed ``interp2d`` (here RectBivariateSpline of degree 1), ``scipy.finfo``,
  ``ndimage.filters``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

__all__ = ["Kair", "RealESRGAN"]


class RealESRGAN:
    """Real-ESRGAN's ``feed_data`` and the kernels of its dataset, with the options of its x4plus
    training.

    Args:
        realesrgan: Checkout of xinntao/Real-ESRGAN.
        basicsr: Checkout of XPixelGroup/BasicSR.
        images: (B, 3, H, W) uint8 HR patches, the batch it is fed.
        usm: Whether it sharpens.
        device: Where it works.
    """

    def __init__(
        self,
        realesrgan: Path,
        basicsr: Path,
        images: Tensor,
        usm: bool = True,
        device: str = "cpu",
    ) -> None:
        with _stubs(basicsr):
            utils = sys.modules["basicsr.utils"]
            self.module = _load(
                "realesrgan_model", realesrgan / "realesrgan/models/realesrgan_model.py"
            )
            dataset = _load(
                "realesrgan_dataset", realesrgan / "realesrgan/data/realesrgan_dataset.py"
            )
        options = yaml.safe_load((realesrgan / "options/train_realesrgan_x4plus.yml").read_text())
        self.model = object.__new__(self.module.RealESRGANModel)
        self.model.opt, self.model.device, self.model.is_train = options, device, True
        jpeger = utils.DiffJPEG(differentiable=False).to(device)
        self.model.jpeger = lambda x, quality: jpeger(x, quality=quality).contiguous()
        self.model.usm_sharpener = utils.USMSharp().to(device) if usm else lambda x: x
        self.model._dequeue_and_enqueue = lambda: None
        self.images = images
        self._kernels = dataset.RealESRGANDataset(
            {**options["datasets"]["train"], "dataroot_gt": ".", "meta_info": os.devnull}
        )
        self._kernels.file_client = _OneImage()
        self._kernels.paths = ["any"]
        self.seconds: dict[str, float] = defaultdict(float)

    def batch(self) -> dict[str, Tensor]:
        """Images and freshly drawn kernels, as its loader would give them."""
        items = [self._kernels[0] for _ in self.images]
        names = ("kernel1", "kernel2", "sinc_kernel")
        kernels = {name: torch.stack([item[name] for item in items]) for name in names}
        return {"gt": self.images.float() / 255, **kernels}

    def feed(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Its LR patches, cropped to 64 x 64 as in its training."""
        self.model.feed_data(batch)
        return self.model.lq

    @contextmanager
    def split(self) -> Iterator[dict[str, float]]:
        """Counts the CPU seconds of each of its operators."""
        seconds: dict[str, float] = defaultdict(float)
        changed = {
            name: getattr(self.module, name)
            for name in (
                "filter2D",
                "random_add_gaussian_noise_pt",
                "random_add_poisson_noise_pt",
                "F",
            )
        }
        for name in changed:
            if name != "F":
                setattr(self.module, name, _timed(changed[name], name, seconds))
        self.module.F = types.SimpleNamespace(
            interpolate=_timed(changed["F"].interpolate, "interpolate", seconds)
        )
        jpeger, usm = self.model.jpeger, self.model.usm_sharpener
        self.model.jpeger = _timed(jpeger, "DiffJPEG", seconds)
        self.model.usm_sharpener = _timed(usm, "USMSharp", seconds)
        try:
            yield seconds
        finally:
            for name, value in changed.items():
                setattr(self.module, name, value)
            self.model.jpeger, self.model.usm_sharpener = jpeger, usm


class Kair:
    """KAIR's ``degradation_bsrgan`` and ``degradation_bsrgan_plus``.

    Args:
        kair: Checkout of cszn/KAIR.
    """

    OPERATORS = (
        *(
            "add_blur",
            "add_resize",
            "add_Gaussian_noise",
            "add_Poisson_noise",
            "add_speckle_noise",
            "add_JPEG_noise",
        ),
    )

    def __init__(self, kair: Path) -> None:
        import scipy
        import scipy.interpolate
        import scipy.ndimage

        scipy.interpolate.interp2d = _linear_2d
        scipy.finfo = np.finfo
        if not hasattr(scipy.ndimage, "filters"):
            scipy.ndimage.filters = scipy.ndimage
        stubs = {
            name: types.ModuleType(name)
            for name in ("matplotlib", "matplotlib.pyplot", "mpl_toolkits", "utils")
        }
        stubs["mpl_toolkits.mplot3d"] = _module("mpl_toolkits.mplot3d", Axes3D=None)
        with _modules(stubs):
            stubs["utils"].utils_image = _load("utils.utils_image", kair / "utils/utils_image.py")  # type: ignore[attr-defined]  # a stub
            self.module = _load("utils.utils_blindsr", kair / "utils/utils_blindsr.py")

    def bsrgan(self, image: np.ndarray) -> np.ndarray:
        """LR patch of an (H, W, 3) float image in [0, 1]."""
        return self.module.degradation_bsrgan(image, sf=4, lq_patchsize=min(image.shape[:2]) // 4)[
            0
        ]

    def bsrgan_plus(self, image: np.ndarray) -> np.ndarray:
        """LR patch of an (H, W, 3) float image in [0, 1]."""
        return self.module.degradation_bsrgan_plus(
            image, sf=4, lq_patchsize=min(image.shape[:2]) // 4
        )[0]

    @contextmanager
    def split(self) -> Iterator[dict[str, float]]:
        """Counts the CPU seconds of each of its operators."""
        seconds: dict[str, float] = defaultdict(float)
        kept = {name: getattr(self.module, name) for name in self.OPERATORS}
        for name, function in kept.items():
            setattr(self.module, name, _timed(function, name, seconds))
        try:
            yield seconds
        finally:
            for name, function in kept.items():
                setattr(self.module, name, function)


# --- loading -------------------------------------------------------------------------------------


def _load(name: str, path: Path) -> Any:
    """Runs one file as a module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path}: not there; give the path of a checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    return module


@contextmanager
def _modules(stubs: Mapping[str, types.ModuleType]) -> Iterator[None]:
    """Stands modules in for their names; afterwards what was there is there again, and nothing
    new.
    """
    before = dict(sys.modules)
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in {stub.split(".")[0] for stub in stubs}:
                del sys.modules[name]
        sys.modules.update({name: before[name] for name in stubs if name in before})


@contextmanager
def _stubs(basicsr: Path) -> Iterator[None]:
    """BasicSR's namespace, its files where they matter and stubs where they do not."""

    class Registry:
        def register(self) -> Callable[[Any], Any]:
            return lambda cls: cls

    def to_tensor(images: list[np.ndarray], bgr2rgb: bool, float32: bool) -> list[Tensor]:
        return [torch.from_numpy(image[:, :, ::-1].copy().transpose(2, 0, 1)) for image in images]

    def to_gray(image: Tensor, num_output_channels: int = 1) -> Tensor:
        red, green, blue = image.unbind(-3)
        return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)

    names = (
        "torchvision",
        "torchvision.transforms",
        "basicsr",
        "basicsr.data",
        "basicsr.models",
        "basicsr.utils",
    )
    stubs = {name: types.ModuleType(name) for name in names}
    functional = "torchvision.transforms.functional"
    stubs[functional] = _module(functional, rgb_to_grayscale=to_gray)
    stubs["basicsr.models.srgan_model"] = _module("basicsr.models.srgan_model", SRGANModel=object)
    stubs["basicsr.utils.registry"] = _module(
        "basicsr.utils.registry", MODEL_REGISTRY=Registry(), DATASET_REGISTRY=Registry()
    )
    with _modules(stubs):
        for name in (
            "basicsr.data.degradations",
            "basicsr.data.transforms",
            "basicsr.utils.img_process_util",
        ):
            _load(name, basicsr / (name.replace(".", "/") + ".py"))
        codec = _load("basicsr.utils.diffjpeg", basicsr / "basicsr/utils/diffjpeg.py")
        sharpener = sys.modules["basicsr.utils.img_process_util"]
        stubs["basicsr.utils"].__dict__.update(
            DiffJPEG=codec.DiffJPEG,
            USMSharp=sharpener.USMSharp,
            FileClient=None,
            get_root_logger=None,
            imfrombytes=lambda data, float32: np.zeros((400, 400, 3), np.float32),
            img2tensor=to_tensor,
        )
        yield


class _OneImage:
    """A file client for a dataset of which only the kernels are wanted."""

    def get(self, path: str, key: str) -> bytes:
        return b""


def _linear_2d(
    x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """SciPy's removed ``interp2d(kind="linear")`` on a grid."""
    from scipy.interpolate import RectBivariateSpline

    spline = RectBivariateSpline(x, y, z.T, kx=1, ky=1)
    return lambda at_x, at_y: spline(at_x, at_y).T


def _timed(
    function: Callable[..., Any], name: str, seconds: dict[str, float]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] += time.process_time() - start

    return call
