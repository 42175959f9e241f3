"""Extent: the image sizes that may occur at a point of a recipe, known before anything runs.

A recipe is accepted only if every LR image has exactly the size HR / scale, and if no image made
of an HR patch of ``PATCH`` x ``PATCH`` exceeds the limit of pixels. Both follow from the operators
alone, by passing an extent through the tree (:meth:`degrade.nodes.Node.extent`).
"""

from __future__ import annotations

from dataclasses import dataclass

from degrade.base import Operator, Size
from degrade.limits import PATCH, VARIABLE, max_pixels

__all__ = ["Extent", "SizeError"]


@dataclass(frozen=True)
class Extent:
    """The sizes that an image may have.

    Args:
        sizes: The possible sizes in units of the final LR size; None is any size.
        side: The most pixels that a side may have, of an HR patch of side ``PATCH``.
    """

    sizes: frozenset[Size]
    side: int

    @staticmethod
    def of_patch(scale: int) -> Extent:
        """The extent of an HR patch."""
        return Extent(frozenset({scale}), PATCH)

    def __or__(self, other: Extent) -> Extent:
        """The union: an image has one extent or the other."""
        return Extent(self.sizes | other.sizes, max(self.side, other.side))

    def after(self, operator: Operator, label: str, scale: int) -> Extent:
        """The extent that an operator leaves.

        Raises:
            SizeError: it cannot process one of the sizes, or exceeds the limit of pixels.
        """
        try:
            sizes = frozenset(operator.size_after(size, scale) for size in self.sizes)
        except ValueError as error:
            raise SizeError(label, str(error)) from None
        side = operator.side_after(self.side, scale)
        if side > self.side and side**2 > max_pixels():
            raise SizeError(
                label,
                f"may make {side} x {side} pixels of an HR patch of {PATCH} x {PATCH}; the limit "
                f"is {max_pixels():,}; lower its factor, or set {VARIABLE}",
            )
        return Extent(sizes, side)


class SizeError(ValueError):
    """An operator may meet a size that it cannot process, or make an image that is too large.

    Args:
        label: The operator's label.
        message: The problem and its remedy.
    """

    def __init__(self, label: str, message: str) -> None:
        super().__init__(f"{label}: {message}")
        self.label, self.message = label, message
