"""Distributed set-up: ranks find each other whatever an earlier start left behind, and leave
nothing that ends with a crash.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore, Store

from sr.training.distributed import agree_on_nonce


@pytest.mark.parametrize("world", [2, 5])
def test_ranks_agree_whatever_was_left(world: int) -> None:
    """What an earlier start left in the store is not taken for what is there now, in whatever
    order they come.
    """
    store = HashStore()
    nonces = [nonce_of(store, list(range(world)), world) for _ in range(3)]
    store.set("ranks/1", "one that died before it was answered")
    nonces += [
        nonce_of(store, order, world) for order in (list(range(world)), list(range(world))[::-1])
    ]
    assert len(set(nonces)) == 5


def nonce_of(store: Store, order: list[int], world: int) -> str:
    with ThreadPoolExecutor(world) as pool:
        found = [
            (time.sleep(0.02), pool.submit(agree_on_nonce, store, rank, world))[1]
            for rank in order
        ]
        [nonce] = {one.result(20) for one in found}
    return nonce


def test_a_rank_that_does_not_join() -> None:
    with pytest.raises(RuntimeError, match=r"ranks 1, 2 of 3 did not join within 0\.2 s"):
        agree_on_nonce(HashStore(), 0, 3, timeout=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads from /proc")
def test_no_thread_of_a_group_outlives_python():
    """One that lets go of a tensor of Python's after that aborts the process: rare, and only
    under load.
    """
    code = """
import atexit, time
from pathlib import Path
def threads():
    for task in Path("/proc/self/task").glob("*/comm"):
        try:
            yield task.read_text()
        except OSError:
            pass  # it has just ended
def becomes(wanted):
    # A thread is named a moment after it is begun, and listed a moment after its end.
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any("gloo" in name for name in threads()) == wanted:
            return True
        time.sleep(0.01)
    return False
atexit.register(lambda: print(becomes(False)))  # what is registered first is run last
from sr.training.distributed import init_process_group
init_process_group("gloo")
print(becomes(True))
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
