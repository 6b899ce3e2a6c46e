"""Small networks for the engines' tests."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.engines.onnx_export import export_onnx
from pipeline.engines.spec import EngineSpec

SHAPE = (2, 8, 8)


class TwoHeads(nn.Module):
    """Two outputs of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.common = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.01))
        self.first, self.second = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.common(x)
        return self.first(x).permute(0, 3, 2, 1).reshape(x.shape[0], -1, 3), self.second(x)


def lived_in(module: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics in its BatchNorm layers as after training."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return module.eval()


def two_heads(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return lived_in(TwoHeads(), seed)


def noise(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


_EXPORTED: dict[tuple[str, int, bool], bytes] = {}


def exported(spec: EngineSpec, half: bool = False) -> bytes:
    """`export_onnx`, once for each network: it takes seconds."""
    key = (spec.fingerprint, spec.max_batch, half)
    if key not in _EXPORTED:
        _EXPORTED[key] = export_onnx(spec, half)
    return _EXPORTED[key]
