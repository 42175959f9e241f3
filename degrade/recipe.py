"""Recipe: a named, hashed degradation; Pair: what it makes of an HR image.

.. math:: \\mathrm{pair} = \\mathrm{apply}(\\mathrm{recipe}, \\mathrm{hr}, \\mathrm{plan}), \\qquad
          \\mathrm{plan} = \\mathrm{recipe.plan}(\\mathrm{key})

Both are pure. Sample ``i`` of a batch depends on its own HR image and its own row of the plan,
never on its batch-mates: on a CPU the rows are even worked one by one, by a few threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from torch import Tensor

from degrade.canvas import Canvas, as_float, to_planar
from degrade.execution import threads
from degrade.kernels.layout import uint8_to_float
from degrade.loading.builder import Spec, load
from degrade.nodes import Sequence, Watch
from degrade.plan import Column, Plan, PlanBuilder
from degrade.rng import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Pair", "Recipe"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A batch of paired images.

    Args:
        lr: (B, C, H / scale, W / scale) float32 in [0, 1]: the network's input.
        hr: (B, C, H, W): the target, after the recipe's ``hr`` stage (sharpened, say).
        given: (B, C, H, W): the HR image as read, uint8 or float.
        plan: What was drawn.
        index: (B,) the samples' indices.
    """

    lr: Tensor
    hr: Tensor
    given: Tensor
    plan: Plan
    index: NDArray[np.int64] | None = None

    @cached_property
    def hr_raw(self) -> Tensor:
        """(B, C, H, W) float32 in [0, 1]: the HR image as read. Made when asked for: few losses
        look at it.
        """
        return as_float(self.given)


