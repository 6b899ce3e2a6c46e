"""The One Euro filter: a low pass that opens as things move faster, against trembling without lag.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_SPEED_CUTOFF_HZ = 1.0  # of the speed's own low pass, as in the paper


class OneEuroFilter:
    """Filters points in space, each by its own speed.

    Args:
        min_cutoff_hz: cutoff frequency for a point at rest; lower trembles less.
        beta: how much the cutoff rises with the speed, Hz for one unit of length a second; higher lags less.
    """

    def __init__(self, min_cutoff_hz: float, beta: float) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._measured: FloatArray | None = None
        self._filtered: FloatArray = np.zeros(0)
        self._velocity: FloatArray = np.zeros(0)

    def __call__(self, points: FloatArray, seconds: float, weight: ArrayLike = 1.0) -> FloatArray:
        """The next filtered points; the first ones come back as they are.

        Args:
            points: (N, D), finite.
            seconds: since the last call. If none have passed nothing moves.
            weight: (N,) 0 to 1: a point of less weight counts as if it were seen for a shorter time.

        Returns:
            (N, D).
        """
        if self._measured is None:
            self._measured, self._filtered, self._velocity = points, points, np.zeros_like(points)
        elif seconds > 0:
            velocity = (points - self._measured) / seconds
            self._velocity = self._velocity + _share(_SPEED_CUTOFF_HZ, seconds) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=1)
            cutoff_hz = (self._min_cutoff_hz + self._beta * speed) * np.asarray(weight)
            share = _share(cutoff_hz, seconds)[:, None]
            self._measured, self._filtered = points, self._filtered + share * (points - self._filtered)
        return self._filtered.copy()


def _share(cutoff_hz: ArrayLike, seconds: float) -> FloatArray:
    """Of the new value in a first-order low pass: 1 / (1 + tau / seconds), tau = 1 / (2 pi cutoff)."""
    cycles = 2 * math.pi * np.asarray(cutoff_hz, dtype=np.float64) * seconds
    return cycles / (1 + cycles)
