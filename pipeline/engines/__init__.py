"""Ways to run a network: all take and give NumPy arrays, so that nothing else knows which one it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

ENGINES = ("auto", "torch")


class Engine(Protocol):
    """A network, ready to run.

    Attributes:
        name: of the engine and its device, for people.
    """

    name: str

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S) to the network's outputs, one array each, N first; the caller may keep them."""
        ...


def create_engine(
    name: str, module: nn.Module, input_shape: tuple[int, int, int], device: str | None = None
) -> Engine:
    """Makes a network ready to run; everything slow happens here.

    Args:
        name: one of `ENGINES`; "auto" takes the fastest that is there.
        module: it is copied, not changed, and run in eval mode.
        input_shape: (C, S, S) of one input.
        device: "cpu", "cuda", ...; None takes the best that is there.

    Raises:
        UsageError: an engine or device that is unknown or not there.
    """
    if name not in ENGINES:
        raise UsageError(f"the engine {name!r} is unknown: choose one of {', '.join(ENGINES)}")
    from pipeline.engines.torch_engine import TorchEngine

    return TorchEngine(copy.deepcopy(module).eval(), input_shape, device)
