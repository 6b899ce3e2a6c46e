"""Where a training runs: device, precision, and the processes that share it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import UsageError


@dataclass(frozen=True)
class Workers:
    """The processes of this run; one unless torchrun started it."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the processes (no gradient)."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def agree(self, values: list[float], device: torch.device) -> list[float]:
        """The first process's numbers, in every process."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return shared.tolist()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in one of them."""
        if self.count == 1:
            return flag
        shared = torch.tensor([float(flag)], device=device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared.item())


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" takes this process's GPU where there is one.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name!r} is no device; try cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} is not here ({torch.cuda.device_count()} GPUs found); try --device cpu."
        )
    return device


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the device has instructions for it, else None: float32 is faster than emulating."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None


def join_workers(device: torch.device) -> Workers:
    """Join the other processes that torchrun started, if it did."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return Workers()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), dist.get_world_size())
