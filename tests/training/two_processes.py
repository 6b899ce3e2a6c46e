"""Two processes that share a training, as torchrun starts them."""

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from pipeline.training.devices import Workers, join_workers


def in_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    """Runs `work(workers, *arguments)`, a function of a module, in both.

    They meet at a store of this process, as at torchrun's agent: its port is taken as long as it is needed.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes.spawn(_joined, (store.port, work, arguments), nprocs=2)


def _joined(rank: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    torch.set_num_threads(1)
    workers = join_workers(torch.device("cpu"))
    assert workers == Workers(rank, 2)
    work(workers, *arguments)
    dist.destroy_process_group()
