"""What the fuzz suites share: how many examples they try, and what is told of a slow one.

In CI each law tries a few dozen examples, always the same. The long mode tries as many as it is told to, other ones
each time, and remembers in ``.hypothesis`` what failed::

    DEGRADE_FUZZ=5000 pytest tests/fuzz
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from hypothesis import HealthCheck, settings

LONG = int(os.environ.get("DEGRADE_FUZZ", "0"))


def fuzz(count: int) -> Callable[[Any], Any]:
    """A law that is tried on ``count`` examples, or in the long mode on as many as were asked for."""
    return settings(
        max_examples=LONG or count,
        deadline=None,
        derandomize=not LONG,
        print_blob=bool(LONG),
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if what is inside takes longer. Generous, for machines that do other work."""
    begun = monotonic()
    yield
    took = monotonic() - begun
    assert took < seconds, f"took {took:.1f} s, which should be {seconds} s at most"
