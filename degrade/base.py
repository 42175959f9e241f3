"""Operator: a frozen description of a degradation whose :class:`~degrade.distributions.Dist`
fields are its random variables.

Three things are kept apart. The *operator* is configuration. Its fields are *distributions*, from
which a plan draws one row a sample. :meth:`Operator.apply` is a pure function of pixels and that
:class:`Draw`; it never draws anything itself.

Defining a subclass with a ``name`` registers it, so that recipes can use it::

    class Fade(Operator):
        '''Scales all values: y = gain x.'''

        name = "fade"
        gain: Annotated[Dist, Range(0, 1, worse="low")] = Const(1)

        def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
            return canvas.with_pixels(canvas.pixels * draw.column("gain"))
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from degrade.canvas import Canvas
from degrade.distributions import Dist
from degrade.fields import Real, Variable
from degrade.rng import Key

__all__ = ["REGISTRY", "Draw", "Operator"]

Size = int | None
"""What is known of an image's size before anything runs: how many times the final LR size it
is, or None.
"""


# --- what a field can draw -----------------------------------------------------------------------


# --- operators -----------------------------------------------------------------------------------

REGISTRY: dict[str, type[Operator]] = {}
"""Operators by their name in recipes."""


class Operator(BaseModel, ABC):
    """A degradation. Fields annotated with a :class:`Variable` are random; any other field is a
    plain setting.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ignored_types=(functools.cached_property,)
    )

    name: ClassVar[str]
    """Its name in recipes."""
    differentiable: ClassVar[bool] = True
    """Whether gradients reach the pixels (almost everywhere)."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "name" not in cls.__dict__:
            return
        known = REGISTRY.get(cls.name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(
                f"operator name {cls.name!r} is taken by {known.__module__}.{known.__qualname__}"
            )
        REGISTRY[cls.name] = cls

    @classmethod
    def variables(cls) -> dict[str, Variable]:
        """The random fields."""
        return _variables(cls)

    @abstractmethod
    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        """Degrades every row of ``canvas`` by its own row of ``draw``. Pure: the same
        arguments, the same pixels.
        """

    def size_after(self, before: Size, scale: int) -> Size:
        """The image size that :meth:`apply` leaves, known from the recipe alone. Most operators
        keep it.

        Args:
            before: The size that it meets.
            scale: The recipe's scale, which is the size of the HR image.

        Raises:
            ValueError: it cannot work on images of the size ``before``.
        """
        return before

    def side_after(self, before: int, scale: int) -> int:
        """The most pixels that a side of at most ``before`` may have then, of an HR patch of
        side ``PATCH``.
        """
        return before

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the docstring."""
        return " ".join((inspect.getdoc(cls) or "").split("\n\n", 1)[0].split())


@functools.cache
def _variables(cls: type[Operator]) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    for name, field in cls.model_fields.items():
        for note in field.metadata:
            if isinstance(note, Variable):
                found[name] = note
    return found


@functools.lru_cache(4096)
def _constant(variable: Variable, dist: Dist) -> float:
    """What a plan would hold of a distribution of one value."""
    return float(variable.encode(dist, dist.quantile(np.zeros(1)))[0])


class Draw:
    """What an operator gets: the drawn value of each of its fields for each row of the canvas.

    ``draw.sigma`` is a (B,) tensor on the canvas's device, ``draw.host("sigma")`` its float64
    original, ``draw.key`` the key of the operator's pixel noise.

    Args:
        operator: Gives the values of constant fields.
        values: The drawn fields, (B,) each.
        key: One key per row.
        canvas: Gives device and dtype.
        address: Folded into the key when the operator asks for it; few do.
    """

    def __init__(
        self,
        operator: Operator,
        values: dict[str, Real],
        key: Key,
        canvas: Canvas,
        address: str | None = None,
    ) -> None:
        self.operator = operator
        self._key, self.address = key, address
        self._values = values
        self._device, self._dtype = canvas.pixels.device, canvas.pixels.dtype

    def __len__(self) -> int:
        return len(self._key)

    @property
    def key(self) -> Key:
        """One key per row, for the noise over pixels."""
        return self._key if self.address is None else self._key.fold(self.address)

    def host(self, field: str) -> Real:
        """(B,) float64 on the host."""
        if field not in self._values:
            variable = self.operator.variables()[field]
            self._values[field] = np.full(
                len(self), _constant(variable, getattr(self.operator, field))
            )
        return self._values[field]

    def names(self, field: str) -> list[str]:
        """The drawn names of a :class:`Categorical` field."""
        variable = self.operator.variables()[field]
        return [variable.label(value) for value in self.host(field)]

    def column(self, field: str) -> Tensor:
        """The values as (B, 1, 1, 1), to meet pixels."""
        return getattr(self, field)[:, None, None, None]

    def __getattr__(self, field: str) -> Tensor:
        if field.startswith("_") or field not in type(self.operator).variables():
            raise AttributeError(field)
        return (
            torch.from_numpy(self.host(field)).to(self._dtype).to(self._device, non_blocking=True)
        )
