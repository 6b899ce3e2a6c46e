"""What all engines have in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A network, ready to run.

    Attributes:
        name: engine, precision and device, for people.
    """

    name: str

    def run(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """(N, C, S, S), N >= 1, to the network's outputs, N first; the next run may overwrite them."""
        ...
