"""Ray engine: workers on one machine or many. Needs the extra ``cluster``.

A task renders a few pairs of one source, or a few batches if it has a GPU, and returns their
files; the driver, which alone writes the dataset, commits them. A task is a pure function of
(recipe, seed, indices, source), so Ray may run it anywhere, and again if a worker was killed.

Tasks, not Ray Data: its writers name files by block and task and write whole blocks without a
manifest, so pairs could neither have the names they have on the other engines nor be resumed one
by one. The price is that all files pass through the driver. Every worker must be able to read the
sources: from a shared disk, or by URL.
"""

# ray: types are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from degrade.errors import SynthError, UserError
from degrade.extras import install
from degrade.images.files import ImageError
from degrade.synthesis.job import Job
from degrade.synthesis.render import Rendered, Result, by_source, commit, device_tasks
from degrade.synthesis.worker import Worker, init_worker, plugins

__all__ = ["on_ray"]

PAIRS_PER_RAY_TASK = 4
"""Most pairs of one source in a task; their files are returned together."""
THREADS = 2
"""Threads that decode and encode beside a task's device."""
RETRIES = 5
"""Retries of a task whose worker dies; finite, as an image may exhaust the memory each time."""


def on_ray(
    job: Job,
    indices: list[int],
    workers: int | None = None,
    device: str | None = None,
    size: int = 16,
) -> Iterator[Result]:
    """Render pairs in Ray tasks.

    Joins the cluster that ``RAY_ADDRESS`` names or that is already initialised, else starts a
    local one.

    Args:
        job: The job.
        indices: The pairs.
        workers: CPUs of a local cluster. Twice as many tasks as the cluster has CPUs, or GPUs,
            are submitted at a time.
        device: The device of a task that renders batches, each on a GPU of its own if it is one;
            None to render pair by pair, each task on a CPU.
        size: Pairs in a batch.

    Raises:
        UserError: Ray is not installed.
        SynthError: the worker of a task died on every retry; or there is no GPU.
    """
    ray = _init_ray(workers)
    resource = "CPU" if device in (None, "cpu") else "GPU"
    count = int(ray.cluster_resources().get(resource, 0))
    if resource == "GPU" and not count:
        raise SynthError("--engine ray: this cluster has no GPU; leave out --device cuda")
    count = max(count, 1)
    # One CPU a task, as its worker runs one thread; or one GPU, whose worker Ray would end after
    # each task but for max_calls=0.
    options = {"num_cpus": 1}
    if resource == "GPU":
        options |= {"num_gpus": 1, "max_calls": 0}
    task = ray.remote(max_retries=RETRIES, **options)(_render)
    # In a list, which Ray does not resolve: a worker fetches the job once, not with every task.
    shared = [ray.put((job, plugins(), None, device, size, THREADS))]
    tasks = (
        by_source(job, indices, PAIRS_PER_RAY_TASK)
        if device is None
        else device_tasks(job, indices, size, count)
    )
    queue, pending = iter(tasks), set[Any]()
    try:
        while True:
            more = itertools.islice(queue, 2 * count - len(pending))
            pending |= {task.remote(shared, group) for group in more}
            if not pending:
                return
            [done], _ = ray.wait(list(pending), num_returns=1)
            pending.remove(done)
            for index, pair in ray.get(done):
                yield index, pair if isinstance(pair, ImageError) else commit(job, index, pair)
    except ray.exceptions.WorkerCrashedError:
        raise SynthError(
            f"workers died {RETRIES + 1} times at one task (out of memory?);"
            " run the same command again to resume"
        ) from None
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _init_ray(workers: int | None) -> Any:
    """Return the module ``ray``, initialised; no usage reports, and ports need a token."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:
        # Ray reads it on import; set later, its parts would disagree.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UserError(f"--engine ray: needs Ray; {install('cluster')}") from None
    if not ray.is_initialized():
        local: dict[str, Any] = (
            {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers or os.cpu_count() or 1}
        )
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **local
        )
    return ray


def _render(shared: list[Any], indices: list[int]) -> list[Rendered]:
    """A task: render pairs of the job behind ``shared`` in a worker of Ray."""
    worker = Worker.current()
    if worker is None or worker.token != shared:
        import ray

        worker = init_worker(*ray.get(shared[0]), token=shared)
    return worker.render(indices)
