"""What the fuzz suites share: how many examples they try, and what is told of a slow one.

In CI each law tries a few dozen examples, always the same. The long mode tries as many as it is
told to, other ones each time, and remembers in ``.hypothesis`` what failed::

    DEGRADE_FUZZ=5000 pytest tests/fuzz
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from hypothesis import HealthCheck, settings

LONG = int(os.environ.get("DEGRADE_FUZZ", "0"))


def fuzz(count: int) -> Callable[[Any], Any]:
    """A law that is tried on ``count`` examples, or in the long mode on as many as were asked
    for.
    """
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


@contextmanager
def witnessed(home: Path) -> Iterator[list[str]]:
    """What was done inside that nobody may do.

    That is: to write or remove files outside ``home``, to open those whose name has "secret" in
    it, to run, unpickle or connect to anything.

    The collector of garbage waits: what earlier tests left behind removes its own files when it
    goes, which nobody inside has done.
    """
    done: list[str] = []
    gc.collect()
    gc.disable()
    _WITNESSES.append((str(home.resolve()) + os.sep, done))
    try:
        yield done
    finally:
        _WITNESSES.pop()
        gc.enable()


_WITNESSES: list[tuple[str, list[str]]] = []
_CODE = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
)
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)


def _witness(event: str, args: tuple[Any, ...]) -> None:
    if not _WITNESSES:
        return
    home, done = _WITNESSES[-1]
    if event in _CODE:
        done.append(f"{event} {args}")
    if event == "open" and "secret" in str(args[0]):
        done.append(f"{event} {args[0]}")
    writes = event in _CHANGES or (
        event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    )
    if writes and isinstance(args[0], str | bytes | os.PathLike):
        folder = (
            args[1] if event in ("os.remove", "os.rmdir") else -1
        )  # rmtree names files by their open folder
        base = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else ""
        path = os.path.realpath(os.path.join(base, os.fsdecode(args[0])))
        if event == "os.mkdir" and path + os.sep == home:  # which is there
            return
        if not path.startswith(home) and path != os.devnull and "__pycache__" not in path:
            done.append(f"{event} {path}")


sys.addaudithook(_witness)