@dataclass(frozen=True)
class Recipe:
    """A degradation from HR to LR images.

    Args:
        name: Its name.
        scale: HR size / LR size.
        hr: Makes the target from the HR image as read.
        stages: Make the LR image from the target, in order.
        description: What it is and where it is from.
    """

    name: str
    scale: int
    hr: Sequence
    stages: tuple[Sequence, ...]
    description: str = ""

    @staticmethod
    def load(
        recipe: str | Path | Mapping[str, Any],
        scale: int | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """Reads a recipe by name (``realesrgan``), from a file, or from the data that :meth:`dump`
        gives.

        Args:
            recipe: Name, path or data.
            scale: Overrides the recipe's scale.
            changes: Overrides values by address: ``{"first.jpeg.quality": [60, 95],
                "second.blur.p": 0.5}``.

        Raises:
            RecipeError: all problems at once.
        """
        spec: Spec = load(recipe, scale, changes)
        return Recipe(spec.name, spec.scale, spec.hr, spec.stages, spec.description)

    def dump(self) -> dict[str, Any]:
        """The resolved recipe as YAML data: ``Recipe.load(recipe.dump()) == recipe``."""
        data: dict[str, Any] = {"name": self.name, "scale": self.scale}
        if self.description:
            data["description"] = self.description
        for stage in (self.hr, *self.stages):
            if stage.nodes or stage is not self.hr:
                data[stage.label] = stage.body()
        return data

    def to_yaml(self) -> str:
        """The resolved recipe as a YAML file."""
        return yaml.safe_dump(
            self.dump(), sort_keys=False, width=120, default_flow_style=None, allow_unicode=True
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the recipe does; its name and description do not count."""
        data = {
            key: value for key, value in self.dump().items() if key not in ("name", "description")
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _builder(self) -> PlanBuilder:
        stages = (self.hr, *self.stages)
        return PlanBuilder(draw for stage in stages for draw in stage.columns(stage.label))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its random variables. Branches that share an address share a column."""
        return self._builder.columns

    def plan(self, key: Key) -> Plan:
        """Draws every variable, per sample."""
        return self._builder.draw(key)

    def severity(self, level: float, key: Key) -> Plan:
        """Sets every variable to its quantile at ``level`` in [0, 1) instead of drawing: 0 is
        mild, near 1 severe.

        Variables with no better or worse end take their median, choices their likeliest value; a
        step with probability p runs from level 1 - p on.
        """
        if not 0 <= level < 1:
            raise ValueError(f"severity {level} should be in [0, 1)")
        return self._builder.severity(level, key)

    def read_plan(self, rows: Iterable[Mapping[str, str]], keys: Iterable[int]) -> Plan:
        """Reads rows of a manifest: precise text by address, as :meth:`Plan.row` gives it.

        Raises:
            ValueError: a cell is not a value of its variable, or is missing where a step needs
                it.
        """
        return self._builder.validate(Plan.read(self.columns, rows, keys))

    def crop(self, hr: Tensor) -> Tensor:
        """Cuts the bottom and the right so that the size is a multiple of the scale, as the
        field does.
        """
        height, width = (n // self.scale * self.scale for n in hr.shape[-2:])
        return hr[..., :height, :width]

    def apply(
        self, hr: Tensor, plan: Plan, watch: Watch | None = None, chunk: int | None = None
    ) -> Pair:
        """Makes the pairs that a plan describes.

        Args:
            hr: (B, C, H, W) RGB or grey, uint8 or float in [0, 1]; cropped to a multiple of the
                scale.
            plan: B rows.
            watch: Sees the canvas after every operator.
            chunk: Rows worked at a time; results do not depend on it. By default one on a CPU, all
                on other devices.

        Raises:
            ValueError: wrong shape, dtype or number of rows.
        """
        self._check(hr, plan)
        hr = self.crop(hr)
        height, width = hr.shape[-2:]
        alone = hr.device.type == "cpu" and not hr.requires_grad
        rows = chunk or (1 if alone else len(hr))
        starts = range(0, len(hr), rows)
        if not alone:
            parts = [
                self._run(as_float(hr[i : i + rows]), plan.take(slice(i, i + rows)), watch)
                for i in starts
            ]
            return Pair(
                torch.cat([lr for lr, _ in parts]),
                torch.cat([target for _, target in parts]),
                hr,
                plan,
            )
        lr = empty_unaligned(len(hr), hr.shape[1], height // self.scale, width // self.scale)
        same = not self.hr.nodes and hr.dtype == torch.float32
        target = hr if same else empty_unaligned(*hr.shape)

        def fill(start: int) -> None:
            some = slice(start, start + rows)
            images = hr[some] if hr.dtype == torch.uint8 else hr[some].float()
            one, two = self._run(images, plan.take(some), watch)
            to_planar(one, lr[some])
            if not same:
                to_planar(two, target[some])

        threads.each(fill, starts)
        return Pair(lr, target, hr, plan)

    def _run(self, hr: Tensor, plan: Plan, watch: Watch | None) -> tuple[Tensor, Tensor]:
        canvas = Canvas.of(uint8_to_float(hr) if hr.dtype == torch.uint8 else hr, self.scale)
        canvas = self.hr.run(canvas, plan, self.hr.label, watch)
        target = canvas.pixels
        for stage in self.stages:
            canvas = stage.run(canvas, plan, stage.label, watch)
        height, width = (int(n) for n in canvas.target[0])
        if not (canvas.sizes == canvas.target).all():
            raise AssertionError(
                f"{self.name}: LR ended at {canvas.sizes[0]}, not at its target {canvas.target[0]}"
            )
        return canvas.pixels[:, :, :height, :width], target

    def _check(self, hr: Tensor, plan: Plan) -> None:
        if hr.ndim != 4 or hr.shape[1] not in (1, 3):
            raise ValueError(
                f"hr has shape {tuple(hr.shape)}; it should be (B, 3, H, W) or (B, 1, H, W)"
            )
        if len(hr) != len(plan):
            raise ValueError(f"{len(hr)} images but {len(plan)} rows in the plan")
        if min(hr.shape[-2:]) < self.scale:
            raise ValueError(
                f"an image of {hr.shape[-2]} x {hr.shape[-1]} is smaller than the scale {self.scale}"
            )
        if hr.dtype != torch.uint8 and not hr.dtype.is_floating_point:
            raise ValueError(f"hr is {hr.dtype}; it should be uint8, or float in [0, 1]")

    def __call__(
        self,
        image: str | Path | Image | NDArray[Any] | Tensor,
        seed: int = 0,
        index: int | Iterable[int] = 0,
    ) -> Pair:
        """A pair for one image, or for a batch of them.

        Args:
            image: A path, a PIL image, an (H, W), (H, W, C) or (B, H, W, C) array, uint8 or float
                in [0, 1], or a (C, H, W) or (B, C, H, W) tensor.
            seed: With ``index``, the key of the draw.
            index: Number of the sample; a batch counts on from it unless it gives one each.
        """
        from degrade.images.pixels import batch_of

        hr = batch_of(image)
        indices = (
            np.arange(index, index + len(hr)) if isinstance(index, int) else np.array(list(index))
        )
        return self.apply(hr, self.plan(Key.of(seed, indices)))


def empty_unaligned(*shape: int) -> Tensor:
    """An empty float32 tensor in memory of NumPy's.

    PyTorch asks glibc for aligned memory, which does not fit the hole that an equal block left:
    after a hundred batches of 16 the heap was 1361 MiB, of which 111 were in use. Memory of
    NumPy's fits, and the heap stays at 135.
    """
    return torch.from_numpy(np.empty(shape, np.float32))
