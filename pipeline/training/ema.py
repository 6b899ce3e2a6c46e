"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A copy of the network whose weights follow it slowly; its buffers (BatchNorm) are the network's own.

    The decay grows with the number of updates, min(decay, (n + 1) / (n + 50)), so that the first random
    weights are soon forgotten.

    Args:
        model: the network, not wrapped for several processes.
        decay: weight of the past in the long run.
    """

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (self.updates + 1) / (self.updates + 50))
        self.updates += 1
        weights: list[Tensor] = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(list(self.model.parameters()), weights, 1.0 - decay)
        mine, theirs = list(self.model.buffers()), list(model.buffers())
        for dtype in {buffer.dtype for buffer in mine}:
            kept = [k for k, buffer in enumerate(mine) if buffer.dtype == dtype]
            torch._foreach_copy_([mine[k] for k in kept], [theirs[k] for k in kept])
