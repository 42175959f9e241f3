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

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from degrade.canvas import Canvas, Sizes, to_channels_last
from degrade.distributions import Dist, is_constant
from degrade.errors import close
from degrade.execution import execute
from degrade.fields import Real, Variable
from degrade.kernels.base import Call, PythonCall, Samples
from degrade.rng import Key

__all__ = ["REGISTRY", "Draw", "Operator"]

Size = int | None
"""What is known of an image's size before anything runs: how many times the final LR size it
is, or None.
"""


# --- operators -----------------------------------------------------------------------------------

REGISTRY: dict[str, type[Operator]] = {}
"""Operators by their name in recipes."""


class Operator(BaseModel):
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
        if cls.apply is Operator.apply and cls.lower is Operator.lower:
            raise TypeError(f"{cls.__qualname__}: should define apply or lower")
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

    def idle(self, drawn: Mapping[str, str]) -> Iterable[str]:
        """The fields whose value changes nothing, given the labels drawn for the others."""
        return ()

    def lower(self, draw: Draw, samples: Samples) -> Iterable[Call]:
        """Say which kernels degrade each sample, with which arguments; no pixels yet.

        Args:
            draw: The drawn values of the fields, a row a sample.
            samples: Their present, target and HR sizes; takes the calls' arrays.

        Returns:
            The calls, in order. By default one of Python code, :meth:`apply`.
        """

        sizes = self._applied_sizes(draw, samples)

        def work(canvas: Canvas, rows: NDArray[np.intp]) -> Canvas:
            after = self.apply(canvas, draw.take(rows, canvas))
            if (after.sizes != sizes[rows]).any():
                raise ValueError(
                    f"{self.name}: made {after.sizes[0]} of {canvas.sizes[0]} pixels; an "
                    "operator that changes sizes should override size_after"
                )
            return after

        return [PythonCall.of(samples, sizes, work)]

    def _applied_sizes(self, draw: Draw, samples: Samples) -> Sizes:
        """(n, 2) the sizes that :meth:`apply` leaves. Where it may change them, black images tell:
        sizes are known on the host, before any pixel.
        """
        kind = type(self)
        if kind.size_after is Operator.size_after and kind.side_after is Operator.side_after:
            return samples.sizes
        height, width = samples.sizes.max(0).tolist()
        black = torch.zeros(len(samples), samples.channels, height, width)
        canvas = Canvas(to_channels_last(black), samples.sizes, samples.target, samples.hr)
        return self.apply(canvas, draw.take(np.arange(len(samples)), canvas)).sizes

    def apply(self, canvas: Canvas, draw: Draw) -> Canvas:
        """Degrade every image of ``canvas`` by its own row of ``draw``. Pure: equal arguments give
        equal pixels, of the same number of channels. By default what :meth:`lower` says,
        run by the executor that fits the canvas.
        """
        return execute(self.lower, canvas, draw)

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


def constants(operator: Operator) -> Real:
    """(k,) the values of an operator's random fields, as far as they are constant; else NaN."""
    fields = ((v, getattr(operator, name)) for name, v in operator.variables().items())
    values = [_constant(v, dist) if is_constant(dist) else math.nan for v, dist in fields]
    return np.array(values, np.float64)


@functools.cache
def _places(cls: type[Operator]) -> dict[str, int]:
    return {name: j for j, name in enumerate(_variables(cls))}


class Draw:
    """The drawn values of an operator's fields, a row a sample.

    ``draw.host("sigma")`` is a float64 array, ``draw.column("sigma")`` the same on the canvas's
    device, to meet pixels; ``draw.key`` seeds the operator's noise over pixels.

    Args:
        operator: Gives the values of constant fields.
        values: The drawn fields, (n,) each; or all, an (n, k) table in the order of the fields.
        key: One key a sample.
        canvas: Gives the device and dtype of tensors; None while there are no pixels yet.
        address: Folded into the key when the operator asks for it; few do.
    """

    def __init__(
        self,
        operator: Operator,
        values: Mapping[str, Real] | Real,
        key: Key,
        canvas: Canvas | None = None,
        address: str | None = None,
    ) -> None:
        self.operator, self.address = operator, address
        self._key, self._canvas = key, canvas
        self._tensors: dict[str, Tensor] = {}
        if isinstance(values, np.ndarray):
            self._table = values
        else:
            self._table = constants(operator)[None].repeat(len(key), 0)
            for field, column in values.items():
                self._table[:, self._place(field)] = column

    def __len__(self) -> int:
        return len(self._key)

    def take(self, rows: NDArray[np.intp], canvas: Canvas) -> Draw:
        """Some samples, on the canvas that holds them."""
        return Draw(self.operator, self._table[rows], self._key[rows], canvas, self.address)

    @cached_property
    def key(self) -> Key:
        """One key a sample, for the noise over pixels."""
        return self._key if self.address is None else self._key.fold(self.address)

    def host(self, field: str) -> Real:
        """(n,) float64 on the host. Raises KeyError for a name that is not a random field."""
        return self._table[:, self._place(field)]

    def _place(self, field: str) -> int:
        places = _places(type(self.operator))
        if field not in places:
            hint = close(field, list(places))
            raise KeyError(f"{self.operator.name} has no random field {field!r}{hint}")
        return places[field]

    def names(self, field: str) -> list[str]:
        """The drawn names of a categorical field."""
        variable = self.operator.variables()[field]
        return [variable.label(value) for value in self.host(field)]

    def tensor(self, field: str) -> Tensor:
        """(n,) on the canvas's device and in its dtype; made once."""
        if field not in self._tensors:
            if self._canvas is None:
                raise RuntimeError("there are no pixels yet; use host() in Operator.lower")
            pixels = self._canvas.pixels
            values = torch.from_numpy(self.host(field)).to(pixels.dtype)
            self._tensors[field] = values.to(pixels.device, non_blocking=True)
        return self._tensors[field]

    def column(self, field: str) -> Tensor:
        """:meth:`tensor` as (n, 1, 1, 1), to meet pixels."""
        return self.tensor(field)[:, None, None, None]
