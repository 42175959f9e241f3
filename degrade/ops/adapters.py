"""Transforms of other libraries as operators: ``albumentations`` and ``kornia``.

A step names one class of the library and its arguments::

    - albumentations: {Defocus: {radius: [3, 5]}}
    - kornia: {RandomMotionBlur: {kernel_size: 5, angle: 35.0, direction: 0.5}}

Here ``[3, 5]`` is the library's own range, not a distribution of ours: the library draws, from a
generator seeded by the sample's key, so replay holds but the drawn values appear in no plan. The
library's probability is 1 unless ``p`` is among the arguments.

A transform must keep the image's size and channels; one that does not is an error. A flip or a
warp keeps them but moves the LR image against its HR image, so use it on the HR side.

Each sample is processed by itself, with a transform of its own: samples are independent in any
batch or thread.
"""

# kornia, torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import difflib
import inspect
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import GetJsonSchemaHandler, ValidationError, model_serializer, model_validator
from pydantic_core import CoreSchema
from torch import Tensor

from degrade.base import Draw, Operator
from degrade.canvas import Canvas, crop_or_pad, to_channels_last

__all__ = ["Albumentations", "Kornia"]


class Adaptor(Operator):
    """One transform of a library, written ``{Transform: {argument: value}}``."""

    transform: str
    params: dict[str, Any]

    @classmethod
    @abstractmethod
    def classes(cls) -> dict[str, Any]:
        """The library's transforms by name."""

    @classmethod
    @abstractmethod
    def make(cls, kind: Any, params: dict[str, Any]) -> Any:
        """A fresh transform. Raises ValueError or TypeError for wrong arguments."""

    @abstractmethod
    def one(self, image: Tensor, seed: int) -> Tensor:
        """Transforms one (C, h, w) image."""

    def build(self) -> Any:
        """A fresh transform of this operator's class and arguments."""
        return self.make(self.classes()[self.transform], self.params)

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        height, width = canvas.pixels.shape[-2:]
        done: list[Tensor] = []
        for image, seed in zip(canvas.images(), draw.key.integers(), strict=True):
            out = self.one(image, seed)
            if out.shape != image.shape:
                raise ValueError(
                    f"{self.name}: {self.transform} made {tuple(out.shape)} of "
                    f"{tuple(image.shape)} (channels, height, width); it should keep them: for "
                    "another size use resize"
                )
            done.append(crop_or_pad(out[None], height, width))
        return canvas.with_pixels(to_channels_last(torch.cat(done)))

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        step = _mapping(data)
        if set(step) == {"transform", "params"}:
            name, arguments = step["transform"], step["params"]
        elif len(step) == 1:
            [(name, arguments)] = step.items()
        else:
            raise ValueError(
                f"{cls.name} should be one transform with its arguments:"
                " {Name: {argument: value}}"
            )
        params = dict(_mapping(arguments))
        if not isinstance(arguments, Mapping | None):
            raise ValueError(f"{name}: {arguments!r} should be arguments, {{argument: value}}")
        known = cls.classes()
        if name not in known:
            raise ValueError(f"{name}: no transform of {cls.name}{_close(str(name), known)}")
        names = [
            a
            for a in inspect.signature(known[name]).parameters
            if a not in ("args", "kwargs", "strict")
        ]
        for argument in params:
            if argument not in names:
                raise ValueError(f"{name}: no argument {argument!r}{_close(str(argument), names)}")
        try:
            cls.make(known[name], params)
        except (TypeError, ValueError, AssertionError, RuntimeError, ImportError) as error:
            raise ValueError(f"{name}: {_reason(error)}") from None
        return {"transform": name, "params": params}

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return {self.transform: self.params}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "object",
            "description": cls.summary(),
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": ["object", "null"]},
        }


