"""Worker processes: the trainings and evaluations of a comparison side by side.

With one process everything runs in this one. With several, each takes one task after the other, on
a device of its own if there are several; what a task makes lies on disk, so nothing but errors
comes back, and a task that was cut off is resumed by the next comparison.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from degrade.errors import UserError
from degrade.synthesis.worker import Plugin, import_plugins, plugins
from sr.registry import import_named
from sr.training.loop import Status

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

__all__ = ["Function", "ProgressCallback", "Task", "Workers", "devices_of", "torchrun_processes"]

ProgressCallback = Callable[[str, Status | None], None]
"""Called with the name of the run or evaluation in progress and, for a run, its status."""
Function = Callable[..., None]
"""Called with a task's argument, a device, and a callback for the status."""
LISTED = 20
"""Most failures that an error names."""
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
"""Variables of torchrun's environment that say a process is one of several."""


@dataclass(frozen=True)
class Task:
    """Something to do, and its name in messages.

    Args:
        name: Its name.
        function: A function of a module.
        argument: Its first argument, which can be pickled.
    """

    name: str
    function: Function
    argument: Any


def devices_of(device: str, processes: int | None = None) -> list[str]:
    """Return the devices of ``cuda:0,cuda:1`` or of one name; of ``auto`` the first GPU, or as
    many as there are processes.

    >>> devices_of("cuda:0,cuda:1")
    ['cuda:0', 'cuda:1']
    """
    if device != "auto":
        return [name.strip() for name in device.split(",")]
    if not torch.cuda.is_available():
        return ["cpu"]
    return [f"cuda:{i}" for i in range(min(processes or 1, torch.cuda.device_count()))]


def torchrun_processes() -> int | None:
    """Return how many processes to use under torchrun; 0 for a rank that has nothing to do, None
    without torchrun.

    A matrix is many independent runs, so that rank 0 gives each process whole runs instead of
    parts of a batch: nothing is synchronized, and results are those of a single process. The
    other ranks end at once.

    Raises:
        UserError: There are several nodes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    values = {name: os.environ.pop(name, "1") for name in TORCHRUN}
    if values["RANK"] != "0" and values["WORLD_SIZE"] != "1":
        return 0
    if int(values["GROUP_WORLD_SIZE"]) > 1:
        raise UserError(
            f"torchrun started {values['GROUP_WORLD_SIZE']} nodes; sr compare uses one, "
            "so leave out --nnodes, or run a part of the models on each and --reuse their runs"
        )
    return int(values["LOCAL_WORLD_SIZE"])


class Workers:
    """The processes of a comparison, started when there are tasks for more than one.

    >>> with Workers(1, ["cpu"]) as workers:
    ...     workers.run([], print)

    Args:
        processes: Number of processes.
        devices: Devices, dealt to the processes in turn.
        modules: Modules of models and metrics that each process imports.
    """

    def __init__(
        self, processes: int, devices: Sequence[str], modules: Sequence[str] = ()
    ) -> None:
        self.processes, self.devices, self.modules = processes, devices, modules
        self._pool: ProcessPoolExecutor | None = None
        self._signals = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            self._signals.close()

    def run(self, tasks: Sequence[Task], report: ProgressCallback) -> None:
        """Run all tasks, even if some fail: nobody may be there to mend what is wrong with one.

        Args:
            tasks: Independent of each other.
            report: Called with each task's name when it begins, or when it ends if there are
                several processes.

        Raises:
            UserError: Tasks failed, which it names at the end, or a process was killed. What other
                tasks have finished is kept.
        """
        several = min(self.processes, len(tasks)) > 1
        work_on = self._in_pool if several else self._in_turn
        problems: list[str] = []
        for task, problem in work_on(tasks, report):
            if problem is not None:
                problems.append(f"{task.name}: {problem}")
                report(f"failed {problems[-1]}", None)
        if problems:
            more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
            raise UserError(
                "\n".join([*problems[:LISTED], *more])
                + f"\n{len(problems)} of {len(tasks)} trainings or evaluations failed; the others "
                "are kept, so run the same command again when this is mended"
            )

    def _in_turn(
        self, tasks: Sequence[Task], report: ProgressCallback
    ) -> Iterator[tuple[Task, str | None]]:
        for task in tasks:
            report(task.name, None)
            try:
                task.function(task.argument, self.devices[0], _status(report, task.name))
            except UserError as error:
                yield task, str(error)
            else:
                yield task, None

    def _in_pool(
        self, tasks: Sequence[Task], report: ProgressCallback
    ) -> Iterator[tuple[Task, str | None]]:
        report(f"{len(tasks)} tasks in {min(self.processes, len(tasks))} processes", None)
        pool = self._pool = self._pool or self._start()
        try:
            done = work_all(pool, tasks, self.processes)
            for number, (task, problem) in enumerate(done, start=1):
                if problem is None:
                    report(f"{task.name}  ({number} of {len(tasks)})", None)
                yield task, problem
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed (out of memory?); run the same command again to go "
                "on, with fewer --jobs"
            ) from None

    def _start(self) -> ProcessPoolExecutor:
        self._signals.enter_context(_passing_on_sigterm())
        # Spawned: a fork would copy the locks of this process's threads, and CUDA, in any state.
        context = multiprocessing.get_context("spawn")
        free: SimpleQueue[str] = context.SimpleQueue()
        for device in islice(cycle(self.devices), self.processes):
            free.put(device)
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        arguments = free, threads, plugins(), self.modules
        return ProcessPoolExecutor(self.processes, context, initializer=_begin, initargs=arguments)


def _status(report: ProgressCallback, name: str) -> Callable[[Status], None]:
    return lambda status: report(name, status)


# --- several processes ---------------------------------------------------------------------------


def work_all(
    pool: Executor, tasks: Sequence[Task], processes: int
) -> Iterator[tuple[Task, str | None]]:
    """Yield each task when it is done, with what is wrong. No more are handed over than are
    worked on, so that nothing begins after Ctrl-C.
    """
    left = iter(tasks)
    running: dict[Future[str | None], Task] = {}
    while True:
        for task in islice(left, processes - len(running)):
            running[pool.submit(work, task)] = task
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


@contextmanager
def _passing_on_sigterm() -> Generator[None]:
    """Make SIGTERM interrupt the workers, then this process. Ctrl-C reaches all by itself."""
    others = set(multiprocessing.active_children())

    def interrupt(_number: int, _frame: object) -> None:
        for child in set(multiprocessing.active_children()) - others:
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, interrupt) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


_device = "cpu"
"""Device of this worker process."""


def _begin(
    free: SimpleQueue[str], threads: int, operators: list[Plugin], modules: Sequence[str]
) -> None:
    """Initialize a worker process, which ignores Ctrl-C between tasks."""
    global _device
    _device = free.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    import_plugins(operators)
    import_named(modules)


def work(task: Task) -> str | None:
    """Run a task; return what is wrong, for errors of some kinds cannot be pickled."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task.function(task.argument, _device, None)
    except UserError as error:
        return str(error)
    except KeyboardInterrupt:
        return f"{task.name}: stopped; run the same command again to go on"
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # nobody will ever read the queue that this process waits on
    return None
