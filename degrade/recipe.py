"""Recipe: a named, hashed degradation; Pair: what it makes of an HR image.

.. math:: \\mathrm{pair} = \\mathrm{apply}(\\mathrm{recipe}, \\mathrm{hr}, \\mathrm{plan}), \\qquad
          \\mathrm{plan} = \\mathrm{recipe.plan}(\\mathrm{key})

Both are pure. Sample ``i`` of a batch depends on its own HR image and its own row of the plan,
never on its batch-mates: on a CPU the rows are even worked one by one, by a few threads.
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from degrade.canvas import as_float
from degrade.execution import Backend, choose, cpu, reference, threads
from degrade.execution.reference import Watch
from degrade.kernels import native
from degrade.loading.builder import Spec, load
from degrade.lowering import Code, lower
from degrade.nodes import Sequence, operators
from degrade.plan import Column, Plan, PlanBuilder
from degrade.program import Lines, Program
from degrade.rng import Key

if TYPE_CHECKING:
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

    def trimmed(self, margin: int) -> Pair:
        """Return the pair without ``margin`` HR pixels at each side.

        Raises:
            ValueError: ``margin`` is not a multiple of the scale, or leaves nothing.
        """
        if not margin:
            return self
        scale = self.hr.shape[-1] // self.lr.shape[-1]
        inner, side = margin // scale, min(self.lr.shape[-2:])
        if margin < 0 or margin % scale or 2 * inner >= side:
            raise ValueError(
                f"margin {margin} should be a multiple of the scale {scale} below"
                f" {side * scale // 2}, half of the image's side"
            )

        def cut(images: Tensor, n: int) -> Tensor:
            return images[..., n:-n, n:-n].contiguous()

        return replace(
            self,
            lr=cut(self.lr, inner),
            hr=cut(self.hr, margin),
            given=cut(self.given, margin),
        )

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
        if self.imports:
            data["import"] = list(self.imports)
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
    def imports(self) -> tuple[str, ...]:
        """The modules of its operators that do not come with degrade."""
        modules = {
            type(operator).__module__
            for stage in (self.hr, *self.stages)
            for operator in operators(stage)
        }
        own = {name for name in modules if name.startswith("degrade.ops.")}
        return tuple(sorted(modules - own - {"__main__"}))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the recipe does; its name, its description and the modules of its
        operators do not count.
        """
        described = ("name", "description", "import")
        data = {key: value for key, value in self.dump().items() if key not in described}
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
            ValueError: a cell that is no value of its variable, or is missing where a step needs
            it.
        """
        return self._builder.validate(Plan.read(self.columns, rows, keys))

    def crop(self, hr: Tensor) -> Tensor:
        """Cuts the bottom and the right so that the size is a multiple of the scale, as the
        field does.
        """
        height, width = (n // self.scale * self.scale for n in hr.shape[-2:])
        return hr[..., :height, :width]

    def lower(self, plan: Plan, height: int, width: int, channels: int = 3) -> Program:
        """Say which kernels make the pairs that a plan describes, with which arguments.

        Args:
            plan: B rows.
            height: Of the HR images, a multiple of the scale.
            width: The same.
            channels: 1 or 3.
        """
        sizes = np.tile(np.array([height, width], np.int64), (len(plan), 1))
        program = Program(sizes, self.scale, channels)
        rows = np.arange(len(plan))
        for stage in (self.hr, *self.stages):
            stage.lower(program, plan, stage.label, rows)
            if stage is self.hr:
                program.target_steps = len(program.steps)
        if not (program.sizes == program.target).all():
            wrong = int(np.flatnonzero((program.sizes != program.target).any(1))[0])
            raise AssertionError(
                f"{self.name}: LR ended at {program.sizes[wrong]}, not at its target "
                f"{program.target[wrong]}"
            )
        return program

    @cached_property
    def _code(self) -> NDArray[np.int64] | None:
        """The recipe as native code lowers it; None where Python has to."""
        code = Code({column.address: j for j, column in enumerate(self.columns)})
        for stage in (self.hr, *self.stages):
            stage.encode(code, stage.label)
            if stage is self.hr:
                code.target()
        return code.finish()

    def lines(self, plan: Plan, height: int, width: int, channels: int = 3) -> Lines:
        """What :meth:`lower` says, sample by sample; in native code where it is built."""
        if native.available() and self._code is not None and plan.columns == self.columns:
            sizes = np.tile(np.array([height, width], np.int64), (len(plan), 1))
            lines = lower(self._code, plan, sizes, self.scale, channels)
            if lines is not None:
                return lines
        return self.lower(plan, height, width, channels).lines

    def apply(
        self,
        hr: Tensor,
        plan: Plan,
        watch: Watch | None = None,
        chunk: int | None = None,
        backend: Backend | None = None,
    ) -> Pair:
        """Make the pairs that a plan describes.

        Args:
            hr: (B, C, H, W) RGB or grey, uint8 or float in [0, 1]; cropped to a multiple of the
                scale.
            plan: B rows.
            watch: Sees the canvas after every operator; on a GPU the reference is watched.
            chunk: Samples that the reference works at a time; results do not depend on it. By
                default one on a CPU, all on other devices and where gradients are wanted.
            backend: ``reference``, ``native`` or ``triton``; by default the fastest that there is.

        Raises:
            ValueError: Wrong shape, dtype or number of rows.
            UserError: The backend cannot work these images.
        """
        self._check(hr, plan)
        hr = self.crop(hr)
        images = hr if hr.dtype == torch.uint8 else hr.float()
        used = choose(images, backend)
        if used == "triton" and watch is not None:  # which runs samples together, by kernel
            used = "reference"
        if not len(hr):
            height, width = (n // self.scale for n in hr.shape[-2:])
            return Pair(hr.new_empty(0, hr.shape[1], height, width).float(), images, hr, plan)
        if used == "native" and watch is not None:
            lr, target = cpu.run_watched(self._lowered(hr, plan), images, watch)
        elif used == "native":
            lr, target = cpu.run(self._lines(hr, plan), images)
        elif used == "triton":
            from degrade.execution import cuda

            lr, target = cuda.run(self._lines(hr, plan), images)
        else:
            lr, target = self._reference(images, plan, watch, chunk)
        return Pair(lr, target, hr, plan)

    def _lines(self, hr: Tensor, plan: Plan) -> Lines:
        return self.lines(plan, hr.shape[2], hr.shape[3], hr.shape[1])

    def _lowered(self, hr: Tensor, plan: Plan) -> Program:
        return self.lower(plan, hr.shape[2], hr.shape[3], hr.shape[1])

    def _reference(
        self, hr: Tensor, plan: Plan, watch: Watch | None, chunk: int | None
    ) -> tuple[Tensor, Tensor]:
        """Chunks of a batch, side by side on the threads of a CPU."""
        alone = hr.device.type == "cpu" and not hr.requires_grad
        rows = chunk or (1 if alone else len(hr))
        parts: dict[int, tuple[Tensor, Tensor]] = {}

        def work(start: int) -> None:
            some = slice(start, start + rows)
            images, part = hr[some], plan.take(some)
            parts[start] = reference.run(self._lowered(images, part), as_float(images), watch)

        starts = range(0, len(hr), rows)
        if alone:
            threads.each(work, starts)
        else:
            for start in starts:
                work(start)
        lr, target = zip(*(parts[start] for start in starts), strict=True)
        return torch.cat(lr).contiguous(), torch.cat(target).contiguous()

    def _check(self, hr: Tensor, plan: Plan) -> None:
        if hr.ndim != 4 or hr.shape[1] not in (1, 3):
            raise ValueError(
                f"hr has shape {tuple(hr.shape)}; it should be (B, 3, H, W) or (B, 1, H, W)"
            )
        if len(hr) != len(plan):
            raise ValueError(f"{len(hr)} images but {len(plan)} rows in the plan")
        if min(hr.shape[-2:]) < self.scale:
            raise ValueError(
                f"an image of {hr.shape[-2]} x {hr.shape[-1]} is smaller than the scale"
                f" {self.scale}"
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
