"""PyTorch on the CPU: always there."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx.experimental.optimization import fuse

from pipeline.engines.spec import EngineSpec, as_tuple


class TorchEngine:
    """Runs a module in float32, its BatchNorm layers folded into the convolutions before them.

    Args:
        spec: the network; its threads are the whole process's.
        device: any of PyTorch's; for NVIDIA's GPUs `pipeline.engines.cuda_engine` is faster.
    """

    def __init__(self, spec: EngineSpec, device: torch.device) -> None:
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self._device = device
        self._module = fuse(copy.deepcopy(spec.module)).to(device).to(memory_format=torch.channels_last)
        self.name = f"torch float32 ({device})"

    @torch.inference_mode()
    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs."""
        tensor = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
        return tuple(output.cpu().numpy() for output in as_tuple(self._module(tensor)))
