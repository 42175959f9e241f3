"""Distributed set-up: how the processes that torchrun starts find each other, after a restart
too.

The store of torchrun's agent outlives a restart (torch 2.13; pytorch/pytorch, issue 135712): a
rank that looks up a peer which has not yet written its address reads that of the killed process,
and waits half an hour for it. So the ranks first agree on a fresh nonce and prefix all store keys
with it. The number of the restart is not a nonce: of two nodes, only the one whose process died
increments it.
"""

# torch: types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import atexit
import os
import time
import uuid
from typing import TYPE_CHECKING

import torch
from torch.distributed.distributed_c10d import PrefixStore, default_pg_timeout
from torch.distributed.rendezvous import rendezvous

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = ["agree_on_nonce", "barrier", "init_process_group", "is_main", "restarted"]

POLL_INTERVAL = 0.01
"""Seconds between two polls of the store by rank 0."""


def init_process_group(backend: str) -> None:
    """Initialize torch's default process group, which Fabric then uses, unless an earlier run of
    this process did. Raises RuntimeError.
    """
    if torch.distributed.is_initialized():
        return
    store, rank, world = next(iter(rendezvous("env://")))
    nonce = agree_on_nonce(store, rank, world)
    torch.distributed.init_process_group(
        backend, store=PrefixStore(nonce, store), rank=rank, world_size=world
    )
    # Gloo's threads release the last tensors asynchronously; one that finds Python gone aborts
    # the process ("terminate called without an active exception"), so they are joined first. NCCL
    # warns otherwise.
    atexit.register(torch.distributed.destroy_process_group)


def is_main() -> bool:
    """Return whether this is the process that writes: torchrun's rank 0, or the only one."""
    return int(os.environ.get("RANK", 0)) == 0


def barrier() -> None:
    """Wait until every process is here, so that all see what the first one wrote."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def restarted() -> bool:
    """Return whether torchrun restarted any of the processes; on several nodes, only some may
    know.
    """
    own = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    if not torch.distributed.is_initialized():
        return own
    found = [own] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return any(found)


def agree_on_nonce(
    store: Store, rank: int, world: int, timeout: float = default_pg_timeout.total_seconds()
) -> str:
    """Return a fresh nonce that all ranks agree on, whatever earlier starts left in the store.

    Every rank publishes a nonce of its own. Rank 0 answers each nonce that it finds with its own,
    until that rank has acknowledged it; answers to nonces of earlier starts are never read.

    Raises:
        RuntimeError: Some ranks did not join within ``timeout`` seconds.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"ranks/{rank}", own)
        nonce = store.get(f"ranks/{own}").decode()
        store.set(f"ranks/{nonce}/{rank}", "")
        return nonce
    missing, deadline = set(range(1, world)), time.monotonic() + timeout
    while missing:
        for other in sorted(missing):
            if store.check([f"ranks/{other}"]):
                store.set(f"ranks/{store.get(f'ranks/{other}').decode()}", own)
            if store.check([f"ranks/{own}/{other}"]):
                missing.remove(other)
        if time.monotonic() > deadline:
            ranks = ", ".join(map(str, sorted(missing)))
            raise RuntimeError(f"ranks {ranks} of {world} did not join within {timeout:g} s")
        time.sleep(POLL_INTERVAL)
    return own