class Albumentations(Adaptor):
    """A transform of albumentations 2.0.8, on 8-bit RGB or grey: {Defocus: {radius: [3, 5]}}.

    The image is rounded to 8 bits before it, and comes back as 8 bits. Pixels on a GPU travel to
    the host and back.

    References:
        | Albumentations (Buslaev et al., 2020) | https://doi.org/10.3390/info11020125
    """

    name = "albumentations"
    differentiable: ClassVar[bool] = False

    @classmethod
    def classes(cls) -> dict[str, Any]:
        os.environ.setdefault(
            "NO_ALBUMENTATIONS_UPDATE", "1"
        )  # else its import asks PyPI for its latest version
        import albumentations

        base, solid = albumentations.BasicTransform, albumentations.Transform3D
        abstract = base.__module__
        return _subclasses(
            albumentations, base, lambda k: k.__module__ != abstract and not issubclass(k, solid)
        )

    @classmethod
    def make(cls, kind: Any, params: dict[str, Any]) -> Any:
        # Classes with a schema of their own take `strict`; without it a wrong value is a warning
        # and a default.
        return kind(
            **{**_always(kind), **params},
            **({"strict": True} if "InitSchema" in vars(kind) else {}),
        )

    def one(self, image: Tensor, seed: int) -> Tensor:
        transform = self.build()
        transform.set_random_seed(seed)
        pixels = (
            image.detach()
            .mul(255)
            .round()
            .clamp(0, 255)
            .to("cpu", torch.uint8)
            .permute(1, 2, 0)
            .contiguous()
            .numpy()
        )
        out = np.asarray(transform(image=pixels)["image"])
        if out.dtype != np.uint8:
            raise ValueError(
                f"albumentations: {self.transform} made {out.dtype} of 8-bit pixels; it is not "
                "allowed in a recipe"
            )
        out = out[..., None] if out.ndim == 2 else out
        return (
            torch.from_numpy(np.ascontiguousarray(out)).permute(2, 0, 1).to(image) / 255
        ).contiguous()


class Kornia(Adaptor):
    """A transform of kornia.augmentation: {RandomMotionBlur: {kernel_size: 5, angle: 35.0,
    direction: 0.5}}.

    Works on the image's device; gradients flow where the transform lets them. Its result is
    clipped to [0, 1].

    References:
        | Kornia (Riba et al., 2020) | https://arxiv.org/abs/1910.02190
    """

    name = "kornia"

    @classmethod
    def classes(cls) -> dict[str, Any]:
        import kornia.augmentation as library

        return _subclasses(
            library, library.AugmentationBase2D, lambda k: not k.__name__.endswith("Base2D")
        )

    @classmethod
    def make(cls, kind: Any, params: dict[str, Any]) -> Any:
        # YAML has no tuples, and kornia takes a list for something else.
        return kind(
            **{**_always(kind), **{name: _tuples(value) for name, value in params.items()}}
        )

    def one(self, image: Tensor, seed: int) -> Tensor:
        with _seeded(seed, image.device):
            return self.build()(image[None])[0].clamp(0, 1)


_GENERATOR = threading.Lock()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None]:
    """Seeds torch's global generators and puts them back after: kornia draws from nothing else.

    One thread at a time, as there is one such generator.
    """
    on_gpu = device.type == "cuda"
    with _GENERATOR, torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _subclasses(library: Any, base: type, keep: Callable[[type], bool]) -> dict[str, Any]:
    """The public classes of a library that are transforms; a recipe can name these and nothing
    else.
    """
    named = cast("dict[str, Any]", vars(library))
    public = {name: kind for name, kind in named.items() if not name.startswith("_")}
    return {
        name: k
        for name, k in public.items()
        if isinstance(k, type) and issubclass(k, base) and keep(k)
    }


def _always(kind: Any) -> dict[str, float]:
    return {"p": 1.0} if "p" in inspect.signature(kind).parameters else {}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, cast("list[Any]", value))) if isinstance(value, list) else value


def _mapping(data: Any) -> Mapping[str, Any]:
    """What is no mapping counts as an empty one."""
    return cast("Mapping[str, Any]", data) if isinstance(data, Mapping) else {}


def _close(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, 3, 0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"


def _reason(error: Exception) -> str:
    """What was wrong, on one line."""
    cause = error.__cause__ or error
    if isinstance(cause, ValidationError):
        return "; ".join(
            ".".join(map(str, (*e["loc"], ""))).rstrip(".") + f": {e['msg']}"
            for e in cause.errors()
        )
    return " ".join(str(error).split())
