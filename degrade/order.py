"""Order: a permutation as a random variable, drawn uniformly and stored by its rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

from degrade.distributions import Dist
from degrade.fields import Variable

__all__ = ["Order", "permutation"]


@dataclass(frozen=True)
class Order(Variable):
    """A permutation of ``count`` steps, by its rank among all of them."""

    count: int

    def describe(self) -> str:
        return f"an order of {self.count} steps"

    def label(self, value: float) -> str:
        return "-".join(str(place + 1) for place in permutation(int(value), self.count))

    def write(self, value: float) -> str:
        return str(int(value))

    def read(self, text: str) -> float:
        rank = int(text)
        if not 0 <= rank < math.factorial(self.count):
            raise ValueError(text)
        return float(rank)

    def level(self, dist: Dist, severity: float) -> float:
        return 0.0


def permutation(rank: int, count: int) -> list[int]:
    """The permutation of 0 ... count-1 of lexicographic rank ``rank`` (Lehmer code)."""
    left = list(range(count))
    order: list[int] = []
    for place in range(count, 0, -1):
        block = math.factorial(place - 1)
        order.append(left.pop(rank // block % place))
    return order
