"""PyTorch on the CPU or a GPU: always there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from pipeline.errors import UsageError


class TorchEngine:
    """Runs a module in float32, its BatchNorm layers folded into the convolutions before them.

    Args:
        module: in eval mode; it is copied.
        input_shape: (C, S, S) of one input.
        device: None takes a GPU if there is one.

    Raises:
        UsageError: a device that is not there.
    """

    def __init__(
        self, module: nn.Module, input_shape: tuple[int, int, int], device: str | None = None
    ) -> None:
        self._device = _device(device)
        self.name = f"torch ({self._device})"
        self._module = fuse(module).to(self._device).to(memory_format=torch.channels_last)
        self.run(np.zeros((1, *input_shape), np.float32))  # so that the first frame is not a slow one

    @torch.inference_mode()
    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the module's outputs."""
        tensor = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
        outputs = self._module(tensor)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        return tuple(output.float().cpu().numpy() for output in outputs)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"PyTorch has no device {name!r} here: leave it out or take cpu") from error
    return device
