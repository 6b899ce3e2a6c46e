"""Where the tips of the index fingers of tracked hands have been in the last frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.hand import Hand, Handedness, Skeleton

_LENGTH = 24  # frames
_TIPS = ("index_tip", "index_1")  # as the skeletons name it

Trail = tuple["Handedness | None", NDArray[np.float32]]  # side of the hand; (T, 2) px, oldest first


class Trails:
    """Remembers the way of every hand that has an id, until the hand goes."""

    def __init__(self, skeleton: Skeleton) -> None:
        names = skeleton.joint_names
        self._joint = next((names.index(name) for name in _TIPS if name in names), None)
        self._ways: dict[int, deque[NDArray[np.float32]]] = {}
        self._sides: dict[int, Handedness | None] = {}

    def advance(self, hands: Sequence[Hand]) -> None:
        """To be called once for each frame."""
        known = {hand.id: hand for hand in hands if hand.id is not None}
        self._ways = {number: way for number, way in self._ways.items() if number in known}
        self._sides = {number: hand.handedness for number, hand in known.items()}
        for number, hand in known.items():
            if self._joint is not None:
                way = self._ways.setdefault(number, deque(maxlen=_LENGTH))
                way.append(hand.joints_uvd[self._joint, :2])

    def __iter__(self) -> Iterator[Trail]:
        """Side and way of each hand."""
        for number, way in self._ways.items():
            yield self._sides[number], np.stack(way)
