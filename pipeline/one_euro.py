"""The One Euro filter: a low pass that opens as things move faster, against trembling without lag.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_CENTRE_SPEED_CUTOFF_HZ = 4.0


class OneEuroFilter:
    """Filters points in space, each by its own speed.

    Args:
        min_cutoff_hz: cutoff frequency for a point at rest; lower trembles less.
        beta: how much the cutoff rises with the speed, Hz for one unit of length a second; higher lags less.
        speed_cutoff_hz: of the speed's own low pass; higher notices sooner that something moves.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, speed_cutoff_hz: float = 1.0) -> None:
        self._min_cutoff_hz, self._beta, self._speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
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
            share = _share(self._speed_cutoff_hz, seconds)
            self._velocity = self._velocity + share * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=1)
            cutoff_hz = (self._min_cutoff_hz + self._beta * speed) * np.asarray(weight)
            share = _share(cutoff_hz, seconds)[:, None]
            self._measured, self._filtered = points, self._filtered + share * (points - self._filtered)
        return self._filtered.copy()


class HandFilter:
    """Filters the joints of a hand: its centre, and the joints about it.

    The centre is read more exactly than any joint, for it is their mean: it needs less filtering, so that
    the hand as a whole hardly lags.

    Args:
        min_cutoff_hz, beta: see `OneEuroFilter`; lengths are in mm.
        centre_beta: of the centre.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, centre_beta: float) -> None:
        self._centre = OneEuroFilter(min_cutoff_hz, centre_beta, _CENTRE_SPEED_CUTOFF_HZ)
        self._joints = OneEuroFilter(min_cutoff_hz, beta)

    def __call__(self, joints: FloatArray, seconds: float, confidence: NDArray[np.floating]) -> FloatArray:
        """The next filtered joints, those that are less sure than others filtered more.

        Args:
            joints: (J, 3) mm.
            seconds: since the last call.
            confidence: (J,) 0 to 1.

        Returns:
            (J, 3) mm.
        """
        centre = joints.mean(axis=0, keepdims=True)
        weight = confidence / max(float(confidence.max()), 1e-6)
        return self._centre(centre, seconds) + self._joints(joints - centre, seconds, weight)


def _share(cutoff_hz: ArrayLike, seconds: float) -> FloatArray:
    """Of the new value in a first-order low pass: 1 / (1 + tau / seconds), tau = 1 / (2 pi cutoff)."""
    cycles = 2 * math.pi * np.asarray(cutoff_hz, dtype=np.float64) * seconds
    return cycles / (1 + cycles)
