"""What tracking sees with: a detector that says where hands are, a network that reads their joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import Frame
from pipeline.hand import Detection, Handedness


@dataclass(frozen=True, eq=False)
class Sighting:
    """A detection, and the (3,) px, px, mm where its hand is."""

    detection: Detection
    centre: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Look:
    """Where joints are to be read.

    Args:
        centre: (3,) px, px, mm.
        side: of the hand, for a network that must be told.
        roll: by how far the palm is turned clockwise from pointing up in the image, rad; None if unknown.
    """

    centre: NDArray[np.float64]
    side: Handedness | None
    roll: float | None = None


class Pose(Protocol):
    """The joints of one crop: sensible ones, finite and before the camera."""

    @property
    def uvd(self) -> NDArray[np.float64]:
        """(J, 3) px, px, mm in the image."""

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(J,) 0..1."""

    @property
    def roll(self) -> float:
        """By how far the palm is turned clockwise from pointing up in the image, rad."""

    @property
    def doubt_mm(self) -> float:
        """Mean spread of the network's votes, mm."""

    @property
    def side_log_odds(self) -> float | None:
        """Of right against left; None from a network that does not tell."""

    @property
    def presence_log_odds(self) -> float | None:
        """Of a hand being there against none; None from a network that does not tell."""


class Eyes(Protocol):
    """A detector and a joint network."""

    @property
    def one_sided(self) -> bool:
        """Whether the joint network must be told the side of a hand to read it."""

    @property
    def tells_side(self) -> bool:
        """Whether the joint network says which side it sees."""

    def see(self, frame: Frame) -> list[Sighting]:
        """All hands that the detector finds."""

    def read(self, frame: Frame, looks: Sequence[Look]) -> Sequence[Pose | None]:
        """The joints at each look, in one batch; None where there are none."""
