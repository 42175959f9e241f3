"""A worker process of a synthesis: its state, and the plug-ins that it must import."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, TypeVar

from degrade.base import REGISTRY
from degrade.images.files import ImageError
from degrade.recipe import Recipe
from degrade.synthesis.job import Job
from degrade.synthesis.memory import MemorySemaphore
from degrade.synthesis.pair import RenderedPair
from degrade.synthesis.render import Rendered, Result, commit, render_batches, render_pairs

__all__ = ["Plugin", "Worker", "deaf_children", "import_plugins", "init_worker", "plugins"]

T = TypeVar("T")
Plugin = tuple[str, str]
"""A module that defines operators, and the folder that it is imported from."""


def _return(job: Job, index: int, pair: RenderedPair) -> RenderedPair:
    return pair


@dataclass(frozen=True)
class Worker:
    """The state of a worker process; ``Worker.current()`` is its only process-wide variable.

    Args:
        job: The job.
        recipe: Its recipe.
        memory: Memory shared with the other workers.
        device: The device that it renders batches on; None to render pair by pair on the CPU.
        size: Pairs in a batch.
        threads: Threads beside the device.
        token: Identifies the job, where a process serves several in turn.
    """

    job: Job
    recipe: Recipe
    memory: MemorySemaphore | None = None
    device: str | None = None
    size: int = 1
    threads: int = 1
    token: object = None
    _current: ClassVar[Worker | None] = None

    @classmethod
    def current(cls) -> Worker | None:
        """Return the worker that is installed in this process, or None."""
        return cls._current

    def install(self) -> None:
        """Make this the worker of this process."""
        Worker._current = self

    def render(self, indices: list[int]) -> list[Rendered]:
        """Render pairs and return their files."""
        return list(self._each(indices, _return))

    def render_and_commit(self, indices: list[int]) -> list[Result]:
        """Render pairs, write their files and return their rows."""
        return list(self._each(indices, commit))

    def _each(
        self, indices: list[int], then: Callable[[Job, int, RenderedPair], T]
    ) -> Iterator[tuple[int, T | ImageError]]:
        job, recipe, memory = self.job, self.recipe, self.memory
        if self.device is None:
            return render_pairs(job, recipe, indices, then, memory)
        size, threads = self.size, self.threads
        return render_batches(job, recipe, indices, self.device, size, threads, then, memory)


@contextmanager
def deaf_children() -> Generator[None]:
    """Start processes that Ctrl-C does not reach, so that only this one speaks of it. On Windows
    they are reached.
    """
    if hasattr(signal, "pthread_sigmask"):
        # A blocked signal stays blocked in a new program, from its first instruction; here, one
        # that came meanwhile is delivered after.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        yield


def init_worker(
    job: Job,
    plugins: list[Plugin],
    memory: MemorySemaphore | None = None,
    device: str | None = None,
    size: int = 1,
    threads: int = 1,
    token: object = None,
) -> Worker:
    """Prepare this process to work on a job, with one torch thread; see :class:`Worker`."""
    import torch

    import_plugins(plugins)
    torch.set_num_threads(1)
    if device is not None and device.startswith("cuda"):
        torch.cuda.set_device(device)
    recipe = Recipe.load(job.recipe)
    worker = Worker(job, recipe, memory, device, size, threads, token)
    worker.install()
    return worker


def plugins() -> list[Plugin]:
    """Return the modules that define this process's operators, for :func:`import_plugins`."""
    modules = {kind.__module__ for kind in REGISTRY.values()} - {"__main__"}
    return [(module, _import_folder(module)) for module in sorted(modules)]


def _import_folder(module: str) -> str:
    """Return the entry of ``sys.path`` that a module was imported from, or an empty string."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    depth = module.count(".") + (path.name == "__init__.py")
    return str(path.parents[depth])


def import_plugins(plugins: list[Plugin]) -> None:
    """Import another process's operators, from their folders if ``sys.path`` lacks them."""
    for module, folder in plugins:
        if folder and find_spec(module.partition(".")[0]) is None:
            sys.path.append(folder)
        importlib.import_module(module)
