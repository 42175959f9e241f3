"""Ranks: how the processes that torchrun started find each other, also where it started them
again.

The store that torchrun's agent keeps for them outlives a restart (torch 2.13; pytorch/pytorch,
issue 135712): a process that looks for another before that one has said where it is finds where it
was, and waits for half an hour for what has died. So they first agree on a word that none before
them knew, and look only under it. The number of the restart is no such word: of two nodes, only
the one whose process died counts it.
"""

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

__all__ = ["join", "meet", "restarted"]

LOOK = 0.01
"""Seconds from one look of the first process to the next."""


def join(backend: str) -> None:
    """Makes the processes one group, which Fabric then takes as it is. Raises RuntimeError."""
    store, rank, world = next(iter(rendezvous("env://")))
    word = meet(store, rank, world)
    torch.distributed.init_process_group(
        backend, store=PrefixStore(word, store), rank=rank, world_size=world
    )
    # Gloo's threads let go of the last tensors when they come to it. One that finds Python gone by
    # then aborts the process ("terminate called without an active exception"), so they are joined
    # first. NCCL complains otherwise.
    atexit.register(torch.distributed.destroy_process_group)


def restarted() -> bool:
    """Whether torchrun started any of the processes again; of several nodes, not all may know."""
    mine = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    if not torch.distributed.is_initialized():
        return mine
    found = [mine] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    return any(found)


def meet(
    store: Store, rank: int, world: int, patience: float = default_pg_timeout.total_seconds()
) -> str:
    """A new word that all ranks agree on, whatever those of earlier starts left in the store.

    Each has a word. The first answers whatever word it finds of another with its own, until that
    one has thanked for it; an answer to a word of before is never read.

    Raises:
        RuntimeError: Some did not come within ``patience`` seconds.
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"ranks/{rank}", mine)
        word = store.get(f"ranks/{mine}").decode()
        store.set(f"ranks/{word}/{rank}", "")
        return word
    awaited, deadline = set(range(1, world)), time.monotonic() + patience
    while awaited:
        for other in sorted(awaited):
            if store.check([f"ranks/{other}"]):
                store.set(f"ranks/{store.get(f'ranks/{other}').decode()}", mine)
            if store.check([f"ranks/{mine}/{other}"]):
                awaited.remove(other)
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"ranks {', '.join(map(str, sorted(awaited)))} of {world} did not come"
            )
        time.sleep(LOOK)
    return mine
