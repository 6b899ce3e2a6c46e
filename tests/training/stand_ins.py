"""A small task for tests of the loop: a regression with known data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training.devices import Workers
from pipeline.training.rendered import derived_seed


def cut_short(run: Path, steps: int) -> None:
    """Makes a finished run one that was interrupted on its way to more steps."""
    state = torch.load(run / "state.pth", weights_only=True)
    state["plan"] = [steps, 0, 0.0]
    torch.save(state, run / "state.pth")


class LineTask:
    """Learns y = x W with a little network; a step's samples depend on seed and step alone.

    Args:
        batch: samples of a step over all processes.
        workers: each takes its share of the batch.
        norm: with BatchNorm.
    """

    def __init__(self, batch: int = 16, workers: Workers | None = None, norm: bool = True) -> None:
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(8)] if norm else []
        self.model = nn.Sequential(nn.Linear(4, 8), *middle, nn.ReLU(), nn.Linear(8, 2))
        self.batch, self.workers = batch, workers or Workers()
        self.steps: list[int] = []
        self.exported: list[dict[str, Any]] = []

    def cost(self, progress: float) -> float:
        return 1.0

    def samples(self, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derived_seed(7, step))
        x = torch.randn(self.batch, 4, generator=generator)
        y = torch.stack([x.sum(1), x[:, 0] - x[:, 3]], dim=1)
        share = self.batch // self.workers.count
        mine = slice(self.workers.rank * share, (self.workers.rank + 1) * share)
        return x[mine], y[mine]

    def losses(self, model: nn.Module, step: int, progress: float) -> dict[str, Tensor]:
        self.steps.append(step)
        x, y = self.samples(step)
        return {"total": (model(x) - y).square().mean()}

    def evaluate(self, model: nn.Module, progress: float) -> dict[str, float]:
        x, y = self.samples(1 << 30)
        with torch.no_grad():
            return {"error": float((model(x) - y).square().mean())}

    def score(self, figures: dict[str, float]) -> float:
        return np.float64(figures["error"])  # as NumPy's arithmetic gives it

    def picture(self, model: nn.Module, progress: float) -> NDArray[np.uint8]:
        return np.zeros((8, 8, 3), np.uint8)

    def export(self, path: Path, model: nn.Module, meta: dict[str, Any]) -> None:
        self.exported.append(meta)
        torch.save(model.state_dict(), path)
