"""Ray: the pairs of a synthesis made by workers on one machine or many. Needs the extra
``cluster``.

A task makes a few pairs of one source, or a few batches where it has a GPU, and returns their
files; the driver puts them in place, as it alone writes the dataset. A task is a pure function of
(recipe, seed, indices, source), so Ray may run it anywhere, and again where a worker was killed.

Why tasks and not Ray Data: its writers name files by block and task, write whole blocks, and know
no manifest; pairs could be neither named as in the other engines nor gone on with one by one. The
price is that all files pass through the driver. Sources must be where every worker can read them:
a shared disk, or a URL.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from degrade.errors import SynthError, UserError
from degrade.images.files import ImageError

if TYPE_CHECKING:
    from degrade.synthesis.job import Job
    from degrade.synthesis.worker import Made, Result

__all__ = ["on_ray"]

TOGETHER = 4
"""Most pairs of one source that a task makes; their files travel together."""
THREADS = 2
"""Threads that decode and encode beside a task's device."""
RETRIES = 5
"""How often a task is tried whose worker dies; a picture that takes all memory must not be
tried forever.
"""


def on_ray(
    job: Job,
    indices: list[int],
    workers: int | None = None,
    device: str | None = None,
    size: int = 16,
) -> Iterator[Result]:
    """An engine. Joins the cluster that ``RAY_ADDRESS`` names or that is initialised already, else
    starts a local one.

    Args:
        job: The job.
        indices: The pairs to make.
        workers: CPUs of a local cluster; tasks in flight are twice the cluster's CPUs, or GPUs.
        device: Where tasks work batches, a GPU each if it is one; None for pair by pair on a CPU
            each.
        size: Pairs in a batch.

    Raises:
        UserError: Ray is not installed.
        SynthError: a task whose worker died time and again; no GPU.
    """
    from degrade.synthesis.worker import finish, groups, plugins, some_batches

    ray = _ray(workers)
    needs = "CPU" if device in (None, "cpu") else "GPU"
    there = int(ray.cluster_resources().get(needs, 0))
    if needs == "GPU" and not there:
        raise SynthError("--engine ray: this cluster has no GPU; leave out --device cuda")
    # A task takes one CPU, as its worker runs one thread; or one GPU, whose worker Ray would end
    # after each task if it were not for max_calls. Dead workers are replaced and their tasks run
    # again.
    share = {"num_cpus": 1} if needs == "CPU" else {"num_cpus": 1, "num_gpus": 1, "max_calls": 0}
    task = ray.remote(max_retries=RETRIES, **share)(_pairs)
    # In a list, which Ray does not unpack: each worker fetches the job once, not with every pair.
    shared = [ray.put((job, plugins(), device, size))]
    tasks = (
        groups(job, indices, TOGETHER)
        if device is None
        else some_batches(job, indices, size, max(there, 1))
    )
    at_most = 2 * max(there, 1)
    todo, flight = iter(tasks), set[Any]()
    try:
        while True:
            flight |= {
                task.remote(shared, some) for some in itertools.islice(todo, at_most - len(flight))
            }
            if not flight:
                return
            [done], _ = ray.wait(list(flight), num_returns=1)
            flight.remove(done)
            for index, made in ray.get(done):
                yield index, finish(job, index, made)
    except ray.exceptions.WorkerCrashedError:
        raise SynthError(
            f"workers died {RETRIES + 1} times at one task (out of memory?); run again to go on"
        ) from None
    finally:
        for reference in flight:
            ray.cancel(reference, force=True)


def _ray(workers: int | None) -> Any:
    # Nothing is sent out, and no port is open to strangers. Ray reads the latter as it is
    # imported: said later, the two halves of it would disagree.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: needs Ray; pip install 'degrade[cluster]'") from None
    if not ray.is_initialized():
        local: dict[str, Any] = (
            {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers or os.cpu_count() or 1}
        )
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **local
        )
    return ray


_AT: list[Any] = []
"""The job that this worker was made ready for."""


def _pairs(shared: list[Any], indices: list[int]) -> list[tuple[int, Made | ImageError]]:
    """On a worker: some pairs, or why there are none."""
    import ray

    from degrade.synthesis.worker import begin, make, make_batches, take_device

    job, modules, device, size = ray.get(shared[0])
    if shared != _AT:
        begin(job, modules)
        if device is not None:
            take_device(device, size, THREADS)
        _AT[:] = shared
    return make(indices) if device is None else make_batches(indices)
