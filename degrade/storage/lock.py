"""Lock of a folder, which one process at a time may hold."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from degrade.errors import SynthError

__all__ = ["locked"]


@contextmanager
def locked(folder: Path, refusal: str) -> Generator[None]:
    """Lock the file ``.lock`` in a folder until the context ends or the process does.

    Processes that were forked meanwhile do not keep it locked.

    Args:
        folder: An existing folder.
        refusal: What the error says after the folder's name if another process holds the lock.

    Raises:
        SynthError: another process holds it, or the file cannot be opened.
    """
    # Not thread-local: the thread that closes a run need not be the one that began it.
    lock = FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SynthError(f"{folder}: {refusal}") from None
    except OSError as error:
        raise SynthError(f"{folder / '.lock'}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
